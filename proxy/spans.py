"""The spans' way up: what leaves the engine, and the resource they belong to.

A batch is one complete OTLP `ExportTraceServiceRequest` in protobuf, ready to be posted as it is.
Each request gives one SERVER span, one INTERNAL `balance` span and one CLIENT span per attempt;
`docs/SPANS.md` lists their attributes. Spans that did not fit the queue are counted, never waited
for.
"""

from dataclasses import dataclass

BATCH_BYTES_MAX = 1024 * 1024
"""What a worker seals is smaller; what waits together is handed over together, up to this. aiohttp
writes a body of this size at once; OTLP receivers take several times as much."""


@dataclass(frozen=True, slots=True)
class SpanBatch:
    """`otlp` is protobuf bytes (opentelemetry.proto.collector.trace.v1); `span_count` its spans."""

    otlp: bytes
    span_count: int

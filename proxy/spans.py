"""The spans' way up: what leaves the engine, and the resource they belong to.

A batch is one complete OTLP `ExportTraceServiceRequest` in protobuf, ready to be posted as it is.
Each request gives one SERVER span, one INTERNAL `balance` span and one CLIENT span per attempt;
`docs/SPANS.md` lists their attributes. Spans that did not fit the queue are counted, never waited
for.
"""

from dataclasses import dataclass

QUEUE_BYTES_MAX = 64 * 1024 * 1024
"""Memory for spans that wait to be taken: at 1.7 KiB a request 40,000 requests, a few seconds of an
exporter that is away. OpenTelemetry's batch processor holds 2,048 spans."""

BATCH_BYTES_MAX = 1024 * 1024
"""What a worker seals is smaller; what waits together is handed over together, up to this. aiohttp
writes a body of this size at once; OTLP receivers take several times as much."""


@dataclass(frozen=True, slots=True)
class SpanBatch:
    """`otlp` is protobuf bytes (opentelemetry.proto.collector.trace.v1); `span_count` its spans."""

    otlp: bytes
    span_count: int

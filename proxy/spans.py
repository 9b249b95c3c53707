"""The spans' way up: what leaves the engine, and the resource they belong to.

A batch is one complete OTLP `ExportTraceServiceRequest` in protobuf, ready to be posted as it is.
Each request gives one SERVER span, one INTERNAL `balance` span and one CLIENT span per attempt;
`docs/SPANS.md` lists their attributes. Spans that did not fit the queue are counted, never waited
for.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SpanBatch:
    """`otlp` is protobuf bytes (opentelemetry.proto.collector.trace.v1); `span_count` its spans."""

    otlp: bytes
    span_count: int

"""A store that has one large trace in it, as another run of Spanway would have left it."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from ingress_controller.traces.store.segments import Segments
from ingress_controller.traces.store.store import Store

TRACE_ID = "00000000000000000000000000005ead"
SPANS = 50_000
FANOUT = 50
"""Children of a span, until there are as many spans as are wanted."""

LAST = FANOUT * (FANOUT + 1) + 1
"""The number of the span that is the last one in a drawing: the youngest child of the youngest."""


def fill(directory: Path) -> None:
    """Writes the trace; a SERVER span, and below it three levels of work."""

    async def write() -> None:
        store = Store(Segments(directory))
        await store.add(_request().SerializeToString())
        await store.close()

    # On a thread of its own: a browser's driver has the loop of this one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(write())).result()


def _request() -> ExportTraceServiceRequest:
    made = ExportTraceServiceRequest()
    group = made.resource_spans.add()
    name = KeyValue(key="service.name", value=AnyValue(string_value="shop"))
    group.resource.attributes.append(name)
    spans = group.scope_spans.add().spans
    start_ns = time.time_ns() - 60_000_000_000
    for number in range(1, SPANS + 1):
        parent = (number + FANOUT - 2) // FANOUT if number > 1 else 0
        spans.add(
            trace_id=bytes.fromhex(TRACE_ID),
            span_id=number.to_bytes(8),
            parent_span_id=parent.to_bytes(8) if parent else b"",
            name=f"work {number}",
            kind=Span.SPAN_KIND_INTERNAL,
            start_time_unix_nano=start_ns + number * 10_000,
            end_time_unix_nano=start_ns + number * 10_000 + 1_000_000,
        )
    return made

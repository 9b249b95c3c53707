"""Traces in a terminal: a table of those that were found, and one drawn as a waterfall.

Rules: pure. Names and paths are a stranger's, so whatever is shown of them is `printable`.
"""

import time

from ingress_controller.admin.traces import Found, ShownSpan, ShownTrace
from ingress_controller.readable import cut, duration, printable
from ingress_controller.top.text import Column, table
from ingress_controller.traces.drawing import draw
from ingress_controller.traces.span import Span, SpanKind, SpanStatus
from ingress_controller.traces.store.queries import TraceSummary
from ingress_controller.traces.tree import tree
from ingress_controller.traces.where import where

_COLUMNS = (
    Column("START"),
    Column("TOOK", True),
    Column("STATUS"),
    Column("SPANS", True),
    Column("TRACE"),
    Column("REQUEST"),
)
_OTHER_COLUMNS_WIDTH = 67
_REQUEST_WIDTH_MIN = 24


def found_text(found: Found, width: int) -> str:
    """A line for each, newest first; then what to do next."""
    if not found.traces:
        return "No trace fits. Search a longer time (since=1d), or for less.\n"
    request_width = max(_REQUEST_WIDTH_MIN, width - _OTHER_COLUMNS_WIDTH)
    lines = table(_COLUMNS, (_cells(one, request_width) for one in found.traces))
    more = f"the newest {len(found.traces)}; limit=N shows more, " if found.is_cut else ""
    return f"{lines}\n\n{more}spanway trace TRACE shows one.\n"


def trace_text(trace: ShownTrace, width: int, *, in_colour: bool) -> str:
    """The waterfall, and in a sentence where the time went."""
    arranged = tree(_span(trace, span) for span in trace.spans)
    drawn = draw(arranged, width=width, in_colour=in_colour)
    cut_short = "It has more spans than are told.\n" if trace.is_cut else ""
    return f"{drawn}\nWhere the time went: {printable(where(arranged))}\n{cut_short}"


def _cells(one: TraceSummary, request_width: int) -> tuple[str, ...]:
    request = f"{one.method} {one.host}{one.route}" if one.method else f"{one.service} {one.name}"
    ended = one.flags or (one.verdict if one.verdict != "none" else "")
    return (
        time.strftime("%H:%M:%S", time.localtime(one.start_unix_us / 1e6)),
        duration(one.duration_us),
        str(one.status or ("error" if one.is_failed else "-")),
        str(one.span_count),
        one.trace_id,
        cut(printable(f"{request} ({ended})" if ended else request), request_width),
    )


def _span(trace: ShownTrace, span: ShownSpan) -> Span:
    start_ns = trace.start_unix_us * 1_000 + span.offset_ns
    return Span(
        trace_id=trace.trace_id,
        span_id=span.span_id,
        parent_id=span.parent_id,
        name=span.name,
        kind=SpanKind[span.kind.upper()],
        service=span.service,
        start_unix_ns=start_ns,
        end_unix_ns=start_ns + span.duration_ns,
        attributes=span.attributes,
        status=SpanStatus[span.status.upper()],
        status_message=span.status_message,
        links=span.links,
    )

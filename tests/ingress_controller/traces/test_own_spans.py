from collections.abc import Sequence

from opentelemetry.trace import StatusCode, format_span_id, format_trace_id

from ingress_controller.traces import own_spans
from ingress_controller.traces.own_spans import SPANS_MAX
from ingress_controller.traces.span import Span, SpanStatus, decode
from proxy.spans import SpanBatch

RESOURCE = {"service.name": "edge", "host.name": "h"}


class Offered:
    """Tracer, and what it offers for export."""

    def __init__(self) -> None:
        self.batches: list[SpanBatch] = []
        self.tracer = own_spans.tracer(RESOURCE, "1.2", self._offer)

    def _offer(self, batches: Sequence[SpanBatch]) -> None:
        self.batches += batches

    @property
    def spans(self) -> list[Span]:
        return [span for batch in self.batches for span in decode(batch.otlp)]


def test_spans_are_one_batch_when_the_outermost_has_ended() -> None:
    offered = Offered()
    with offered.tracer.start_as_current_span("reconcile") as outer:
        with offered.tracer.start_as_current_span("publish") as inner:
            inner.set_attribute("spanway.table.generation", 7)
            inner.set_status(StatusCode.ERROR, "refused")
        assert offered.batches == []
    own = outer.get_span_context()

    publish, reconcile = offered.spans
    assert offered.batches[0].span_count == 2
    assert (reconcile.name, publish.name) == ("reconcile", "publish")
    assert (reconcile.trace_id, reconcile.span_id, reconcile.parent_id) == (
        format_trace_id(own.trace_id),
        format_span_id(own.span_id),
        "",
    )
    assert (publish.trace_id, publish.parent_id) == (reconcile.trace_id, reconcile.span_id)
    assert publish.attributes == {"spanway.table.generation": 7}
    assert (publish.status, publish.status_message) == (SpanStatus.ERROR, "refused")
    assert reconcile.start_unix_ns <= publish.start_unix_ns <= publish.end_unix_ns
    assert publish.end_unix_ns <= reconcile.end_unix_ns


def test_the_controller_is_a_service_beside_the_data_planes() -> None:
    offered = Offered()
    with offered.tracer.start_as_current_span("reconcile"):
        pass

    assert [span.service for span in offered.spans] == ["edge-controller"]


def test_spans_of_one_that_never_ends_are_bounded() -> None:
    offered = Offered()
    with offered.tracer.start_as_current_span("outer"):
        for _ in range(SPANS_MAX):
            offered.tracer.start_span("inner").end()

    assert [batch.span_count for batch in offered.batches] == [SPANS_MAX, 1]

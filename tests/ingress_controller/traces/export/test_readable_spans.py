import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.trace import SpanKind
from sample_spans import attribute, request

from ingress_controller.traces.export.readable_spans import readable_spans
from ingress_controller.traces.span import MalformedSpansError


def there_and_back(given: ExportTraceServiceRequest) -> ExportTraceServiceRequest:
    """By OpenTelemetry's own encoder, which leaves out the flags of W3C."""
    (spans,) = readable_spans(given.SerializeToString())
    assert all(span.context is not None and span.context.trace_flags.sampled for span in spans)
    encoded = encode_spans(spans)
    for span in encoded.resource_spans[0].scope_spans[0].spans:
        for flagged in (span, *span.links):
            flagged.flags |= 1
    return encoded


def test_nothing_of_a_span_is_lost() -> None:
    given = request(2)

    assert there_and_back(given) == given


def test_a_root_has_no_parent() -> None:
    given = request()
    span = given.resource_spans[0].scope_spans[0].spans[0]
    span.parent_span_id = b""
    span.trace_state = ""
    span.flags = 0x101
    span.status.Clear()
    span.status.SetInParent()

    assert there_and_back(given) == given


@pytest.mark.parametrize("kind", list(SpanKind))
def test_kinds_are_kept(kind: SpanKind) -> None:
    given = request()
    given.resource_spans[0].scope_spans[0].spans[0].kind = kind.value + 1

    (spans,) = readable_spans(given.SerializeToString())

    assert spans[0].kind is kind


def test_each_resource_has_a_list_of_its_own() -> None:
    given = request(2, service="a")
    given.MergeFrom(request(1, service="b"))

    lists = list(readable_spans(given.SerializeToString()))

    assert [spans[0].resource.attributes["service.name"] for spans in lists] == ["a", "b"]
    assert [len(spans) for spans in lists] == [2, 1]


def test_values_that_the_sdk_has_no_type_for_are_text() -> None:
    given = request()
    given.resource_spans[0].scope_spans[0].spans[0].attributes.extend(
        [attribute("bytes", bytes_value=b"\xff"), attribute("none")]
    )

    (spans,) = readable_spans(given.SerializeToString())

    assert spans[0].attributes is not None
    assert (spans[0].attributes["bytes"], spans[0].attributes["none"]) == ("ff", "")


def test_what_is_no_otlp_is_refused() -> None:
    with pytest.raises(MalformedSpansError):
        list(readable_spans(b"\xff"))

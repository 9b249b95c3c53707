"""An OTLP request with everything in it that a span can have."""

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from proxy.spans import SpanBatch

TRACE_ID = bytes(range(16))
SPAN_ID = bytes(range(8))
START_UNIX_NS = 1_700_000_000_000_000_001


def attribute(key: str, **value: object) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(**value))  # type: ignore[arg-type]


def request(
    span_count: int = 1, *, service: str = "shop", first: int = 0
) -> ExportTraceServiceRequest:
    """`span_count` SERVER spans that failed, each the child of a stranger; `first` is in the id of
    the first one."""
    made = ExportTraceServiceRequest()
    group = made.resource_spans.add()
    group.resource.attributes.append(attribute("service.name", string_value=service))
    scoped = group.scope_spans.add()
    scoped.scope.name, scoped.scope.version = "spanway", "0.1"
    texts = ArrayValue(values=[AnyValue(string_value="a"), AnyValue(string_value="b")])
    for number in range(first, first + span_count):
        scoped.spans.add(
            trace_id=TRACE_ID,
            span_id=number.to_bytes(4) + SPAN_ID[4:],
            parent_span_id=SPAN_ID[::-1],
            trace_state="vendor=1",
            flags=0x301,  # sampled; the parent is known to be in another process
            name="GET /",
            kind=Span.SPAN_KIND_SERVER,
            start_time_unix_nano=START_UNIX_NS,
            end_time_unix_nano=START_UNIX_NS + 2_000_000,
            attributes=[
                attribute("http.request.method", string_value="GET"),
                attribute("http.response.status_code", int_value=503),
                attribute("tls.resumed", bool_value=True),
                attribute("ratio", double_value=0.5),
                attribute("texts", array_value=texts),
            ],
            events=[
                Span.Event(
                    time_unix_nano=START_UNIX_NS,
                    name="noted",
                    attributes=[attribute("why", string_value="because")],
                )
            ],
            links=[
                Span.Link(
                    trace_id=TRACE_ID[::-1],
                    span_id=SPAN_ID,
                    flags=0x301,
                    attributes=[attribute("kind", string_value="untrusted")],
                )
            ],
            status=Status(code=Status.STATUS_CODE_ERROR, message="no endpoints"),
        )
    return made


def batch(span_count: int = 1, *, service: str = "shop", first: int = 0) -> SpanBatch:
    made = request(span_count, service=service, first=first)
    return SpanBatch(made.SerializeToString(), span_count)

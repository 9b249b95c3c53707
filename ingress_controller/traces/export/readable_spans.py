"""OTLP protobuf → spans of the OpenTelemetry SDK, as its exporters take them.

Rules: pure. Tens of microseconds a span: only for exporters that know nothing else.
"""

from collections.abc import Iterable, Iterator

from google.protobuf.message import DecodeError
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode
from opentelemetry.util.types import AttributeValue

from ingress_controller.traces.span import MalformedSpansError

_KINDS = {
    Span.SPAN_KIND_SERVER: SpanKind.SERVER,
    Span.SPAN_KIND_CLIENT: SpanKind.CLIENT,
    Span.SPAN_KIND_PRODUCER: SpanKind.PRODUCER,
    Span.SPAN_KIND_CONSUMER: SpanKind.CONSUMER,
}
_FLAGS_REMOTE = 0x200  # trace.proto: SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK


def readable_spans(otlp: bytes) -> Iterator[list[ReadableSpan]]:
    """The spans, one list for each resource: exporters take a list's resource from its first span.

    Raises:
        MalformedSpansError: `otlp` is not OTLP.
    """
    try:
        request = ExportTraceServiceRequest.FromString(otlp)
    except DecodeError as err:
        raise MalformedSpansError(f"Not an ExportTraceServiceRequest: {err}") from err
    for group in request.resource_spans:
        resource = Resource(_attributes(group.resource.attributes), group.schema_url or None)
        yield [
            _span(span, resource, scope)
            for scoped in group.scope_spans
            for scope in [InstrumentationScope(scoped.scope.name, scoped.scope.version)]
            for span in scoped.spans
        ]


def _span(span: Span, resource: Resource, scope: InstrumentationScope) -> ReadableSpan:
    state = TraceState.from_header([span.trace_state]) if span.trace_state else None
    flags = TraceFlags(span.flags & 0xFF)
    context = _context(span.trace_id, span.span_id, flags, state, is_remote=False)
    parent = None
    if span.parent_span_id:
        is_remote = bool(span.flags & _FLAGS_REMOTE)
        parent = _context(span.trace_id, span.parent_span_id, flags, state, is_remote=is_remote)
    return ReadableSpan(
        span.name,
        context=context,
        parent=parent,
        resource=resource,
        attributes=_attributes(span.attributes),
        events=[_event(event) for event in span.events],
        links=[_link(link) for link in span.links],
        kind=_KINDS.get(span.kind, SpanKind.INTERNAL),
        status=_status(span),
        start_time=span.start_time_unix_nano,
        end_time=span.end_time_unix_nano,
        instrumentation_scope=scope,
    )


def _context(
    trace_id: bytes, span_id: bytes, flags: TraceFlags, state: TraceState | None, *, is_remote: bool
) -> SpanContext:
    return SpanContext(
        int.from_bytes(trace_id),
        int.from_bytes(span_id),
        is_remote=is_remote,
        trace_flags=flags,
        trace_state=state,
    )


def _status(span: Span) -> Status:
    """The SDK knows messages of errors only."""
    code = StatusCode(span.status.code)
    return Status(code, span.status.message or None if code is StatusCode.ERROR else None)


def _event(event: Span.Event) -> Event:
    attributes = BoundedAttributes(attributes=_attributes(event.attributes))
    return Event(event.name, attributes, event.time_unix_nano)


def _link(link: Span.Link) -> Link:
    state = TraceState.from_header([link.trace_state]) if link.trace_state else None
    flags = TraceFlags(link.flags & 0xFF)
    is_remote = bool(link.flags & _FLAGS_REMOTE)
    context = _context(link.trace_id, link.span_id, flags, state, is_remote=is_remote)
    return Link(context, _attributes(link.attributes))


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, AttributeValue]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> AttributeValue:
    """Lists become lists; what the SDK has no type for, maps, text."""
    match value.WhichOneof("value"):
        case "array_value":
            return tuple(_value(each) for each in value.array_value.values)
        case "kvlist_value":
            return str(_attributes(value.kvlist_value.values))
        case "bytes_value":
            return value.bytes_value.hex()
        case None:
            return ""
        case field:
            plain: AttributeValue = getattr(value, field)
            return plain

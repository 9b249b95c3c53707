"""A finished span as a value, and its decoding from OTLP.

Rules: this file does no I/O. A malformed request is refused whole, with what is wrong in it.
Source: opentelemetry/proto/trace/v1/trace.proto.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

TRACE_ID_BYTES = 16
SPAN_ID_BYTES = 8

AttributeValue = str | bool | int | float | tuple["AttributeValue", ...]


class SpanKind(IntEnum):
    """The numbers of trace.proto."""

    UNSPECIFIED = 0
    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


class SpanStatus(IntEnum):
    """The numbers of trace.proto."""

    UNSET = 0
    OK = 1
    ERROR = 2


class MalformedSpansError(ValueError):
    """The bytes are not spans; the message says what is wrong in one sentence."""


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """What a span notes of a moment: a log line, an exception."""

    unix_ns: int
    name: str
    attributes: Mapping[str, AttributeValue]


@dataclass(frozen=True, slots=True)
class Span:
    """One span. Ids are lower-case hex; `parent_id` is empty in a root."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: SpanKind
    service: str
    start_unix_ns: int
    end_unix_ns: int
    attributes: Mapping[str, AttributeValue]
    status: SpanStatus = SpanStatus.UNSET
    status_message: str = ""
    links: tuple[tuple[str, str], ...] = ()
    """Trace and span id of each span that this one is linked to."""
    trace_state: str = ""
    events: tuple[SpanEvent, ...] = ()
    resource: Mapping[str, AttributeValue] = field(default_factory=dict)
    """Who made it; `service` is in it, too."""
    scope: str = ""
    """The name of the library that made it."""

    @property
    def duration_ns(self) -> int:
        """Never negative, even where a clock was set back."""
        return max(0, self.end_unix_ns - self.start_unix_ns)

    @property
    def peer(self) -> str:
        """`address:port` of the other side of a CLIENT span, as far as it is known, or empty."""
        known = self.attributes.get
        address = str(known("network.peer.address") or known("server.address") or "")
        port = known("network.peer.port") or known("server.port") or ""
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}".strip(":")


def decode(otlp: bytes) -> list[Span]:
    """The spans of one ExportTraceServiceRequest.

    Raises:
        MalformedSpansError: no such message, an id of the wrong length, an unknown kind or status.
    """
    try:
        request = ExportTraceServiceRequest.FromString(otlp)
    except DecodeError as err:
        raise MalformedSpansError(f"This is no ExportTraceServiceRequest: {err}") from err
    return [
        _span(span, resource, scope_spans.scope.name)
        for resource_spans in request.resource_spans
        for resource in [_attributes(resource_spans.resource.attributes)]
        for scope_spans in resource_spans.scope_spans
        for span in scope_spans.spans
    ]


def _span(span: trace_pb2.Span, resource: Mapping[str, AttributeValue], scope: str) -> Span:
    if len(span.trace_id) != TRACE_ID_BYTES or len(span.span_id) != SPAN_ID_BYTES:
        raise MalformedSpansError(f"Span {span.name!r} has an id of the wrong length")
    if len(span.parent_span_id) not in {0, SPAN_ID_BYTES}:
        raise MalformedSpansError(f"Span {span.name!r} has a parent id of the wrong length")
    try:
        kind, status = SpanKind(span.kind), SpanStatus(span.status.code)
    except ValueError as err:
        raise MalformedSpansError(f"Span {span.name!r}: {err}") from err
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        kind=kind,
        service=str(resource.get("service.name", "")),
        start_unix_ns=span.start_time_unix_nano,
        end_unix_ns=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        status=status,
        status_message=span.status.message,
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        trace_state=span.trace_state,
        events=tuple(map(_event, span.events)),
        resource=resource,
        scope=scope,
    )


def _event(event: trace_pb2.Span.Event) -> SpanEvent:
    return SpanEvent(event.time_unix_nano, event.name, _attributes(event.attributes))


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, AttributeValue]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> AttributeValue:
    """Bytes become hex, and maps become pairs of key and value."""
    field = value.WhichOneof("value")
    match field:
        case None:
            return ""
        case "array_value":
            return tuple(_value(element) for element in value.array_value.values)
        case "kvlist_value":
            return tuple((pair.key, _value(pair.value)) for pair in value.kvlist_value.values)
        case "bytes_value":
            return value.bytes_value.hex()
        case _:
            plain: AttributeValue = getattr(value, field)
            return plain

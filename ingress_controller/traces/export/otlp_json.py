"""OTLP protobuf → OTLP JSON.

Rules: pure. Ids are hex, 64-bit numbers text, enumerations numbers, empty fields absent. Source:
OpenTelemetry Protocol 1.x, "JSON Protobuf Encoding"; "OpenTelemetry Protocol File Exporter".
"""

import math
from base64 import b64encode
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

Json: TypeAlias = dict[str, Any]

_NOT_FINITE = {math.inf: "Infinity", -math.inf: "-Infinity"}


def as_json(otlp: bytes) -> bytes:
    """One TracesData object, on one line; an ExportTraceServiceRequest looks the same.

    Raises:
        google.protobuf.message.DecodeError: `otlp` is not OTLP.
    """
    request = ExportTraceServiceRequest.FromString(otlp)
    groups = [_resource_spans(group) for group in request.resource_spans]
    return msgspec.json.encode({"resourceSpans": groups})


def _resource_spans(group: ResourceSpans) -> Json:
    return _set(
        resource=_set(attributes=_attributes(group.resource.attributes)),
        scopeSpans=[_scope_spans(scope) for scope in group.scope_spans],
        schemaUrl=group.schema_url,
    )


def _scope_spans(group: ScopeSpans) -> Json:
    return _set(
        scope=_scope(group.scope),
        spans=[_span(span) for span in group.spans],
        schemaUrl=group.schema_url,
    )


def _scope(scope: InstrumentationScope) -> Json:
    attributes = _attributes(scope.attributes)
    return _set(name=scope.name, version=scope.version, attributes=attributes)


def _span(span: Span) -> Json:
    return _set(
        traceId=span.trace_id.hex(),
        spanId=span.span_id.hex(),
        traceState=span.trace_state,
        parentSpanId=span.parent_span_id.hex(),
        flags=span.flags,
        name=span.name,
        kind=span.kind,
        startTimeUnixNano=str(span.start_time_unix_nano),
        endTimeUnixNano=str(span.end_time_unix_nano),
        attributes=_attributes(span.attributes),
        droppedAttributesCount=span.dropped_attributes_count,
        events=[_event(event) for event in span.events],
        droppedEventsCount=span.dropped_events_count,
        links=[_link(link) for link in span.links],
        droppedLinksCount=span.dropped_links_count,
        status=_set(message=span.status.message, code=span.status.code),
    )


def _event(event: Span.Event) -> Json:
    return _set(
        timeUnixNano=str(event.time_unix_nano),
        name=event.name,
        attributes=_attributes(event.attributes),
        droppedAttributesCount=event.dropped_attributes_count,
    )


def _link(link: Span.Link) -> Json:
    return _set(
        traceId=link.trace_id.hex(),
        spanId=link.span_id.hex(),
        traceState=link.trace_state,
        attributes=_attributes(link.attributes),
        droppedAttributesCount=link.dropped_attributes_count,
        flags=link.flags,
    )


def _attributes(pairs: Iterable[KeyValue]) -> list[Json]:
    return [{"key": pair.key, "value": _value(pair.value)} for pair in pairs]


def _value(value: AnyValue) -> Json:
    field = value.WhichOneof("value")
    if field is None:
        return {}
    name, convert = _VALUES[field]
    return {name: convert(getattr(value, field))}


def _double(number: float) -> float | str:
    return number if math.isfinite(number) else _NOT_FINITE.get(number, "NaN")


_VALUES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "string_value": ("stringValue", str),
    "bool_value": ("boolValue", bool),
    "int_value": ("intValue", str),
    "double_value": ("doubleValue", _double),
    "array_value": ("arrayValue", lambda array: {"values": [_value(x) for x in array.values]}),
    "kvlist_value": ("kvlistValue", lambda pairs: {"values": _attributes(pairs.values)}),
    "bytes_value": ("bytesValue", lambda value: b64encode(value).decode()),
}


def _set(**fields: object) -> Json:
    return {name: value for name, value in fields.items() if value}

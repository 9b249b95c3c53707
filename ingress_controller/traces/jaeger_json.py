"""A trace as Jaeger's HTTP APIs write it: the JSON of its page, and OTLP's.

Rules: pure. Times of the first are microseconds; tags are in the order of their names.
Source: answers of jaeger-query 1.76 (2.13) for the same spans; tests/real/test_jaeger_api.py
compares.
"""

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

import msgspec

from ingress_controller.traces.span import AttributeValue, Span, SpanEvent, SpanKind, SpanStatus

Json = dict[str, Any]


def jaeger_trace(spans: list[Span]) -> Json:
    """One trace, whose spans these are; a process is a service on one machine."""
    processes: dict[str, Json] = {}
    keys: dict[bytes, str] = {}
    shown = []
    for span in spans:
        key = keys.setdefault(_identity(span.resource), f"p{len(keys) + 1}")
        if key not in processes:
            tags = {name: value for name, value in span.resource.items() if name != "service.name"}
            processes[key] = {"serviceName": span.service, "tags": _tags(tags)}
        shown.append(_span(span, key))
    return {
        "traceID": spans[0].trace_id,
        "spans": shown,
        "processes": processes,
        "warnings": None,
    }


def otlp_traces(spans: Iterable[Span]) -> Json:
    """OTLP's JSON of any spans."""
    groups = []
    by_resource = sorted(spans, key=lambda span: (_identity(span.resource), span.scope))
    for _, of_resource in groupby(by_resource, key=lambda span: _identity(span.resource)):
        members = list(of_resource)
        scopes = [
            {"scope": {"name": name}, "spans": [_otlp_span(span) for span in of_scope]}
            for name, of_scope in groupby(members, key=lambda span: span.scope)
        ]
        resource = {"attributes": _pairs(members[0].resource)}
        groups.append({"resource": resource, "scopeSpans": scopes})
    return {"resourceSpans": groups}


def _identity(resource: Mapping[str, AttributeValue]) -> bytes:
    return msgspec.json.encode(resource, order="sorted")


def _span(span: Span, process: str) -> Json:
    references = [_reference("FOLLOWS_FROM", *link) for link in span.links]
    if span.parent_id:
        references.insert(0, _reference("CHILD_OF", span.trace_id, span.parent_id))
    tags = dict(span.attributes)
    if span.scope:
        tags["otel.scope.name"] = span.scope
    if span.kind is not SpanKind.UNSPECIFIED:
        tags["span.kind"] = span.kind.name.lower()
    if span.status is not SpanStatus.UNSET:
        tags["otel.status_code"] = span.status.name
    if span.status is SpanStatus.ERROR:
        tags["error"] = True
    if span.status_message:
        tags["otel.status_description"] = span.status_message
    if span.trace_state:
        tags["w3c.tracestate"] = span.trace_state
    return {
        "traceID": span.trace_id,
        "spanID": span.span_id,
        "operationName": span.name,
        "references": references,
        "startTime": span.start_unix_ns // 1_000,
        "duration": span.duration_ns // 1_000,
        "tags": _tags(tags),
        "logs": [_log(event) for event in span.events],
        "processID": process,
        "warnings": None,
    }


def _reference(kind: str, trace_id: str, span_id: str) -> Json:
    return {"refType": kind, "traceID": trace_id, "spanID": span_id}


def _log(event: SpanEvent) -> Json:
    named = _tag("event", event.name)
    return {"timestamp": event.unix_ns // 1_000, "fields": [named, *_tags(event.attributes)]}


def _tags(attributes: Mapping[str, AttributeValue]) -> list[Json]:
    return [_tag(name, attributes[name]) for name in sorted(attributes)]


def _tag(name: str, value: AttributeValue) -> Json:
    match value:
        case bool():
            return {"key": name, "type": "bool", "value": value}
        case int():
            return {"key": name, "type": "int64", "value": value}
        case float():
            return {"key": name, "type": "float64", "value": value}
        case str():
            return {"key": name, "type": "string", "value": value}
        case _:
            return {"key": name, "type": "string", "value": msgspec.json.encode(value).decode()}


def _otlp_span(span: Span) -> Json:
    status: Json = {}
    if span.status_message:
        status["message"] = span.status_message
    if span.status is not SpanStatus.UNSET:
        status["code"] = int(span.status)
    fields: Json = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "traceState": span.trace_state,
        "parentSpanId": span.parent_id,
        "name": span.name,
        "kind": int(span.kind),
        "startTimeUnixNano": str(span.start_unix_ns),
        "endTimeUnixNano": str(span.end_unix_ns),
        "attributes": _pairs(span.attributes),
        "events": [
            {
                "timeUnixNano": str(event.unix_ns),
                "name": event.name,
                "attributes": _pairs(event.attributes),
            }
            for event in span.events
        ],
        "links": [{"traceId": trace_id, "spanId": span_id} for trace_id, span_id in span.links],
        "status": status,
    }
    return {name: value for name, value in fields.items() if value or name == "status"}


def _pairs(attributes: Mapping[str, AttributeValue]) -> list[Json]:
    return [{"key": name, "value": _any(value)} for name, value in attributes.items()]


def _any(value: AttributeValue) -> Json:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
        case _:
            return {"arrayValue": {"values": [_any(one) for one in value]}}

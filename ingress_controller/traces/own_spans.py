"""The controller's own spans: made with the OpenTelemetry SDK, exported like the engine's.

Rules: one loop's spans, one at a time within the other; what belongs together is one batch. Their
service is that of the engine's with `-controller` behind it, so that what is said of requests is
not mixed with what is said of tables. They are few: a table needs `reconcile.PAUSE_S` at least.
"""

from collections.abc import Callable, Mapping, Sequence

from opentelemetry.context import Context
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import StatusCode, Tracer

from proxy.spans import SpanBatch

SPANS_MAX = 64
"""Spans of a batch; a table has four. More are handed over before the outermost has ended."""

ATTRIBUTES_MAX = 16
"""Of a span; ours have up to three."""

SERVICE_SUFFIX = "-controller"
SCOPE = "spanway.controller"

_LIMITS = SpanLimits(
    max_span_attributes=ATTRIBUTES_MAX, max_events=0, max_links=0, max_attribute_length=512
)
_CODES = {
    StatusCode.UNSET: Status.STATUS_CODE_UNSET,
    StatusCode.OK: Status.STATUS_CODE_OK,
    StatusCode.ERROR: Status.STATUS_CODE_ERROR,
}
_FLAGS_KNOWN = 0x100  # trace.proto: SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK


def tracer(
    resource: Mapping[str, str], version: str, offer: Callable[[Sequence[SpanBatch]], None]
) -> Tracer:
    """A tracer whose spans are offered for export when the outermost has ended.

    `resource` is the engine's.
    """
    name = resource["service.name"] + SERVICE_SUFFIX
    provider = TracerProvider(
        sampler=ALWAYS_ON,
        resource=Resource({**resource, "service.name": name}),
        shutdown_on_exit=False,
        span_limits=_LIMITS,
    )
    provider.add_span_processor(_Offering(offer))
    return provider.get_tracer(SCOPE, version)


class _Offering(SpanProcessor):
    def __init__(self, offer: Callable[[Sequence[SpanBatch]], None]) -> None:
        self._offer = offer
        self._ended: list[ReadableSpan] = []
        self._open_count = 0

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        self._open_count += 1

    def on_end(self, span: ReadableSpan) -> None:
        self._open_count -= 1
        self._ended.append(span)
        if not self._open_count or len(self._ended) >= SPANS_MAX:
            spans, self._ended = self._ended, []
            self._offer([SpanBatch(otlp(spans), len(spans))])


def otlp(spans: Sequence[ReadableSpan]) -> bytes:
    """An ExportTraceServiceRequest of spans of one resource and scope; no events, no links."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.extend(_attributes(spans[0].resource.attributes))
    scoped = group.scope_spans.add()
    if (scope := spans[0].instrumentation_scope) is not None:
        scoped.scope.name, scoped.scope.version = scope.name, scope.version or ""
    scoped.spans.extend(_span(span) for span in spans)
    return request.SerializeToString()


def _span(span: ReadableSpan) -> OtlpSpan:
    context = span.context
    assert context is not None, "it was recorded"
    return OtlpSpan(
        trace_id=context.trace_id.to_bytes(16),
        span_id=context.span_id.to_bytes(8),
        parent_span_id=span.parent.span_id.to_bytes(8) if span.parent else b"",
        flags=_FLAGS_KNOWN | context.trace_flags,
        name=span.name,
        kind=OtlpSpan.SPAN_KIND_INTERNAL,
        start_time_unix_nano=span.start_time or 0,
        end_time_unix_nano=span.end_time or 0,
        attributes=_attributes(span.attributes or {}),
        status=Status(
            code=_CODES[span.status.status_code],
            message=span.status.description or "",
        ),
    )


def _attributes(attributes: Mapping[str, object]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in attributes.items()]


def _value(value: object) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case _:
            return AnyValue(string_value=str(value))

"""OTLP's JSON form → its protobuf form.

Rules: pure. What a newer sender says besides is left out, as the specification wants.
Source: OpenTelemetry Protocol 1.x, "JSON Protobuf Encoding": ids are hex, not base64.
"""

from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import msgspec
from google.protobuf.json_format import ParseDict, ParseError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from proxy.columns import MalformedSpansError

_IDS = ("traceId", "spanId", "parentSpanId")


def otlp_from_json(body: bytes) -> bytes:
    """An ExportTraceServiceRequest.

    Raises:
        MalformedSpansError: the JSON is none.
    """
    try:
        request = msgspec.json.decode(body, type=dict[str, Any])
        for span in _spans(request):
            for owner in (span, *span.get("links", ())):
                for name in _IDS:
                    if name in owner:
                        owner[name] = b64encode(bytes.fromhex(owner[name])).decode()
        message = ParseDict(request, ExportTraceServiceRequest(), ignore_unknown_fields=True)
    except RecursionError as err:
        raise MalformedSpansError("the body's JSON is nested too deeply") from err
    except (msgspec.MsgspecError, ParseError, ValueError, TypeError, AttributeError) as err:
        raise MalformedSpansError(
            f"the body is no ExportTraceServiceRequest in JSON: {err}"
        ) from err
    return message.SerializeToString()


def _spans(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for resource_spans in request.get("resourceSpans", ()):
        for scope_spans in resource_spans.get("scopeSpans", ()):
            yield from scope_spans.get("spans", ())

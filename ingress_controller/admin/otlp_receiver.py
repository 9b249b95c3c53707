"""`POST /v1/traces`: spans of applications, by OTLP/HTTP, into the store beside Spanway's own.

Rules: bodies are bounded, after decompression, and few are read at once. A malformed one is refused
whole; spans without valid ids are refused alone, and the sender is told how many. What is sent
again, for want of an answer, is taken and not kept twice.
Source: OpenTelemetry Protocol 1.x, "OTLP/HTTP": content types, Partial Success, Failures.
"""

import asyncio
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from ingress_controller.admin.traces import NO_STORE
from ingress_controller.traces.otlp_from_json import otlp_from_json
from proxy.columns import MalformedSpansError

if TYPE_CHECKING:
    from ingress_controller.traces.store.store import Store

REQUEST_BYTES_MAX = 16 * 1024 * 1024
"""After decompression. OpenTelemetry Collector, confighttp: 20 MiB."""

JSON_BYTES_MAX = 2 * 1024 * 1024
"""The same of JSON, some 2,000 spans: it takes up to two seconds of CPU a MiB, and with it the
interpreter's lock. SDKs send 512 spans at once."""

REQUESTS_MAX = 4
"""At once, so that they hold 64 MiB at most; more wait."""

RECEIVE_S_MAX = 10.0
"""For a body to come, so that a slow sender does not keep others out; OTLP senders wait as long."""

_PROTOBUF = "application/x-protobuf"
_JSON = "application/json"
_INVALID_ARGUMENT = 3  # google.rpc.Code


class OtlpReceiver:
    """Takes spans into `store`, if there is one."""

    def __init__(self, store: "Store | None") -> None:
        self._store = store
        self._turns = asyncio.Semaphore(REQUESTS_MAX)

    def add_to(self, app: web.Application) -> None:
        """Adds the route."""
        app.router.add_post("/v1/traces", self.receive)

    async def receive(self, request: web.Request) -> web.Response:
        """200, perhaps with what was refused; else the reason as a `google.rpc.Status`."""
        if self._store is None:
            return _refusal(request, 404, NO_STORE)
        if request.content_type not in (_PROTOBUF, _JSON):
            return _refusal(request, 415, f"Content-Type: write {_PROTOBUF} or {_JSON}.")
        async with self._turns:
            try:
                is_json = request.content_type == _JSON
                body = await _body(request, JSON_BYTES_MAX if is_json else REQUEST_BYTES_MAX)
                if is_json:
                    body = await asyncio.to_thread(otlp_from_json, body)
                added = await self._store.add(body)
            except MalformedSpansError as err:
                return _refusal(request, 400, f"{err}.")
            except TimeoutError:
                return _refusal(request, 408, f"The body did not come within {RECEIVE_S_MAX:g} s.")
        return _answer(request, added.refused)


async def _body(request: web.Request, bytes_max: int) -> bytes:
    """All of it, decompressed.

    Raises:
        MalformedSpansError: it cannot be decompressed, or is too long. TimeoutError: see above.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(RECEIVE_S_MAX):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > bytes_max:
                    raise MalformedSpansError(f"the body has more than {bytes_max} bytes")
    except web.RequestPayloadError as err:
        raise MalformedSpansError(f"the body cannot be read: {err}") from err
    return bytes(body)


def _answer(request: web.Request, refused: int) -> web.Response:
    why = "their trace id or span id is not valid" if refused else ""
    if request.content_type == _JSON:
        said = {"rejectedSpans": str(refused), "errorMessage": why}
        return _json(200, {"partialSuccess": said} if refused else {})
    message = ExportTraceServiceResponse()
    if refused:
        message.partial_success.rejected_spans = refused
        message.partial_success.error_message = why
    return web.Response(body=message.SerializeToString(), content_type=_PROTOBUF)


def _refusal(request: web.Request, status: int, message: str) -> web.Response:
    if request.content_type != _PROTOBUF:
        return _json(status, {"code": _INVALID_ARGUMENT, "message": message})
    # On the wire it is what google.rpc.Status is: a number, a text. Its own package is an extra.
    said = ExportTracePartialSuccess(rejected_spans=_INVALID_ARGUMENT, error_message=message)
    return web.Response(status=status, body=said.SerializeToString(), content_type=_PROTOBUF)


def _json(status: int, message: object) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(message), content_type=_JSON)

"""OTLP over HTTP: a batch is the body of a POST, as it is, compressed or as JSON.

Source: OpenTelemetry Protocol 1.x, "OTLP/HTTP Response" and "OTLP/HTTP Throttling".
"""

import asyncio
import gzip
import ssl
import time
from email.utils import parsedate_to_datetime
from typing import TypeVar

import aiohttp
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from yarl import URL

from ingress_controller.traces.export.destination import GZIP_LEVEL, OtlpHttp, Tls
from ingress_controller.traces.export.otlp_json import as_json
from ingress_controller.traces.export.sender import Answer, Outcome
from proxy.spans import SpanBatch

IN_FLIGHT_MAX = 4
"""Posts at once: one at a time would be bounded by the round trip. Collector: 10 consumers."""

RESPONSE_BYTES_MAX = 64 * 1024
"""What is read of an answer: enough for its message."""

RETRY_AFTER_S_MAX = 300.0
"""A backend that asks for more is asked again after this."""

PROTOBUF, JSON = "application/x-protobuf", "application/json"

_RETRYABLE = frozenset({429, 502, 503, 504})
_UNREADABLE = (DecodeError, json_format.ParseError, UnicodeDecodeError, RecursionError)

_M = TypeVar("_M", bound=Message)


class OtlpHttpSender:
    """Posts to `destination`. Raises ValueError if its certificates cannot be used."""

    in_flight_max = IN_FLIGHT_MAX

    def __init__(self, destination: OtlpHttp) -> None:
        self._destination = destination
        self._url = URL(destination.url)
        self._ssl = _ssl_context(destination.tls) if self._url.scheme == "https" else True
        self._headers = {
            **destination.headers,
            "Content-Type": JSON if destination.is_json else PROTOBUF,
        }
        if destination.gzip:
            self._headers["Content-Encoding"] = "gzip"
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=self._destination.timeout_s),
            connector=aiohttp.TCPConnector(limit=IN_FLIGHT_MAX, ssl=self._ssl),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        assert self._session is not None, "it was opened"
        await self._session.close()

    async def send(self, batch: SpanBatch) -> Answer:
        assert self._session is not None, "it was opened"
        try:
            body = await self._body(batch)
        except DecodeError as err:
            return Answer(Outcome.REFUSED, str(err))
        try:
            post = self._session.post(self._url, data=body, allow_redirects=False)
            async with post as response:
                return await _read_answer(response)
        except (aiohttp.ClientError, TimeoutError) as err:
            return Answer(Outcome.UNAVAILABLE, f"no answer: {str(err) or type(err).__name__}")

    async def _body(self, batch: SpanBatch) -> bytes:
        destination, body = self._destination, batch.otlp
        if destination.is_json:
            body = await asyncio.to_thread(as_json, body)
        if destination.gzip:
            body = await asyncio.to_thread(gzip.compress, body, GZIP_LEVEL)
        return body


def _ssl_context(tls: Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        if tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.private_key)
    except (OSError, ssl.SSLError) as err:
        files = [str(path) for path in (tls.ca, tls.certificate, tls.private_key) if path]
        raise ValueError(f"{', '.join(files)} cannot be used for TLS: {err}") from err
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def _read_answer(response: aiohttp.ClientResponse) -> Answer:
    body = bytearray()
    while len(body) < RESPONSE_BYTES_MAX and (piece := await response.content.readany()):
        body += piece[: RESPONSE_BYTES_MAX - len(body)]
    kind = response.content_type
    if 200 <= response.status < 300:  # noqa: PLR2004 - "successful" by RFC 9110, section 15.3
        partial = _parsed(ExportTraceServiceResponse, body, kind).partial_success
        return Answer(Outcome.DELIVERED, partial.error_message, partial.rejected_spans)
    # An error carries a google.rpc.Status, whose fields 1 (code) and 2 (message) have the numbers
    # and types of this message's; that saves the dependency on googleapis-common-protos.
    text = (
        _parsed(ExportTracePartialSuccess, body, kind).error_message
        if kind == PROTOBUF
        else body.decode(errors="replace")
    )
    return Answer(
        Outcome.UNAVAILABLE if response.status in _RETRYABLE else Outcome.REFUSED,
        f"HTTP {response.status} {text.strip() or response.reason or ''}".strip(),
        retry_after_s=_retry_after_s(response.headers.get("Retry-After")),
    )


def _parsed(message: type[_M], body: bytearray, kind: str) -> _M:
    """`body` as a message; an empty one where it is not: an answer is no reason to lose spans."""
    parsed = message()
    try:
        if kind == PROTOBUF:
            parsed.ParseFromString(bytes(body))
        elif kind == JSON:
            json_format.Parse(bytes(body), parsed, ignore_unknown_fields=True)
    except _UNREADABLE:
        return message()
    return parsed


def _retry_after_s(value: str | None) -> float:
    """Seconds from a Retry-After header, either of its forms; 0 where absent or unreadable.

    Source: RFC 9110, section 10.2.3.
    """
    if value is None:
        return 0.0
    try:
        wait_s = float(value) if value.isdecimal() else _seconds_until(value)
    except ValueError:
        return 0.0
    return min(max(wait_s, 0.0), RETRY_AFTER_S_MAX)


def _seconds_until(http_date: str) -> float:
    return parsedate_to_datetime(http_date).timestamp() - time.time()

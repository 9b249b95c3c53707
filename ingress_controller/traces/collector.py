"""Accepts spans by OTLP/HTTP and keeps the newest of them in memory, for demos and tests.

Rules: one event loop; waiting is for a state, never for a time. This is no store: what falls out
of the buffer is gone.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from aiohttp import web

from ingress_controller.traces.span import MalformedSpansError, Span, decode

SPANS_MAX = 20_000
"""At about 2 KB a span with its attributes, 40 MB."""

REQUEST_BYTES_MAX = 16 * 1024 * 1024
"""After decompression. OpenTelemetry Collector, confighttp: 20 MiB."""

PROTOBUF = "application/x-protobuf"


class Collector:
    """The newest `SPANS_MAX` spans, and the handler that receives them.

    `on_spans` is told of each request's spans when they are in the buffer; it must not block.
    """

    def __init__(self, on_spans: Callable[[list[Span]], None] = lambda _: None) -> None:
        self._on_spans = on_spans
        self._spans: deque[Span] = deque(maxlen=SPANS_MAX)
        self._arrived = asyncio.Event()

    def app(self) -> web.Application:
        """Serves `POST /v1/traces`."""
        app = web.Application(client_max_size=REQUEST_BYTES_MAX)
        app.router.add_post("/v1/traces", self.receive)
        return app

    def add(self, spans: list[Span]) -> None:
        self._spans.extend(spans)
        self._arrived.set()
        self._arrived = asyncio.Event()
        self._on_spans(spans)

    def trace(self, trace_id: str) -> list[Span]:
        """Its spans in the order in which they came."""
        return [span for span in self._spans if span.trace_id == trace_id]

    async def wait_for(
        self, trace_id: str, is_complete: Callable[[list[Span]], bool], *, deadline_s: float
    ) -> list[Span]:
        """The trace, as soon as `is_complete` says so of its spans.

        Raises:
            TimeoutError: it did not within `deadline_s`; the message names the spans that came.
        """
        spans = self.trace(trace_id)
        try:
            async with asyncio.timeout(deadline_s):
                while not is_complete(spans):
                    await self._arrived.wait()
                    spans = self.trace(trace_id)
        except TimeoutError as err:
            came = ", ".join(f"{span.service} {span.name!r}" for span in spans) or "no span"
            raise TimeoutError(f"Trace {trace_id} has only: {came}") from err
        return spans

    async def receive(self, request: web.Request) -> web.Response:
        """200 with an empty ExportTraceServiceResponse, or 400/415 with the reason as text."""
        if request.content_type != PROTOBUF:
            raise web.HTTPUnsupportedMediaType(text=f"Send {PROTOBUF}.\n")
        try:
            self.add(decode(await request.read()))
        except (MalformedSpansError, web.RequestPayloadError) as err:
            raise web.HTTPBadRequest(text=f"{err}.\n") from err
        return web.Response(content_type=PROTOBUF)

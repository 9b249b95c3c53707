"""A small shop of three services with OpenTelemetry.

    shop.py SERVICE ADDRESS PORT [CALLEE=URL …]

`storefront` asks `catalog` and `recommend` in parallel. Where the spans go is told by
OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_TRACES_ENDPOINT). What is wrong with it is in the
file that SHOP_FAULT names, if there is one: `slow`, or `held` for requests that lie about before it
looks at them.
"""

import asyncio
import os
import random
import sys
from collections.abc import Awaitable, Callable
from html import escape
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, web
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.aiohttp_server import AioHttpServerInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

ITEMS = ("kettle", "lamp", "notebook", "spoon")
STOREFRONT_S = (0.001, 0.003)
CATALOG_S = (0.005, 0.015)
RECOMMEND_S = (0.02, 0.04)
SLOW_TIMES = 4
"""As long and, for half of the requests, twice that or more."""

HELD_S = (0.03, 0.06)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

tracer = trace.get_tracer("shop")


def fault() -> str:
    """What is wrong now, or empty."""
    try:
        return Path(os.environ.get("SHOP_FAULT", "")).read_text()
    except OSError:
        return ""


async def think(what: str, seconds: tuple[float, float]) -> None:
    """Takes its time, in a span of its own."""
    with tracer.start_as_current_span(what):
        times = SLOW_TIMES * (1 + random.expovariate(0.7)) if fault() == "slow" else 1
        await asyncio.sleep(times * random.uniform(*seconds))


@web.middleware
async def hold(request: web.Request, handler: Handler) -> web.StreamResponse:
    """As if the request were still on its way."""
    if fault() == "held":
        await asyncio.sleep(random.uniform(*HELD_S))
    return await handler(request)


async def items(_: web.Request) -> web.Response:
    await think("SELECT items", CATALOG_S)
    return web.json_response(ITEMS)


async def recommendation(_: web.Request) -> web.Response:
    await think("rank items", RECOMMEND_S)
    return web.json_response(random.choice(ITEMS))


class Storefront:
    """The page, made of what its two callees say."""

    def __init__(self, callees: dict[str, str]) -> None:
        self._callees = callees

    async def page(self, _: web.Request) -> web.Response:
        async with ClientSession() as session:
            names, best = await asyncio.gather(
                _answer(session, f"{self._callees['catalog']}/items"),
                _answer(session, f"{self._callees['recommend']}/for-you"),
            )
        await think("render page", STOREFRONT_S)
        trace_id = trace.get_current_span().get_span_context().trace_id
        sold = "".join(f"<li>{escape(name)}</li>" for name in names)
        page = (
            f"<!doctype html><title>shop</title><h1>A shop</h1><ul>{sold}</ul>"
            f"<p>For you: <b>{escape(str(best))}</b></p>"
            f"<p><small>trace {trace_id:032x}</small></p>"
        )
        return web.Response(text=page, content_type="text/html")


async def _answer(session: ClientSession, url: str) -> Any:
    async with session.get(url) as response:
        if not response.ok:
            raise web.HTTPBadGateway(text=f"{url} said {response.status}: {await response.text()}")
        return await response.json()


def app(service: str, callees: dict[str, str]) -> web.Application:
    app = web.Application()
    match service:
        case "catalog":
            app.router.add_get("/items", items)
            app.router.add_get("/{path:.*}", items)  # whatever else the Ingress gives it
        case "recommend":
            app.router.add_get("/for-you", recommendation)
        case "storefront":
            app.router.add_get("/", Storefront(callees).page)
    app.middlewares.insert(0, hold)  # before the one that begins the span
    return app


def main() -> None:
    service, address, port, *callees = sys.argv[1:]
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    AioHttpClientInstrumentor().instrument()
    AioHttpServerInstrumentor().instrument()
    named = dict(callee.split("=", 1) for callee in callees)
    web.run_app(app(service, named), host=address, port=int(port), shutdown_timeout=1, print=None)


if __name__ == "__main__":
    main()

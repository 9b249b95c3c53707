"""A small shop of three services with OpenTelemetry: `python shop.py SERVICE PORT [CALLEE=URL…]`.

`storefront` asks `catalog` and `recommend` in parallel; `recommend` is slow on purpose. Where the
spans go is told by OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_TRACES_ENDPOINT), and by
SHOP_TRACES_TOO, a second endpoint.
"""

import asyncio
import os
import random
import sys
from html import escape
from typing import Any

from aiohttp import ClientSession, web
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.aiohttp_server import AioHttpServerInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

ITEMS = ("kettle", "lamp", "notebook", "spoon")
CATALOG_S = (0.005, 0.015)
RECOMMEND_S = (0.17, 0.23)

tracer = trace.get_tracer("shop")


async def items(_: web.Request) -> web.Response:
    with tracer.start_as_current_span("SELECT items"):
        await asyncio.sleep(random.uniform(*CATALOG_S))
    return web.json_response(ITEMS)


async def recommendation(_: web.Request) -> web.Response:
    with tracer.start_as_current_span("rank items"):
        await asyncio.sleep(random.uniform(*RECOMMEND_S))
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
            app.router.add_get("/{path:.*}", items)  # whatever path the Ingress gives it
        case "recommend":
            app.router.add_get("/for-you", recommendation)
        case "storefront":
            app.router.add_get("/", Storefront(callees).page)
    return app


def main() -> None:
    service, port, *callees = sys.argv[1:]
    provider = TracerProvider()
    exporters = [OTLPSpanExporter()]
    if endpoint := os.environ.get("SHOP_TRACES_TOO"):
        exporters.append(OTLPSpanExporter(endpoint))
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    AioHttpClientInstrumentor().instrument()
    AioHttpServerInstrumentor().instrument()
    named = dict(callee.split("=", 1) for callee in callees)
    web.run_app(
        app(service, named), host="127.0.0.1", port=int(port), shutdown_timeout=1, print=None
    )


if __name__ == "__main__":
    main()

"""`make demo`: Spanway before a small traced shop, one request followed, and what to try.

Needs nothing but this virtual environment. Ends cleanly on Ctrl-C.
"""

import argparse
import asyncio
import os
import shlex
import sys
import webbrowser
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

from children import Child, Children, DemoError, require_free
from console import Console
from stage import (
    SPANWAY,
    TRACE_S,
    Answer,
    exit_code,
    get,
    is_complete,
    is_edge,
    new_trace_id,
    receiving,
)

from ingress_controller.traces.collector import Collector
from ingress_controller.traces.span import Span
from ingress_controller.traces.where import SPANWAY as SPANWAY_SERVICE

HERE = Path(__file__).parent
HOST = "shop.localhost"

CALLEES = {"catalog": "http://127.0.0.1:18081", "recommend": "http://127.0.0.1:18082"}
"""Spanway's service listeners, as shop.yaml asks for them."""

PODS = {
    "storefront-0": 18101,
    "catalog-0": 18102,
    "catalog-1": 18103,
    "recommend-0": 18104,
}
"""The endpoints in shop.yaml."""

WARM_UP_COUNT = 5
"""Requests before the one that is drawn, so that it does not show first connections."""

RESTART_S = 15.0
TRAFFIC_INTERVAL_S = 2.0
STRANGERS_TRACE_S = 2.0
"""A trace of somebody's request is reported after this even if a span is missing."""

KNOWN_TRACES_MAX = 1_000


def options_of(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--http", default="127.0.0.1:8080", metavar="ADDR:PORT")
    parser.add_argument("--https", default="127.0.0.1:8443", metavar="ADDR:PORT")
    parser.add_argument("--admin", default="127.0.0.1:9901", metavar="ADDR:PORT")
    parser.add_argument("--once", action="store_true", help="end after the first trace")
    return parser.parse_args(argv)


class Demo:
    """The scene: who was started, and the traces that are known already."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._http: str = options.http
        self._https: str = options.https
        self._admin: str = options.admin
        self._is_once: bool = options.once
        self._console = Console()
        self._known: OrderedDict[str, None] = OrderedDict()
        self._strangers: asyncio.Queue[str] = asyncio.Queue(maxsize=20)
        self._collector = Collector(on_spans=self._note_strangers)

    async def play(self) -> None:
        require_free(
            self._http,
            self._https,
            self._admin,
            *(url.removeprefix("http://") for url in CALLEES.values()),
        )
        require_free(*(f"127.0.0.1:{port}" for port in PODS.values()))
        self._console.say("Starting a shop of three services and Spanway before it …")
        async with (
            receiving(self._collector) as traces_url,
            Children(self._console.say) as children,
        ):
            shop = [await children.start(pod(name, traces_url, self._admin)) for name in PODS]
            spanway = await children.start(self._spanway(traces_url))
            for child in shop:
                await children.ready(child, f"http://127.0.0.1:{PODS[child.name]}/healthz")
            await children.ready(spanway, f"http://{self._admin}/readyz")
            self._introduce([spanway, *shop])
            await self._follow_one_request()
            if self._is_once:
                return
            open_page(f"http://{self._admin}/")
            self._suggest(next(child for child in shop if child.name == "recommend-0"))
            children.is_loud = True
            async with asyncio.TaskGroup() as group:
                group.create_task(children.first_end(spanway))
                group.create_task(self._send_traffic())
                group.create_task(self._report_strangers())

    def _spanway(self, traces_url: str) -> Child:
        argv = [SPANWAY, "run", "--store", "memory", "--manifests", str(HERE)]
        argv += ["--http", self._http, "--https", self._https]
        return Child("spanway", [*argv, "--admin", self._admin, "--otlp-endpoint", traces_url])

    def _introduce(self, children: list[Child]) -> None:
        self._console.heading("What runs where")
        self._console.facts(
            [
                ("the shop, through Spanway", self._url),
                ("Spanway's page", f"http://{self._admin}/"),
                ("processes", ", ".join(f"{child.name} {child.pid}" for child in children)),
                ("started as", shlex.join(children[0].argv)),
            ]
        )

    async def _follow_one_request(self) -> None:
        for _ in range(WARM_UP_COUNT):
            await self._get()
        answer, trace_id = await self._get()
        if answer.status != 200:  # noqa: PLR2004 - OK
            raise DemoError(f"The shop's page says {answer.status}: {answer.text}")
        try:
            spans = await self._collector.wait_for(trace_id, is_whole, deadline_s=TRACE_S)
        except TimeoutError as err:
            raise DemoError(str(err)) from err
        self._console.heading(f"One request, followed: GET {self._url} · trace {trace_id}")
        self._console.trace(spans)

    def _suggest(self, slow: Child) -> None:
        manifest = HERE / "shop.yaml"
        if manifest.is_relative_to(Path.cwd()):
            manifest = manifest.relative_to(Path.cwd())
        secure = f"https://{HOST}:{self._https.rpartition(':')[2]}/"
        own = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        self._console.heading("What to try; each request of yours is a line below")
        self._console.facts(
            [
                ("look where time goes", f"http://{self._admin}/"),
                ("click", self._url),
                ("a request", f"curl -i {self._url}"),
                ("as part of your own trace", f"curl -H 'traceparent: {own}' {self._url}"),
                ("another route", f"curl -i {self._url}items"),
                ("HTTPS, and HTTP/2 by it", f"curl -ik {secure}"),
                ("what is routed now", f"curl http://{self._admin}/api/routes"),
                ("change a route while it runs", f"in {manifest}, make /items /things; then"),
                ("", f"curl -i {self._url}things"),
                ("break something", f"in {manifest}, make `number: 80` `number: 81`; /items"),
                ("", "is a 503 then, all else is served, and what is wrong is said by"),
                ("", f"curl http://{self._admin}/api/problems"),
                ("kill a service", f"kill {slow.pid}  # recommend: 502 until it starts again"),
                ("undo your changes", f"git checkout {manifest}"),
            ]
        )
        self._console.say("\nRunning with light traffic. Ctrl-C ends everything.")

    @property
    def _url(self) -> str:
        return f"http://{HOST}:{self._http.rpartition(':')[2]}/"

    async def _get(self) -> tuple[Answer, str]:
        trace_id = new_trace_id()
        self._know(trace_id)
        return await get(f"http://{self._http}/", self._url.split("/")[2], trace_id), trace_id

    async def _send_traffic(self) -> None:
        while True:
            await asyncio.sleep(TRAFFIC_INTERVAL_S)
            with suppress(DemoError):  # Spanway itself having ended is said elsewhere
                await self._get()

    def _note_strangers(self, spans: list[Span]) -> None:
        for span in spans:
            if is_edge(span) and span.trace_id not in self._known and not self._strangers.full():
                self._know(span.trace_id)
                self._strangers.put_nowait(span.trace_id)

    def _know(self, trace_id: str) -> None:
        self._known[trace_id] = None
        if len(self._known) > KNOWN_TRACES_MAX:
            self._known.popitem(last=False)

    async def _report_strangers(self) -> None:
        while True:
            trace_id = await self._strangers.get()
            with suppress(TimeoutError):
                await self._collector.wait_for(trace_id, is_complete, deadline_s=STRANGERS_TRACE_S)
            self._console.line(self._collector.trace(trace_id))


def pod(name: str, traces_url: str, admin: str) -> Child:
    """One process of the shop; `catalog-1` is a second one of the service `catalog`."""
    service = name.rpartition("-")[0]
    argv = [sys.executable, str(HERE / "shop.py"), service, str(PODS[name])]
    if service == "storefront":
        argv += [f"{callee}={url}" for callee, url in CALLEES.items()]
    environment = {
        "OTEL_SERVICE_NAME": service,
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": traces_url,
        "SHOP_TRACES_TOO": f"http://{admin}/v1/traces",  # for Spanway's page
        "OTEL_BSP_SCHEDULE_DELAY": "200",  # ms; the default of 5 s is long to wait for a drawing
        "OTEL_SEMCONV_STABILITY_OPT_IN": "http",
    }
    return Child(name, argv, environment, restart_after_s=RESTART_S)


def open_page(url: str) -> None:
    """In a browser, where somebody sits at a terminal of a desktop."""
    has_desktop = sys.platform == "darwin" or os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}
    if has_desktop and sys.stdout.isatty():
        webbrowser.open(url)


def is_whole(spans: list[Span]) -> bool:
    services = {span.service for span in spans}
    return services >= {SPANWAY_SERVICE, "storefront", *CALLEES} and is_complete(spans)


if __name__ == "__main__":
    sys.exit(exit_code(Demo(options_of(sys.argv[1:])).play()))

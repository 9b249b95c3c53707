"""`make demo`: Spanway before a small traced shop in which one thing after the other goes wrong.

Needs nothing but this virtual environment. Ends cleanly on Ctrl-C.
"""

import argparse
import asyncio
import os
import shlex
import sys
import tempfile
import webbrowser
from collections import OrderedDict
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from children import Child, Children, DemoError, require_free
from console import Console
from pods import LOOPBACK, NODES, PODS, Cluster, Pod, cluster, write_manifests
from scenes import SCENE_S, Director, Faults
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

CALLEES = {"catalog": 18081, "recommend": 18082}
"""The ports of Spanway's service listeners, as shop.yaml asks for them."""

WARM_UP_COUNT = 5
"""Requests before the one that is drawn, so that it does not show first connections."""

RESTART_S = 15.0

TRAFFIC_PER_S = 12.0
"""Requests for the shop's page. Each service then has some four a second on each node, and what is
wrong with one shows within seconds; it costs a fifth of a core."""

TRAFFIC_MAX = 60
"""Requests at once, beyond which none is begun."""

STRANGERS_TRACE_S = 2.0
"""A trace of somebody's request is reported after this even if a span is missing."""

KNOWN_TRACES_MAX = 1_000


def options_of(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--http", default="127.0.0.1:8080", metavar="ADDR:PORT")
    parser.add_argument("--https", default="127.0.0.1:8443", metavar="ADDR:PORT")
    parser.add_argument("--admin", default="127.0.0.1:9901", metavar="ADDR:PORT")
    parser.add_argument(
        "--nodes",
        choices=("auto", "namespaces", "simulated"),
        default="auto",
        help="what nodes are: network namespaces (needs root), only names, or what this machine"
        " lets us have, which is the default",
    )
    parser.add_argument(
        "--scene-seconds",
        type=float,
        default=SCENE_S,
        metavar="S",
        help=f"how long something goes wrong; default {SCENE_S:g}",
    )
    parser.add_argument("--once", action="store_true", help="end after the first trace")
    return parser.parse_args(argv)


class Demo:
    """The scene: who was started, and the traces that are known already."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._http: str = options.http
        self._admin: str = options.admin
        self._console = Console()
        self._known: OrderedDict[str, None] = OrderedDict()
        self._strangers: asyncio.Queue[str] = asyncio.Queue(maxsize=20)
        self._collector = Collector(on_spans=self._note_strangers)

    async def play(self) -> None:
        async with AsyncExitStack() as stack:
            require_free(self._http, self._options.https, self._admin)
            directory = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="spanway-demo-"))
            )
            nodes = stack.enter_context(cluster(self._options.nodes))
            require_free(*(f"{nodes.gateway}:{port}" for port in CALLEES.values()))
            if nodes.why_simulated:
                require_free(*(f"{LOOPBACK}:{pod.port}" for pod in PODS))
            self._console.say("Starting a shop of three services and Spanway before it …")
            to_store = f"http://{self._admin}/v1/traces"
            port = await stack.enter_async_context(
                receiving(self._collector, to_store, nodes.gateway)
            )
            children = await stack.enter_async_context(Children(self._console.say))
            await self._play(Scenery(nodes, directory, port), children)

    async def _play(self, of: "Scenery", children: Children) -> None:
        manifest = of.write()
        spanway = await children.start(self._spanway(of))
        shop = {pod.name: await children.start(of.process(pod)) for pod in PODS}
        for pod in PODS:
            url = f"http://{of.nodes.address(pod)}/healthz"
            await children.ready(shop[pod.name], url)
        await children.ready(spanway, f"http://{self._admin}/readyz")
        self._introduce(of.nodes, [spanway, *shop.values()])
        await self._follow_one_request()
        if self._options.once:
            return
        self._suggest(manifest, shop["recommend-0"])
        page = f"http://{self._admin}/#/overview?since=1m"
        self._console.say(f"\nSpanway's page is {page}\nCtrl-C ends everything.")
        open_page(page)
        children.is_loud = True
        director = Director(self._console, self._admin, self._options.scene_seconds)
        async with asyncio.TaskGroup() as group:
            group.create_task(children.first_end(spanway))
            group.create_task(self._send_traffic())
            group.create_task(self._report_strangers())
            group.create_task(director.play(of.faults(shop).scenes()))

    def _spanway(self, of: "Scenery") -> Child:
        argv = [SPANWAY, "run", "--store", "memory", "--manifests", str(of.manifests)]
        argv += ["--http", self._http, "--https", self._options.https, "--admin", self._admin]
        argv += ["--otlp-endpoint", f"http://{LOOPBACK}:{of.traces_port}/v1/traces"]
        if of.nodes.why_simulated:
            # The kernel would know that a bad path, which pods only play, is none.
            argv += ["--kernel-timestamps", "off"]
        return Child("spanway", argv)

    def _introduce(self, nodes: Cluster, children: list[Child]) -> None:
        self._console.heading("What runs where")
        kind = (
            f"names only, and what is wrong with them is simulated ({nodes.why_simulated})"
            if nodes.why_simulated
            else "a network namespace each, behind a path that can lose packets"
        )
        processes = {child.name: f"{child.name} {child.pid}" for child in children}
        on = {
            node: ", ".join(processes[pod.name] for pod in PODS if pod.node == node)
            for node in NODES
        }
        self._console.facts(
            [
                ("the shop, through Spanway", self._url),
                ("Spanway's page", f"http://{self._admin}/"),
                ("nodes", kind),
                *on.items(),
                ("here", processes["spanway"]),
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

    def _suggest(self, manifest: Path, one: Child) -> None:
        secure = f"https://{HOST}:{self._options.https.rpartition(':')[2]}/"
        own = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        self._console.heading("What to try; each request of yours is a line below")
        self._console.facts(
            [
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
                ("kill a pod", f"kill {one.pid}  # {one.name}: the others go on"),
            ]
        )

    @property
    def _url(self) -> str:
        return f"http://{HOST}:{self._http.rpartition(':')[2]}/"

    async def _get(self) -> tuple[Answer, str]:
        trace_id = new_trace_id()
        self._know(trace_id)
        return await get(f"http://{self._http}/", self._url.split("/")[2], trace_id), trace_id

    async def _send_traffic(self) -> None:
        """Whoever waits keeps nobody else from asking."""
        async with asyncio.TaskGroup() as group:
            asking: set[asyncio.Task[None]] = set()
            while True:
                if len(asking) < TRAFFIC_MAX:
                    asking.add(task := group.create_task(self._ask()))
                    task.add_done_callback(asking.discard)
                await asyncio.sleep(1 / TRAFFIC_PER_S)

    async def _ask(self) -> None:
        with suppress(DemoError):  # that Spanway has ended is said elsewhere
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


@dataclass(frozen=True)
class Scenery:
    """What the shop's processes stand on. `traces_port` takes their spans."""

    nodes: Cluster
    directory: Path
    traces_port: int

    @property
    def manifests(self) -> Path:
        return self.directory / "manifests"

    def faults(self, shop: dict[str, Child]) -> Faults:
        return Faults(self.nodes, shop, self.directory / "faults")

    def write(self) -> Path:
        """Makes the directories; returns the manifest that may be edited."""
        (self.directory / "faults").mkdir()
        self.manifests.mkdir()
        return write_manifests(HERE / "shop.yaml", self.manifests, self.nodes)

    def process(self, pod: Pod) -> Child:
        node = self.nodes.nodes[pod.node]
        argv = [sys.executable, str(HERE / "shop.py"), pod.service, node.address, str(pod.port)]
        if pod.service == "storefront":
            argv += [f"{name}=http://{self.nodes.gateway}:{port}" for name, port in CALLEES.items()]
        traces = f"http://{self.nodes.gateway}:{self.traces_port}/apps/v1/traces"
        environment = {
            "OTEL_SERVICE_NAME": pod.service,
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": traces,
            "OTEL_BSP_SCHEDULE_DELAY": "200",  # ms; 5 s are long to wait for a drawing
            "OTEL_SEMCONV_STABILITY_OPT_IN": "http",
            "OTEL_PYTHON_EXCLUDED_URLS": "healthz",
            "SHOP_FAULT": str(self.directory / "faults" / pod.name),
        }
        return Child(pod.name, node.inside(argv), environment, restart_after_s=RESTART_S)


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

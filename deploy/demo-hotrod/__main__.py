"""`make demo-hotrod`: the real HotROD behind Spanway, its traces in a real Jaeger.

Needs the Go toolchain, once: HotROD and Jaeger are built from their modules. Ends on Ctrl-C.
"""

import argparse
import asyncio
import sys
import time
from datetime import timedelta
from pathlib import Path

import aiohttp

HERE = Path(__file__).parent
sys.path.insert(1, str(HERE.parent / "demo"))  # both demos share its modules

from children import Child, Children, DemoError, require_free  # noqa: E402
from console import Console  # noqa: E402
from jaeger import Jaeger  # noqa: E402
from stage import SPANWAY, exit_code, get, is_edge, new_trace_id  # noqa: E402

from ingress_controller.traces.span import Span, SpanKind  # noqa: E402
from ingress_controller.traces.tree import tree  # noqa: E402
from ingress_controller.traces.where import SPANWAY as SPANWAY_SERVICE  # noqa: E402

BUILD = HERE.parents[1] / "tests" / "parts" / "build"
HOST = "hotrod.localhost"
CUSTOMERS = (123, 392, 731, 567)

BACKENDS = {"customer": 8081, "driver": 8082, "route": 8083}
FRONTEND_PORT = 18201
LISTENERS = {"customer": 18181, "route": 18183}
"""Spanway's service listeners in hotrod.yaml. The driver speaks gRPC and is called directly."""

ROUTES_PER_CLICK = 10
TRACE_S = 20.0
REPORT_INTERVAL_S = 2.0
REPORT_WINDOW = timedelta(minutes=1)


def options_of(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo-hotrod", description=__doc__)
    parser.add_argument("--http", default="127.0.0.1:8080", metavar="ADDR:PORT")
    parser.add_argument("--admin", default="127.0.0.1:9901", metavar="ADDR:PORT")
    parser.add_argument("--clicks", type=int, default=10, metavar="N", help="at once; default 10")
    parser.add_argument("--fixed", action="store_true", help="HotROD with its bottlenecks removed")
    parser.add_argument(
        "--jaeger", metavar="URL", help="a running Jaeger instead, such as http://127.0.0.1:16686"
    )
    parser.add_argument(
        "--otlp", default="http://127.0.0.1:4318", metavar="URL", help="where that one takes spans"
    )
    parser.add_argument("--once", action="store_true", help="end after the clicks")
    return parser.parse_args(argv)


class Demo:
    """The scene, and the traces that it has told of."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._console = Console()
        self._jaeger = Jaeger(options.jaeger or "http://127.0.0.1:16686")
        self._told: set[str] = set()

    async def play(self) -> None:
        options = self._options
        ports = [*BACKENDS.values(), FRONTEND_PORT, *LISTENERS.values()]
        ports += [] if options.jaeger else [4318, 16685, 16686]
        require_free(options.http, options.admin, *(f"127.0.0.1:{port}" for port in ports))
        hotrod = await built("hotrod")
        jaeger = None if options.jaeger else await built("jaeger")
        self._console.say("Starting Jaeger, HotROD and Spanway …")
        async with Children(self._console.say) as children:
            if jaeger:
                argv = [str(jaeger), "--config", str(HERE / "jaeger.yaml")]
                child = await children.start(Child("jaeger", argv))
                await children.ready(child, f"{self._jaeger.url}/api/v3/services")
            spanway = await children.start(self._spanway())
            await children.ready(spanway, f"http://{options.admin}/readyz")
            for service in (*BACKENDS, "frontend"):
                await children.start(self._service(str(hotrod), service))
            await children.ready(children.newest, f"http://127.0.0.1:{FRONTEND_PORT}/")
            self._introduce()
            await self._click_once()
            await self._click_at_once(options.clicks)
            if options.once:
                return
            self._console.say("\nEach click of yours is a line below. Ctrl-C ends everything.")
            async with asyncio.TaskGroup() as group:
                group.create_task(children.first_end(spanway))
                group.create_task(self._report_clicks())

    def _spanway(self) -> Child:
        argv = [SPANWAY, "run", "--store", "memory", "--manifests", str(HERE / "manifests")]
        argv += ["--http", self._options.http, "--admin", self._options.admin]
        return Child("spanway", [*argv, "--otlp-endpoint", self._options.otlp])

    def _service(self, program: str, service: str) -> Child:
        """Each address flag is where a service listens and where the frontend calls it."""
        ports = {**BACKENDS, **LISTENERS} if service == "frontend" else BACKENDS
        argv = [program, service, "--jaeger-ui", self._jaeger.url]
        for name, port in {**ports, "frontend": FRONTEND_PORT}.items():
            argv += [f"--{name}-service-port", str(port), f"--{name}-service-hostname", "127.0.0.1"]
        if self._options.fixed:
            argv += ["--fix-disable-db-conn-mutex", "--fix-route-worker-pool-size", "100"]
            argv += ["--fix-db-query-delay", "100ms"]
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self._options.otlp,
            "OTEL_BSP_SCHEDULE_DELAY": "500",  # ms; the default of 5 s is long to wait for
        }
        return Child(f"hotrod {service}", argv, environment)

    def _introduce(self) -> None:
        facts = [
            ("HotROD's page, through Spanway", self._page),
            ("Spanway's admin server", f"http://{self._options.admin}/"),
            ("Jaeger's traces, as JSON", f"{self._jaeger.url}/api/v3/traces/TRACE_ID"),
        ]
        if not self._options.jaeger:
            facts.append(
                ("", "(built from its Go module, which has no web page: for that, run a Jaeger")
            )
            facts.append(("", "of your own and say --jaeger http://127.0.0.1:16686)"))
        self._console.heading("What runs where")
        self._console.facts(facts)

    async def _click_once(self) -> None:
        trace_id, _ = await self._click(0)
        spans = await self._trace(trace_id)
        self._console.heading(f"One click, as Jaeger has it · trace {trace_id}")
        self._console.trace(spans)

    async def _click_at_once(self, count: int) -> None:
        if not count:
            return
        clicks = await asyncio.gather(*(self._click(number) for number in range(count)))
        slowest_first = sorted(clicks, key=lambda click: click[1], reverse=True)
        self._console.heading(f"{count} clicks at once")
        for trace_id, seconds in reversed(slowest_first):
            self._console.say(f"  {seconds:5.2f} s  {'▬' * round(seconds * 10)}  {trace_id}")
        if not self._options.fixed:
            self._console.say("\nHotROD is made so: its database lets one query in at a time.")
        self._console.say("Of the slowest one:")
        self._console.line(await self._trace(slowest_first[0][0]))

    async def _click(self, number: int) -> tuple[str, float]:
        """The trace and the seconds of one dispatch, as the page asks for it."""
        trace_id = new_trace_id()
        self._told.add(trace_id)
        started_s = time.monotonic()
        path = f"dispatch?customer={CUSTOMERS[number % len(CUSTOMERS)]}&nonse=0.{number}"
        answer = await get(
            f"http://{self._options.http}/{path}", self._page.split("/")[2], trace_id
        )
        if answer.status != 200:  # noqa: PLR2004 - OK
            raise DemoError(f"HotROD said {answer.status}: {answer.text}")
        return trace_id, time.monotonic() - started_s

    async def _trace(self, trace_id: str) -> list[Span]:
        try:
            return await self._jaeger.whole_trace(trace_id, is_whole, deadline_s=TRACE_S)
        except (aiohttp.ClientError, TimeoutError) as err:
            raise DemoError(str(err)) from err

    async def _report_clicks(self) -> None:
        while True:
            await asyncio.sleep(REPORT_INTERVAL_S)
            try:
                recent = await self._jaeger.recent_traces(SPANWAY_SERVICE, REPORT_WINDOW)
            except aiohttp.ClientError as err:
                raise DemoError(f"Jaeger does not answer any more: {err}") from err
            for trace_id in recent.keys() - self._told:
                if is_whole(recent[trace_id]):
                    self._told.add(trace_id)
                    self._console.line(recent[trace_id])

    @property
    def _page(self) -> str:
        return f"http://{HOST}:{self._options.http.rpartition(':')[2]}/"


async def built(part: str) -> Path:
    """The program, built if it is missing, which takes minutes and says so."""
    process = await asyncio.create_subprocess_exec(
        BUILD, part, stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    folder, _ = await process.communicate()
    if process.returncode:
        raise DemoError(f"{part} cannot be built, see above; `make demo` needs no Go.")
    return Path(folder.decode().strip()) / part


def is_whole(spans: list[Span]) -> bool:
    """One tree, from the edge down to each of the routes that a dispatch asks for."""
    route_count = sum(span.service == "route" and span.kind is SpanKind.SERVER for span in spans)
    roots = [branch.span for branch in tree(spans).branches if branch.depth == 0]
    return route_count >= ROUTES_PER_CLICK and len(roots) == 1 and is_edge(roots[0])


if __name__ == "__main__":
    sys.exit(exit_code(Demo(options_of(sys.argv[1:])).play()))

"""The trace store: what keeping spans costs, and how long questions take.

    python -m benchmarks.trace_store --spans 20000000

Rules: the spans are the engine's own, of real requests over loopback to a backend that fails and
dawdles at times; their ids and times are made anew for every copy, so that nothing compresses that
would not otherwise. Costs are CPU seconds of the storing thread, and the process, from the kernel's
accounts; times of questions are wall time and mean something on a quiet machine only.
"""

import argparse
import asyncio
import json
import random
import resource
import shutil
import struct
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import ClientSession, TCPConnector, web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ingress_controller.peers.stores import Stores
from ingress_controller.traces.store.limits import StoreLimits
from ingress_controller.traces.store.queries import Field, Search, spans_of, values
from ingress_controller.traces.store.segments import Segments
from ingress_controller.traces.store.store import Store
from proxy.engine import Engine
from proxy.spans import SpanBatch
from proxy.table import (
    Backend,
    Endpoint,
    Host,
    Listener,
    ListenerKind,
    PathKind,
    Route,
    RouteTable,
    difference,
)

SAMPLE_REQUESTS = 6_000
SERVICES = 20
NODES = 4
SPANS_PER_S = 20_000  # at which the spans' times are apart, and costs are told
ROUNDS = 5
WORD = struct.Struct("<Q")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--spans", type=int, default=20_000_000)
    parser.add_argument(
        "--directory", type=Path, help="where the store is left; else it is removed"
    )
    options = parser.parse_args()
    directory = options.directory or Path(tempfile.mkdtemp(prefix="spanway-store-"))
    try:
        json.dump(asyncio.run(measured(directory, options.spans)), sys.stdout, indent=2)
        print()
    finally:
        if options.directory is None:
            shutil.rmtree(directory)


async def measured(directory: Path, span_count: int) -> dict[str, Any]:
    """Keeps so many spans, and asks about them."""
    batches = [Copies(batch) for batch in await sample()]
    store = Store(Segments(directory), StoreLimits(bytes_max=2**50, age_s_max=1e9))
    end_ns = time.time_ns()
    start_ns = end_ns - span_count * 10**9 // SPANS_PER_S
    kept = await keep(store, batches, span_count, start_ns)
    questions = await ask(store, start_ns, end_ns)
    return {**kept, "questions": questions}


async def sample() -> list[SpanBatch]:
    """Batches of the engine, of requests by many routes."""
    app = web.Application()
    app.router.add_get("/{path:.*}", _answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    engine = Engine(workers=1, resource={"service.name": "spanway", "service.instance.id": "a"})
    try:
        address = "127.0.0.1:18999"
        rejected = engine.publish(difference(RouteTable(), _table(address, runner.addresses[0][1])))
        assert not rejected, rejected
        async with ClientSession(connector=TCPConnector(limit=16)) as client:

            async def get(number: int) -> None:
                service = number % SERVICES
                url = f"http://{address}/s{service}/items/{random.randrange(1_000)}"
                async with client.get(url, headers={"Host": "shop.example"}) as answer:
                    await answer.read()

            for number in range(0, SAMPLE_REQUESTS, 16):
                await asyncio.gather(*(get(number + more) for more in range(16)))
    finally:
        await asyncio.to_thread(engine.stop, deadline_s=5)
        await runner.cleanup()
    return engine.take_spans()


async def _answer(_: web.Request) -> web.Response:
    await asyncio.sleep(random.expovariate(1_000))
    status = 503 if random.random() < 0.01 else 200  # noqa: PLR2004
    return web.Response(status=status, text="hello")


def _table(address: str, port: int) -> RouteTable:
    backends, routes = [], []
    for number in range(SERVICES):
        endpoint = Endpoint("127.0.0.1", port, pod=f"s{number}-0", node=f"node-{number % NODES}")
        backend = Backend("shop", f"s{number}", "80", (endpoint,))
        backends.append(backend)
        rule = f"spec.rules[0].http.paths[{number}]"
        path = f"/s{number}"
        routes.append(Route(PathKind.PREFIX, path, backend.key, "shop", "web", rule))
    return RouteTable(
        generation=1,
        listeners=(Listener(address, ListenerKind.INGRESS),),
        hosts={"shop.example": Host("shop.example", tuple(routes))},
        backends={backend.key: backend for backend in backends},
    )


class Copies:
    """A batch that can be had again with other ids and at another time."""

    def __init__(self, batch: SpanBatch) -> None:
        self.span_count = batch.span_count
        self._otlp = batch.otlp
        request = ExportTraceServiceRequest.FromString(batch.otlp)
        spans = [s for r in request.resource_spans for c in r.scope_spans for s in c.spans]
        self._start_ns = min(span.start_time_unix_nano for span in spans)
        ids = {id_ for span in spans for id_ in (span.span_id, span.parent_span_id)}
        ids |= {half for span in spans for half in (span.trace_id[:8], span.trace_id[8:])}
        times = {t for s in spans for t in (s.start_time_unix_nano, s.end_time_unix_nano)}
        self._ids = _places(batch.otlp, ids - {b""})
        self._times = _places(batch.otlp, {t.to_bytes(8, "little") for t in times})

    def copy(self, start_ns: int) -> SpanBatch:
        """With the earliest of its spans at `start_ns`."""
        made = bytearray(self._otlp)
        mask, shift = random.getrandbits(64), start_ns - self._start_ns
        for place, word in self._ids:
            WORD.pack_into(made, place, word ^ mask)
        for place, word in self._times:
            WORD.pack_into(made, place, word + shift)
        return SpanBatch(bytes(made), self.span_count)


def _places(otlp: bytes, words: set[bytes]) -> list[tuple[int, int]]:
    """Where each of these eight bytes is, with the number that they are."""
    found = []
    for word in words:
        at = otlp.find(word)
        while at >= 0:
            found.append((at, int.from_bytes(word, "little")))
            at = otlp.find(word, at + 8)
    return found


async def keep(
    store: Store, batches: list[Copies], span_count: int, start_ns: int
) -> dict[str, Any]:
    """Adds so many spans, as fast as they are taken."""
    kept = otlp_bytes = 0
    making_s = 0.0
    before = _cpu_s()
    wall_s = time.monotonic()
    for batch in _again(batches):
        began = time.thread_time()
        made = batch.copy(start_ns + kept * 10**9 // SPANS_PER_S)
        making_s += time.thread_time() - began
        await store.send(made)
        kept += made.span_count
        otlp_bytes += len(made.otlp)
        if kept >= span_count:
            break
    await store.close()
    cpu_s = _cpu_s() - before - making_s
    stats = store.stats
    return {
        "spans": kept,
        "otlp_bytes_per_span": round(otlp_bytes / kept, 1),
        "disk_bytes_per_span": round(stats.segment_bytes / kept, 1),
        "files": stats.segment_count,
        "cpu_us_per_span": round(cpu_s / kept * 1e6, 2),
        "percent_of_a_core_at_20000_spans_per_s": round(cpu_s / kept * SPANS_PER_S * 100, 1),
        "spans_per_s_at_most": round(kept / (time.monotonic() - wall_s)),
        "memory_mib_at_most": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _again(batches: list[Copies]) -> Iterator[Copies]:
    while True:
        yield from batches


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def ask(store: Store, start_ns: int, end_ns: int) -> dict[str, Any]:
    """What each question found, and took: the median of some rounds."""
    every = Search(start_ns=start_ns, end_ns=end_ns)

    def searching(**changes: Any) -> Callable[[], Awaitable[list[Any]]]:
        wanted = msgspec.structs.replace(every, **changes)

        async def found() -> list[Any]:
            return list((await Stores(store).find(wanted)).answer.traces)

        return found

    [newest] = await searching(limit=1)()
    questions: dict[str, Callable[[], Awaitable[list[Any]]]] = {
        "newest 20": searching(),
        "failed of a service": searching(service="shop/s7", is_failed=True),
        "status 503 at a pod": searching(status=(503, 503), fields={Field.POD: "s3-0"}),
        "slower than 10 s (none)": searching(duration_ns_min=10**10),
        "text that is nowhere": searching(text="nowhere"),
        "service that is nowhere": searching(service="shop/none"),
        "GET at a pod that is nowhere": searching(fields={Field.METHOD: "GET", Field.POD: "none"}),
        "without an error, slower than 5 ms": searching(is_failed=False, duration_ns_min=5 * 10**6),
        "one trace": lambda: store.ask(lambda asked: spans_of(asked, newest.trace_id)),
        "services": lambda: store.ask(lambda asked: values(asked, None, start_ns, end_ns)),
    }
    return {name: await _timed(question) for name, question in questions.items()}


async def _timed(question: Callable[[], Awaitable[list[Any]]]) -> dict[str, Any]:
    times_ms, cpus_ms, found = [], [], 0
    for _ in range(ROUNDS):
        began_s, cpu_s = time.monotonic(), _cpu_s()
        found = len(await question())
        times_ms.append(round((time.monotonic() - began_s) * 1_000))
        cpus_ms.append(round((_cpu_s() - cpu_s) * 1_000))
    middle = ROUNDS // 2
    return {"found": found, "ms": sorted(times_ms)[middle], "cpu_ms": sorted(cpus_ms)[middle]}


if __name__ == "__main__":
    main()

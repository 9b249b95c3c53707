"""`python -m benchmarks.table`: what a large table costs the control plane; JSON on stdout.

10,000 Ingresses with one host and 10 paths each, 10,000 Services with 5 endpoints each. A change is
timed from the cache until the engine has published it, through the reconciler as it is: without
what the API server and the network take, and without the pause after a table, which a single change
does not wait for.

Rules: the engine is the real one and listens on nothing; all that is measured is this process.
"""

import argparse
import asyncio
import gc
import os
import random
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import quantiles

import msgspec

from benchmarks.objects import Object, endpoint_slice, ingress, key_of, objects
from ingress_controller.model.problem import Problem
from ingress_controller.reconcile import Reconciler
from ingress_controller.resolve import Resolver
from ingress_controller.routing.builder import Builder, Options
from ingress_controller.watch.cache import Cache
from proxy.engine import Engine
from proxy.table import Rejected, Update

HOSTS, HOSTS_MAX = 10_000, 50_000
CHANGES, CHANGES_MAX = 200, 10_000
SEED = 4


class Timings(msgspec.Struct, frozen=True):
    """Milliseconds of changes of one kind; `publish_*` are the engine's part of them."""

    p50_ms: float
    p99_ms: float
    max_ms: float
    publish_p50_ms: float
    publish_p99_ms: float


class Result(msgspec.Struct, frozen=True):
    """Bytes are resident ones of the process; `rss_start_bytes` are those before any object."""

    hosts: int
    routes: int
    backends: int
    endpoints: int
    first_table_ms: float
    first_publish_ms: float
    changes: int
    endpoint_change: Timings
    ingress_change: Timings
    rss_start_bytes: int
    rss_bytes: int


class _Objects:
    """A source that is complete: the measurement itself fills the cache."""

    missing: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    async def run(self) -> None:
        """Nothing to do."""


class _Clock:
    """The real engine, which remembers when it had published and how long that took."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.published_ns = 0
        self.took_ms = 0.0

    def publish(self, update: Update) -> list[Rejected]:
        start_ns = time.perf_counter_ns()
        rejected = self._engine.publish(update)
        self.published_ns = time.perf_counter_ns()
        self.took_ms = (self.published_ns - start_ns) / 1e6
        return rejected


class _Bench:
    """A control plane without its edges."""

    def __init__(self, engine: Engine) -> None:
        self.cache = Cache()
        self.clock = _Clock(engine)
        self.reconciler = Reconciler(
            self.cache,
            _Objects(),
            builder=Builder(Options(is_manifests=True)),
            resolver=Resolver(self.cache.touch, allow_loopback=False),
            engine=self.clock,
            sleep=_no_pause,
        )

    def put(self, raw: Object) -> None:
        """A new version of an object, held as the API's objects are."""
        self.cache.put(key_of(raw), msgspec.json.encode(raw))

    async def timed(self, change: Callable[[], None]) -> tuple[float, float]:
        """Milliseconds from a change until it is published, and those of the publish in them."""
        done = asyncio.Event()
        self.reconciler.on_outcome = lambda _: done.set()
        start_ns = time.perf_counter_ns()
        change()
        await done.wait()
        return (self.clock.published_ns - start_ns) / 1e6, self.clock.took_ms


async def measure(hosts: int, changes: int) -> Result:
    """Builds the table, then changes one thing after another."""
    rss_start_bytes = rss_bytes()
    engine = Engine(workers=1, resource={})
    bench = _Bench(engine)
    chance = random.Random(SEED)
    changed = [chance.randrange(hosts) for _ in range(changes)]
    for raw in objects(hosts):
        bench.put(raw)
    running = asyncio.ensure_future(bench.reconciler.run())
    first_ms, first_publish_ms = await bench.timed(bench.cache.touch)
    gc.freeze()  # as `spanway run` does
    slices = [endpoint_slice(number, version=1 + at) for at, number in enumerate(changed)]
    endpoint_change = [await bench.timed(partial(bench.put, raw)) for raw in slices]
    ingresses = [ingress(number, version=1 + at) for at, number in enumerate(changed)]
    ingress_change = [await bench.timed(partial(bench.put, raw)) for raw in ingresses]
    table = bench.reconciler.outcome.table
    running.cancel()
    engine.stop(deadline_s=0)
    gc.unfreeze()
    return Result(
        len(table.hosts),
        table.route_count,
        len(table.backends),
        sum(len(backend.endpoints) for backend in table.backends.values()),
        first_ms,
        first_publish_ms,
        changes,
        _timings(endpoint_change),
        _timings(ingress_change),
        rss_start_bytes,
        rss_bytes(),
    )


def rss_bytes() -> int:
    """What of this process is in memory now."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in x)
    return int(line.split()[1]) * 1024


async def _no_pause(_: float) -> None:
    """Changes come one at a time here, each after the one before it was published."""


def _timings(changes: list[tuple[float, float]]) -> Timings:
    whole, publish = zip(*changes, strict=True)
    return Timings(
        _percentile(whole, 50),
        _percentile(whole, 99),
        max(whole),
        _percentile(publish, 50),
        _percentile(publish, 99),
    )


def _percentile(values: tuple[float, ...], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def main() -> int:
    """Prints the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description=__doc__)
    parser.add_argument(
        "--hosts", type=int, default=HOSTS, choices=range(2, HOSTS_MAX + 1), metavar="N"
    )
    parser.add_argument(
        "--changes", type=int, default=CHANGES, choices=range(2, CHANGES_MAX + 1), metavar="N"
    )
    arguments = parser.parse_args()
    with suppress(PermissionError):
        os.nice(-10)  # as all that is measured here: what else runs must not be in the figures
    result = asyncio.run(measure(arguments.hosts, arguments.changes))
    print(msgspec.json.format(msgspec.json.encode(result), indent=1).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m benchmarks.outage`: what a tracing backend that is away does to traffic and memory.

A fixed rate of requests goes through Spanway to an origin before, while and after the backend of
its spans is away. Told are latency and memory of each phase, what became of the spans, and how long
it took until all that had waited was delivered.

Rules: loopback only; every child is ended by its pid; the time is known before it begins.
"""

import argparse
import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.built import open_loop
from benchmarks.children import (
    BenchError,
    Children,
    answers,
    be_punctual,
    cores,
    exit_code,
    free_port,
    program,
    run,
)
from benchmarks.cpu import PROC, cpu_time
from benchmarks.exports import get
from benchmarks.load import CONNECTIONS, PATIENCE_S, percentile
from benchmarks.machine import machine
from benchmarks.stage import HOST, RESPONSE_BYTES, Stage

RATE, RATE_MAX = 5_000, 50_000  # requests a second
AWAY_S, AWAY_S_MAX = 90, 900
CALM_S = 20  # of traffic before the outage, and after it
RECOVERY_S_MAX = 300.0  # until all is delivered
SPILL = "spill_bytes=8Gi"
SAMPLE_S = 0.2
MIB = 1024 * 1024


class Proxy(NamedTuple):
    """Spanway, as it is seen from outside."""

    pid: int
    port: int
    admin: int

    def stats(self) -> tuple[dict[str, int], dict[str, Any]]:
        """Of the engine and of its only exporter."""
        stats = json.loads(get(self.admin, "/api/stats"))
        return stats["engine"], stats["exporters"][0]

    def memory_mib(self) -> dict[str, float]:
        """What it holds, in which the queue is; and what it has put on disk."""
        _, exporter = self.stats()
        pages = (PROC / str(self.pid) / "status").read_text().partition("VmRSS:")[2]
        return {
            "resident": int(pages.split()[0]) / 1024,
            "queue": exporter["queue_bytes"] / MIB,
            "spill": exporter["spill_bytes"] / MIB,
        }


def main() -> int:
    """0, or 1 where nothing could be measured."""
    arguments = arguments_of(sys.argv[1:])
    return exit_code("outage", partial(measure, arguments))


def measure(arguments: argparse.Namespace, directory: Path) -> None:
    """Prints a line for each phase, and what became of the spans."""
    rate, away_s = arguments.rate, arguments.away
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    print(f"{rate} requests/s for {2 * CALM_S + away_s} s, of which the backend is away {away_s}.")
    with Children(directory) as children:
        stage = Stage(children, directory, cores())
        proxy = start(stage, children, has_spill=not arguments.no_spill)
        print(f"{'':8}{'p50 µs':>9}{'p99 µs':>9}{'CPU µs':>9}   at most, in MiB")
        offer(proxy, stage, "before", rate=rate, seconds=CALM_S)
        stage.stop_sink(children)
        offer(proxy, stage, "away", rate=rate, seconds=away_s)
        stage.start_sink(children)
        back_s = time.monotonic()
        offer(proxy, stage, "after", rate=rate, seconds=CALM_S)
        engine, exporter = settled(proxy)
        print(f"All was delivered {time.monotonic() - back_s:.0f} s after the backend was back.")
    lost = {"engine": engine["spans_dropped"], **exporter["dropped_spans"]}
    losses = ", ".join(f"{reason} {count}" for reason, count in lost.items() if count) or "none"
    print(f"Spans: {engine['spans_recorded']} recorded, {exporter['sent_spans']} sent;", end=" ")
    print(f"lost: {losses}. Attempts that failed: {exporter['retry_count']}.")


def start(stage: Stage, children: Children, *, has_spill: bool) -> Proxy:
    """Spanway with one worker, ready; it exports to the stage's sink."""
    port, admin = free_port(), free_port()
    export = f"http://127.0.0.1:{stage.sink_port}"
    if has_spill:
        spill = stage.directory / "spill"
        spill.mkdir()
        export += f"?spill={spill}&{SPILL}"
    manifests = stage.config("manifests.yaml", {}, under="spanway").parent
    argv = [program("spanway"), "run", "--manifests", str(manifests), "--workers", "1"]
    argv += ["--store", "off"]
    argv += ["--http", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}", "--export", export]
    url = f"http://127.0.0.1:{admin}/readyz"
    core = {stage.cores.server}
    pid = children.start("spanway", argv, cores=core, ready=lambda: answers(url))
    return Proxy(pid, port, admin)


def offer(proxy: Proxy, stage: Stage, phase: str, *, rate: int, seconds: int) -> None:
    """A phase's traffic, and its line."""
    argv = [open_loop(), str(proxy.port), str(rate), str(seconds)]
    argv += [str(CONNECTIONS), HOST, str(RESPONSE_BYTES)]
    cpu = cpu_time(proxy.pid)
    with largest(proxy) as seen:
        said = json.loads(
            run(
                argv,
                cores={stage.cores.load},
                timeout_s=seconds + PATIENCE_S,
                prepare=be_punctual,
            )
        )
    cpu_us = cpu_time(proxy.pid).since(cpu).all_ns / 1e3 / said["request_count"]
    latency_us = sorted(said["latency_us"])
    figures = [percentile(latency_us, 50), percentile(latency_us, 99), cpu_us]
    print(f"{phase:8}" + "".join(f"{figure:9.0f}" for figure in figures), end="   ")
    print(", ".join(f"{name} {most:.0f}" for name, most in seen.items()), flush=True)


@contextmanager
def largest(proxy: Proxy) -> Iterator[Mapping[str, float]]:
    """The most of `memory_mib` while the block runs."""
    seen: dict[str, float] = {}
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(SAMPLE_S):
            for name, value in proxy.memory_mib().items():
                seen[name] = max(seen.get(name, 0.0), value)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        is_over.set()
        looking.join()


def settled(proxy: Proxy) -> tuple[dict[str, int], dict[str, Any]]:
    """The stats, once nothing waits any more.

    Raises:
        BenchError: that takes longer than `RECOVERY_S_MAX`.
    """
    deadline_s = time.monotonic() + RECOVERY_S_MAX
    while time.monotonic() < deadline_s:
        engine, exporter = proxy.stats()
        known = exporter["sent_spans"] + sum(exporter["dropped_spans"].values())
        is_known = known >= engine["spans_recorded"] - engine["spans_dropped"]
        if is_known and exporter["queue_bytes"] == exporter["spill_bytes"] == 0:
            return engine, exporter
        time.sleep(SAMPLE_S)
    raise BenchError(f"spans still wait {RECOVERY_S_MAX:g} s after the traffic.")


def arguments_of(words: Sequence[str]) -> argparse.Namespace:
    """`rate`, `away` and `no_spill`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outage", description=__doc__)
    parser.add_argument("--rate", type=int, default=RATE, help=f"requests/s; default: {RATE}")
    parser.add_argument("--away", type=int, default=AWAY_S, help=f"seconds; default: {AWAY_S}")
    parser.add_argument("--no-spill", action="store_true", help="what does not fit memory is lost")
    arguments = parser.parse_args(words)
    if not 1 <= arguments.rate <= RATE_MAX or not 1 <= arguments.away <= AWAY_S_MAX:
        parser.error(f"--rate is from 1 to {RATE_MAX}, --away from 1 to {AWAY_S_MAX}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())

"""`python -m benchmarks.live`: asking for live requests while very many are inside.

Requests that are never answered fill Spanway (`streams.py`); beside them come others at a fixed
rate, to an origin that answers at once. Told are how long `/api/live` takes, by the clock of who
asks and in CPU, and the latency of this traffic in turns without and with questions.

Rules: loopback only; every child is ended by its pid; the time is known before it begins.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.children import (
    BenchError,
    Children,
    answers,
    cores,
    exit_code,
    free_port,
    listens,
    program,
    settle,
)
from benchmarks.cpu import cpu_time
from benchmarks.exports import get
from benchmarks.load import FixedRate
from benchmarks.machine import machine
from benchmarks.servers import Server
from benchmarks.stage import Stage
from benchmarks.streams import SENT

LIVE, LIVE_MAX = 100_000, 120_000
WORKERS = 8  # a worker has 16,384 at most
RATE = 1_000.0  # requests/s beside them
ROUNDS, SECONDS = 5, 8
INSIDE_S_MAX = 120.0
ASK_EVERY_S = 0.5  # as `spanway top` does, twice as often
QUESTIONS = {
    "the 100 oldest": "/api/live",
    "the 100 youngest": "/api/live?order=asc",
    "of one service and phase": "/api/live?service=bench/held-3&phase=wait",
    "of no service": "/api/live?service=bench/none",
    "1,000 rows": "/api/live?limit=1000",
}


def main() -> int:
    """0, or 1 where nothing could be measured."""
    arguments = arguments_of(sys.argv[1:])
    return exit_code("live", partial(measure, arguments))


def measure(arguments: argparse.Namespace, directory: Path) -> None:
    """Prints a line for each question, and one for the traffic without and with them."""
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    with Children(directory) as children:
        stage = Stage(children, directory, cores())
        server = start(stage, children)
        with held(server, stage, arguments.live):
            print(f"{arguments.live} requests are inside {WORKERS} workers on two cores.")
            print(f"{'':26}{'ms':>8}{'at most':>9}{'CPU ms':>8}{'KiB':>7}")
            for name, path in QUESTIONS.items():
                ask(server, name, path)
            beside(server, stage, arguments)


def start(stage: Stage, children: Children) -> Server:
    """Spanway, ready, with an endpoint that never answers beside the stage's origin."""
    silent, port, admin = free_port(), free_port(), free_port()
    argv = [sys.executable, "-m", "benchmarks.streams", "serve", str(silent)]
    children.start("silent", argv, cores={stage.cores.origin}, ready=lambda: listens(silent))
    stage.config("manifests.yaml", {}, under="live")
    manifests = stage.config("held.yaml", {}, under="live").parent
    services = range(10)
    text = "---\n".join(stage.text("held.yaml", {"n": n, "silent": silent}) for n in services)
    (manifests / "held.yaml").write_text(text)
    argv = [program("spanway"), "run", "--manifests", str(manifests), "--workers", str(WORKERS)]
    argv += ["--store", "off", "--http", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"]
    url = f"http://127.0.0.1:{admin}/readyz"
    on = stage.cores.of_two_workers
    pid = children.start("spanway", argv, cores=on, ready=lambda: answers(url))
    return Server("spanway", pid, {"http": port}, admin)


@contextmanager
def held(server: Server, stage: Stage, count: int) -> Iterator[None]:
    """So many requests are inside while the block runs.

    Raises:
        BenchError: they do not come, or do not stay.
    """
    argv = [sys.executable, "-m", "benchmarks.streams", "open", str(server.port("http"))]
    with subprocess.Popen(
        [*argv, str(count)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        preexec_fn=partial(settle, {stage.cores.load}),  # noqa: PLW1509 - no threads yet
    ) as client:
        try:
            assert client.stdout is not None
            if client.stdout.readline().decode().strip() != SENT:
                raise BenchError("the client of the requests that stay has failed.")
            deadline_s = time.monotonic() + INSIDE_S_MAX
            while (inside := waiting(server)) < count:
                if time.monotonic() > deadline_s or client.poll() is not None:
                    raise BenchError(f"only {inside} of {count} requests are inside.")
                time.sleep(1)
            yield
            if (inside := waiting(server)) < count:
                raise BenchError(f"only {inside} of {count} requests have stayed.")
        finally:
            client.terminate()


def waiting(server: Server) -> int:
    said = json.loads(get(server.admin, "/api/live?limit=0"))
    return int(said["phases"].get("wait", 0)) if not said["workers_silent"] else 0


def ask(server: Server, name: str, path: str, times: int = 20) -> None:
    """A line: how long an answer takes."""
    took_ms, size = [], 0
    cpu = cpu_time(server.pid)
    for _ in range(times):
        began_s = time.monotonic()
        size = len(get(server.admin, path))
        took_ms.append((time.monotonic() - began_s) * 1e3)
    cpu_ms = cpu_time(server.pid).since(cpu).all_ns / 1e6 / times
    figures = f"{median(took_ms):8.1f}{max(took_ms):9.1f}{cpu_ms:8.1f}{size / 1024:7.0f}"
    print(f"{name:26}{figures}", flush=True)


def beside(server: Server, stage: Stage, arguments: argparse.Namespace) -> None:
    """The traffic's latency, in turns without and with questions."""
    said: dict[str, list[tuple[float, float]]] = {"nobody asks": [], "somebody asks": []}
    took_ms: list[float] = []
    for _ in range(arguments.rounds):
        for name, figures in said.items():
            with asking(server, took_ms if name == "somebody asks" else None):
                load = FixedRate(arguments.rate).measure(server, stage.cores, arguments.seconds)
            figures.append((load["p50_us"], load["p99_us"]))
    print(f"\n{arguments.rate:g} requests/s beside them, medians of {arguments.rounds} rounds:")
    print(f"{'':26}{'p50 µs':>8}{'p99 µs':>9}")
    for name, figures in said.items():
        p50, p99 = (median(one) for one in zip(*figures, strict=True))
        print(f"{name:26}{p50:8.0f}{p99:9.0f}")
    print(
        f"{len(took_ms)} answers meanwhile: {median(took_ms):.1f} ms, at most {max(took_ms):.1f}."
    )


@contextmanager
def asking(server: Server, took_ms: list[float] | None) -> Iterator[None]:
    """Asks again and again while the block runs; nobody does for None."""
    is_over = threading.Event()

    def look(took_ms: list[float]) -> None:
        while not is_over.wait(ASK_EVERY_S):
            began_s = time.monotonic()
            get(server.admin, "/api/live")
            took_ms.append((time.monotonic() - began_s) * 1e3)

    looking = threading.Thread(target=look, args=(took_ms,)) if took_ms is not None else None
    if looking is not None:
        looking.start()
    try:
        yield
    finally:
        is_over.set()
        if looking is not None:
            looking.join()


def arguments_of(words: Sequence[str]) -> argparse.Namespace:
    """`live`, `rate`, `rounds` and `seconds`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=__doc__)
    parser.add_argument("--live", type=int, default=LIVE, help=f"default: {LIVE}")
    parser.add_argument("--rate", type=float, default=RATE, help=f"requests/s; default: {RATE:g}")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"default: {ROUNDS}")
    parser.add_argument("--seconds", type=int, default=SECONDS, help=f"default: {SECONDS}")
    arguments = parser.parse_args(words)
    if not 1 <= arguments.live <= LIVE_MAX or arguments.rounds < 1 or arguments.seconds < 1:
        parser.error(f"--live is from 1 to {LIVE_MAX}, --rounds and --seconds from 1 on")
    return arguments


if __name__ == "__main__":
    sys.exit(main())

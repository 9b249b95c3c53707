"""The loads, and what one run of each says about a server.

Saturation is a closed loop (wrk for HTTP/1.1, h2load for HTTP/2, `handshakes.py` for resumed TLS):
as many requests as the server takes. Fixed rate is an open loop (`open_loop/`): what latency is
at a load that the server can bear.
"""

import json
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.built import open_loop
from benchmarks.children import BenchError, Cores, be_punctual, program, run
from benchmarks.cpu import core_time, cpu_time
from benchmarks.exports import wait_until_exported
from benchmarks.servers import Server
from benchmarks.stage import GRPC_HOST, GRPC_MESSAGE, GRPC_PATH, HOST, RESPONSE_BYTES

CONNECTIONS = 32
H2_CONNECTIONS, H2_STREAMS = 4, 8
"""As many requests at once as over HTTP/1.1."""

PATIENCE_S = 30.0
"""How long a load may take beyond its time."""

ANSWER_S = 10.0
"""A request may take so long; of 32 responses of 10 MiB some take more than wrk's two seconds."""

_SCRIPT = Path(__file__).with_name("closed_loop.lua")

Figures = Mapping[str, float]
"""What one run says, by name; units last. `report.FIGURES` tells their meaning."""


class Load(Protocol):
    """Something that a server can be put under for some seconds."""

    def measure(self, server: Server, cores: Cores, seconds: int) -> Figures:
        """Blocks. Raises: BenchError, when the server cannot do it or a request failed."""
        ...


@dataclass(frozen=True, slots=True)
class Done:
    """What a closed loop did: requests (or handshakes), in which time."""

    count: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Http1:
    """`CONNECTIONS` connections by wrk; without `is_kept_alive` a new one for every request."""

    kind: str = "http"
    path: str = "/"
    is_kept_alive: bool = True

    def measure(self, server: Server, cores: Cores, seconds: int) -> Figures:
        scheme = "https" if self.kind == "https" else "http"
        argv = [program("wrk"), "--threads", "1", "--connections", str(CONNECTIONS)]
        argv += ["--duration", f"{seconds}s", "--timeout", f"{ANSWER_S:g}s"]
        argv += ["--script", str(_SCRIPT), "--header", f"Host: {HOST}"]
        argv += [] if self.is_kept_alive else ["--header", "Connection: close"]
        argv += [f"{scheme}://{HOST}:{server.port(self.kind)}{self.path}"]
        return saturate(server, cores, lambda: wrk_said(_run(argv, cores, seconds)))


@dataclass(frozen=True, slots=True)
class Http2:
    """`H2_STREAMS` streams on each of `H2_CONNECTIONS` connections by h2load."""

    kind: str = "h2c"
    host: str = HOST
    path: str = "/"
    headers: tuple[str, ...] = ()
    message: Path | None = None

    def measure(self, server: Server, cores: Cores, seconds: int) -> Figures:
        scheme = "https" if self.kind == "https" else "http"
        argv = [program("h2load"), "--threads=1", f"--duration={seconds}"]
        argv += [f"--clients={H2_CONNECTIONS}", f"--max-concurrent-streams={H2_STREAMS}"]
        argv += [f"--connect-to=127.0.0.1:{server.port(self.kind)}"]
        argv += [f"--header={header}" for header in self.headers]
        argv += [f"--data={self.message}"] if self.message else []
        argv += [f"{scheme}://{self.host}{self.path}"]
        return saturate(server, cores, lambda: h2load_said(_run(argv, cores, seconds), seconds))


@dataclass(frozen=True, slots=True)
class Grpc:
    """Unary calls: a message there, a message and the trailer `grpc-status` back."""

    def measure(self, server: Server, cores: Cores, seconds: int) -> Figures:
        headers = ("content-type: application/grpc", "te: trailers")
        self._probe(server, cores, headers)
        load = Http2(host=GRPC_HOST, path=GRPC_PATH, headers=headers, message=GRPC_MESSAGE)
        return load.measure(server, cores, seconds)

    def _probe(self, server: Server, cores: Cores, headers: tuple[str, ...]) -> None:
        """h2load does not look at trailers, so one call is looked at beforehand."""
        argv = [program("nghttp"), "--verbose", "--null-out", f"--data={GRPC_MESSAGE}"]
        argv += [f"--header={header}" for header in (f":authority: {GRPC_HOST}", *headers)]
        argv += [f"http://127.0.0.1:{server.port('h2c')}{GRPC_PATH}"]
        said = _run(argv, cores, 0)
        answer = re.findall(r"recv \(stream_id=\d+\) ((?::status|grpc-status): \d+)", said)
        if answer != [":status: 200", "grpc-status: 0"]:
            raise BenchError(f"it does not pass gRPC on: {', '.join(answer) or 'no answer'}")


@dataclass(frozen=True, slots=True)
class ResumedHandshakes:
    """A new connection for every request, each with the session of an earlier one."""

    def measure(self, server: Server, cores: Cores, seconds: int) -> Figures:
        argv = [sys.executable, "-m", "benchmarks.handshakes"]
        argv += [str(server.port("https")), str(seconds)]

        def load() -> Done:
            said = json.loads(_run(argv, cores, seconds))
            return Done(said["count"], said["seconds"])

        return saturate(server, cores, load)


@dataclass(frozen=True, slots=True)
class FixedRate:
    """An open loop over HTTP/1.1; `rate` is in requests a second."""

    rate: float

    def measure(self, server: Server, cores: Cores, seconds: int) -> Figures:
        argv = [open_loop(), str(server.port("http")), str(self.rate), str(seconds)]
        argv += [str(CONNECTIONS), HOST, str(RESPONSE_BYTES)]
        before = cpu_time(server.pid)
        said = json.loads(_run(argv, cores, seconds, prepare=be_punctual))
        wait_until_exported(server)
        used = cpu_time(server.pid).since(before)
        latency_us, late_us = sorted(said["latency_us"]), sorted(said["late_us"])
        return {
            "p50_us": percentile(latency_us, 50),
            "p99_us": percentile(latency_us, 99),
            "p999_us": percentile(latency_us, 99.9),
            "late_p99_us": percentile(late_us, 99),
            "cpu_us": used.all_ns / 1e3 / said["request_count"],
            "rps": self.rate,
        }


def saturate(server: Server, cores: Cores, load: Callable[[], Done]) -> Figures:
    """What `load` cost the server, until the spans of it are exported.

    Raises:
        BenchError: nothing was done, or spans were lost.
    """
    wait_until_exported(server)
    before, start_s = cpu_time(server.pid), time.monotonic()
    load_core, server_core = core_time(cores.load), core_time(cores.server)
    done = load()
    passed_s = time.monotonic() - start_s
    load_core = core_time(cores.load).since(load_core)
    server_core = core_time(cores.server).since(server_core)
    wait_until_exported(server)
    used = cpu_time(server.pid).since(before)
    if not done.count:
        raise BenchError("it answered nothing")
    cpu_us = used.all_ns / 1e3 / done.count
    return {
        "rps": done.count / done.seconds,
        "cpu_us": cpu_us,
        "worker_cpu_us": used.worker_ns / 1e3 / done.count,
        "capacity_rps": server.workers * 1e6 / cpu_us,
        "core_share": used.all_ns / 1e9 / passed_s,
        "load_core_share": load_core.busy_s / passed_s,
        "stolen_share": (load_core.stolen_s + server_core.stolen_s) / passed_s / 2,
    }


def percentile(ordered: list[float], percent: float) -> float:
    """The smallest value that at least `percent` of `ordered` do not exceed (nearest rank)."""
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank), 1) - 1]


def _run(
    argv: list[str], cores: Cores, seconds: int, prepare: Callable[[], None] | None = None
) -> str:
    timeout_s = seconds + PATIENCE_S
    return run(argv, cores={cores.load}, timeout_s=timeout_s, prepare=prepare)


def wrk_said(output: str) -> Done:
    said = json.loads(output.splitlines()[-1])
    if said["errors"]:
        raise BenchError(f"{said['errors']} of {said['requests']} requests failed")
    return Done(said["requests"], said["duration_us"] / 1e6)


def h2load_said(output: str, seconds: int) -> Done:
    """Requests that were still under way when time was up are not counted, nor held against it."""
    requests = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", output)
    statuses = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", output)
    if requests is None or statuses is None:
        raise BenchError(f"h2load said: {output[-200:]}")
    succeeded, *others = (int(one) for one in requests.groups())
    failed = sum(others) + sum(int(one) for one in statuses.groups()[1:])
    if failed or not succeeded:
        raise BenchError(f"{failed} of {succeeded + failed} requests over HTTP/2 failed")
    return Done(succeeded, float(seconds))

"""The two loads, and what one run of each says about a server.

Saturation is a closed loop (wrk): as many requests as the server takes. Fixed rate is an open loop
(`open_loop.py`): what latency is at a load that the server can bear.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.children import BenchError, Cores, program, run
from benchmarks.cpu import cpu_time
from benchmarks.servers import HOST, Server, wait_until_exported

CONNECTIONS = 32
PATIENCE_S = 30.0
"""How long a load may take beyond its time."""

_SCRIPT = Path(__file__).with_name("closed_loop.lua")


@dataclass(frozen=True, slots=True)
class Saturation:
    """A closed loop. CPU is µs per request: of the whole process, of its worker threads alone (0
    where they are not known), and as a share of the time that passed (1 is a core used up).
    """

    request_count: int
    rps: float
    cpu_us: float
    worker_cpu_us: float
    core_share: float


@dataclass(frozen=True, slots=True)
class FixedRate:
    """An open loop; µs. `late_p99_us` is how late the load itself was."""

    request_count: int
    p50_us: float
    p99_us: float
    late_p99_us: float
    cpu_us: float


def saturate(server: Server, cores: Cores, seconds: int) -> Saturation:
    """Blocks for `seconds`, and until the spans of it are exported.

    Raises:
        BenchError: a request failed.
    """
    argv = [program("wrk"), "--threads", "1", "--connections", str(CONNECTIONS)]
    argv += ["--duration", f"{seconds}s", "--script", str(_SCRIPT), "--header", f"Host: {HOST}"]
    argv += [f"http://127.0.0.1:{server.port}/"]
    wait_until_exported(server)
    before, start_s = cpu_time(server.pid), time.monotonic()
    said = json.loads(run(argv, core=cores.load, timeout_s=seconds + PATIENCE_S).splitlines()[-1])
    passed_s = time.monotonic() - start_s
    wait_until_exported(server)
    used = cpu_time(server.pid).since(before)
    count = said["requests"]
    if said["errors"] or not count:
        raise BenchError(f"{server.name} failed {said['errors']} of {count} requests.")
    return Saturation(
        request_count=count,
        rps=count / said["duration_us"] * 1e6,
        cpu_us=used.all_ns / 1e3 / count,
        worker_cpu_us=used.worker_ns / 1e3 / count,
        core_share=used.all_ns / 1e9 / passed_s,
    )


def pace(server: Server, cores: Cores, *, seconds: int, rate: int) -> FixedRate:
    """Blocks for `seconds`; `rate` is in requests a second.

    Raises:
        BenchError: a request failed.
    """
    argv = [sys.executable, "-m", "benchmarks.open_loop"]
    argv += [str(server.port), str(rate), str(seconds), str(CONNECTIONS)]
    before = cpu_time(server.pid)
    said = json.loads(run(argv, core=cores.load, timeout_s=seconds + PATIENCE_S))
    wait_until_exported(server)
    used = cpu_time(server.pid).since(before)
    latency_us, late_us = sorted(said["latency_us"]), sorted(said["late_us"])
    return FixedRate(
        request_count=said["request_count"],
        p50_us=percentile(latency_us, 50),
        p99_us=percentile(latency_us, 99),
        late_p99_us=percentile(late_us, 99),
        cpu_us=used.all_ns / 1e3 / said["request_count"],
    )


def percentile(ordered: list[float], percent: int) -> float:
    """The smallest value that at least `percent` of `ordered` do not exceed (nearest rank)."""
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(rank, 1) - 1]

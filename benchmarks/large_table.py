"""A table of 10,000 hosts and 100,000 routes: the engine's own benchmark and `benchmarks.table`."""

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.built import engine_bench
from benchmarks.children import BenchError, Cores, run
from benchmarks.load import Figures
from benchmarks.servers import Server

TIMEOUT_S = 300.0
MATCH = "normalise and route, 10,000 hosts at random"
"""How the engine's benchmark calls what is told here as `match_ns`."""


@dataclass(frozen=True, slots=True)
class LargeTable:
    """Both run by themselves on the server's core; the server is not asked."""

    def measure(self, server: Server, cores: Cores, seconds: int) -> Figures:
        """What matching, a change and the whole cost. `seconds` does not count."""
        del server, seconds
        engine = run([engine_bench()], cores={cores.server}, timeout_s=TIMEOUT_S)
        argv = [sys.executable, "-m", "benchmarks.table"]
        control = json.loads(run(argv, cores={cores.server}, timeout_s=TIMEOUT_S))
        return {"match_ns": match_ns(engine), **control_plane(control)}


def match_ns(said: str) -> float:
    """Of the lines of the engine's benchmark.

    Raises:
        BenchError: the line is missing.
    """
    found = re.search(rf"([\d.]+) ns  {re.escape(MATCH)}", said)
    if found is None:
        raise BenchError(f"the engine's benchmark does not tell {MATCH!r}")
    return float(found.group(1))


def control_plane(said: Mapping[str, Any]) -> Figures:
    """Of what `benchmarks.table` prints: the slowest of a hundred endpoint changes, and memory."""
    change = said["endpoint_change"]
    return {
        "publish_ms": change["p99_ms"],
        "publish_p50_ms": change["p50_ms"],
        "rss_mib": said["rss_bytes"] / 2**20,
    }

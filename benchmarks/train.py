"""`python -m benchmarks.train`: shows an engine that counts how often each of its branches is taken
what is usual, so that the compiler can lay out its code by that (`make profile`).

Rules: loopback only; every child is ended by its pid; the time is known before it begins.
"""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.children import BenchError, Children, cores, exit_code
from benchmarks.runner import Effort, run
from benchmarks.scenarios import SCENARIOS
from benchmarks.stage import Stage

SHOWN_S: Mapping[str, int] = {
    "http1": 4,
    "body64k": 1,
    "body10m": 1,
    "tls": 2,
    "handshakes": 1,
    "resumed": 1,
    "h2": 2,
    "h2c": 2,
    "grpc": 2,
}
"""Scenarios, and seconds of each for each of its servers."""

SERVERS = {"spanway", "spanway-off", "spanway-kernel", "spanway-store"}
"""With the store: what is never shown is compiled to be small, not to be fast."""


def main() -> int:
    """0, or 1 where a scenario could not be shown."""
    return exit_code("train", show)


def show(directory: Path) -> None:
    """Raises: BenchError, where the engine did not take part in a scenario."""
    with Children(directory) as children:
        stage = Stage(children, directory, cores())
        for scenario in SCENARIOS:
            if scenario.name not in SHOWN_S:
                continue
            ours = tuple(name for name in scenario.servers if name in SERVERS)
            effort = Effort(rounds=1, seconds=SHOWN_S[scenario.name])
            shown = run(replace(scenario, servers=ours, rounds_factor=1), stage, effort)
            for name, reason in shown.not_run.items():
                raise BenchError(f"{scenario.name}, {name}: {reason}")
            print(f"{scenario.name}: {', '.join(ours)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

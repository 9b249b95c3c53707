"""What an idle connection costs a server in memory.

Memory is the proportional set size (pages that processes share are divided among them) of the
server and its children. The kernel's own memory for sockets is in no process and not in here; what
a server sets aside before the first connection (nginx: all of `worker_connections`) neither.
"""

import select
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.children import BenchError, Cores, settle
from benchmarks.cpu import PROC, family
from benchmarks.hold import HELD
from benchmarks.load import Figures, Http1
from benchmarks.servers import Server

CONNECTIONS = 10_000
WARM_UP_S = 1
HOLD_S_MAX = 60.0


@dataclass(frozen=True, slots=True)
class Idle:
    """`connections` idle ones; right only for a server that was started just now."""

    connections: int = CONNECTIONS

    def measure(self, server: Server, cores: Cores, seconds: int) -> Figures:
        """Memory before, after a short load, and with all connections. `seconds` does not count."""
        Http1().measure(server, cores, min(seconds, WARM_UP_S))
        before_kib = memory_kib(server.pid)
        argv = [sys.executable, "-m", "benchmarks.hold"]
        argv += [str(server.port("http")), str(self.connections)]
        after_kib = _memory_while_held_kib(argv, cores, server.pid)
        return {
            "connection_kib": (after_kib - before_kib) / self.connections,
            "before_mib": before_kib / 1024,
            "after_mib": after_kib / 1024,
        }


def memory_kib(pid: int, proc: Path = PROC) -> int:
    """Proportional set size of `pid` and its children."""
    total_kib = 0
    for one in family(pid, proc):
        for line in (proc / str(one) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total_kib += int(line.split()[1])
    return total_kib


def _memory_while_held_kib(argv: list[str], cores: Cores, pid: int) -> int:
    with subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=partial(settle, {cores.load}),  # noqa: PLW1509 - this program has no threads
    ) as holder:
        assert holder.stdout is not None
        is_ready = bool(select.select([holder.stdout], (), (), HOLD_S_MAX)[0])
        said = holder.stdout.readline().decode().strip() if is_ready else "it took too long"
        memory = memory_kib(pid)
        holder.terminate()
    if said != HELD:
        raise BenchError(f"the connections were not held: {said}")
    return memory

"""CPU time of a process, to the nanosecond.

The time is the scheduler's (`/proc/PID/task/TID/schedstat`, first field), of all threads of the
process and of its children; `utime + stime` of `/proc/PID/stat` are the same sum in steps of 10 ms.
What the kernel does for a socket on behalf of the process, loopback delivery included, is in it.
"""

from dataclasses import dataclass
from pathlib import Path

WORKER_PREFIX = "spanway-"
"""How the engine names its threads."""


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Nanoseconds since the start: of everything, and of the engine's worker threads."""

    all_ns: int
    worker_ns: int

    def since(self, earlier: "CpuTime") -> "CpuTime":
        return CpuTime(self.all_ns - earlier.all_ns, self.worker_ns - earlier.worker_ns)


def cpu_time(pid: int, proc: Path = Path("/proc")) -> CpuTime:
    """Of `pid` and its children, now. A thread that has ended is no longer counted."""
    all_ns = worker_ns = 0
    for one in (pid, *_children(pid, proc)):
        for task in (proc / str(one) / "task").iterdir():
            ran_ns = int((task / "schedstat").read_text().split()[0])
            all_ns += ran_ns
            if (task / "comm").read_text().startswith(WORKER_PREFIX):
                worker_ns += ran_ns
    return CpuTime(all_ns, worker_ns)


def _children(pid: int, proc: Path) -> list[int]:
    return [int(stat.parent.name) for stat in proc.glob("[0-9]*/stat") if _parent(stat) == pid]


def _parent(stat: Path) -> int | None:
    try:
        # The name, in parentheses, may hold anything; the parent is the second field after it.
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None

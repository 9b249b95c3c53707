"""CPU time of a process, to the nanosecond, and of a core, to 10 ms.

A process's time is the scheduler's (`/proc/PID/task/TID/schedstat`, first field), of all threads of
the process and of its children; `utime + stime` of `/proc/PID/stat` are the same sum in steps of
10 ms. What the kernel does for a socket on behalf of the process, loopback delivery included, is in
it.
"""

import os
from dataclasses import dataclass
from pathlib import Path

WORKER_PREFIX = "spanway-"
"""How the engine names its threads."""

PROC = Path("/proc")
_IDLE, _IOWAIT, _STOLEN = 3, 4, 7
"""Fields of a core's line in `/proc/stat`. Source: proc_stat(5)."""


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Nanoseconds since the start: of everything, and of the engine's worker threads."""

    all_ns: int
    worker_ns: int

    def since(self, earlier: "CpuTime") -> "CpuTime":
        return CpuTime(self.all_ns - earlier.all_ns, self.worker_ns - earlier.worker_ns)


def cpu_time(pid: int, proc: Path = PROC) -> CpuTime:
    """Of `pid` and its children, now. A thread that has ended is no longer counted."""
    all_ns = worker_ns = 0
    for one in family(pid, proc):
        for task in (proc / str(one) / "task").iterdir():
            ran_ns = int((task / "schedstat").read_text().split()[0])
            all_ns += ran_ns
            if (task / "comm").read_text().startswith(WORKER_PREFIX):
                worker_ns += ran_ns
    return CpuTime(all_ns, worker_ns)


def family(pid: int, proc: Path = PROC) -> list[int]:
    """`pid` and its children."""
    children = [int(stat.parent.name) for stat in proc.glob("[0-9]*/stat") if _parent(stat) == pid]
    return [pid, *children]


@dataclass(frozen=True, slots=True)
class CoreTime:
    """Seconds since the start that a core was busy, and that the host gave it to other machines."""

    busy_s: float
    stolen_s: float

    def since(self, earlier: "CoreTime") -> "CoreTime":
        return CoreTime(self.busy_s - earlier.busy_s, self.stolen_s - earlier.stolen_s)


def core_time(core: int, proc: Path = PROC) -> CoreTime:
    """Of `core`, now."""
    for line in (proc / "stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            ticks = [int(field) for field in fields[: _STOLEN + 1]]
            not_busy = ticks[_IDLE] + ticks[_IOWAIT] + ticks[_STOLEN]
            tick_s = 1 / os.sysconf("SC_CLK_TCK")
            return CoreTime((sum(ticks) - not_busy) * tick_s, ticks[_STOLEN] * tick_s)
    raise ValueError(f"there is no core {core}")


def _parent(stat: Path) -> int | None:
    try:
        # The name, in parentheses, may hold anything; the parent is the second field after it.
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None

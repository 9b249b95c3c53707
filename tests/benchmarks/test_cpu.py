"""CPU time as it is read of `/proc`."""

import os
from pathlib import Path

from benchmarks.cpu import CoreTime, core_time, cpu_time


def thread(proc: Path, pid: int, tid: int, *, name: str, ran_ns: int) -> None:
    task = proc / str(pid) / "task" / str(tid)
    task.mkdir(parents=True)
    (task / "comm").write_text(f"{name}\n")
    (task / "schedstat").write_text(f"{ran_ns} 5 6\n")


def process(proc: Path, pid: int, parent: int) -> None:
    (proc / str(pid)).mkdir(exist_ok=True)
    (proc / str(pid) / "stat").write_text(f"{pid} (a ) (b) S {parent} 1 1")


def test_cpu_time_is_of_all_threads_and_children_and_tells_workers_apart(tmp_path: Path) -> None:
    thread(tmp_path, 10, 10, name="python", ran_ns=100)
    thread(tmp_path, 10, 11, name="spanway-0", ran_ns=1000)
    thread(tmp_path, 20, 20, name="nginx", ran_ns=7)
    thread(tmp_path, 30, 30, name="stranger", ran_ns=90_000)
    for pid, parent in ((10, 1), (20, 10), (30, 1)):
        process(tmp_path, pid, parent)
    used = cpu_time(10, tmp_path)
    assert (used.all_ns, used.worker_ns) == (1107, 1000)


def test_core_is_busy_when_it_neither_idles_nor_was_taken_away(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  9 9 9 9 9 9 9 9\ncpu1 1 2 4 1000 500 8 16 7 99 99\n")
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    assert core_time(1, tmp_path) == CoreTime(busy_s=31 * tick_s, stolen_s=7 * tick_s)

"""Child processes of a benchmark: each on one core, each ended by its pid.

Rule: a child that says too much or dies is the benchmark's failure, told with its last lines.
"""

import ctypes
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

READY_S = 30.0
FILES_MAX = 40_000
"""Open files of a child, where the hard limit allows so many: 10,000 connections, and as many again
for a server that reckons with both sides. No more, since some allocate by it."""
STOP_S = 10.0
POLL_S = 0.05
LAST_WORDS_BYTES_MAX = 2000
NICE = -10
"""Priority of all children alike, where that is allowed: what else runs here disturbs less."""

_PR_SET_TIMERSLACK = 29
_SBIN = "/usr/sbin:/usr/local/sbin"
"""Where servers are installed, which is not on everybody's PATH."""


_INSTALL = "install the packages of tests/parts/debian-packages.txt, and run `make bench`."


class BenchError(Exception):
    """The benchmark cannot go on; the message is for the person at the terminal."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where, so that a server competes with nobody of ours for its core."""

    server: int
    load: int
    origin: int

    @property
    def of_two_workers(self) -> frozenset[int]:
        """For a server with two workers; the second one shares its core with the load."""
        return frozenset((self.server, self.load))


def cores() -> Cores:
    """The first core for the server under test; load and origin share the second one if need be.

    Raises:
        BenchError: there is only one core.
    """
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) == 1:
        raise BenchError("One core is not enough: the load would compete with the servers.")
    return Cores(server=usable[0], load=usable[1], origin=usable[min(2, len(usable) - 1)])


def exit_code(name: str, work: Callable[[Path], object]) -> int:
    """Of the program `name` that does `work` in a directory of its own: 1 where nothing could be
    measured, 130 when it is interrupted."""
    try:
        with tempfile.TemporaryDirectory(prefix=f"spanway-{name}-") as directory:
            work(Path(directory))
    except BenchError as err:
        print(f"{name}: {err}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


class Children:
    """The running children. Leaving the context ends them, newest first; SIGTERM does so, too."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Children":
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._running.values()):
            _end(process)

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        cores: Collection[int],
        ready: Callable[[], bool],
        env: Mapping[str, str] | None = None,
    ) -> int:
        """Starts `argv` on `cores` and waits until it is `ready`; returns the pid.

        Raises:
            BenchError: it ended instead, or is not ready within `READY_S`.
        """
        output = self._directory / f"{name}.log"
        with output.open("wb") as sink:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=_environment(env or {}),
                preexec_fn=partial(settle, cores),  # noqa: PLW1509 - this program has no threads
                start_new_session=True,
            )
        self._running[process.pid] = process
        deadline_s = time.monotonic() + READY_S
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise BenchError(f"{name} does not serve:\n{_last_words(output)}")
            time.sleep(POLL_S)
        return process.pid

    def end(self, pid: int) -> None:
        """Ends one of them before the others."""
        _end(self._running.pop(pid))


def run(
    argv: Sequence[str],
    *,
    cores: Collection[int],
    timeout_s: float,
    prepare: Callable[[], None] | None = None,
) -> str:
    """What `argv` prints, run on `cores`; `prepare` is called in the child before it begins.

    Raises:
        BenchError: it failed or took longer than `timeout_s`.
    """
    try:
        return subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=True,
            preexec_fn=partial(settle, cores, prepare),
        ).stdout.decode()
    except subprocess.CalledProcessError as err:
        said = (err.stderr or err.stdout)[-LAST_WORDS_BYTES_MAX:].decode(errors="replace")
        raise BenchError(f"{argv[0]} failed: {said}") from err
    except subprocess.TimeoutExpired as err:
        raise BenchError(f"{argv[0]} did not end within {timeout_s:g} s.") from err


def program(name: str) -> str:
    """The path of an installed program.

    Raises:
        BenchError: it is not installed.
    """
    own = Path(sys.executable).parent
    path = shutil.which(name, path=f"{own}:{os.environ.get('PATH', '')}:{_SBIN}")
    if path is None:
        raise BenchError(f"{name} is missing: {_INSTALL}")
    return path


def be_punctual() -> None:
    """In the child: to run at once when it is due, before every other process on its core.

    Without the privilege for `SCHED_FIFO`, a sleep at least does not end 50 µs late.
    """
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def settle(cores: Collection[int], prepare: Callable[[], None] | None = None) -> None:
    """In the child: to its cores, and before everything else that this machine does."""
    os.sched_setaffinity(0, cores)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    allowed = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], FILES_MAX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))
    if prepare is not None:
        prepare()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    """What is set for other programs (where spans go, which proxy to use) stays out."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "SPANWAY_"))}
    return {**kept, "NO_PROXY": "127.0.0.1", **added}


def listens(port: int) -> bool:
    """Whether something accepts connections at `port` of 127.0.0.1."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def answers(url: str) -> bool:
    """Whether `url` answers, and with less than 500."""
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except urllib.error.HTTPError as err:
        return err.code < 500  # noqa: PLR2004 - it serves, though not this
    except OSError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_words(output: Path) -> str:
    return output.read_bytes()[-LAST_WORDS_BYTES_MAX:].decode(errors="replace") or "it said nothing"

"""A child process with its log in a file, awaited by a condition and ended by its id.

Rules: no sleeping for a guess; every wait has a condition, a deadline and a name. A failure shows
the end of the log.
"""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

POLL_INTERVAL_S = 0.02
"""Short beside the quickest start (Jaeger, 0.1 s), and cheap."""
LOG_TAIL_LINES = 40
STOP_DEADLINE_S = 20.0
"""kube-apiserver ends in about a second; this is for a loaded machine."""

# Children die with this process, even if it is killed (PR_SET_PDEATHSIG). The kernel means the
# *thread* that forked, so one thread that lives as long as the process forks them all.
_forker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forker")


class SceneError(Exception):
    """A part did not do what the scene needs; the message holds the end of its log."""


def wait_until(
    condition: Callable[[], T | None], what: str | Callable[[], str], *, deadline_s: float
) -> T:
    """Polls until `condition` returns something true, and returns that.

    `what` is waited for; a function of that text is called when it did not happen.

    Raises:
        SceneError: it did not within `deadline_s` seconds.
    """
    end_s = time.monotonic() + deadline_s
    while True:
        if found := condition():
            return found
        if time.monotonic() >= end_s:
            missed = what if isinstance(what, str) else what()
            raise SceneError(f"not within {deadline_s} s: {missed}")
        time.sleep(POLL_INTERVAL_S)


class Process:
    """One run of one program, from construction to `stop`."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Starts it. `log` is appended to; `environment` is added to this process's own."""
        self.command = [str(word) for word in command]
        self.name = Path(self.command[0]).name
        self.log = log
        # A group of its own: Ctrl-C reaches the test runner alone, which stops parts in order.
        with log.open("ab") as output:
            self._child = _forker.submit(
                subprocess.Popen,
                ["setpriv", "--pdeathsig", "KILL", *self.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                process_group=0,
            ).result()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def is_running(self) -> bool:
        return self._child.poll() is None

    def wait_until(self, condition: Callable[[], T | None], *, deadline_s: float = 30.0) -> T:
        """As the function of that name, and fails at once when the process has ended."""

        def condition_while_running() -> T | None:
            found = condition()
            if not found and not self.is_running:
                raise SceneError(f"it ended with code {self._child.returncode}")
            return found

        try:
            return wait_until(condition_while_running, "it is ready", deadline_s=deadline_s)
        except SceneError as err:
            raise SceneError(f"{self.name}: {err}\n{self.log_tail()}") from err

    def stop(self, signal_number: signal.Signals = signal.SIGTERM) -> int:
        """Asks it to end, and kills it when it does not in `STOP_DEADLINE_S`.

        Returns:
            Its exit code; negative is the signal that ended it. Stopping twice is harmless.
        """
        with contextlib.suppress(ProcessLookupError):
            self._child.send_signal(signal_number)
        return self.wait_for_end()

    def wait_for_end(self) -> int:
        """Its exit code when it ends by itself; killed like in `stop` when it does not."""
        try:
            return self._child.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            return self._child.wait()

    def kill(self) -> None:
        """Ends it as a crash would: without a chance to clean up."""
        self._child.kill()
        self._child.wait()

    @contextlib.contextmanager
    def throttled(self, *, run_s: float, stop_s: float) -> Iterator[None]:
        """Lets it run by turns only, as a CPU limit does to a container that has used its share."""
        is_over = threading.Event()

        def stop_and_go() -> None:
            while not is_over.is_set():
                self._child.send_signal(signal.SIGSTOP)
                is_over.wait(stop_s)
                self._child.send_signal(signal.SIGCONT)
                is_over.wait(run_s)

        thread = threading.Thread(target=stop_and_go)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def mapped_files(self) -> str:
        """The files whose code it has loaded so far: how far a start has come."""
        try:
            return Path(f"/proc/{self.pid}/maps").read_text()
        except OSError:
            return ""

    def log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "\n".join([f"--- the end of {self.log}:", *lines])

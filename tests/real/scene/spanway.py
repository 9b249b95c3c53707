"""The real `spanway`: the command as users have it, as a child process."""

import contextlib
import http.client
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scene.client import Answer, ask
from scene.http import HttpError, Json, request
from scene.namespace import free_port
from scene.process import Process, wait_until

CHECKOUT = Path(__file__).parents[3]
PROGRAM = Path(sys.executable).with_name("spanway")
START_DEADLINE_S = 30.0
CHANGE_DEADLINE_S = 15.0
COMMAND_DEADLINE_S = 30.0
READY_LINE = re.compile(r"^spanway \S+ ready: .*$", re.MULTILINE)


@dataclass(frozen=True)
class Ended:
    """A command that came to its end by itself."""

    code: int
    output: str
    errors: str


def command(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> Ended:
    """Runs `spanway` to its end, with no environment but `environment`."""
    result = subprocess.run(
        [PROGRAM, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_DEADLINE_S,
        env=dict(environment or {}),
    )
    return Ended(result.returncode, result.stdout, result.stderr)


class Spanway:
    """One `spanway run`, on free ports. A context manager: started by entering, then stopped.

    `python` is another environment's, where the checkout is not installed.
    `http` and `admin` are its addresses (`IP:PORT`); `flags` say where objects come from, and
    more. Entering does not wait until it is ready; `wait_until_ready` does.
    """

    def __init__(
        self,
        directory: Path,
        *flags: str | Path,
        environment: Mapping[str, str] | None = None,
        address: str = "127.0.0.1",
        python: Path | None = None,
    ) -> None:
        self.log = directory / "spanway.log"
        self.http = f"{address}:{free_port(address)}"
        self.admin = f"127.0.0.1:{free_port()}"
        self._flags: Sequence[str | Path] = flags
        # The traces of a test are not to lie with those of whoever runs it.
        self._environment = {"SPANWAY_STORE": "memory", **(environment or {})}
        self._program: list[str | Path] = [PROGRAM]
        if python is not None:
            start = "import sys; from ingress_controller.cli import main; sys.exit(main())"
            self._program = [python, "-c", start]
            self._environment = {**self._environment, "PYTHONPATH": str(CHECKOUT)}
        self._process: Process | None = None

    def add(self, *flags: str | Path, **variables: str) -> None:
        """More flags and variables, for which its addresses had to be known; before it starts."""
        self._flags = [*self._flags, *flags]
        self._environment = {**self._environment, **variables}

    def __enter__(self) -> "Spanway":
        self.log.parent.mkdir(parents=True, exist_ok=True)
        addresses = ["--http", self.http, "--admin", self.admin, "--workers", "2"]
        self._process = Process(
            [*self._program, "run", *addresses, *self._flags],
            log=self.log,
            environment=self._environment,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()

    @property
    def process(self) -> Process:
        assert self._process is not None, "it is started by entering its context"
        return self._process

    @property
    def said(self) -> str:
        """All that it has printed, output and errors."""
        return self.log.read_text()

    @property
    def ready_line(self) -> str:
        found = READY_LINE.search(self.said)
        return found.group() if found else ""

    def wait_until_ready(self) -> "Spanway":
        """Returns when it has said so and `/readyz` agrees."""
        self.process.wait_until(
            lambda: self.ready_line and self.readiness == (200, "ok\n"),
            deadline_s=START_DEADLINE_S,
        )
        return self

    def stop(self, signal_number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code, after it has finished what it was doing."""
        return self.process.stop(signal_number)

    def ask(
        self,
        path: str = "/",
        *,
        host: str,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> Answer:
        """One request through it, on a connection of its own."""
        return ask(self.http, path, host=host, method=method, headers=headers, content=content)

    def wait_for_answer(self, path: str = "/", *, host: str, status: int, text: str = "") -> Answer:
        """The first answer with `status` and a body that contains `text`: a change has arrived."""
        last: Answer | None = None

        def accepted() -> Answer | None:
            nonlocal last
            with contextlib.suppress(OSError, http.client.HTTPException):
                last = self.ask(path, host=host)
            return last if last and last.status == status and text in last.text else None

        return wait_until(
            accepted,
            lambda: f"{host}{path} answers {status} {text}; last {last}\n{self.tail()}",
            deadline_s=CHANGE_DEADLINE_S,
        )

    def wait_for_endpoints(self, backend: str, addresses: set[str]) -> None:
        """Returns when `backend` (`namespace/service:port`) has exactly these in the table."""
        wait_until(
            lambda: self.endpoints(backend) == addresses,
            lambda: f"{backend} has {addresses}; it has {self.endpoints(backend)}\n{self.tail()}",
            deadline_s=CHANGE_DEADLINE_S,
        )

    def wait_for_problem(self, text: str) -> Json:
        """The first entry of `/api/problems` whose text contains `text`."""
        return wait_until(
            lambda: next((p for p in self.problems() if text in p["text"]), None),
            lambda: f'a problem says "{text}"; there are {self.problems()}',
            deadline_s=CHANGE_DEADLINE_S,
        )

    def endpoints(self, backend: str) -> set[str]:
        """The addresses of a backend's endpoints; empty also where there is no such backend."""
        backends = self.admin_answer("/api/routes")["backends"]
        of = next((b["endpoints"] for b in backends if b["key"] == backend), ())
        return {endpoint["address"] for endpoint in of}

    def export_stats(self) -> Json:
        """Of its only exporter beside the store of traces."""
        (stats,) = [each for each in self.exporters_stats() if each["name"] != "store"]
        return stats

    def exporters_stats(self) -> Json:
        return self.admin_answer("/api/stats")["exporters"]

    def problems(self) -> Json:
        return self.admin_answer("/api/problems")["problems"]

    @property
    def readiness(self) -> tuple[int, str]:
        """Status and text of `/readyz`; (0, "") while nothing answers."""
        try:
            answer = ask(self.admin, "/readyz", host=self.admin)
        except (OSError, http.client.HTTPException):
            return 0, ""
        return answer.status, answer.text

    def admin_answer(self, path: str) -> Json:
        try:
            return request("GET", f"http://{self.admin}{path}")
        except HttpError as err:
            raise AssertionError(f"{err}\n{self.tail()}") from err

    def tail(self) -> str:
        return self.process.log_tail()

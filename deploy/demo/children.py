"""Starts child processes, passes their lines on, and ends exactly those, by their pid.

Rules: a child never outlives `Children`, nor, where there is setpriv (Linux), a driver that is
killed; the driver alone gets the terminal's Ctrl-C, so that it can end them in order.
"""

import asyncio
import os
import shutil
import signal
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import aiohttp

STOP_S = 10.0
"""A child that has not ended by then after SIGTERM is killed."""

_DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()
"""How a child ends when we are killed, also one that is stopped."""

READY_S = 30.0
READY_POLL_S = 0.05
LAST_LINES_MAX = 8


class DemoError(Exception):
    """The demo cannot go on; the message is for the person at the terminal."""


@dataclass(eq=False)
class Child:
    """A running program. `restart_after_s` says whether it is started again when it ends."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    restart_after_s: float | None = None
    process: asyncio.subprocess.Process | None = None
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES_MAX))

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def send_signal(self, number: signal.Signals) -> None:
        """To the process, if it runs."""
        if self.process is not None and self.is_running:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)


class Children:
    """The children of one demo. An async context: leaving it ends them, newest first.

    `say` is given what they print, and what happens to them, once `is_loud` is set.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.is_loud = False
        self._say = say
        self._children: list[Child] = []
        self._keepers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Children":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_loud = False
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for child in reversed(self._children):
            await _end(child)

    @property
    def newest(self) -> Child:
        return self._children[-1]

    async def start(self, child: Child) -> Child:
        self._children.append(child)
        await _spawn(child)
        self._keepers.append(asyncio.create_task(self._keep(child)))  # ended in __aexit__
        return child

    async def ready(self, child: Child, url: str) -> None:
        """Returns when `url` answers below 500.

        Raises:
            DemoError: the child ended instead, or is not ready within `READY_S`.
        """
        try:
            async with asyncio.timeout(READY_S), aiohttp.ClientSession() as session:
                while not await _answers(session, url):
                    if not child.is_running:
                        raise DemoError(f"{child.name} ended while starting:\n{_last_words(child)}")
                    await asyncio.sleep(READY_POLL_S)
        except TimeoutError:
            words = _last_words(child)
            raise DemoError(f"{child.name} is not ready after {READY_S:g} s:\n{words}") from None

    async def first_end(self, child: Child) -> None:
        """Waits until a child that is not started again ends; raises DemoError then."""
        keeper = self._keepers[self._children.index(child)]
        await asyncio.wait([keeper])
        raise DemoError(f"{child.name} ended:\n{_last_words(child)}")

    async def _keep(self, child: Child) -> None:
        while True:
            assert child.process is not None
            assert child.process.stdout is not None
            async for line in child.process.stdout:
                child.last_lines.append(line.decode(errors="replace").rstrip())
                if self.is_loud:
                    self._say(f"{child.name} │ {child.last_lines[-1]}")
            code = await child.process.wait()
            if child.restart_after_s is None:
                return
            if self.is_loud:
                how = f"ended ({_how(code)}) and starts again in {child.restart_after_s:g} s"
                self._say(f"{child.name} {how}")
            await asyncio.sleep(child.restart_after_s)
            await _spawn(child)
            if self.is_loud:
                self._say(f"{child.name} runs again (pid {child.pid})")


def require_free(*addresses: str) -> None:
    """Raises DemoError for the first `ADDR:PORT` that something already listens on."""
    for address in addresses:
        host, _, port = address.rpartition(":")
        try:
            socket.create_server((host, int(port))).close()
        except OSError as err:
            raise DemoError(
                f"{address} cannot be used ({os.strerror(err.errno or 0)}): end what listens there,"
                " or choose another address where an option allows it (--help)."
            ) from err


async def _spawn(child: Child) -> None:
    if not shutil.which(child.argv[0]):
        raise DemoError(f"{child.argv[0]} is missing: `make build` makes it.")
    child.process = await asyncio.create_subprocess_exec(
        *_DIES_WITH_US,
        *child.argv,
        env={**_inherited_environment(), **child.environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )


def _inherited_environment() -> dict[str, str]:
    """What is set for other programs (where spans go, which proxy to use) stays out."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "SPANWAY_"))}
    return {**kept, "NO_PROXY": "*", "PYTHONUNBUFFERED": "1"}


async def _end(child: Child) -> None:
    if child.process is None or not child.is_running:
        return
    child.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_S):
            await child.process.communicate()
    except TimeoutError:
        child.process.kill()
        await child.process.communicate()


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.status < 500  # noqa: PLR2004 - below: the server is there
    except aiohttp.ClientError:
        return False


def _how(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"


def _last_words(child: Child) -> str:
    return "\n".join(f"  {line}" for line in child.last_lines) or "  It printed nothing."

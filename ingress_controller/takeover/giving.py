"""The process that serves now: it waits at a path for the one that follows it.

Rules: until the other one has said that it accepts, nothing changes here, whatever it does. One at
a time; who comes meanwhile waits.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from ingress_controller.takeover.channel import (
    PROTOCOL,
    SOCKETS_MAX,
    SOCKETS_PER_MESSAGE_MAX,
    Channel,
    Draining,
    Hello,
    Offer,
    Offered,
    Ready,
    Refused,
    TakeoverError,
    accepted,
    close_all,
)
from ingress_controller.telemetry.events import Event, emit

READY_TIMEOUT_S = 600.0  # until the new process has read its objects and listens
PAUSE_S = 1.0  # after the kernel gave no file descriptor for a connection
BACKLOG = 8
MODE = 0o600


class TakeoverFailed(Event, frozen=True):
    """Another process wanted to take over and did not; this one serves on."""

    level: ClassVar[int] = logging.WARNING
    reason: str


class TakenOver(Event, frozen=True):
    """Another process accepts from now on."""

    version: str


class Listening(NamedTuple):
    """A listening socket and the address that it is bound to."""

    address: str
    socket: socket.socket
    is_admin: bool = False


class Giver:
    """Gives what `duplicates` returns, and closes it, to the process that comes."""

    def __init__(self, path: Path, duplicates: Callable[[], Sequence[Listening]]) -> None:
        self._path = path
        self._duplicates = duplicates
        self._socket: socket.socket | None = None
        self._inode = 0
        self._is_taken = False

    def open(self) -> None:
        """Waits at the path from now on, in place of who did before. Raises TakeoverError."""
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listening.setblocking(False)
        new = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            new.unlink(missing_ok=True)
            listening.bind(str(new))
            new.chmod(MODE)
            listening.listen(BACKLOG)
            self._inode = new.stat().st_ino
            new.replace(self._path)
        except OSError as err:
            listening.close()
            reason = os.strerror(err.errno).lower() if err.errno else str(err)
            raise TakeoverError(f"a process to come cannot be waited for: {reason}") from err
        self._socket = listening

    async def run(self) -> None:
        """Until another process accepts in place of this one."""
        assert self._socket is not None, "it is open"
        while True:
            try:
                channel = Channel(await accepted(self._socket))
            except OSError as err:
                emit(TakeoverFailed(str(err)))
                await asyncio.sleep(PAUSE_S)
                continue
            try:
                version = await self._give(channel)
            except TakeoverError as err:
                emit(TakeoverFailed(str(err)))
            else:
                emit(TakenOver(version))
                return
            finally:
                channel.close()

    def close(self) -> None:
        """Waits no more. The path goes too, unless it is another process's: who takes over puts a
        socket of its own there, at any time, and so it is left."""
        if self._socket is None:
            return
        try:
            # Before the socket is closed: its inode is nobody else's while it is open.
            if not self._is_taken and self._path.stat().st_ino == self._inode:
                self._path.unlink()
        except OSError as err:
            emit(TakeoverFailed(str(err)))  # no harm: who connects is refused
        self._socket.close()
        self._socket = None

    async def _give(self, channel: Channel) -> str:
        try:
            channel.check_user()
            hello, unasked = await channel.receive(Hello)
            close_all(unasked)
            _check_protocol(hello)
            await self._offer(channel)
            _, unasked = await channel.receive(Ready, timeout_s=READY_TIMEOUT_S)
            close_all(unasked)
        except TakeoverError as err:
            await _refuse(channel, str(err))
            raise
        self._is_taken = True
        await channel.send(Draining())
        return hello.version

    async def _offer(self, channel: Channel) -> None:
        duplicates = await asyncio.to_thread(self._duplicates)
        try:
            if len(duplicates) > SOCKETS_MAX:
                raise TakeoverError(
                    f"it listens on {len(duplicates)} sockets, and {SOCKETS_MAX} may be handed over"
                )
            for offer, sockets in _offers(duplicates):
                await channel.send(offer, sockets)
            await channel.send(Offered(len(duplicates)))
        finally:
            close_all(each.socket for each in duplicates)


def _check_protocol(hello: Hello) -> None:
    if hello.protocol != PROTOCOL:
        raise TakeoverError(
            f"it speaks version {PROTOCOL} of the hand-over and the new one {hello.protocol};"
            " stop one before the other starts"
        )


def _offers(listening: Sequence[Listening]) -> Iterator[tuple[Offer, list[socket.socket]]]:
    by_offer: dict[Offer, list[socket.socket]] = {}
    for each in listening:
        by_offer.setdefault(Offer(each.address, each.is_admin), []).append(each.socket)
    for offer, sockets in by_offer.items():
        for begin in range(0, len(sockets), SOCKETS_PER_MESSAGE_MAX):
            yield offer, sockets[begin : begin + SOCKETS_PER_MESSAGE_MAX]


async def _refuse(channel: Channel, reason: str) -> None:
    try:
        await channel.send(Refused(reason[:1000]))
    except TakeoverError:
        return  # it is gone

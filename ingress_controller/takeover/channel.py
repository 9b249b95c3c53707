"""What two processes say to each other during a hand-over, and how: messages of JSON, some with
sockets.

    new: Hello → old: Offer… Offered → new listens → new: Ready → old: Draining

and Refused from the old one at any time.

Rules: a message is one packet, bounded in bytes and sockets; every wait is bounded in time; both
sides check that the other one's user is theirs. Received sockets are closed unless handed on.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

PROTOCOL = 1
MESSAGE_BYTES_MAX = 4096  # the longest is an offer: 64 addresses
SOCKETS_PER_MESSAGE_MAX = 64  # the kernel allows 253 (SCM_MAX_FD)
SOCKETS_MAX = 16_384  # of one hand-over: 64 addresses of 256 workers
REPLY_TIMEOUT_S = 5.0  # until the other process says the next word
PATH_BYTES_MAX = 100  # the kernel allows 107, and the next process binds `PATH.PID` first

_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid


class TakeoverError(Exception):
    """It did not work; the message is for the user, begins small and has no full stop."""


class ClosedError(TakeoverError):
    """The other process ended the connection without a word."""


class Message(msgspec.Struct, frozen=True, tag=True):
    """One packet."""


class Hello(Message, frozen=True):
    """The new process asks for the sockets."""

    protocol: int
    version: str


class Offer(Message, frozen=True):
    """Sockets that are bound to `address`, with the packet; `is_admin` says whose they are."""

    address: str
    is_admin: bool = False


class Offered(Message, frozen=True):
    """That was all; so many sockets."""

    count: int


class Ready(Message, frozen=True):
    """The new process accepts on what it wants."""


class Draining(Message, frozen=True):
    """The old one accepts no more."""


class Refused(Message, frozen=True):
    """One side goes no further; the reason is for the user of the other."""

    reason: str


_M = TypeVar("_M", bound=Message)
_ANY = Hello | Offer | Offered | Ready | Draining | Refused


class Channel:
    """A connection to the other process. Owns `connected`."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self._socket = connected

    def close(self) -> None:
        self._socket.close()

    def check_user(self) -> None:
        """Raises TakeoverError where the other process is not of our user."""
        credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        _, user, _ = _PEER.unpack(credentials)
        if user != os.geteuid():
            raise TakeoverError(f"the other process is user {user}'s, this one {os.geteuid()}'s")

    async def send(self, message: Message, sockets: Sequence[socket.socket] = ()) -> None:
        """Raises TakeoverError."""
        data = msgspec.json.encode(message)
        assert len(data) <= MESSAGE_BYTES_MAX, "we know what we say"
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                while not self._is_sent(data, sockets):
                    await _ready(self._socket, to_write=True)
        except TimeoutError:
            raise TakeoverError("the other process does not read what it is told") from None
        except OSError as err:
            raise ClosedError(f"the connection to the other process broke: {_reason(err)}") from err

    async def receive(
        self, *kinds: type[_M], timeout_s: float = REPLY_TIMEOUT_S
    ) -> tuple[_M, list[socket.socket]]:
        """The next message, which must be one of `kinds`, and its sockets. Raises TakeoverError."""
        try:
            async with asyncio.timeout(timeout_s):
                while (packet := self._packet()) is None:
                    await _ready(self._socket, to_write=False)
        except TimeoutError:
            raise TakeoverError(f"the other process has said nothing for {timeout_s:g} s") from None
        except OSError as err:
            raise ClosedError(f"the connection to the other process broke: {_reason(err)}") from err
        data, sockets = packet
        try:
            return _read(data, kinds), sockets
        except TakeoverError:
            close_all(sockets)
            raise

    def _is_sent(self, data: bytes, sockets: Sequence[socket.socket]) -> bool:
        try:
            socket.send_fds(self._socket, [data], [each.fileno() for each in sockets])
        except BlockingIOError:
            return False
        return True

    def _packet(self) -> tuple[bytes, list[socket.socket]] | None:
        try:
            data, descriptors, flags, _ = socket.recv_fds(
                self._socket, MESSAGE_BYTES_MAX, SOCKETS_PER_MESSAGE_MAX, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return None
        sockets = _sockets(descriptors)
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            close_all(sockets)
            raise TakeoverError("a message or its sockets did not fit; is `ulimit -n` too small?")
        return data, sockets


def close_all(sockets: Iterable[socket.socket]) -> None:
    """Closes them."""
    for each in sockets:
        each.close()


def _read(data: bytes, kinds: tuple[type[_M], ...]) -> _M:
    if not data:
        raise ClosedError("the other process closed the connection")
    try:
        message = msgspec.json.decode(data, type=_ANY)
    except msgspec.MsgspecError as err:
        raise TakeoverError("the other process speaks something else") from err
    if isinstance(message, Refused):
        raise TakeoverError(f"the other process refuses: {message.reason}")
    if not isinstance(message, kinds):
        raise TakeoverError(f"the other process said {type(message).__name__} out of turn")
    return message


def _sockets(descriptors: Sequence[int]) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    for index, descriptor in enumerate(descriptors):
        try:
            sockets.append(socket.socket(fileno=descriptor))
        except OSError as err:
            close_all(sockets)
            for unread in descriptors[index:]:
                os.close(unread)
            raise TakeoverError("the other process sent a file that is no socket") from err
    return sockets


async def _ready(waited_for: socket.socket, *, to_write: bool) -> None:
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    add, remove = (
        (loop.add_writer, loop.remove_writer) if to_write else (loop.add_reader, loop.remove_reader)
    )
    add(waited_for.fileno(), event.set)
    try:
        await event.wait()
    finally:
        remove(waited_for.fileno())


async def accepted(listening: socket.socket) -> socket.socket:
    """The next connection of a socket that does not block. Raises OSError."""
    while True:
        try:
            return listening.accept()[0]
        except BlockingIOError:
            await _ready(listening, to_write=False)


def _reason(err: OSError) -> str:
    return os.strerror(err.errno).lower() if err.errno else str(err)

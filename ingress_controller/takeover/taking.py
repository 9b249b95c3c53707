"""The process that starts: it asks the one that serves now for its sockets, if there is one.

Rule: whatever fails here ends the start and leaves the other one serving; but where the other one
has died on the way, its sockets are ours.
"""

import errno
import socket
import stat
from pathlib import Path

from ingress_controller.takeover.channel import (
    PROTOCOL,
    SOCKETS_MAX,
    Channel,
    ClosedError,
    Draining,
    Hello,
    Offer,
    Offered,
    Ready,
    TakeoverError,
    close_all,
)
from ingress_controller.takeover.giving import Listening


class Taken:
    """The sockets of the process before. They are the caller's; `close` what is left."""

    def __init__(self, path: Path, channel: Channel, sockets: list[Listening]) -> None:
        self._path = path
        self._channel = channel
        self.sockets = sockets

    def take_admin(self, address: str) -> socket.socket | None:
        """The socket of the admin server, if it is bound to `address`."""
        for each in self.sockets:
            if each.is_admin and each.address == address:
                self.sockets.remove(each)
                return each.socket
        return None

    async def finish(self) -> None:
        """Tells the process before that this one accepts, and returns when it accepts no more.

        Raises:
            TakeoverError: it serves on.
        """
        try:
            await self._channel.send(Ready())
            _, unasked = await self._channel.receive(Draining)
            close_all(unasked)
        except ClosedError:
            if (channel := _connected(self._path)) is not None:
                channel.close()
                raise

    def close(self) -> None:
        """Closes the connection and the sockets that nobody took."""
        self._channel.close()
        close_all(each.socket for each in self.sockets)


async def take_over(path: Path, version: str) -> Taken | None:
    """The sockets of the process that waits at `path`; None if none does.

    Raises:
        TakeoverError: there is one, but it does not hand them over.
    """
    channel = _connected(path)
    if channel is None:
        return None
    sockets: list[Listening] = []
    try:
        channel.check_user()
        await channel.send(Hello(PROTOCOL, version))
        await _receive(channel, sockets)
    except BaseException:
        channel.close()
        close_all(each.socket for each in sockets)
        raise
    return Taken(path, channel, sockets)


async def _receive(channel: Channel, sockets: list[Listening]) -> None:
    while True:
        message, received = await channel.receive(Offer, Offered)
        if isinstance(message, Offered):
            close_all(received)
            if message.count != len(sockets):
                raise TakeoverError(f"{len(sockets)} of {message.count} sockets arrived")
            return
        assert isinstance(message, Offer), "the only other kind"
        sockets += [Listening(message.address, each, message.is_admin) for each in received]
        if not received or len(sockets) > SOCKETS_MAX:
            raise TakeoverError("the other process offers no sockets, or too many")
        for each in received:
            _check(each, message.address)


def _check(received: socket.socket, address: str) -> None:
    is_tcp = received.family in (socket.AF_INET, socket.AF_INET6) and (
        received.type == socket.SOCK_STREAM
    )
    if not is_tcp or not received.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise TakeoverError(f"what the other process sent for {address} does not listen")
    if bound_address(received) != address:
        raise TakeoverError(f"the socket for {address} is bound to {bound_address(received)}")


def bound_address(bound: socket.socket) -> str:
    """`127.0.0.1:80` or `[::1]:80`."""
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if bound.family == socket.AF_INET6 else f"{host}:{port}"


def _connected(path: Path) -> Channel | None:
    """To the process that waits at `path`, if one does."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise TakeoverError("this is a file, not a socket")
    except FileNotFoundError:
        return None
    except OSError as err:
        raise TakeoverError(f"it cannot be looked at: {_why_not(err)}") from err
    connecting = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connecting.setblocking(False)
    try:
        connecting.connect(str(path))
    except OSError as err:
        connecting.close()
        if err.errno in (errno.ECONNREFUSED, errno.ENOENT):
            return None  # what is left of a process that has died
        raise TakeoverError(_why_not(err)) from err
    return Channel(connecting)


def _why_not(err: OSError) -> str:
    match err.errno:
        case errno.EACCES | errno.EPERM:
            return "the socket is another user's"
        case errno.EPROTOTYPE:
            return "the socket is another program's"
        case errno.EAGAIN:
            return "too many processes want to take over"
        case _:
            return (err.strerror or str(err)).lower()

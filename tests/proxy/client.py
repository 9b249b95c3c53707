"""A client of bytes: it sends what it is told to, and reads responses strictly."""

import asyncio
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from message import (
    DEADLINE_S,
    HEAD_END,
    READ_LIMIT_BYTES,
    Head,
    Tap,
    parse_head,
    read_body,
    request,
    status_of,
    within,
)


@dataclass(frozen=True)
class Response:
    """A final response and the interim ones before it."""

    status: int
    head: Head
    body: bytes
    interim: tuple[Head, ...] = ()
    trailers: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        return self.body.decode()


class Client:
    """One connection. Leaving it closes it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._is_tls = writer.get_extra_info("ssl_object") is not None

    @classmethod
    async def connect(
        cls,
        address: str,
        *,
        receive_buffer_bytes: int | None = None,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
    ) -> Self:
        """Args:
        address: `127.0.0.1:80` or `[::1]:80`.
        tls: with a handshake by it, which asks for `server_name`.
        Raises: ssl.SSLError: the handshake failed; the alert is its `reason`.
        """
        host, _, port = address.rpartition(":")
        family = socket.AF_INET6 if "[" in host else socket.AF_INET
        connecting = socket.socket(family)
        connecting.setblocking(False)
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer_bytes is not None:
            connecting.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        loop = asyncio.get_running_loop()
        try:
            await within(loop.sock_connect(connecting, (host.strip("[]"), int(port))))
        except OSError:
            connecting.close()
            raise
        how: dict[str, Any] = {"sock": connecting, "limit": READ_LIMIT_BYTES}
        if tls is not None:
            # An empty name is none, and asyncio wants one or the other.
            how |= {"ssl": tls, "server_hostname": server_name or ""}
        try:
            return cls(*await within(asyncio.open_connection(**how)))
        except OSError:
            await turn()
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.writer.close()
        if self._is_tls:
            # A TLS connection takes a while to close. How it ends is not what is tested here.
            with suppress(OSError, TimeoutError):
                await within(self.writer.wait_closed())
            await turn()

    @property
    def port(self) -> int:
        """Ours."""
        port: int = self.writer.get_extra_info("sockname")[1]
        return port

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await within(self.writer.drain())

    async def response(self, method: str = "GET") -> Response:
        """The next final response.

        Args: method: of the request that it answers.
        Raises: asyncio.IncompleteReadError: the connection ended before the response did.
        """
        interim: list[Head] = []
        while status_of(head := await self.interim()) < 200:
            interim.append(head)
        status = status_of(head)
        body, tap = b"", Tap(self._reader)
        if method != "HEAD" and status not in {204, 304}:
            is_ended_by_close = head.one("connection") == "close"
            body = await read_body(tap, head, until_close=is_ended_by_close)
        return Response(status, head, body, tuple(interim), tap.trailers)

    async def interim(self) -> Head:
        """The next head of a response; that of an interim one is all of it."""
        return parse_head(await Tap(self._reader).readuntil(HEAD_END))

    async def ask(self, data: bytes) -> Response:
        """Sends a whole request and reads its response."""
        await self.send(data)
        return await self.response(data[: data.index(b" ")].decode())

    async def ask_after(self, preamble: bytes, data: bytes) -> Response:
        """As `ask`, on a connection that begins with something else."""
        await self.send(preamble)
        return await self.ask(data)

    async def get(self, target: str = "/", *fields: str, host: str = "shop.example") -> Response:
        return await self.ask(request("GET", target, *fields, host=host))

    async def receive(self, count: int) -> bytes:
        """The next `count` bytes."""
        return await within(self._reader.readexactly(count))

    async def some(self) -> bytes:
        """Whatever comes next."""
        return await within(self._reader.read(READ_LIMIT_BYTES))

    async def rest(self) -> bytes:
        """All that comes until the proxy closes the connection, which it must do in good order.

        Raises: ConnectionResetError: it was reset.
        """
        return await within(self._reader.read(-1))

    async def closed(self) -> bytes:
        """All that comes until the proxy closes the connection, in good order or not: what it did
        not read makes the kernel reset it."""
        try:
            return await self.rest()
        except ConnectionResetError:
            return b""

    def reset(self) -> None:
        self.writer.transport.abort()


async def turn() -> None:
    """Lets asyncio close what has failed: it does so in the loop's next turn, and if there is none
    it warns."""
    await asyncio.sleep(0)


async def refusal(address: str) -> None:
    """Returns when nobody listens there any more: workers close their sockets soon, not at once."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                async with await Client.connect(address):
                    await asyncio.sleep(0)
            except ConnectionRefusedError:
                return
            except ConnectionResetError:
                continue  # It was in the backlog of a socket that was closed.

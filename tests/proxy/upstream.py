"""An endpoint that keeps the exact bytes of what it got, and answers by script."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from message import (
    HEAD_END,
    READ_LIMIT_BYTES,
    Head,
    Tap,
    check_request,
    parse_head,
    read_body,
    response,
    within,
)

from proxy.table import Endpoint

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER for zero seconds: closing sends RST."""


class Exchange:
    """One request as it came, and the way to answer it."""

    def __init__(self, reader: Tap, writer: asyncio.StreamWriter, head: Head) -> None:
        self.reader = reader
        self.writer = writer
        self.head = head
        self.request_body: bytes | None = None
        """`None` until the body was read to its end."""

    @property
    def line(self) -> str:
        return self.head.start_line

    @property
    def raw(self) -> bytes:
        """What came over the connection since the request began."""
        return bytes(self.reader.taken)

    async def body(self) -> bytes:
        if self.request_body is None:
            self.request_body = await read_body(self.reader, self.head)
        return self.request_body

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def gone(self) -> None:
        """Waits until the proxy has closed the connection."""
        try:
            while await self.reader.read(READ_LIMIT_BYTES):
                pass
        except ConnectionError:
            pass

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.writer.transport.abort()


Answer = Callable[[Exchange], Awaitable[None]]

Preamble = Callable[[Tap], Awaitable[bytes]]


def says(*parts: bytes, then_close: bool = False) -> Answer:
    """Reads the request to its end, then sends these bytes, whatever they are."""

    async def answer(exchange: Exchange) -> None:
        await exchange.body()
        for part in parts:
            await exchange.send(part)
        if then_close:
            exchange.close()

    return answer


def in_turn(*answers: Answer) -> Answer:
    """Another answer to each request; the last one from then on."""
    waiting = list(answers)

    async def answer(exchange: Exchange) -> None:
        await (waiting.pop(0) if len(waiting) > 1 else waiting[0])(exchange)

    return answer


OK = says(response(body=b"ok"))


def holds(path: str, until: asyncio.Event) -> Answer:
    """`OK`; to a request for `path` only when `until` is set."""

    async def answer(exchange: Exchange) -> None:
        if exchange.line.split()[1] == path:
            await until.wait()
        await OK(exchange)

    return answer


SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\nX-Own: 1\r\n\r\n"
)


async def echoes(exchange: Exchange) -> None:
    """Agrees to the upgrade, then sends back what it gets until the client is done."""
    await exchange.body()
    await exchange.send(SWITCHING)
    while part := await exchange.reader.read(64 * 1024):
        await exchange.send(part)
    exchange.close()


async def closes(exchange: Exchange) -> None:
    """Reads the request to its end and says nothing."""
    await exchange.body()
    exchange.close()


async def resets(exchange: Exchange) -> None:
    await exchange.body()
    exchange.reset()


class Upstream:
    """A server on a free loopback port. What it is asked must be strict, else leaving it fails.

    Args:
        tls: what connections begin with a handshake by.
        preamble: what of a connection comes before its first request is read and kept by this.
    """

    def __init__(
        self,
        answer: Answer = OK,
        *,
        send_buffer_bytes: int | None = None,
        tls: ssl.SSLContext | None = None,
        preamble: Preamble | None = None,
    ) -> None:
        self.answer = answer
        self.preambles: list[bytes] = []
        self._tls = tls
        self._with_tls: list[asyncio.StreamWriter] = []
        self._preamble = preamble
        self.exchanges: list[Exchange] = []
        self.connections_made = 0
        self._send_buffer_bytes = send_buffer_bytes
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._faults: list[Exception] = []
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._send_buffer_bytes is not None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._send_buffer_bytes)
        self._server = await asyncio.start_server(
            self._serve, sock=listening, limit=READ_LIMIT_BYTES, ssl=self._tls
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        for writer in self._with_tls:
            writer.transport.abort()  # It would wait for the other side's end of TLS.
        await asyncio.sleep(0)
        if self._faults and error is None:
            raise self._faults[0]

    @property
    def endpoint(self) -> Endpoint:
        address, port = self._server.sockets[0].getsockname()
        return Endpoint(address, port)

    @property
    def connections_open(self) -> int:
        return len(self._open)

    def complete(self) -> list[Exchange]:
        """The requests that were read to their end, in the order in which they began."""
        return [each for each in self.exchanges if each.request_body is not None]

    async def wait_for(self, state: Callable[[Self], bool]) -> None:
        """Returns when `state` holds; it is looked at whenever a request or a connection came or
        went."""
        async with self._changed:
            await within(self._changed.wait_for(lambda: state(self)))

    async def stop_listening(self) -> None:
        """New connections are refused, and kept ones closed."""
        self._server.close()
        for writer in list(self._open.values()):
            writer.close()
        await self.wait_for(lambda upstream: upstream.connections_open == 0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        if self._tls is not None:
            self._with_tls.append(writer)
        self.connections_made += 1
        await self._tell()
        try:
            if self._preamble is not None:
                self.preambles.append(await self._preamble(Tap(reader)))
            while not writer.is_closing():
                await self._serve_one(Tap(reader), writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # The proxy left, which a test that minds can see in `exchanges`.
        except asyncio.CancelledError:
            pass  # The test is over. asyncio before 3.12 would log it.
        except (ValueError, AssertionError, TimeoutError) as err:
            self._faults.append(err)
        finally:
            writer.close()
            del self._open[task]
            await self._tell()

    async def _serve_one(self, tap: Tap, writer: asyncio.StreamWriter) -> None:
        head = parse_head(await tap.readuntil(HEAD_END))
        check_request(head)
        exchange = Exchange(tap, writer, head)
        self.exchanges.append(exchange)
        await self._tell()
        await self.answer(exchange)
        await self._tell()
        if exchange.request_body is None:
            writer.close()  # Where the next request begins is not known.

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

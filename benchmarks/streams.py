"""Requests that stay: `python -m benchmarks.streams serve PORT`, `… open PORT COUNT`.

The one is an endpoint of HTTP/2 by prior knowledge that takes requests and never answers; the other
a client that sends so many over as few connections as a server allows, by `HOST` and its paths in
turn, and says "sent". Both go on until their standard input ends. They know of HTTP/2 what that
takes: settings and pings are answered, all else is passed over.

Source: RFC 9113; RFC 7541, appendix A, for the static table.
"""

import asyncio
import struct
import sys
from collections.abc import Callable

HOST = "held.example"
PATHS = 100
"""`/r0` and so on."""

STREAMS_MAX = 100
"""Of one connection: what HTTP/2 asks servers to allow at least (section 6.5.2)."""

PAUSE_S = 0.02
"""Between connections: an endpoint that connections are made to too slowly is no measurement."""

SENT = "sent"

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD = struct.Struct(">BHBBI")  # the length is the first three bytes, then type, flags, stream
_HEADERS, _SETTINGS, _PING = 1, 4, 6
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4


class Held(asyncio.Protocol):
    """A connection on which nothing is answered but what keeps it open."""

    def __init__(self, hello: bytes, preface_bytes: int) -> None:
        self._hello = hello
        self._left = preface_bytes
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._hello)

    def data_received(self, received: bytes) -> None:
        skipped = min(self._left, len(received))
        self._left -= skipped
        self._received += received[skipped:]
        while len(self._received) >= _HEAD.size:
            high, low, kind, flags, stream = _HEAD.unpack_from(self._received)
            end = _HEAD.size + (high << 16 | low)
            if len(self._received) < end:
                return
            if kind in (_SETTINGS, _PING) and not flags & _ACK:
                payload = self._received[_HEAD.size : end] if kind == _PING else b""
                self._transport.write(_frame(kind, _ACK, stream, payload))
            self._received = self._received[end:]


class Holding(Held):
    """The client's side, for which a connection that ends is a failure."""

    def connection_lost(self, exc: Exception | None) -> None:
        sys.exit(f"a connection ended: {exc or 'it was closed'}")


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return _HEAD.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def _request(stream: int, path: str) -> bytes:
    """GET over http, method and scheme from the static table, path and host as they are."""
    fields = b"\x82\x86"
    for name_index, value in ((4, path), (1, HOST)):
        fields += bytes((name_index, len(value))) + value.encode()
    return _frame(_HEADERS, _END_STREAM | _END_HEADERS, stream, fields)


async def serve(port: int) -> None:
    """Takes requests until cancelled."""
    settings = _frame(_SETTINGS, 0, 0)
    loop = asyncio.get_running_loop()
    made: Callable[[], Held] = lambda: Held(settings, len(_PREFACE))  # noqa: E731
    await (await loop.create_server(made, "127.0.0.1", port, backlog=1024)).serve_forever()


async def hold(port: int, count: int) -> None:
    """Sends so many requests; returns once they have left."""
    loop = asyncio.get_running_loop()
    for first in range(0, count, STREAMS_MAX):
        numbers = range(first, min(first + STREAMS_MAX, count))
        requests = (_request(1 + 2 * (n - first), f"/r{n % PATHS}") for n in numbers)
        hello = _PREFACE + _frame(_SETTINGS, 0, 0) + b"".join(requests)
        await asyncio.sleep(PAUSE_S)
        await loop.create_connection(lambda hello=hello: Holding(hello, 0), "127.0.0.1", port)  # type: ignore[misc]


async def main() -> None:
    what, port, *count = sys.argv[1:]
    if what == "serve":
        return await serve(int(port))
    await hold(int(port), int(count[0]))
    print(SENT, flush=True)
    return await asyncio.Event().wait() and None


if __name__ == "__main__":
    asyncio.run(main())

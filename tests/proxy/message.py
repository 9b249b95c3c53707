"""HTTP/1.1 messages, written plainly and read strictly.

Rules: what RFC 9112 lets a recipient repair is an error here, since a proxy must not send it: line
ends are CR LF, names are tokens without blanks around them, a body has one framing, chunks have
no extensions. Text is Latin-1: each character is one byte.
"""

import asyncio
import re
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

HEAD_END = b"\r\n\r\n"

DEADLINE_S = 10.0
"""For whatever is awaited. Nothing comes near it unless it hangs."""

READ_LIMIT_BYTES = 256 * 1024
"""Longer than the longest head. asyncio stops reading a socket at twice this."""

HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "upgrade", "http2-settings"}
)
"""RFC 9110, section 7.6.1, and RFC 7540, section 3.2.1."""

OWN_HOP = (
    {"connection": "upgrade", "upgrade": "echo"},
    {"connection": "upgrade", "upgrade": "websocket"},
    {"connection": "te", "te": "trailers"},
)
"""What a proxy may say of its own connection: that it wants another protocol, or trailers."""

_FIELD = re.compile(
    r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ?((?:[\x21-\xff](?:[\t\x20-\xff]*[\x21-\xff])?)?)"
)
_REQUEST_LINE = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [\x21-\x7e]+ HTTP/1\.1")
_STATUS_LINE = re.compile(r"HTTP/1\.1 ([1-9][0-9][0-9]) [\t\x20-\xff]*")

T = TypeVar("T")


class NotStrictError(ValueError):
    """The bytes are not what a careful peer would send."""


async def within(awaitable: Awaitable[T]) -> T:
    """What `awaitable` gives, or `TimeoutError` after `DEADLINE_S`."""
    async with asyncio.timeout(DEADLINE_S):
        return await awaitable


@dataclass(frozen=True)
class Head:
    """A start line and fields in their order; names are in lower case."""

    start_line: str
    fields: tuple[tuple[str, str], ...]

    def all(self, name: str) -> list[str]:
        return [value for each, value in self.fields if each == name]

    def one(self, name: str) -> str | None:
        """The value of a field that must not be repeated."""
        values = self.all(name)
        if len(values) > 1:
            raise NotStrictError(f"{name} is there {len(values)} times")
        return values[0] if values else None

    def has(self, name: str) -> bool:
        return bool(self.all(name))


def parse_head(raw: bytes) -> Head:
    """Reads a head that ends with its empty line."""
    lines = raw.removesuffix(HEAD_END).decode("latin-1").split("\r\n")
    if any(character in line for line in lines for character in "\r\n\0"):
        raise NotStrictError(f"a line end that is not CR LF, or a NUL, in {raw!r}")
    fields = []
    for line in lines[1:]:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise NotStrictError(f"no field: {line!r}")
        fields.append((match[1].lower(), match[2]))
    return Head(lines[0], tuple(fields))


def check_request(head: Head) -> None:
    """What holds for every request that a proxy sends, whatever it got.

    Raises:
        NotStrictError: the request line, Host, framing or a hop-by-hop field is wrong.
    """
    if _REQUEST_LINE.fullmatch(head.start_line) is None:
        raise NotStrictError(f"no request line: {head.start_line!r}")
    if len(head.all("host")) != 1:
        raise NotStrictError(f"Host is there {len(head.all('host'))} times")
    found = {name: value for name, value in head.fields if name in HOP_BY_HOP}
    if found and found not in OWN_HOP:
        raise NotStrictError(f"hop-by-hop fields: {found}")
    _framing(head)


def status_of(head: Head) -> int:
    match = _STATUS_LINE.fullmatch(head.start_line)
    if match is None:
        raise NotStrictError(f"no status line: {head.start_line!r}")
    return int(match[1])


class Tap:
    """A reader that keeps what it gives, and the trailers of the last body."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.taken = bytearray()
        self.trailers: tuple[tuple[str, str], ...] = ()
        self._reader = reader

    async def read(self, count: int) -> bytes:
        return self._keep(await within(self._reader.read(count)))

    async def readexactly(self, count: int) -> bytes:
        return self._keep(await within(self._reader.readexactly(count)))

    async def readuntil(self, end: bytes) -> bytes:
        return self._keep(await within(self._reader.readuntil(end)))

    def _keep(self, given: bytes) -> bytes:
        self.taken += given
        return given


async def read_body(reader: Tap, head: Head, *, until_close: bool = False) -> bytes:
    """The body that follows `head`, without framing.

    Args:
        until_close: a body without framing ends with the connection, and is not empty.
    Raises:
        NotStrictError: it is framed in two ways, or its chunks are not plain.
        asyncio.IncompleteReadError: the connection ended before it did.
    """
    framing = _framing(head)
    if isinstance(framing, int):
        return await reader.readexactly(framing)
    if framing == "chunked":
        return await _read_chunks(reader)
    return await reader.read(-1) if until_close else b""


def _framing(head: Head) -> int | str | None:
    length, coding = head.one("content-length"), head.one("transfer-encoding")
    if length is not None and coding is not None:
        raise NotStrictError("both Content-Length and Transfer-Encoding")
    if coding not in {None, "chunked"}:
        raise NotStrictError(f"Transfer-Encoding: {coding}")
    if length is not None and re.fullmatch("[0-9]{1,19}", length) is None:
        raise NotStrictError(f"Content-Length: {length}")
    return coding if length is None else int(length)


async def _read_chunks(reader: Tap) -> bytes:
    body = bytearray()
    while True:
        line = await reader.readuntil(b"\r\n")
        if re.fullmatch(rb"[0-9a-f]{1,16}\r\n", line) is None:
            raise NotStrictError(f"no plain chunk size: {line!r}")
        size = int(line, 16)
        if size == 0:
            reader.trailers = await _read_trailers(reader)
            return bytes(body)
        data = await reader.readexactly(size + 2)
        if data[size:] != b"\r\n":
            raise NotStrictError(f"a chunk of {size} bytes ends with {data[size:]!r}")
        body += data[:size]


async def _read_trailers(reader: Tap) -> tuple[tuple[str, str], ...]:
    lines = bytearray()
    while not lines.endswith(b"\r\n\r\n"):
        lines += await reader.readuntil(b"\r\n")
        if lines == b"\r\n":
            return ()
    return parse_head(b"\r\n" + bytes(lines)).fields


def request(
    method: str = "GET",
    target: str = "/",
    *fields: str,
    host: str = "shop.example",
    body: bytes | None = None,
) -> bytes:
    """A request; a body gets a Content-Length."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *fields]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def response(status: int = 200, *fields: str, body: bytes = b"") -> bytes:
    """A response with a Content-Length."""
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(*chunks: bytes, trailers: bytes = b"") -> bytes:
    """A body of these chunks, complete; `trailers` are whole lines."""
    data = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return data + b"0\r\n" + trailers + b"\r\n"

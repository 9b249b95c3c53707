"""A TLS connection that we end is ended by `close_notify`, unless a message on it was cut short.

Without it a peer cannot tell our end from somebody's who cuts the connection (RFC 8446, section
6.1); with it, a message that was cut would look like a whole one.
"""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest
from data_plane import DataPlane
from message import DEADLINE_S, response, within
from tls import DEFAULT, Authority, tls_table
from upstream import Exchange, Upstream, says

from proxy.table import BackendLimits, Endpoint, UpstreamTls

REQUEST = b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"
HTTP2_BEGINS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
CONNECTIONS_MAX = 8


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def shop(upstream: Upstream, authority: Authority) -> Iterator[DataPlane]:
    """Serves `shop.example` over TLS to a few connections."""
    data_plane = DataPlane(connections_max=CONNECTIONS_MAX)
    certificates = {DEFAULT: authority.certificate("shop.example")}
    assert data_plane.publish(tls_table(data_plane, upstream, certificates)) == []
    yield data_plane
    data_plane.close()


class Raw:
    """A client that sees how the session ends. Blocking."""

    def __init__(self, data_plane: DataPlane, authority: Authority, *alpn: str) -> None:
        address, _, port = data_plane.ingress.address.rpartition(":")
        context = authority.context(alpn=alpn)
        self.stream = context.wrap_socket(
            socket.create_connection((address, int(port)), timeout=DEADLINE_S),
            server_hostname="shop.example",
            suppress_ragged_eofs=False,
        )

    def ask(self, data: bytes = REQUEST) -> None:
        self.stream.sendall(data)
        while not self.stream.recv(65536).endswith(b"ok"):
            pass

    def is_told_goodbye(self) -> bool:
        return _is_told_goodbye(self.stream)


def _is_told_goodbye(stream: ssl.SSLSocket) -> bool:
    with stream:
        try:
            while stream.recv(65536):
                pass
        except (ssl.SSLEOFError, ConnectionResetError):
            return False
        return True


def idle(_: Raw) -> None:
    """It has brought nothing."""


def answered(client: Raw) -> None:
    client.ask()


def half_a_head(client: Raw) -> None:
    client.ask()
    client.stream.sendall(REQUEST[:20])


def http2(client: Raw) -> None:
    client.stream.sendall(HTTP2_BEGINS)
    client.stream.recv(9)  # The other side's settings: it is HTTP/2 by now.


WAITING = [(idle, ()), (answered, ()), (half_a_head, ()), (http2, ("h2",))]


@pytest.mark.parametrize(("begin", "alpn"), WAITING, ids=[begin.__name__ for begin, _ in WAITING])
async def test_connection_that_gives_way_to_others_is_told(
    begin: Callable[[Raw], None], alpn: tuple[str, ...], shop: DataPlane, authority: Authority
) -> None:
    def crowd() -> bool:
        first = Raw(shop, authority, *alpn)
        begin(first)
        with ExitStack() as others:
            for _ in range(2 * CONNECTIONS_MAX):
                other = Raw(shop, authority)
                others.enter_context(other.stream)
                with suppress(OSError):  # It may have had to go by now.
                    other.ask()
            return first.is_told_goodbye()

    assert await within(asyncio.to_thread(crowd))
    assert shop.engine.stats().connections_crowded_out > 0


@pytest.mark.parametrize(("begin", "alpn"), WAITING, ids=[begin.__name__ for begin, _ in WAITING])
async def test_connection_that_waits_is_told_when_the_data_plane_stops(
    begin: Callable[[Raw], None], alpn: tuple[str, ...], shop: DataPlane, authority: Authority
) -> None:
    client = await asyncio.to_thread(Raw, shop, authority, *alpn)
    await within(asyncio.to_thread(begin, client))
    await shop.turn()
    await shop.stop(deadline_s=0.1)
    assert await within(asyncio.to_thread(client.is_told_goodbye))


@pytest.mark.parametrize(
    "asked",
    [
        REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0"),
        b"GET / HTTP/1.1\r\nno field\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: x\r\n\r\n",
    ],
    ids=["close", "http10", "malformed", "refused"],
)
async def test_connection_that_ends_after_an_answer_is_told(
    asked: bytes, shop: DataPlane, authority: Authority
) -> None:
    def ask() -> bool:
        client = Raw(shop, authority)
        client.stream.sendall(asked)
        return client.is_told_goodbye()

    assert await within(asyncio.to_thread(ask))


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
    ],
    ids=["length", "chunks"],
)
async def test_response_that_is_cut_does_not_end_like_a_whole_one(
    cut: bytes, version: bytes, shop: DataPlane, upstream: Upstream, authority: Authority
) -> None:
    upstream.answer = says(cut, then_close=True)

    def ask() -> bool:
        client = Raw(shop, authority)
        client.stream.sendall(REQUEST.replace(b"HTTP/1.1", version))
        return client.is_told_goodbye()

    assert not await within(asyncio.to_thread(ask))


async def test_response_that_the_end_of_the_data_plane_cuts_does_not_end_like_a_whole_one(
    shop: DataPlane, upstream: Upstream, authority: Authority
) -> None:
    async def begins(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\n\r\nok")
        await exchange.gone()

    upstream.answer = begins
    client = await asyncio.to_thread(Raw, shop, authority)
    await within(asyncio.to_thread(client.ask, REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0")))
    await shop.stop(deadline_s=0.1)
    assert not await within(asyncio.to_thread(client.is_told_goodbye))


class Kept:
    """An endpoint with TLS that answers one request, and sees how the connection ends."""

    def __init__(self, authority: Authority, answer: bytes) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.server("api.shop.svc").configure_cert(self._context)
        self._answer = answer
        self._ended = threading.Event()
        self._is_told = False
        self.endpoint = Endpoint("127.0.0.1", self._listening.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with self._listening, self._listening.accept()[0] as plain:
            plain.settimeout(DEADLINE_S)
            stream = self._context.wrap_socket(plain, server_side=True, suppress_ragged_eofs=False)
            stream.recv(65536)
            stream.sendall(self._answer)
            self._is_told = _is_told_goodbye(stream)
            self._ended.set()

    def is_told_goodbye(self) -> bool:
        assert self._ended.wait(DEADLINE_S)
        return self._is_told


@pytest.mark.parametrize("how", ["its endpoint goes", "the data plane stops", "is not kept"])
async def test_kept_connection_to_an_endpoint_is_told(
    how: str, data_plane: DataPlane, upstream: Upstream, authority: Authority
) -> None:
    kept = Kept(authority, response(body=b"ok"))
    limits = BackendLimits(connections_max=int(how == "is not kept"))
    data_plane.serve(kept.endpoint, tls=UpstreamTls(ca=authority.pem), limits=limits)
    async with await data_plane.client() as client:
        assert (await client.get()).status == 200
    if how == "its endpoint goes":
        data_plane.serve(upstream)
    elif how == "the data plane stops":
        await data_plane.stop()
    assert await asyncio.to_thread(kept.is_told_goodbye)

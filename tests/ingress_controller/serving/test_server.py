"""What slow and hostile clients of a server of ours get, over real sockets."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
import trustme
from admin_rig import certificate
from aiohttp import web
from eventually import until

from ingress_controller.serving import server
from ingress_controller.serving.refusals import Reason
from ingress_controller.serving.server import HttpServer, bound, kept
from ingress_controller.serving.terms import server_context

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Rig:
    """A server that answers `/`, holds `/held` until told otherwise, and sends much at `/large`."""

    def __init__(self) -> None:
        self.refused: list[tuple[Reason, str]] = []
        self.server = HttpServer(lambda *refused: self.refused.append(refused))
        self.held = asyncio.Event()
        self.waiting = 0
        self.sent = asyncio.Event()
        self.port = 0

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/", self._answer)
        app.router.add_get("/held", self._hold)
        app.router.add_get("/large", self._send)
        return app

    async def _answer(self, _: web.Request) -> web.Response:
        return web.Response(text="answer")

    async def _hold(self, request: web.Request) -> web.Response:
        self.waiting += 1
        with kept(request):
            await self.held.wait()
        return web.Response(text="held")

    async def _send(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        try:
            await response.prepare(request)
            while True:
                await response.write(bytes(1024 * 1024))
        finally:
            self.sent.set()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, sent: bytes = GET) -> bytes:
        """The first part of what comes back on a connection of its own; empty if it is closed."""
        reader, writer = await self.connect()
        writer.write(sent)
        try:
            async with asyncio.timeout(10):
                return await reader.read(64 * 1024)
        finally:
            writer.close()


@asynccontextmanager
async def running(context: ssl.SSLContext | None = None) -> AsyncIterator[Rig]:
    rig = Rig()
    listening = bound("127.0.0.1:0")
    rig.port = listening.getsockname()[1]
    await rig.server.change(rig.app(), context)
    rig.server.listen(listening)
    async with asyncio.TaskGroup() as group:
        group.create_task(rig.server.run())
        try:
            yield rig
        finally:
            rig.held.set()
            await rig.server.stop()


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with running() as rig:
        yield rig


async def test_connection_that_waits_for_the_longest_gives_way(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CONNECTIONS_MAX", 2)
    first, first_writer = await rig.connect()
    second, second_writer = await rig.connect()
    for reader, writer in ((first, first_writer), (second, second_writer)):
        writer.write(GET)
        assert await reader.read(64 * 1024)

    assert b"answer" in await rig.ask()

    assert await first.read() == b""
    second_writer.write(GET)
    assert b"answer" in await second.read(64 * 1024)
    for writer in (first_writer, second_writer):
        writer.close()


async def test_connection_that_is_being_answered_does_not_give_way(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CONNECTIONS_MAX", 1)
    reader, writer = await rig.connect()
    writer.write(GET.replace(b"/ ", b"/held "))
    await until(lambda: rig.waiting)

    with pytest.raises((ConnectionResetError, AssertionError)):
        assert await rig.ask()

    rig.held.set()
    assert b"held" in await reader.read(64 * 1024)
    writer.close()


async def test_handshakes_that_do_not_come_give_way_to_one_that_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CONNECTIONS_MAX", 3)
    authority = trustme.CA()
    context = server_context(certificate(authority, tmp_path, "127.0.0.1"))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with running(context) as rig:
        silent = [await rig.connect() for _ in range(10)]

        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port, ssl=trusting)
        writer.write(GET)
        assert b"answer" in await reader.read(64 * 1024)

        for each, _ in silent[:8]:
            assert await each.read() == b""
        assert rig.refused == [(Reason.CROWDED, "127.0.0.1")] * 8
        last, _ = silent[9]
        await rig.server.change(rig.app(), context)  # and with them the old terms
        assert await last.read() == b""
        for _, each_writer in (*silent, (reader, writer)):
            each_writer.close()


@pytest.fixture
async def with_tls(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(server_context(certificate(trustme.CA(), tmp_path, "127.0.0.1"))) as rig:
        yield rig


async def test_handshake_that_fails_is_a_refusal(with_tls: Rig) -> None:
    def distrust() -> None:
        """As asyncio cannot: it leaves without a word."""
        context = ssl.create_default_context()
        with (
            socket.create_connection(("127.0.0.1", with_tls.port)) as connected,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            context.wrap_socket(connected, server_hostname="127.0.0.1")

    await with_tls.ask()  # no TLS at all
    await asyncio.to_thread(distrust)

    await until(lambda: len(with_tls.refused) == 2)
    assert with_tls.refused == [(Reason.HANDSHAKE, "127.0.0.1")] * 2


async def test_handshake_that_takes_too_long_is_a_refusal(
    with_tls: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HANDSHAKE_S", 0.05)
    reader, writer = await with_tls.connect()

    assert await reader.read() == b""
    await until(lambda: with_tls.refused)
    assert with_tls.refused == [(Reason.HANDSHAKE, "127.0.0.1")]
    writer.close()


async def test_who_leaves_instead_of_a_handshake_is_not_refused(with_tls: Rig) -> None:
    _, writer = await with_tls.connect()
    writer.close()
    await with_tls.ask()  # and this one is

    await until(lambda: with_tls.refused)
    assert len(with_tls.refused) == 1


async def test_head_that_does_not_come_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "IDLE_S", 0.05)
    async with running() as rig:
        assert await rig.ask(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ") == b""


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"a" * 9_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-Many: a\r\n" * 65 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
    ids=["long line", "long field", "many fields", "TLS where there is none", "two lengths"],
)
async def test_head_that_is_too_large_or_no_head_is_a_400_and_no_line_of_the_log(
    rig: Rig, head: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert (await rig.ask(head)).startswith(b"HTTP/1.0 400 ")

    assert [record.message for record in caplog.records] == []


async def test_body_that_nobody_reads_and_that_does_not_end_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "LINGER_S", 0.05)
    async with running() as rig:
        reader, writer = await rig.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1")

        assert b"answer" in await reader.read()
        writer.close()


async def test_client_that_takes_nothing_of_an_answer_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "STALLED_S", 0.5)
    async with running() as rig:
        reader, writer = await rig.connect()
        transport = cast(asyncio.ReadTransport, writer.transport)
        writer.write(GET.replace(b"/ ", b"/large "))
        await reader.read(1)
        transport.pause_reading()

        async with asyncio.timeout(30):
            await rig.sent.wait()
        writer.transport.abort()


async def test_other_terms_end_connections_that_were_made_before(rig: Rig) -> None:
    reader, writer = await rig.connect()
    writer.write(GET)
    assert b"answer" in await reader.read(64 * 1024)

    await rig.server.change(rig.app())

    assert await reader.read() == b""
    assert b"answer" in await rig.ask()
    writer.close()


async def test_answer_under_way_is_finished_when_it_stops(rig: Rig) -> None:
    reader, writer = await rig.connect()
    writer.write(GET.replace(b"/ ", b"/held "))
    await until(lambda: rig.waiting)

    async with asyncio.TaskGroup() as group:
        group.create_task(rig.server.stop())
        asyncio.get_running_loop().call_soon(rig.held.set)

    assert b"held" in await reader.read()
    with pytest.raises(ConnectionRefusedError):
        await rig.connect()
    writer.close()

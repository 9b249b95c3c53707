"""Who is slow slows down who sends to it: the engine holds a bounded part of a body."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from client import Client
from data_plane import DataPlane
from http2 import Http2Upstream, Message, Peer, says_ok
from message import request
from upstream import Exchange, Upstream

from proxy.table import Protocol, RoutePolicy

PART = bytes(64 * 1024)
PARTS = 1024
BODY_BYTES = PARTS * len(PART)

IN_FLIGHT_BYTES_MAX = BODY_BYTES // 2
"""Most of it is what the kernel buffers for two connections, up to `tcp_rmem` and `tcp_wmem`."""


class Poured:
    """A body on its way, part by part, and how much of it could be written."""

    def __init__(self) -> None:
        self.bytes = 0

    async def pour(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        for _ in range(PARTS):
            await send(PART)
            self.bytes += len(PART)

    async def stall(self, data_plane: DataPlane) -> None:
        """Waits until no more can be written although the worker had every opportunity to read."""
        before = -1
        while before < self.bytes < BODY_BYTES:
            before = self.bytes
            for _ in range(5):
                await data_plane.turn()


async def pour_response(exchange: Exchange, poured: Poured) -> None:
    await exchange.body()
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BODY_BYTES)
    await poured.pour(exchange.send)


async def test_upstream_is_not_read_while_the_client_does_not_read(
    data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    poured = Poured()
    upstream.answer = lambda exchange: pour_response(exchange, poured)

    await client.send(request())
    await poured.stall(data_plane)
    poured_bytes = poured.bytes
    answered = await client.response()

    assert poured_bytes < IN_FLIGHT_BYTES_MAX
    assert len(answered.body) == BODY_BYTES


async def test_clients_that_do_not_read_hold_up_no_other_on_their_endpoints_connection(
    data_plane: DataPlane,
) -> None:
    poured = Poured()

    async def answer(peer: Peer, asked: Message) -> None:
        async def send(part: bytes) -> None:
            await peer.send_body(asked.stream_id, part, is_end=False)

        if asked.one(":path") == "/large":
            await peer.send(asked.stream_id, ((":status", "200"),), is_end=False)
            await poured.pour(send)
        else:
            await says_ok(peer, asked)

    async with Http2Upstream(answer) as upstream, AsyncExitStack() as slow:
        data_plane.serve(upstream.endpoint, protocol=Protocol.H2)
        for _ in range(8):
            client = await data_plane.client(receive_buffer_bytes=4096)
            await slow.enter_async_context(client)
            await client.send(request(target="/large"))
        await upstream.wait_for(lambda: len(upstream.requests) == 8)
        await poured.stall(data_plane)
        async with await data_plane.client() as quick:
            assert (await quick.get()).body == b"ok"

    assert len(upstream.peers) == 1


async def test_client_is_not_read_while_the_upstream_does_not_read(
    data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    poured, may_read = Poured(), asyncio.Event()

    async def read_late(exchange: Exchange) -> None:
        await may_read.wait()
        body = await exchange.body()
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n%08x" % len(body))

    upstream.answer = read_late

    async with asyncio.TaskGroup() as sending:
        await client.send(request("POST", "/", f"Content-Length: {BODY_BYTES}"))
        sending.create_task(poured.pour(client.send))
        await poured.stall(data_plane)
        poured_bytes = poured.bytes
        may_read.set()
    answered = await client.response()

    assert poured_bytes < IN_FLIGHT_BYTES_MAX
    assert int(answered.text, 16) == BODY_BYTES


async def test_slow_client_is_not_held_to_the_time_that_an_upstream_may_be_silent(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    poured = Poured()
    silent = Upstream(Exchange.gone)

    async def answer(exchange: Exchange) -> None:
        if "/silent" in exchange.line:
            await exchange.gone()
        else:
            await pour_response(exchange, poured)

    del silent
    upstream.answer = answer
    data_plane.serve(upstream, policy=RoutePolicy(read_timeout_ms=100))
    async with await data_plane.client() as slow, await data_plane.client() as waiting:
        await slow.send(request())
        await poured.stall(data_plane)
        # Who began later, and waits for an upstream, is out of time before who waits for nobody.
        timed_out = await waiting.get("/silent")
        answered = await slow.response()

    assert timed_out.status == 504
    assert len(answered.body) == BODY_BYTES


async def test_slow_upload_is_not_held_to_the_time_that_an_upstream_may_be_silent(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    async def answer(exchange: Exchange) -> None:
        if "/silent" in exchange.line:
            await exchange.gone()
        else:
            body = await exchange.body()
            await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + body)

    upstream.answer = answer
    data_plane.serve(upstream, policy=RoutePolicy(read_timeout_ms=100))
    async with await data_plane.client() as slow, await data_plane.client() as waiting:
        await slow.send(request("POST", "/", "Content-Length: 5"))
        await data_plane.turn()
        timed_out = await waiting.get("/silent")
        await slow.send(b"hello")
        answered = await slow.response()

    assert timed_out.status == 504
    assert answered.body == b"hello"

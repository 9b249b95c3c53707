"""A client that sends or takes next to nothing occupies no app for ever; one that has nothing to
say yet may wait."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from client import Client
from data_plane import DataPlane
from http2 import GET, Http2Client, Http2Upstream, with_fields
from message import DEADLINE_S, request, within
from upstream import OK, Exchange, Upstream, echoes

from proxy.table import Protocol, RoutePolicy

PATIENCE_MS = 200
"""Passes within a test, and no single wait in it is as long."""

STRICT = RoutePolicy(client_timeout_ms=PATIENCE_MS, client_bytes_per_s_min=1_000_000_000)
"""Bytes earn nothing."""

GENEROUS = RoutePolicy(client_timeout_ms=PATIENCE_MS, client_bytes_per_s_min=1)
"""A byte earns a second."""

BODY = b"POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 1000000\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n"
POST = with_fields(GET, (":method", "POST"))


class Reads:
    """Reads a body and says how much of it is there."""

    def __init__(self) -> None:
        self.bytes_read = 0
        self._more = asyncio.Condition()

    async def __call__(self, exchange: Exchange) -> None:
        while part := await exchange.reader.read(1000):
            self.bytes_read += len(part)
            async with self._more:
                self._more.notify_all()

    async def more_than(self, count: int) -> None:
        async with self._more:
            await within(self._more.wait_for(lambda: self.bytes_read > count))


async def drip(send: Callable[[], Awaitable[None]], reads: Reads, answer: Awaitable[None]) -> None:
    """Sends a little each time when what was sent before has arrived, until there is an answer."""
    answered = asyncio.ensure_future(answer)
    async with asyncio.timeout(DEADLINE_S):
        while not answered.done():
            seen = reads.bytes_read
            with suppress(ConnectionError):
                await send()
            arrived = asyncio.ensure_future(reads.more_than(seen))
            await asyncio.wait((answered, arrived), return_when=asyncio.FIRST_COMPLETED)
            arrived.cancel()
    await answered


async def pass_time(data_plane: DataPlane) -> None:
    """Returns when the one live request is several times as old as a client may be silent."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            rows = data_plane.engine.live().requests
            if rows and rows[0].age_us > 3_000 * PATIENCE_MS:
                return
            await data_plane.turn()


@pytest.fixture
def reads(upstream: Upstream) -> Reads:
    upstream.answer = reads = Reads()
    return reads


@pytest.mark.parametrize(
    ("head", "piece"), [(BODY, b"x"), (CHUNKED, b"1\r\nx\r\n")], ids=["length", "chunked"]
)
async def test_body_that_drips_is_a_408(
    head: bytes, piece: bytes, data_plane: DataPlane, upstream: Upstream, reads: Reads
) -> None:
    data_plane.serve(upstream, policy=STRICT)
    async with await data_plane.client() as client:
        await client.send(head + piece)
        await reads.more_than(0)
        statuses = []

        async def answer() -> None:
            statuses.append((await client.response()).status)

        await drip(lambda: client.send(piece), reads, answer())
    segment = await data_plane.segment()

    assert statuses == [408]
    assert segment.flag == "client_timeout"
    assert reads.bytes_read > 10, "it was never silent for long"


async def test_body_that_drips_over_http2_is_a_408(
    data_plane: DataPlane, upstream: Upstream, reads: Reads
) -> None:
    data_plane.serve(upstream, policy=STRICT)
    async with Http2Client(data_plane.ingress.address) as client:
        stream_id = await client.begin(POST, is_end=False)
        await client.peer.send_body(stream_id, b"x", is_end=False)
        await reads.more_than(0)
        statuses = []

        async def answer() -> None:
            statuses.append((await client.response(stream_id)).status)

        async def send() -> None:
            if stream_id not in client.peer.messages:
                await client.peer.send_body(stream_id, b"x", is_end=False)

        await drip(send, reads, answer())

    assert statuses == [408]


async def test_body_that_comes_fast_enough_may_take_long(
    data_plane: DataPlane, upstream: Upstream, reads: Reads
) -> None:
    data_plane.serve(upstream, policy=GENEROUS)
    async with await data_plane.client() as client:
        await client.send(BODY + b"x")

        async def grown_old() -> None:
            await pass_time(data_plane)

        await drip(lambda: client.send(b"x"), reads, grown_old())
        live = data_plane.engine.live()

    assert live.requests[0].phase == "send"


async def test_app_that_takes_its_time_is_not_the_client_s_fault(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    strict = RoutePolicy(client_timeout_ms=PATIENCE_MS, client_bytes_per_s_min=100_000_000)
    data_plane.serve(upstream, policy=strict)
    may_read = asyncio.Event()

    async def reads_late(exchange: Exchange) -> None:
        await within(may_read.wait())
        await exchange.body()
        await OK(exchange)

    upstream.answer = reads_late
    body = bytes(16 << 20)
    async with await data_plane.client() as client:
        asking = asyncio.create_task(client.ask(request("POST", "/", body=body)))
        await upstream.wait_for(lambda upstream: len(upstream.exchanges) == 1)
        await pass_time(data_plane)
        may_read.set()
        answered = await asking

    assert answered.status == 200


async def test_response_that_is_taken_too_slowly_is_cut_off(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, policy=STRICT)

    async def endless(exchange: Exchange) -> None:
        await exchange.body()
        with suppress(ConnectionError):
            await exchange.send(f"HTTP/1.1 200 OK\r\nContent-Length: {1 << 50}\r\n\r\n".encode())
            while True:
                await exchange.send(bytes(64 * 1024))

    upstream.answer = endless
    async with await data_plane.client(receive_buffer_bytes=64 * 1024) as client:
        await client.send(request())
        await client.interim()
        taken = 0
        with suppress(ConnectionError):
            while part := await client.some():
                taken += len(part)
                await data_plane.turn()
    segment = await data_plane.segment()

    assert segment.flag == "client_timeout"
    assert taken > 10 * 64 * 1024, "it was never silent for long"


async def test_stream_to_an_endpoint_of_http2_may_wait_for_what_happens(
    data_plane: DataPlane,
) -> None:
    """As a call of gRPC does that sends a message now and then, and is answered at its end."""
    async with Http2Upstream() as upstream:
        data_plane.serve(upstream.endpoint, protocol=Protocol.H2, policy=STRICT)
        async with Http2Client(data_plane.ingress.address) as client:
            stream_id = await client.begin(POST, is_end=False)
            await client.peer.send_body(stream_id, b"x", is_end=False)
            await pass_time(data_plane)
            await client.peer.send_body(stream_id, b"x")
            answered = await client.response(stream_id)

    assert (answered.status, bytes(upstream.requests[0].body)) == (200, b"xx")


async def test_client_that_gets_its_response_may_wait_before_it_sends_on(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, policy=STRICT)

    async def answers_early(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        await exchange.body()
        await exchange.send(b"k")

    upstream.answer = answers_early
    async with await data_plane.client() as client:
        await client.send(CHUNKED + b"1\r\nx\r\n")
        head = await client.interim()
        await pass_time(data_plane)
        await client.send(b"0\r\n\r\n")
        rest = await client.receive(2)

    assert (head.start_line, rest) == ("HTTP/1.1 200 OK", b"ok")


async def test_upgraded_connection_may_be_slow(
    data_plane: DataPlane, upstream: Upstream, client: Client
) -> None:
    data_plane.serve(upstream, policy=STRICT)

    upstream.answer = echoes
    await client.send(request("GET", "/", "Connection: upgrade", "Upgrade: echo"))
    await client.interim()
    await pass_time(data_plane)
    await client.send(b"x")

    assert await client.receive(1) == b"x"

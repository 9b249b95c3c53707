"""Who has said that a request is its last one, or has sent the next ones already, may stop
sending, and still gets its responses.

RFC 9112, section 9.6. Who has not said so and stops sending has left: `test_failures.py`.
"""

import asyncio
import socket
import ssl
from contextlib import suppress

import pytest
from client import Client
from data_plane import DataPlane, Segment
from message import DEADLINE_S, READ_LIMIT_BYTES, request, within
from tls import DEFAULT, Authority, tls_table
from upstream import OK, RESET, Exchange, Upstream, closes, in_turn

from proxy.live import Phase
from proxy.table import (
    BackendLimits,
    Endpoint,
    KernelTimestamps,
    Retry,
    RoutePolicy,
    Tracing,
    UpstreamTls,
)

LAST = request("GET", "/", "Connection: close")

WAYS_TO_SAY_LAST = {
    "Connection: close": LAST,
    "HTTP/1.0": request().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "after a body": request("POST", "/", "Connection: close", "Content-Length: 3") + b"abc",
}


def assert_served(segment: Segment, flag: str | None = None) -> None:
    """It had an answer, and its span says that nothing more could come from the client."""
    assert segment.flag == flag
    assert segment.server.attributes["spanway.client.end"] == "closed"


async def stop_sending(client: Client, data_plane: DataPlane) -> None:
    """Returns when the worker has seen it."""
    client.writer.write_eof()
    await data_plane.turn()


@pytest.fixture
def may_answer(upstream: Upstream) -> asyncio.Event:
    """When `upstream` answers."""
    told = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await exchange.body()
        await within(told.wait())
        await OK(exchange)

    upstream.answer = answer
    return told


@pytest.mark.parametrize("last", WAYS_TO_SAY_LAST.values(), ids=WAYS_TO_SAY_LAST)
async def test_client_may_stop_sending_while_the_app_thinks(
    last: bytes,
    data_plane: DataPlane,
    client: Client,
    upstream: Upstream,
    may_answer: asyncio.Event,
) -> None:
    await client.send(last)
    await upstream.wait_for(lambda upstream: len(upstream.exchanges) == 1)
    await stop_sending(client, data_plane)
    may_answer.set()
    answered = await client.response()
    rest = await client.rest()

    assert (answered.status, answered.text, rest) == (200, "ok", b"")
    assert_served(await data_plane.segment())


async def test_client_may_stop_sending_while_it_is_connected(
    data_plane: DataPlane, client: Client
) -> None:
    once = RoutePolicy(retry=Retry(attempts=1))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = Endpoint(*silent.getsockname())
        data_plane.serve(
            endpoint, policy=once, tls=UpstreamTls(verify=False), connect_timeout_ms=3_600_000
        )
        await client.send(LAST)
        await stop_sending(client, data_plane)
        connecting = data_plane.engine.live().phases[Phase.CONNECT]
    answered = await client.response()

    assert (connecting, answered.status) == (1, 502)
    assert_served(await data_plane.segment(), "upstream_tls")


async def test_client_may_stop_sending_while_it_waits_for_its_turn(
    data_plane: DataPlane, client: Client, upstream: Upstream, may_answer: asyncio.Event
) -> None:
    data_plane.serve(upstream, limits=BackendLimits(requests_max=1, queue_max=1))
    async with await data_plane.client() as first:
        await first.send(request())
        await upstream.wait_for(lambda upstream: len(upstream.exchanges) == 1)
        await client.send(LAST)
        await stop_sending(client, data_plane)
        queued = data_plane.engine.live().phases[Phase.QUEUE]
        may_answer.set()
        answered = await client.response()
        await first.response()
    _, segment = await data_plane.segments()

    assert (queued, answered.status) == (1, 200)
    assert_served(segment)


async def test_client_that_has_stopped_sending_has_its_request_repeated(
    data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    asked, may_close = asyncio.Event(), asyncio.Event()

    async def closes_late(exchange: Exchange) -> None:
        asked.set()
        await within(may_close.wait())
        await closes(exchange)

    upstream.answer = in_turn(closes_late, OK)
    async with Upstream(upstream.answer) as other:
        data_plane.serve(upstream, other)
        await client.send(LAST)
        await within(asked.wait())
        await stop_sending(client, data_plane)
        may_close.set()
        answered = await client.response()
    segment = await data_plane.segment()

    assert (answered.status, len(segment.attempts)) == (200, 2)
    assert_served(segment)


@pytest.mark.parametrize("timestamps", [KernelTimestamps.OFF, KernelTimestamps.ALL])
async def test_client_that_has_stopped_sending_and_resets_has_left(
    timestamps: KernelTimestamps, data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    data_plane.serve(upstream, tracing=Tracing(kernel_timestamps=timestamps))
    await client.get()
    upstream.exchanges.clear()
    upstream.answer = Exchange.gone
    await client.send(LAST)
    await upstream.wait_for(lambda upstream: len(upstream.exchanges) == 1)
    await stop_sending(client, data_plane)
    assert upstream.connections_open == 1
    raw = client.writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.reset()
    await upstream.wait_for(lambda upstream: upstream.connections_open == 0)
    _, segment = await data_plane.segments()

    assert segment.flag == "client_gone"
    assert segment.server.attributes["spanway.client.end"] == "reset"


async def test_client_that_has_sent_all_its_requests_may_stop_sending(
    data_plane: DataPlane, client: Client, upstream: Upstream, may_answer: asyncio.Event
) -> None:
    await client.send(request(target="/1") + request(target="/2") + request(target="/3"))
    await upstream.wait_for(lambda upstream: len(upstream.exchanges) == 1)
    await stop_sending(client, data_plane)
    may_answer.set()
    answered = [(await client.response()).status for _ in range(3)]
    rest = await client.rest()
    segments = await data_plane.segments()

    assert (answered, rest) == ([200] * 3, b"")
    assert [each.line.split()[1] for each in upstream.exchanges] == ["/1", "/2", "/3"]
    for segment in segments:
        assert_served(segment)


async def test_client_that_stops_within_a_request_gets_what_it_asked_for_before(
    data_plane: DataPlane, client: Client, upstream: Upstream, may_answer: asyncio.Event
) -> None:
    await client.send(request() + b"GET / HT")
    await upstream.wait_for(lambda upstream: len(upstream.exchanges) == 1)
    await stop_sending(client, data_plane)
    may_answer.set()
    answered = await client.response()
    rest = await client.rest()

    assert (answered.status, rest) == (200, b"")
    assert_served(await data_plane.segment())


async def test_client_may_end_its_side_of_a_tls_connection(
    data_plane: DataPlane, upstream: Upstream, may_answer: asyncio.Event
) -> None:
    authority = Authority()
    certificates = {DEFAULT: authority.certificate("shop.example")}
    data_plane.publish(tls_table(data_plane, upstream, certificates))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = authority.context().wrap_bio(incoming, outgoing, server_hostname="shop.example")
    async with await data_plane.client() as client:
        await _handshake(session, client, incoming, outgoing)
        session.write(LAST)
        with suppress(ssl.SSLWantReadError):
            session.unwrap()  # Our close_notify; that of the other side comes later.
        await client.send(outgoing.read())
        await upstream.wait_for(lambda upstream: len(upstream.exchanges) == 1)
        client.writer.write_eof()
        await data_plane.turn()
        may_answer.set()
        incoming.write(await client.rest())
        answered = session.read(READ_LIMIT_BYTES)

    assert answered.startswith(b"HTTP/1.1 200 ")
    assert_served(await data_plane.segment())


async def _handshake(
    session: ssl.SSLObject, client: Client, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                session.do_handshake()
            except ssl.SSLWantReadError:
                await client.send(outgoing.read())
                incoming.write(await client.some())
            else:
                return await client.send(outgoing.read())

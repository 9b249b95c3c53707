"""Connections that requests share are opened for all that wait: as many as they need, nobody's."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
import trustme
from data_plane import DataPlane
from http2 import GET, Http2Client, Http2Upstream, Message, Peer, says_ok, with_fields
from hyperframe.frame import GoAwayFrame
from message import DEADLINE_S, request, within
from upstream import Upstream

from ingress_controller.traces.span import Span
from proxy.live import Live, Phase
from proxy.table import (
    BackendLimits,
    Endpoint,
    Health,
    Protocol,
    Retry,
    RoutePolicy,
    UpstreamTls,
)

STREAMS_MAX = 100
"""Requests at once on a connection, also to an endpoint that allows more."""

OPENING_MAX = 16
"""Connections that are opened at once."""

IDLE_MAX = 32
"""Connections that are kept without a request."""

ONCE = RoutePolicy(retry=Retry(attempts=1))
LONG = Health(errors_consecutive=3, ejection_ms=3_600_000, ejection_max_ms=3_600_000)
GOODBYE = GoAwayFrame(0, last_stream_id=2**31 - 1).serialize()


HASTY = with_fields(
    GET,
    (":method", "POST"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
    ("grpc-timeout", "50m"),
)
"""It waits for no more than 50 ms."""


class Door:
    """What an endpoint does with connections, or with requests: nothing before it is opened."""

    def __init__(self) -> None:
        self.is_open = asyncio.Event()

    async def greet(self, peer: Peer) -> None:
        await self.is_open.wait()
        await peer.greet()

    async def slam(self, peer: Peer) -> None:
        """Opened, it does not let in who has waited."""
        await self.is_open.wait()
        peer.writer.transport.abort()

    async def answer(self, peer: Peer, asked: Message) -> None:
        await self.is_open.wait()
        await says_ok(peer, asked)


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def listening(data_plane: DataPlane) -> DataPlane:
    """Takes connections, for no endpoint yet."""
    data_plane.serve()
    return data_plane


@pytest.fixture
async def slow(listening: DataPlane, door: Door) -> AsyncIterator[Http2Upstream]:
    """Accepts connections, and says nothing until the door is opened; nothing is repeated."""
    async with Http2Upstream(greets=door.greet) as upstream:
        listening.serve(upstream.endpoint, protocol=Protocol.H2, policy=ONCE, health=LONG)
        yield upstream


@pytest.fixture
async def clients(listening: DataPlane) -> AsyncIterator[list[Http2Client]]:
    """Five, each of which may have 100 requests at once."""
    async with AsyncExitStack() as open_:
        address = listening.ingress.address
        yield [await open_.enter_async_context(Http2Client(address)) for _ in range(5)]


Asking = list["asyncio.Task[Message]"]


def ask(clients: list[Http2Client], count: int) -> Asking:
    """So many requests at once."""
    turns = (clients[index % len(clients)] for index in range(count))
    return [asyncio.create_task(client.ask()) for client in turns]


async def statuses(asking: Asking) -> list[int]:
    return [message.status for message in await within(asyncio.gather(*asking))]


async def until(data_plane: DataPlane, state: Callable[[Live], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not state(data_plane.engine.live()):  # noqa: ASYNC110
            await asyncio.sleep(0)  # Asking has waited for the workers.


async def connecting(data_plane: DataPlane, count: int) -> None:
    """Returns when so many requests wait for a connection, and no others are there."""
    await until(data_plane, lambda live: live.phases.get(Phase.CONNECT, 0) == live.live == count)


def connections(data_plane: DataPlane) -> int:
    return data_plane.engine.stats().upstream_connects


def phase_us(phase: str, attempt: Span) -> int:
    return int(attempt.attributes[f"spanway.phase.{phase}_us"])


async def test_as_many_are_opened_as_the_waiting_requests_need(
    slow: Http2Upstream, data_plane: DataPlane, door: Door, clients: list[Http2Client]
) -> None:
    asking = ask(clients, 5 * STREAMS_MAX)
    await connecting(data_plane, 5 * STREAMS_MAX)
    assert connections(data_plane) == 5
    door.is_open.set()

    assert await statuses(asking) == [200] * 5 * STREAMS_MAX
    assert (connections(data_plane), len(slow.peers)) == (5, 5)


async def test_each_request_says_how_long_it_has_waited_and_for_whom(
    slow: Http2Upstream, data_plane: DataPlane, door: Door, clients: list[Http2Client]
) -> None:
    slow.greets = Peer.greet
    for _ in range(20):  # What is usual is known then.
        assert (await clients[0].ask()).status == 200
    slow.peers[0].writer.write(GOODBYE)
    await slow.peers[0].writer.drain()
    await data_plane.turn()
    slow.greets = door.greet
    asking = ask(clients, 3)
    await connecting(data_plane, 3)
    await slow.wait_for(lambda: len(slow.peers) == 2)
    began_s = time.monotonic()
    while time.monotonic() < began_s + 0.02:
        await data_plane.turn()
    waited_us = int((time.monotonic() - began_s) * 1e6)
    door.is_open.set()
    await statuses(asking)
    assert (await clients[0].ask()).status == 200
    *waited, after = (await data_plane.segments())[20:]

    for segment in waited:
        assert phase_us("send", segment.attempts[0]) >= waited_us
        assert segment.server.attributes["spanway.verdict"] == "app"
    assert phase_us("connect", after.attempts[0]) == 0
    assert phase_us("send", after.attempts[0]) < waited_us
    attempts = [segment.attempts[0].attributes for segment in (*waited, after)]
    assert [each["spanway.connection.reused"] for each in attempts].count(False) == 1


async def test_who_gives_up_does_not_end_what_others_wait_for(
    slow: Http2Upstream, data_plane: DataPlane, door: Door, clients: list[Http2Client]
) -> None:
    hasty = asyncio.create_task(clients[0].ask(HASTY))
    await slow.wait_for(lambda: len(slow.peers) == 1)
    asking = ask(clients[1:], 2)
    assert (await hasty).one("grpc-status") == "4"
    await connecting(data_plane, 2)
    door.is_open.set()

    assert await statuses(asking) == [200, 200]
    assert connections(data_plane) == 1


async def test_who_leaves_waits_no_longer_and_the_others_do(
    slow: Http2Upstream, data_plane: DataPlane, door: Door, clients: list[Http2Client]
) -> None:
    first = await clients[0].begin()
    async with await data_plane.client() as second:
        await second.send(request())
        await slow.wait_for(lambda: len(slow.peers) == 1)
        asking = ask(clients[1:], 2)
        await connecting(data_plane, 4)
        await clients[0].peer.reset(first)
        await connecting(data_plane, 3)
    await connecting(data_plane, 2)
    door.is_open.set()

    assert await statuses(asking) == [200, 200]
    assert connections(data_plane) == 1
    flags = [segment.flag for segment in await data_plane.segments()]
    assert sorted(map(str, flags)) == ["None", "None", "client_gone", "client_gone"]


async def test_failure_is_told_to_all_that_wait_and_counts_once(
    slow: Http2Upstream, data_plane: DataPlane, door: Door, clients: list[Http2Client]
) -> None:
    slow.greets = door.slam
    asking = ask(clients, 10)
    await connecting(data_plane, 10)
    door.is_open.set()

    assert await statuses(asking) == [502] * 10
    assert connections(data_plane) == 1
    assert [each.errors_consecutive for each in data_plane.engine.health()] == [1]
    for segment in await data_plane.segments():
        (attempt,) = segment.attempts
        assert segment.flag == attempt.attributes["error.type"] == "connect_failed"
        assert phase_us("connect", attempt) > 0


async def test_each_that_waited_for_a_failure_is_tried_at_another_endpoint(
    slow: Http2Upstream, data_plane: DataPlane, door: Door, clients: list[Http2Client]
) -> None:
    slow.greets = door.slam
    async with Http2Upstream() as well:
        data_plane.serve(slow.endpoint, well.endpoint, protocol=Protocol.H2)
        asking = ask(clients, 20)
        await connecting(data_plane, 10)
        door.is_open.set()

        assert await statuses(asking) == [200] * 20
        assert connections(data_plane) == 2
    attempts = [len(segment.attempts) for segment in await data_plane.segments()]
    assert (attempts.count(1), attempts.count(2)) == (10, 10)


async def test_given_up_connection_counts_once_however_many_give_up(
    slow: Http2Upstream, data_plane: DataPlane, clients: list[Http2Client]
) -> None:
    hasty = RoutePolicy(retry=Retry(attempts=1, per_try_timeout_ms=50))
    data_plane.serve(slow.endpoint, protocol=Protocol.H2, policy=hasty, health=LONG)

    assert await statuses(ask(clients, 10)) == [504] * 10
    assert connections(data_plane) == 1
    assert [each.errors_consecutive for each in data_plane.engine.health()] == [1]


async def test_endpoint_that_does_not_connect_fails_all_in_time(
    data_plane: DataPlane, clients: list[Http2Client]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        data_plane.serve(
            Endpoint(*silent.getsockname()),
            protocol=Protocol.H2,
            tls=UpstreamTls(verify=False),
            connect_timeout_ms=50,
            policy=ONCE,
        )
        assert await statuses(ask(clients, 30)) == [504] * 30
    assert connections(data_plane) == 1
    segments = await data_plane.segments()

    assert {segment.flag for segment in segments} == {"connect_timeout"}
    said = {segment.attempts[0].status_message for segment in segments}
    assert said == {"the TLS handshake was not over in time"}


async def test_crowd_is_told_at_once_of_an_endpoint_that_takes_no_more_connections(
    data_plane: DataPlane, clients: list[Http2Client]
) -> None:
    async def silent(_peer: Peer, _asked: Message) -> None:
        pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("api.shop.svc").configure_cert(context)
    context.set_alpn_protocols(["h2"])
    async with Http2Upstream(silent, streams_max=1, tls=context) as upstream:
        data_plane.serve(
            upstream.endpoint,
            protocol=Protocol.H2,
            tls=UpstreamTls(verify=False),
            connect_timeout_ms=200,
            policy=ONCE,
        )
        await clients[0].begin()  # It takes the one place that there is.
        await upstream.wait_for(lambda: len(upstream.requests) == 1)
        with upstream.stop_accepting():
            assert await statuses(ask(clients, 60)) == [504] * 60
    assert connections(data_plane) < 60  # Who has waited as long as one may take needs no other.


async def test_endpoint_that_is_slow_to_greet_gets_requests_all_the_same(
    slow: Http2Upstream, data_plane: DataPlane, door: Door, clients: list[Http2Client]
) -> None:
    data_plane.serve(slow.endpoint, protocol=Protocol.H2, policy=ONCE, connect_timeout_ms=20)
    asking = ask(clients, 10)
    await until(data_plane, lambda live: live.phases.get(Phase.WAIT) == 10)
    door.is_open.set()

    assert await statuses(asking) == [200] * 10
    assert connections(data_plane) == 1


async def test_endpoint_that_takes_one_at_a_time_gets_one_at_a_time(
    data_plane: DataPlane, clients: list[Http2Client]
) -> None:
    async with Http2Upstream(streams_max=1) as upstream:
        data_plane.serve(upstream.endpoint, protocol=Protocol.H2, policy=ONCE)

        assert await statuses(ask(clients, 50)) == [200] * 50
    assert len(upstream.peers) <= 50


async def test_so_many_are_opened_at_once_and_no_more(
    data_plane: DataPlane, door: Door, clients: list[Http2Client]
) -> None:
    async with Http2Upstream(streams_max=1) as upstream:
        data_plane.serve(upstream.endpoint, protocol=Protocol.H2, policy=ONCE)
        assert (await clients[0].ask()).status == 200  # What it allows is known now.
        way_out = Door()
        upstream.answer, upstream.greets = way_out.answer, door.greet
        held = await clients[0].begin()
        await upstream.wait_for(lambda: len(upstream.requests) == 2)
        asking = ask(clients, 40)
        await queueing(data_plane, 40 - OPENING_MAX)
        assert connections(data_plane) == 1 + OPENING_MAX
        way_out.is_open.set()
        door.is_open.set()

        assert (await clients[0].response(held)).status == 200
        assert await statuses(asking) == [200] * 40


@pytest.fixture
async def narrow(listening: DataPlane, clients: list[Http2Client]) -> AsyncIterator[Http2Upstream]:
    """Takes one request on each connection, as is known of it; it has none now."""
    async with Http2Upstream(streams_max=1) as upstream:
        listening.serve(upstream.endpoint, protocol=Protocol.H2, policy=ONCE, health=LONG)
        for _ in range(20):  # What is usual is known then.
            assert (await clients[0].ask()).status == 200
        upstream.peers[0].writer.write(GOODBYE)
        await upstream.peers[0].writer.drain()
        await listening.turn()
        yield upstream


async def queueing(data_plane: DataPlane, count: int) -> None:
    """Returns when so many requests wait for their turn to be connected."""
    await until(data_plane, lambda live: live.phases.get(Phase.QUEUE, 0) == count)


async def test_who_waits_until_others_are_connected_is_in_a_queue_and_says_so(
    narrow: Http2Upstream, data_plane: DataPlane, door: Door, clients: list[Http2Client]
) -> None:
    narrow.greets = door.greet
    asking = ask(clients, OPENING_MAX + 4)
    await queueing(data_plane, 4)
    began_s = time.monotonic()
    while time.monotonic() < began_s + 0.02:
        await data_plane.turn()
    waited_us = int((time.monotonic() - began_s) * 1e6)
    door.is_open.set()
    assert await statuses(asking) == [200] * (OPENING_MAX + 4)
    segments = (await data_plane.segments())[20:]
    queued = [each for each in segments if "spanway.phase.queue_us" in each.server.attributes]

    assert (len(segments), len(queued)) == (OPENING_MAX + 4, 4)
    assert data_plane.engine.stats().queued == 4
    for segment in queued:
        told = segment.server.attributes
        assert int(told["spanway.phase.queue_us"]) >= waited_us
        assert told["spanway.verdict"] == "app-queue"
        assert segment.balance is not None
        assert int(segment.balance.attributes["spanway.lb.queue_us"]) >= waited_us
        assert phase_us("connect", segment.attempts[0]) < waited_us
    for segment in segments:
        if segment not in queued:
            assert phase_us("send", segment.attempts[0]) >= waited_us


async def test_turn_that_does_not_come_in_time_is_not_the_fault_of_the_endpoint(
    narrow: Http2Upstream, data_plane: DataPlane, door: Door, clients: list[Http2Client]
) -> None:
    hasty = RoutePolicy(retry=Retry(attempts=1, per_try_timeout_ms=50))
    data_plane.serve(narrow.endpoint, protocol=Protocol.H2, policy=hasty, health=Health(0))
    narrow.greets = door.greet
    answered = await statuses(ask(clients, OPENING_MAX + 4))
    segments = await data_plane.segments()

    assert (answered.count(504), answered.count(503)) == (OPENING_MAX, 4)
    assert data_plane.engine.stats().queue_refused == 4
    refused = [each for each in segments if each.flag == "queue_timeout"]
    assert len(refused) == 4
    for segment in refused:
        assert int(segment.server.attributes["spanway.phase.queue_us"]) >= 50_000
        assert segment.server.attributes["spanway.phase.connect_us"] == 0


async def test_turn_that_does_not_come_sends_a_request_elsewhere(
    narrow: Http2Upstream, data_plane: DataPlane, door: Door, clients: list[Http2Client]
) -> None:
    hasty = RoutePolicy(retry=Retry(attempts=2, on=(), per_try_timeout_ms=50))
    narrow.greets = door.greet
    async with Http2Upstream() as other:
        both = (narrow.endpoint, other.endpoint)
        data_plane.serve(*both, protocol=Protocol.H2, policy=hasty)
        answered = await statuses(ask(clients, 2 * OPENING_MAX + 8))

    assert (answered.count(200), answered.count(504)) == (OPENING_MAX + 8, OPENING_MAX)


async def test_place_that_a_request_leaves_is_given_to_one_that_waits_for_a_connection(
    data_plane: DataPlane, door: Door, clients: list[Http2Client]
) -> None:
    async with Http2Upstream(streams_max=1) as upstream:
        data_plane.serve(upstream.endpoint, protocol=Protocol.H2, policy=ONCE)
        way_out = Door()
        upstream.answer = way_out.answer
        first = await clients[0].begin()
        await upstream.wait_for(lambda: len(upstream.requests) == 1)
        upstream.greets = door.greet
        asking = ask(clients, 3)
        await until(data_plane, lambda live: live.phases.get(Phase.CONNECT) == 3)
        way_out.is_open.set()

        assert (await clients[0].response(first)).status == 200
        assert await statuses(asking) == [200] * 3
        assert len({id(each) for each in upstream.peers if each.messages}) == 1


async def test_after_a_goodbye_requests_go_elsewhere_and_those_before_it_end(
    data_plane: DataPlane, clients: list[Http2Client]
) -> None:
    async with Http2Upstream() as upstream:
        data_plane.serve(upstream.endpoint, protocol=Protocol.H2, policy=ONCE)
        way_out = Door()
        upstream.answer = way_out.answer
        before = ask(clients, 5)
        await upstream.wait_for(lambda: len(upstream.requests) == 5)
        upstream.peers[0].writer.write(GOODBYE)
        await upstream.peers[0].writer.drain()
        await data_plane.turn()
        after = ask(clients, 20)
        await upstream.wait_for(lambda: len(upstream.requests) == 25)
        way_out.is_open.set()

        assert await statuses(before + after) == [200] * 25
    assert len(upstream.peers) == 2
    assert [len(peer.messages) for peer in upstream.peers] == [5, 20]


async def test_connection_that_begins_with_a_goodbye_is_none(
    slow: Http2Upstream, data_plane: DataPlane, door: Door, clients: list[Http2Client]
) -> None:
    async def leaves(peer: Peer) -> None:
        await door.is_open.wait()
        peer.h2.initiate_connection()
        peer.writer.write(peer.h2.data_to_send() + GOODBYE)

    slow.greets = leaves
    asking = ask(clients, 10)
    await connecting(data_plane, 10)
    door.is_open.set()

    assert await statuses(asking) == [502] * 10
    assert connections(data_plane) == 1
    assert {each.flag for each in await data_plane.segments()} == {"connect_failed"}


async def test_who_finds_no_room_under_the_limit_of_connections_is_told_at_once(
    slow: Http2Upstream, data_plane: DataPlane, door: Door, clients: list[Http2Client]
) -> None:
    one = BackendLimits(connections_max=1)
    data_plane.serve(slow.endpoint, protocol=Protocol.H2, policy=ONCE, limits=one)
    asking = ask(clients, STREAMS_MAX + 10)
    await connecting(data_plane, STREAMS_MAX)
    door.is_open.set()
    answered = await statuses(asking)

    assert (answered.count(200), answered.count(503)) == (STREAMS_MAX, 10)
    assert connections(data_plane) == 1


async def test_idle_connections_are_kept_up_to_a_bound(
    narrow: Http2Upstream, data_plane: DataPlane, door: Door, clients: list[Http2Client]
) -> None:
    narrow.answer = door.answer
    crowd = IDLE_MAX + 8
    asking = ask(clients, crowd)
    await narrow.wait_for(lambda: len(narrow.requests) == 20 + crowd)
    door.is_open.set()
    assert await statuses(asking) == [200] * crowd
    async with asyncio.timeout(DEADLINE_S):
        while sum(not peer.is_closed for peer in narrow.peers) > IDLE_MAX:
            await data_plane.turn()
    opened = connections(data_plane)
    again = Door()
    narrow.answer = again.answer
    asking = ask(clients, IDLE_MAX)
    await narrow.wait_for(lambda: len(narrow.requests) == 20 + crowd + IDLE_MAX)
    again.is_open.set()

    assert await statuses(asking) == [200] * IDLE_MAX
    assert connections(data_plane) == opened


async def test_the_last_connection_that_may_be_is_closed_after_use(
    data_plane: DataPlane, clients: list[Http2Client]
) -> None:
    async with Http2Upstream() as upstream:
        one = BackendLimits(connections_max=1)
        data_plane.serve(upstream.endpoint, protocol=Protocol.H2, limits=one)
        assert await statuses(ask(clients, 5)) == [200] * 5
        (peer,) = upstream.peers
        await peer.wait_for(lambda: peer.is_closed)
        assert (await clients[0].ask()).status == 200


@pytest.mark.parametrize(("offered", "count"), [("h2", 1), ("http/1.1", 10)])
async def test_what_a_connection_speaks_is_found_out_by_one(
    offered: str, count: int, data_plane: DataPlane, clients: list[Http2Client]
) -> None:
    authority, service = trustme.CA(), "api.shop.svc"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(service).configure_cert(context)
    context.set_alpn_protocols([offered])
    tls = UpstreamTls(ca=authority.cert_pem.bytes().decode())
    speaks = Http2Upstream if offered == "h2" else Upstream
    async with speaks(tls=context) as upstream:
        data_plane.serve(upstream.endpoint, tls=tls, protocol=Protocol.AUTO, policy=ONCE)

        assert await statuses(ask(clients, 10)) == [200] * 10
    assert connections(data_plane) <= count


class Abandoned:
    """An endpoint to which a connection was begun for somebody who has left."""

    def __init__(self) -> None:
        self.is_closed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        self.is_closed.set()
        writer.close()


@pytest.fixture
async def abandoned(data_plane: DataPlane, clients: list[Http2Client]) -> AsyncIterator[Abandoned]:
    endpoint = Abandoned()
    server = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0)
    async with server:
        address = Endpoint(*server.sockets[0].getsockname())
        data_plane.serve(address, protocol=Protocol.H2, connect_timeout_ms=3_600_000)
        assert (await clients[0].ask(HASTY)).one("grpc-status") == "4"
        assert not endpoint.is_closed.is_set()
        yield endpoint


async def test_what_is_opened_for_nobody_ends_with_its_endpoint(
    abandoned: Abandoned, data_plane: DataPlane
) -> None:
    async with Upstream() as other:
        data_plane.serve(other)
        await within(abandoned.is_closed.wait())


async def test_what_is_opened_for_nobody_holds_up_no_drain(
    abandoned: Abandoned, data_plane: DataPlane
) -> None:
    await within(data_plane.stop())
    await within(abandoned.is_closed.wait())

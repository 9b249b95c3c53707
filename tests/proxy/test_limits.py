"""A backend gets no more at once than its limits say: the rest waits its turn, or hears 503."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, suppress

import pytest
from client import Client
from data_plane import DataPlane, backend, table
from h2.errors import ErrorCodes
from http2 import GET, Http2Client, Http2Upstream, Message, Peer, says_ok, with_fields
from message import DEADLINE_S, request, within
from upstream import OK, Answer, Exchange, Upstream, holds

from proxy.engine import Stats
from proxy.table import BackendLimits, Protocol, RoutePolicy

HTTP2_BEGINS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
"""The preface and empty settings."""


class Gate:
    """Answers each request when it is let through, in the order in which they came."""

    def __init__(self) -> None:
        self._waiting: asyncio.Semaphore = asyncio.Semaphore(0)

    async def answer(self, exchange: Exchange) -> None:
        await within(self._waiting.acquire())
        await OK(exchange)

    def open(self, count: int = 1) -> None:
        for _ in range(count):
            self._waiting.release()


async def until(data_plane: DataPlane, state: Callable[[Stats], bool]) -> None:
    """Returns when the engine's counters say so."""
    async with asyncio.timeout(DEADLINE_S):
        while not state(data_plane.engine.stats()):
            await data_plane.turn()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def slow(gate: Gate) -> AsyncIterator[Upstream]:
    """Answers nothing until the gate is opened."""
    async with Upstream(gate.answer) as upstream:
        yield upstream


@pytest.fixture
async def clients(data_plane: DataPlane, slow: Upstream) -> AsyncIterator[list[Client]]:
    """Four that are connected already."""
    data_plane.serve(slow)
    async with AsyncExitStack() as open_:
        yield [await open_.enter_async_context(await data_plane.client()) for _ in range(4)]


async def test_request_above_the_limit_waits_for_its_turn(
    data_plane: DataPlane, gate: Gate, slow: Upstream
) -> None:
    data_plane.serve(slow, limits=BackendLimits(requests_max=1, queue_max=9))
    async with await data_plane.client() as first, await data_plane.client() as second:
        await first.send(request(target="/first"))
        await slow.wait_for(lambda slow: len(slow.exchanges) == 1)
        await second.send(request(target="/second"))
        await until(data_plane, lambda stats: stats.queued == 1)
        assert len(slow.exchanges) == 1
        gate.open(2)
        answered = [(await each.response()).status for each in (first, second)]
    at_once, waited = await data_plane.segments()

    assert answered == [200, 200]
    assert at_once.balance is not None
    assert waited.balance is not None
    assert at_once.balance.attributes["spanway.lb.queue_us"] == 0
    assert "spanway.phase.queue_us" not in at_once.server.attributes
    queue_us = waited.balance.attributes["spanway.lb.queue_us"]
    assert isinstance(queue_us, int)
    assert queue_us > 0
    phases = {
        name: value
        for name, value in waited.server.attributes.items()
        if name.startswith("spanway.phase.")
    }
    assert phases["spanway.phase.queue_us"] in {queue_us, queue_us + 1}
    duration_us = (waited.server.end_unix_ns - waited.server.start_unix_ns) // 1000
    assert sum(int(value) for value in phases.values()) == duration_us


async def test_requests_are_served_in_the_order_in_which_they_came(
    data_plane: DataPlane, gate: Gate, slow: Upstream, clients: list[Client]
) -> None:
    data_plane.serve(slow, limits=BackendLimits(requests_max=1, queue_max=9))
    for index, client in enumerate(clients):
        await client.send(request(target=f"/{index}"))
        await until(data_plane, lambda stats, so_far=index + 1: stats.requests == so_far)
    gate.open(4)
    for client in clients:
        await client.response()

    assert [each.line.split()[1] for each in slow.exchanges] == ["/0", "/1", "/2", "/3"]


async def test_full_queue_is_overload_and_the_connection_goes_on(
    data_plane: DataPlane, gate: Gate, slow: Upstream, clients: list[Client]
) -> None:
    data_plane.serve(slow, limits=BackendLimits(requests_max=1, queue_max=1))
    serving, waiting, refused, _ = clients
    await serving.send(request())
    await slow.wait_for(lambda slow: len(slow.exchanges) == 1)
    await waiting.send(request())
    await until(data_plane, lambda stats: stats.queued == 1)

    answered = await refused.get()
    assert answered.status == 503
    assert answered.head.one("retry-after") == "1"
    assert answered.head.one("connection") is None
    assert data_plane.engine.stats().queue_refused == 1

    gate.open(3)
    for client in (serving, waiting):
        assert (await client.response()).status == 200
    assert (await refused.get()).status == 200
    assert [each.flag for each in await data_plane.segments()].count("queue_full") == 1


async def test_no_queue_refuses_at_once(
    data_plane: DataPlane, gate: Gate, slow: Upstream, clients: list[Client]
) -> None:
    data_plane.serve(slow, limits=BackendLimits(requests_max=1))
    await clients[0].send(request())
    await slow.wait_for(lambda slow: len(slow.exchanges) == 1)

    assert (await clients[1].get()).status == 503
    gate.open()
    assert (await clients[0].response()).status == 200


async def test_turn_that_does_not_come_in_time_is_unavailable(
    data_plane: DataPlane, slow: Upstream, clients: list[Client]
) -> None:
    limits = BackendLimits(requests_max=1, queue_max=9, queue_timeout_ms=20)
    data_plane.serve(slow, limits=limits)
    await clients[0].send(request())
    await slow.wait_for(lambda slow: len(slow.exchanges) == 1)
    answered = await clients[1].get()
    clients[0].writer.close()
    _, segment = await data_plane.segments()

    assert answered.status == 503
    assert answered.head.one("retry-after") == "1"
    assert segment.flag == "queue_timeout"
    assert segment.attempts == ()
    assert segment.balance is not None
    assert segment.balance.attributes["error.type"] == "queue_timeout"
    assert segment.balance.attributes["spanway.lb.queue_us"] >= 20_000
    assert segment.server.attributes["spanway.phase.queue_us"] >= 20_000


async def test_wait_is_no_longer_than_the_request_may_take(
    data_plane: DataPlane, slow: Upstream, clients: list[Client]
) -> None:
    limits = BackendLimits(requests_max=1, queue_max=9)
    data_plane.serve(slow, limits=limits)
    await clients[0].send(request())
    await slow.wait_for(lambda slow: len(slow.exchanges) == 1)
    data_plane.serve(slow, limits=limits, policy=RoutePolicy(request_timeout_ms=20))
    answered = await clients[1].get()
    clients[0].writer.close()
    _, segment = await data_plane.segments()

    assert answered.status == 504
    assert segment.flag == "request_timeout"


async def test_client_that_leaves_the_queue_gives_up_its_place_in_it(
    data_plane: DataPlane, gate: Gate, slow: Upstream, clients: list[Client]
) -> None:
    data_plane.serve(slow, limits=BackendLimits(requests_max=1, queue_max=1))
    serving, leaving, staying, _ = clients
    await serving.send(request(target="/serving"))
    await slow.wait_for(lambda slow: len(slow.exchanges) == 1)
    await leaving.send(request(target="/leaving"))
    await until(data_plane, lambda stats: stats.queued == 1)
    leaving.writer.close()
    await until(data_plane, lambda stats: stats.requests_live == 1)
    await staying.send(request(target="/staying"))
    await until(data_plane, lambda stats: stats.queued == 2)
    gate.open(2)

    assert (await serving.response()).status == 200
    assert (await staying.response()).status == 200
    assert [each.line.split()[1] for each in slow.exchanges] == ["/serving", "/staying"]
    assert "client_gone" in {each.flag for each in await data_plane.segments()}


async def test_stream_that_is_reset_in_the_queue_gives_up_its_place_in_it(
    data_plane: DataPlane, gate: Gate, slow: Upstream, clients: list[Client]
) -> None:
    data_plane.serve(slow, limits=BackendLimits(requests_max=1, queue_max=1))
    await clients[0].send(request())
    await slow.wait_for(lambda slow: len(slow.exchanges) == 1)
    async with Http2Client(data_plane.ingress.address) as client:
        leaving = await client.begin()
        await until(data_plane, lambda stats: stats.queued == 1)
        await client.peer.reset(leaving)
        await until(data_plane, lambda stats: stats.requests_live == 1)
        staying = await client.begin()
        await until(data_plane, lambda stats: stats.queued == 2)
        gate.open(2)

        assert (await client.response(staying)).status == 200
    assert (await clients[0].response()).status == 200
    assert len(slow.exchanges) == 2


async def test_requests_over_one_connection_of_http_2_are_within_a_limit_of_one_connection(
    data_plane: DataPlane, clients: list[Client]
) -> None:
    may_answer = asyncio.Event()

    async def hold(peer: Peer, asked: Message) -> None:
        await within(may_answer.wait())
        await says_ok(peer, asked)

    async with Http2Upstream(hold) as upstream:
        limits = BackendLimits(connections_max=1)
        data_plane.serve(upstream.endpoint, protocol=Protocol.H2, limits=limits)
        for client in clients:
            await client.send(request())
        await upstream.wait_for(lambda: len(upstream.requests) == len(clients))
        may_answer.set()

        assert [(await client.response()).status for client in clients] == [200] * 4
    assert data_plane.engine.stats().upstream_connects == 1


async def test_client_that_leaves_while_it_is_served_frees_its_place(
    data_plane: DataPlane, gate: Gate, slow: Upstream, clients: list[Client]
) -> None:
    data_plane.serve(slow, limits=BackendLimits(requests_max=1, queue_max=1))
    await clients[0].send(request())
    await slow.wait_for(lambda slow: len(slow.exchanges) == 1)
    await clients[1].send(request())
    await until(data_plane, lambda stats: stats.queued == 1)
    clients[0].reset()
    await slow.wait_for(lambda slow: len(slow.exchanges) == 2)
    gate.open(2)

    assert (await clients[1].response()).status == 200


async def test_request_behind_a_queued_one_is_answered_after_it(
    data_plane: DataPlane, gate: Gate, slow: Upstream, clients: list[Client]
) -> None:
    data_plane.serve(slow, limits=BackendLimits(requests_max=1, queue_max=1))
    await clients[0].send(request())
    await slow.wait_for(lambda slow: len(slow.exchanges) == 1)
    await clients[1].send(request("POST", "/one", body=b"body") + request(target="/two"))
    await until(data_plane, lambda stats: stats.queued == 1)
    gate.open(3)
    for client in (clients[0], clients[1], clients[1]):
        assert (await client.response()).status == 200

    assert [each.request_body for each in slow.exchanges] == [b"", b"body", b""]
    assert [each.line.split()[1] for each in slow.exchanges] == ["/", "/one", "/two"]


async def test_limit_outlives_a_table(
    data_plane: DataPlane, gate: Gate, slow: Upstream, clients: list[Client]
) -> None:
    limits = BackendLimits(requests_max=1)
    data_plane.serve(slow, limits=limits)
    await clients[0].send(request())
    await slow.wait_for(lambda slow: len(slow.exchanges) == 1)
    data_plane.serve(slow, limits=limits, changed_unix_ms=1)

    assert (await clients[1].get()).status == 503
    gate.open()
    assert (await clients[0].response()).status == 200


async def test_connection_above_the_limit_goes_to_another_endpoint(
    data_plane: DataPlane, gate: Gate, slow: Upstream, clients: list[Client]
) -> None:
    async with Upstream() as other:
        limits = BackendLimits(connections_max=1)
        data_plane.serve(slow, limits=limits)
        await clients[0].send(request())
        await slow.wait_for(lambda slow: len(slow.exchanges) == 1)
        data_plane.serve(slow, other, limits=limits)
        answered = [(await clients[1].get()).status for _ in range(4)]
        gate.open()
        assert (await clients[0].response()).status == 200

        assert answered == [200] * 4
        assert (len(slow.exchanges), len(other.exchanges)) == (1, 4)


async def test_connections_at_every_endpoint_at_their_limit_are_told_as_such(
    data_plane: DataPlane, gate: Gate, slow: Upstream, clients: list[Client]
) -> None:
    data_plane.serve(slow, limits=BackendLimits(connections_max=1))
    await clients[0].send(request())
    await slow.wait_for(lambda slow: len(slow.exchanges) == 1)
    refused = await clients[1].get()
    gate.open(3)
    answered = await clients[0].response()
    following = await clients[1].get()

    assert (refused.status, answered.status, following.status) == (503, 200, 200)
    assert refused.head.one("retry-after") == "1"
    assert slow.connections_made == 2
    assert "connections_full" in {each.flag for each in await data_plane.segments()}


WRONG = {
    "requests_max": BackendLimits(requests_max=-1),
    "connections_max": BackendLimits(connections_max=-1),
    "queue_max": BackendLimits(queue_max=1_000_001),
    "queue_timeout_ms": BackendLimits(queue_timeout_ms=-1),
}


@pytest.mark.parametrize("name", WRONG)
def test_limit_that_is_out_of_range_spoils_its_backend_and_is_named(
    name: str, data_plane: DataPlane
) -> None:
    wrong = table((data_plane.ingress,), (backend(limits=WRONG[name]),))
    rejected = data_plane.publish(wrong)

    assert [(each.kind, each.subject) for each in rejected] == [("backend", "shop/api:80")]
    assert f"limits.{name} is {getattr(WRONG[name], name)}" in rejected[0].message


class TestOverManyWorkers:
    """The limits are those of the data plane, not of a worker."""

    @pytest.fixture
    def data_plane(self) -> Iterator[DataPlane]:
        data_plane = DataPlane(workers=4)
        yield data_plane
        data_plane.close()

    async def test_limit_holds_over_all_workers_and_everybody_has_a_turn(
        self, data_plane: DataPlane
    ) -> None:
        now, most = 0, 0

        async def count(exchange: Exchange) -> None:
            nonlocal now, most
            now += 1
            most = max(now, most)
            await exchange.body()
            await asyncio.sleep(0)
            now -= 1  # Before the answer: then the next may come.
            await OK(exchange)

        answer: Answer = count
        async with Upstream(answer) as upstream, AsyncExitStack() as open_:
            data_plane.serve(upstream, limits=BackendLimits(requests_max=2, queue_max=100))
            clients = [
                await open_.enter_async_context(await data_plane.client()) for _ in range(32)
            ]
            for _ in range(5):
                answered = await asyncio.gather(*(client.get() for client in clients))
                assert {each.status for each in answered} == {200}

        assert most <= 2
        assert data_plane.engine.stats().queued > 0


class TestOfConnections:
    """Whoever holds connections and asks for nothing keeps nobody out."""

    @pytest.fixture
    def data_plane(self) -> Iterator[DataPlane]:
        data_plane = DataPlane(connections_max=8)
        yield data_plane
        data_plane.close()

    @pytest.mark.parametrize(
        "begins",
        [b"", b"G", b"GET / HTTP/1.1\r\nX-Slow: ", b"PRI * HTTP/2.0", HTTP2_BEGINS],
        ids=["nothing", "one_byte", "endless_head", "half_a_preface", "http2_without_a_request"],
    )
    async def test_connection_that_waits_gives_way_to_one_that_asks(
        self, begins: bytes, data_plane: DataPlane, upstream: Upstream
    ) -> None:
        data_plane.serve(upstream)
        async with AsyncExitStack() as open_:
            for _ in range(30):
                silent = await open_.enter_async_context(await data_plane.client())
                with suppress(ConnectionError):  # It may have had to go by now.
                    await silent.send(begins)
            asking = await open_.enter_async_context(await data_plane.client())

            assert (await asking.get()).status == 200
            stats = data_plane.engine.stats()
            assert stats.connections_open <= 8
            assert stats.connections_crowded_out >= 23

    async def test_http2_connection_that_gives_way_is_told_which_requests_were_served(
        self, data_plane: DataPlane, upstream: Upstream
    ) -> None:
        data_plane.serve(upstream)
        async with AsyncExitStack() as open_:
            client = await open_.enter_async_context(Http2Client(data_plane.ingress.address))
            assert [(await client.ask()).status for _ in range(3)] == [200] * 3
            for _ in range(30):
                await open_.enter_async_context(await data_plane.client())
            await client.peer.wait_for(lambda: client.peer.is_closed)

            assert client.peer.goodbye == ErrorCodes.NO_ERROR
            assert client.peer.last_stream_id == 5

    async def test_connection_that_has_a_request_gives_way_to_none(
        self, data_plane: DataPlane, gate: Gate, slow: Upstream
    ) -> None:
        data_plane.serve(slow)
        async with AsyncExitStack() as open_, Http2Client(data_plane.ingress.address) as client:
            stream_id = await client.begin()
            served = [await open_.enter_async_context(await data_plane.client()) for _ in range(3)]
            for each in served:
                await each.send(request())
            await slow.wait_for(lambda slow: len(slow.exchanges) == 4)
            for _ in range(30):
                await open_.enter_async_context(await data_plane.client())
            last = await open_.enter_async_context(await data_plane.client())
            await last.send(request())
            await slow.wait_for(lambda slow: len(slow.exchanges) == 5)
            gate.open(5)

            answered = [await each.response() for each in (*served, last)]
            assert {each.status for each in answered} == {200}
            assert (await client.response(stream_id)).status == 200


class TestOfTheWorker:
    """What a worker holds in memory is bounded, whatever is asked of it."""

    @pytest.fixture
    def data_plane(self) -> Iterator[DataPlane]:
        data_plane = DataPlane(requests_live_max=1)
        yield data_plane
        data_plane.close()

    async def test_request_above_the_bound_is_shed_with_its_connection(
        self, data_plane: DataPlane, gate: Gate, slow: Upstream, clients: list[Client]
    ) -> None:
        data_plane.serve(slow)
        await clients[0].send(request())
        await slow.wait_for(lambda slow: len(slow.exchanges) == 1)
        shed = await clients[1].get()
        rest = await clients[1].rest()
        gate.open(2)
        answered = await clients[0].response()
        following = await clients[0].get()
        stats = data_plane.engine.stats()
        segments = await data_plane.segments()

        assert shed.status == 503
        assert shed.head.one("retry-after") == "1"
        assert shed.head.one("connection") == "close"
        assert rest == b""
        assert (answered.status, following.status) == (200, 200)
        assert stats.shed == 1
        (told,) = (each for each in segments if each.flag == "overload")
        assert told.spans == (told.server,)

    async def test_stream_above_the_bound_is_shed_and_its_connection_goes_on(
        self, data_plane: DataPlane, gate: Gate, slow: Upstream
    ) -> None:
        data_plane.serve(slow)
        async with Http2Client(data_plane.ingress.address) as client:
            served = await client.begin()
            await slow.wait_for(lambda slow: len(slow.exchanges) == 1)
            shed = await client.ask()
            gate.open(2)
            answered = await client.response(served)
            following = await client.ask()

        assert (shed.status, shed.one("retry-after")) == (503, "1")
        assert (answered.status, following.status) == (200, 200)


@pytest.fixture
def two_workers(capfd: pytest.CaptureFixture[str]) -> Iterator[DataPlane]:
    data_plane = DataPlane(workers=2)
    yield data_plane
    data_plane.close()
    assert capfd.readouterr().err == ""


async def on_both(
    data_plane: DataPlane, upstream: Upstream, open_: AsyncExitStack
) -> tuple[Http2Client, Http2Client]:
    """Two clients of two workers, each of which has one idle connection to `upstream`."""
    first = await open_.enter_async_context(Http2Client(data_plane.ingress.address))
    await first.ask()
    while True:
        second = await open_.enter_async_context(Http2Client(data_plane.ingress.address))
        await second.ask()
        if upstream.connections_made == 2:
            return first, second


HELD = with_fields(GET, (":path", "/held"))


async def served(client: Http2Client) -> None:
    """Returns when the client gets an answer that is not 503."""
    async with asyncio.timeout(DEADLINE_S):
        while (await client.ask()).status == 503:
            pass


async def test_idle_connection_of_one_worker_does_not_keep_another_out_for_long(
    two_workers: DataPlane, upstream: Upstream
) -> None:
    may_answer = asyncio.Event()
    upstream.answer = holds("/held", may_answer)
    two_workers.serve(upstream, limits=BackendLimits(connections_max=3))
    async with AsyncExitStack() as open_:
        _, second = await on_both(two_workers, upstream, open_)
        held = [asyncio.create_task(second.ask(HELD)) for _ in range(2)]
        await upstream.wait_for(lambda upstream: upstream.connections_open == 3)

        await served(second)
        may_answer.set()
        await within(asyncio.gather(*held))


async def test_lowered_limit_of_connections_leaves_each_worker_some(
    two_workers: DataPlane, upstream: Upstream
) -> None:
    crowd, last = asyncio.Event(), asyncio.Event()
    two_workers.serve(upstream, limits=BackendLimits(connections_max=64))
    async with AsyncExitStack() as open_:
        first, second = await on_both(two_workers, upstream, open_)
        upstream.answer = holds("/held", crowd)
        held = [asyncio.create_task(first.ask(HELD)) for _ in range(8)]
        await upstream.wait_for(lambda upstream: upstream.connections_open == 9)
        crowd.set()
        await within(asyncio.gather(*held))
        two_workers.serve(upstream, limits=BackendLimits(connections_max=4))
        upstream.answer = holds("/held", last)
        asked = len(upstream.exchanges)
        took = asyncio.create_task(second.ask(HELD))  # the connection that its worker has
        await upstream.wait_for(lambda upstream: len(upstream.exchanges) > asked)

        await served(second)
        last.set()
        await within(took)

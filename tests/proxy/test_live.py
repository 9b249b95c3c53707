"""Live requests: what is inside the engine now, how far it has come, and how many of what."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest
from client import Client
from data_plane import ROUTE, DataPlane, backend, table
from h2.settings import SettingCodes
from http2 import Http2Client
from message import DEADLINE_S, request, response, within
from upstream import Exchange, Upstream

from proxy.live import ROWS_MAX, Condition, Field, Kind, Live, Phase, Place, Query, Row, Sort
from proxy.table import (
    BackendLimits,
    Listener,
    ListenerKind,
    Retry,
    RetryOn,
    RoutePolicy,
    Tracing,
)

TRACEPARENT = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def where(field: Field, value: str, *, negated: bool = False) -> Query:
    return Query((Condition(field, value, negated),))


async def until(
    data_plane: DataPlane,
    state: Callable[[Live], bool],
    query: Query = Query(),  # noqa: B008
) -> Live:
    """The first answer of which `state` holds."""
    async with asyncio.timeout(DEADLINE_S):
        while not state(live := data_plane.engine.live(query)):  # noqa: ASYNC110
            await asyncio.sleep(0)  # Asking has waited for the workers.
    return live


async def reached(data_plane: DataPlane, phase: Phase) -> Row:
    """The only live request, once it has come to that phase."""
    live = await until(data_plane, lambda live: live.phases.get(phase) == 1)
    (row,) = live.requests
    return row


class Script:
    """An endpoint that does one step of its answer after the other, when it is told to."""

    def __init__(self) -> None:
        self._steps: asyncio.Queue[bytes] = asyncio.Queue()

    async def answer(self, exchange: Exchange) -> None:
        await exchange.body()
        while step := await within(self._steps.get()):
            await exchange.send(step)

    def sends(self, *steps: bytes) -> None:
        for step in (*steps, b""):
            self._steps.put_nowait(step)

    def send(self, step: bytes) -> None:
        self._steps.put_nowait(step)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
async def waiting(script: Script) -> AsyncIterator[Upstream]:
    """Answers by `script`."""
    async with Upstream(script.answer) as upstream:
        yield upstream


@pytest.fixture
async def client(data_plane: DataPlane, waiting: Upstream) -> AsyncIterator[Client]:
    endpoint = msgspec.structs.replace(waiting.endpoint, pod="api-0", node="node-1", zone="a")
    data_plane.serve(endpoint)
    async with await data_plane.client() as client:
        yield client


async def test_request_that_waits_for_its_endpoint_is_told_whole(
    data_plane: DataPlane, waiting: Upstream, client: Client, script: Script
) -> None:
    await client.send(request("POST", "/cart//a?token=hunter2", TRACEPARENT, body=b"12345"))
    row = await reached(data_plane, Phase.WAIT)
    script.sends(response())
    await client.response()

    varying = ("id", "age_us", "phase_age_us", "phases_us", "start_unix_us", "start_ns")
    assert {k: v for k, v in msgspec.structs.asdict(row).items() if k not in varying} == {
        "trace_id": TRACE_ID,
        "kind": Kind.REQUEST,
        "namespace": "shop",
        "method": "POST",
        "host": "shop.example",
        "path": "/cart//a",
        "route": "*/",
        "ingress": "shop/web",
        "rule": ROUTE.rule,
        "service": "shop/api:80",
        "endpoint": f"127.0.0.1:{waiting.endpoint.port}",
        "pod": "api-0",
        "node": "node-1",
        "zone": "a",
        "phase": Phase.WAIT,
        "received_bytes": 5,
        "sent_bytes": 0,
        "status": 0,
        "attempts": 1,
        "client": f"127.0.0.1:{client.port}",
        "scheme": "http",
        "protocol": "HTTP/1.1",
        "listener": "ingress",
        "generation": 1,
        "instance": "",
    }
    assert row.id == (await data_plane.segment()).server.span_id


async def test_request_that_is_over_is_not_live(
    data_plane: DataPlane, client: Client, script: Script
) -> None:
    script.sends(response(body=b"ok"))
    assert (await client.get()).status == 200

    live = await until(data_plane, lambda live: live.live == 0)
    assert (live.matched, live.requests, live.routes) == (0, (), ())


async def test_phases_are_those_that_it_went_through_and_sum_to_its_age(
    data_plane: DataPlane, client: Client, script: Script
) -> None:
    await client.send(request("POST", "/", "Content-Length: 2"))
    sending = await reached(data_plane, Phase.SEND)
    await client.send(b"ab")
    await reached(data_plane, Phase.WAIT)
    script.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    streaming = await reached(data_plane, Phase.STREAM)
    streaming = (await until(data_plane, lambda live: live.requests[0].sent_bytes == 2)).requests[0]
    script.sends(b"cd")
    await client.response()

    assert sending.received_bytes == 0
    assert (streaming.status, streaming.received_bytes) == (200, 2)
    through = [Phase.HEAD, Phase.ROUTE, Phase.CONNECT, Phase.SEND, Phase.WAIT, Phase.STREAM]
    assert list(streaming.phases_us) == through
    lost = streaming.age_us - sum(streaming.phases_us.values())
    assert 0 <= lost <= len(through)  # Each is rounded down.
    assert streaming.phases_us[Phase.STREAM] == streaming.phase_age_us


async def test_client_that_does_not_take_the_end_keeps_the_request_in_respond(
    data_plane: DataPlane, waiting: Upstream, script: Script
) -> None:
    data_plane.serve(waiting)
    script.sends(response(body=b"ok"))
    async with Http2Client(data_plane.ingress.address) as client:
        client.peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        await client.begin()
        row = await reached(data_plane, Phase.RESPOND)

    assert (row.status, row.protocol) == (200, "HTTP/2")


async def test_head_that_comes_slowly_is_live_without_a_trace(
    data_plane: DataPlane, client: Client
) -> None:
    await client.send(b"GET / HTTP/1.1\r\nHost: shop.ex")
    row = await reached(data_plane, Phase.HEAD)

    assert (row.trace_id, row.host, row.route, row.namespace) == ("", "", "", "")
    assert row.client == f"127.0.0.1:{client.port}"
    client.reset()
    await until(data_plane, lambda live: live.live == 0)


async def test_request_over_its_backends_limit_is_in_the_queue(
    data_plane: DataPlane, waiting: Upstream, script: Script
) -> None:
    data_plane.serve(waiting, limits=BackendLimits(requests_max=1, queue_max=9))
    async with await data_plane.client() as first, await data_plane.client() as second:
        await first.send(request(target="/first"))
        await reached(data_plane, Phase.WAIT)
        await second.send(request(target="/second"))
        live = await until(data_plane, lambda live: live.phases.get(Phase.QUEUE) == 1)
        (queued,) = (row for row in live.requests if row.phase is Phase.QUEUE)
        script.sends(response())
        script.sends(response())
        await first.response()
        await second.response()

    assert (queued.path, queued.endpoint, queued.attempts) == ("/second", "", 0)
    assert queued.service == "shop/api:80"


async def test_earlier_attempts_count_as_route(
    data_plane: DataPlane, waiting: Upstream, script: Script
) -> None:
    retry = Retry(attempts=2, on=(RetryOn.STATUS_503,))
    data_plane.serve(waiting, policy=RoutePolicy(retry=retry))
    async with await data_plane.client() as client:
        await client.send(request())
        first = await reached(data_plane, Phase.WAIT)
        script.sends(response(503))
        live = await until(
            data_plane,
            lambda live: live.requests[0].attempts == 2 and live.phases.get(Phase.WAIT) == 1,
        )
        (second,) = live.requests

    assert second.phases_us[Phase.ROUTE] >= first.phases_us[Phase.WAIT]
    assert sum(second.phases_us.values()) <= second.age_us


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (Field.TRACE_ID, TRACE_ID),
        (Field.NAMESPACE, "shop"),
        (Field.KIND, "request"),
        (Field.PHASE, "wait"),
        (Field.METHOD, "GET"),
        (Field.HOST, "SHOP.example"),
        (Field.ROUTE, "*/"),
        (Field.INGRESS, "shop/web"),
        (Field.SERVICE, "shop/api"),
        (Field.SERVICE, "shop/api:80"),
        (Field.POD, "api-0"),
        (Field.NODE, "node-1"),
        (Field.CLIENT, "127.0.0.1"),
    ],
)
async def test_condition_holds_for_what_it_names_and_nothing_else(
    data_plane: DataPlane, client: Client, field: Field, value: str
) -> None:
    await client.send(request("GET", "/", TRACEPARENT))
    await reached(data_plane, Phase.WAIT)
    live = data_plane.engine.live

    assert live(where(field, value)).matched == 1
    assert live(where(field, value, negated=True)).matched == 0
    for other in ("", value + "x", value[:-1]):
        answer = live(where(field, other))
        assert (answer.live, answer.matched, answer.requests) == (1, 0, ())


async def test_conditions_on_id_and_endpoint_find_the_request(
    data_plane: DataPlane, client: Client
) -> None:
    await client.send(request())
    row = await reached(data_plane, Phase.WAIT)

    for field, value in ((Field.ID, row.id), (Field.ENDPOINT, row.endpoint)):
        assert data_plane.engine.live(where(field, value)).matched == 1
        assert data_plane.engine.live(where(field, value[1:])).matched == 0


@pytest.fixture
async def five(data_plane: DataPlane, waiting: Upstream) -> AsyncIterator[tuple[Row, ...]]:
    """`/0` to `/4`, the oldest first, all waiting."""
    data_plane.serve(waiting)
    async with AsyncExitStack() as open_:
        for index in range(5):
            client = await open_.enter_async_context(await data_plane.client())
            await client.send(request(target=f"/{index}"))
            await until(data_plane, lambda live, n=index + 1: live.phases.get(Phase.WAIT) == n)
        yield data_plane.engine.live().requests


async def test_oldest_comes_first_and_what_is_above_the_limit_is_counted(
    data_plane: DataPlane, five: tuple[Row, ...]
) -> None:
    live = data_plane.engine.live(Query(limit=2))
    youngest = data_plane.engine.live(Query(limit=2, ascending=True))

    assert [row.path for row in five] == ["/0", "/1", "/2", "/3", "/4"]
    assert [row.path for row in live.requests] == ["/0", "/1"]
    assert [row.path for row in youngest.requests] == ["/4", "/3"]
    assert (live.live, live.matched, live.phases[Phase.WAIT]) == (5, 5, 5)
    (route,) = live.routes
    (service,) = live.services
    assert (route.name, route.count, service.name) == ("*/", 5, "shop/api:80")
    assert route.phases == {Phase.WAIT: 5}
    assert data_plane.engine.live(Query(limit=0)).requests == ()


async def test_answer_goes_on_behind_the_last_row_of_the_one_before(
    data_plane: DataPlane, five: tuple[Row, ...]
) -> None:
    seen: list[str] = []
    place = None
    while rows := data_plane.engine.live(Query(limit=2, after=place)).requests:
        seen += [row.path for row in rows]
        place = Place(rows[-1].start_ns, rows[-1].id)

    assert seen == [row.path for row in five]


async def test_age_leaves_out_the_younger_ones(
    data_plane: DataPlane, five: tuple[Row, ...]
) -> None:
    # Later they are older, so at least these.
    assert data_plane.engine.live(Query(age_min_us=five[2].age_us)).matched >= 3
    assert data_plane.engine.live(Query(age_min_us=3_600_000_000)).matched == 0


async def test_rows_are_ordered_by_what_is_asked_for(
    data_plane: DataPlane, waiting: Upstream
) -> None:
    data_plane.serve(waiting)
    async with AsyncExitStack() as open_:
        for size in (3, 9, 1):
            client = await open_.enter_async_context(await data_plane.client())
            await client.send(request("POST", body=b"x" * size))
        await until(data_plane, lambda live: live.phases.get(Phase.WAIT) == 3)
        rows = data_plane.engine.live(Query(sort=Sort.RECEIVED)).requests

    assert [row.received_bytes for row in rows] == [9, 3, 1]


async def test_request_keeps_the_table_that_it_began_with(
    data_plane: DataPlane, client: Client
) -> None:
    await client.send(request())
    await reached(data_plane, Phase.WAIT)
    ingress = msgspec.structs.replace(data_plane.table, hosts={}, backends={}, policies={})
    assert data_plane.publish(ingress) == []

    (row,) = data_plane.engine.live().requests
    assert (row.generation, row.service, row.pod) == (1, "shop/api:80", "api-0")


async def test_service_listeners_requests_have_its_namespace_and_no_route(
    data_plane: DataPlane, waiting: Upstream
) -> None:
    port = data_plane.free_port()
    listener = Listener(port.address, ListenerKind.SERVICE, backend="shop/api:80")
    assert data_plane.publish(table((listener,), (backend(waiting),), hosts=())) == []
    async with await Client.connect(port.address) as client:
        await client.send(request())
        row = await reached(data_plane, Phase.WAIT)

    assert (row.listener, row.namespace, row.route) == ("service", "shop", "")


async def test_upgraded_connection_streams_both_ways(
    data_plane: DataPlane, client: Client, script: Script
) -> None:
    await client.send(request("GET", "/chat", "Connection: upgrade", "Upgrade: echo"))
    script.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
    await client.interim()
    script.send(b"hello")
    assert await client.receive(5) == b"hello"
    await client.send(b"abc")
    live = await until(data_plane, lambda live: live.requests[0].received_bytes == 3)

    (row,) = live.requests
    assert (row.kind, row.phase, row.status, row.sent_bytes) == (Kind.UPGRADE, Phase.STREAM, 101, 5)


async def test_streams_of_one_http2_connection_are_requests_of_their_own(
    data_plane: DataPlane, waiting: Upstream
) -> None:
    data_plane.serve(waiting)
    async with Http2Client(data_plane.ingress.address) as client:
        for _ in range(3):
            await client.begin()
        live = await until(data_plane, lambda live: live.phases.get(Phase.WAIT) == 3)

    assert {row.protocol for row in live.requests} == {"HTTP/2"}
    assert len({row.id for row in live.requests}) == 3


async def test_without_tracing_a_live_request_has_no_trace(
    data_plane: DataPlane, waiting: Upstream
) -> None:
    data_plane.serve(waiting, tracing=Tracing(enabled=False))
    async with await data_plane.client() as client:
        await client.send(request())
        row = await reached(data_plane, Phase.WAIT)

    assert row.trace_id == ""
    assert len(row.id) == 16


async def test_live_requests_of_all_workers_are_one_answer(waiting: Upstream) -> None:
    data_plane = DataPlane(workers=3)
    engine = data_plane.engine
    try:
        data_plane.serve(waiting)
        async with AsyncExitStack() as open_:
            for _ in range(24):
                client = await open_.enter_async_context(await data_plane.client())
                await client.send(request())
            live = await until(data_plane, lambda live: live.phases.get(Phase.WAIT) == 24)
            oldest = engine.live(Query(limit=3))
            youngest = engine.live(Query(limit=3, ascending=True))
    finally:
        data_plane.close()

    ids = [row.id for row in sorted(live.requests, key=lambda row: row.start_ns)]
    assert [row.id for row in live.requests] == ids
    assert [row.id for row in oldest.requests] == ids[:3]
    assert [row.id for row in youngest.requests] == ids[:-4:-1]
    assert (len(ids), youngest.matched, live.workers_silent) == (24, 24, 0)


async def test_what_a_drain_waits_for_is_live(
    data_plane: DataPlane, client: Client, script: Script
) -> None:
    await client.send(request(target="/slow"))
    await reached(data_plane, Phase.WAIT)
    stopping = asyncio.ensure_future(data_plane.stop())
    try:
        await asyncio.to_thread(lambda: None)
        row = await reached(data_plane, Phase.WAIT)
        assert row.path == "/slow"
    finally:
        script.sends(response())
        await client.response()
        await within(stopping)
    assert data_plane.engine.live().live == 0


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"limit": ROWS_MAX + 1}, "the limit is above 10000"),
        ({"conditions": (Condition(Field.POD, ""),) * 33}, "there are more than 32 conditions"),
        ({"age_min_us": -1}, "invalid value"),
    ],
)
async def test_query_over_a_bound_is_refused(
    data_plane: DataPlane, query: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        data_plane.engine.live(Query(**query))

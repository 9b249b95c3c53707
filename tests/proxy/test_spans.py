"""What the spans of a request say. `docs/SPANS.md` is the claim."""

import asyncio
import random
import re
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from client import Client
from data_plane import ROUTE, DataPlane, Segment, backend, table
from message import request, response
from upstream import OK, Exchange, Upstream, closes, resets, says

from ingress_controller.traces.span import Span, SpanKind, SpanStatus, decode
from proxy.spans import BATCH_BYTES_MAX
from proxy.table import (
    Balance,
    Endpoint,
    Host,
    KernelTimestamps,
    Listener,
    ListenerKind,
    PhaseSpans,
    Tracing,
    TracingPolicy,
    difference,
)

THREE_SPANS = Tracing(
    TracingPolicy(phase_spans=PhaseSpans.NEVER), kernel_timestamps=KernelTimestamps.OFF
)
"""Of each request, however slow it is and whether or not the kernel answers in time."""

SPANS_PAGE = (Path(__file__).parents[2] / "docs" / "SPANS.md").read_text()

PHASES = ("head", "route", "connect", "send", "wait", "receive", "respond")
ATTEMPT_PHASES = PHASES[2:6]

MEASURED = re.compile(r"spanway\.(phase|time|net)\.|tcp\.")
"""Attributes that are another number each time."""


def phases_of(span: Span, names: Iterable[str]) -> list[int]:
    return [int(str(span.attributes[f"spanway.phase.{name}_us"])) for name in names]


async def test_first_request_by_a_table_is_linked_to_the_span_that_published_it(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    trace_id, span_id = "07" * 16, "08" * 8
    served = table((data_plane.ingress,), (backend(upstream),))
    wanted = msgspec.structs.replace(served, generation=data_plane.table.generation + 1)
    update = msgspec.structs.replace(
        difference(data_plane.table, wanted), published_by=f"00-{trace_id}-{span_id}-01"
    )
    assert data_plane.engine.publish(update) == []
    async with await data_plane.client() as client:
        await client.ask(request())
        await client.ask(request())
    spans = await data_plane.spans()

    first, second = (span for span in spans if span.kind is SpanKind.SERVER)
    assert (first.links, second.links) == (((trace_id, span_id),), ())


async def test_server_span_says_what_was_asked_by_whom_and_what_decided(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    route = msgspec.structs.replace(ROUTE, path="/api", rule="spec.rules[0].http.paths[1]")
    served = table(
        (data_plane.ingress,),
        (backend(upstream, changed_unix_ms=1_700_000_000_000),),
        (Host("shop.example", (route,)),),
    )
    assert data_plane.publish(served) == []
    async with await data_plane.client() as client:
        port = client.port
        await client.ask(
            request(
                "POST",
                "/api/items/1?token=secret",
                "User-Agent: curl/8",
                "X-Request-ID: mine",
                "Cookie: secret",
                host="Shop.Example:8080",
                body=b"hello",
            )
        )
    segment = await data_plane.segment()

    assert segment.server.name == "POST /api"
    assert segment.server.kind is SpanKind.SERVER
    assert segment.server.service == "spanway"
    assert segment.server.status is SpanStatus.UNSET
    told = {k: v for k, v in segment.server.attributes.items() if not MEASURED.match(k)}
    assert told == {
        "http.request.method": "POST",
        "http.route": "/api",
        "http.response.status_code": 200,
        "http.response.body.size": 2,
        "http.request.body.size": 5,
        "url.scheme": "http",
        "url.path": "/api/items/1",
        "server.address": "shop.example",
        "server.port": int(data_plane.ingress.address.rpartition(":")[2]),
        "client.address": "127.0.0.1",
        "client.port": port,
        "network.protocol.version": "1.1",
        "user_agent.original": "curl/8",
        "k8s.namespace.name": "shop",
        "spanway.ingress.name": "web",
        "spanway.route": "spec.rules[0].http.paths[1]",
        "spanway.listener": "ingress",
        "spanway.table.generation": 1,
        "spanway.endpoints.changed_unix_ms": 1_700_000_000_000,
        "spanway.request.id": "mine",
        "spanway.verdict": "none",
    }


async def test_balance_span_says_what_was_chosen_from(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, balance=Balance.LEAST_REQUEST)
    async with await data_plane.client() as client:
        await client.get()
    segment = await data_plane.segment()

    assert segment.balance is not None
    assert segment.balance.name == "balance shop/api:80"
    assert segment.balance.status is SpanStatus.UNSET
    assert segment.balance.attributes == {
        "k8s.namespace.name": "shop",
        "k8s.service.name": "api",
        "spanway.lb.policy": "least_request",
        "spanway.lb.endpoints_ready": 1,
        "spanway.lb.queue_us": 0,
        "spanway.lb.attempts": 1,
    }


async def test_client_span_says_where_the_attempt_went(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    pod = msgspec.structs.replace(upstream.endpoint, pod="api-7d9f", node="node-1", zone="eu-1a")
    data_plane.serve(pod)
    async with await data_plane.client() as client:
        await client.get()
        await client.get()
    segments = await data_plane.segments()

    for segment, is_reused in zip(segments, [False, True], strict=True):
        (attempt,) = segment.attempts
        assert (attempt.name, attempt.kind) == ("GET", SpanKind.CLIENT)
        told = {k: v for k, v in attempt.attributes.items() if not MEASURED.match(k)}
        assert told == {
            "http.request.method": "GET",
            "network.protocol.version": "1.1",
            "http.response.status_code": 200,
            "server.address": "127.0.0.1",
            "server.port": pod.port,
            "network.peer.address": "127.0.0.1",
            "network.peer.port": pod.port,
            "k8s.pod.name": "api-7d9f",
            "k8s.node.name": "node-1",
            "cloud.availability_zone": "eu-1a",
            "spanway.connection.reused": is_reused,
        }


async def test_service_listeners_span_names_the_service_and_no_route(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    shop = backend(upstream)
    listener = Listener(data_plane.free_port().address, ListenerKind.SERVICE, shop.key)
    assert data_plane.publish(table((listener,), (shop,), ())) == []
    async with await Client.connect(listener.address) as client:
        await client.get("/anything")
    segment = await data_plane.segment()

    assert segment.server.name == "GET"
    assert segment.server.attributes["spanway.listener"] == "service"
    assert segment.server.attributes["k8s.namespace.name"] == "shop"
    assert "http.route" not in segment.server.attributes
    assert "spanway.ingress.name" not in segment.server.attributes


async def test_method_that_nobody_knows_names_nothing(
    data_plane: DataPlane, client: Client
) -> None:
    await client.ask(request("FROBNICATE"))
    segment = await data_plane.segment()

    assert segment.server.name == "HTTP /"
    assert segment.attempts[0].name == "HTTP"
    for span in (segment.server, segment.attempts[0]):
        assert span.attributes["http.request.method"] == "_OTHER"
        assert span.attributes["http.request.method_original"] == "FROBNICATE"


async def test_version_of_the_client_is_recorded(data_plane: DataPlane, client: Client) -> None:
    await client.ask(b"GET / HTTP/1.0\r\n\r\n")
    client.writer.close()
    segment = await data_plane.segment()

    assert segment.server.attributes["network.protocol.version"] == "1.0"
    assert "server.address" not in segment.server.attributes


@pytest.mark.parametrize(
    ("status", "server_status", "client_status"),
    [
        (200, SpanStatus.UNSET, SpanStatus.UNSET),
        (404, SpanStatus.UNSET, SpanStatus.ERROR),
        (500, SpanStatus.ERROR, SpanStatus.ERROR),
        (503, SpanStatus.ERROR, SpanStatus.ERROR),
    ],
)
async def test_status_of_the_upstream_is_judged_by_whose_fault_it_is(
    status: int,
    server_status: SpanStatus,
    client_status: SpanStatus,
    data_plane: DataPlane,
    client: Client,
    upstream: Upstream,
) -> None:
    upstream.answer = says(response(status))

    await client.get()
    segment = await data_plane.segment()

    (attempt,) = segment.attempts
    assert (segment.server.status, attempt.status) == (server_status, client_status)
    for span in (segment.server, attempt):
        error = str(status) if span.status is SpanStatus.ERROR else None
        assert span.attributes.get("error.type") == error
    assert segment.flag is None


class Weather:
    """An upstream that answers, fails and dawdles as its seed says."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    async def __call__(self, exchange: Exchange) -> None:
        await self._random.choice(
            [OK, OK, self._answer_early, self._trickle, closes, resets, self._cut, self._garbage]
        )(exchange)

    async def _answer_early(self, exchange: Exchange) -> None:
        await exchange.send(response(body=b"early"))
        await exchange.body()

    async def _trickle(self, exchange: Exchange) -> None:
        await exchange.body()
        for byte in response(body=b"slowly"):
            await exchange.send(bytes([byte]))
            await asyncio.sleep(0)

    async def _cut(self, exchange: Exchange) -> None:
        await exchange.body()
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        exchange.close()

    async def _garbage(self, exchange: Exchange) -> None:
        await exchange.send(b"garbage\r\n\r\n")


@pytest.fixture(scope="module")
def weather_seed() -> int:
    seed = random.SystemRandom().randrange(2**32)
    print(f"weather seed: {seed}")
    return seed


async def _bad_weather(data_plane: DataPlane, upstream: Upstream, seed: int) -> list[Segment]:
    upstream.answer = Weather(seed)
    refusing = Endpoint("127.0.0.1", data_plane.free_port().port)
    data_plane.serve(upstream, upstream, refusing)
    choice = random.Random(seed)

    async def ask(count: int) -> None:
        for _ in range(count):
            sent = choice.choice(
                [
                    request(),
                    request("POST", body=bytes(choice.choice([0, 10, 100_000]))),
                    request("HEAD"),
                    request("POST", "/", "Transfer-Encoding: chunked") + b"no size\r\n",
                ]
            )
            async with await data_plane.client() as client:
                with suppress(asyncio.IncompleteReadError, ConnectionError):
                    await client.ask(sent)

    async with asyncio.TaskGroup() as asking:
        for _ in range(10):
            asking.create_task(ask(30))
    return await data_plane.segments()


async def test_parents_enclose_children_and_phases_sum_to_the_whole_in_any_weather(
    data_plane: DataPlane, upstream: Upstream, weather_seed: int
) -> None:
    segments = await _bad_weather(data_plane, upstream, weather_seed)

    assert len(segments) == 300
    assert {segment.flag for segment in segments} >= {
        None,
        "upstream_closed",
        "upstream_reset",
        "upstream_protocol_error",
        "bad_request",
    }
    assert any(len(segment.attempts) > 1 for segment in segments)
    for segment in segments:
        server, balance, attempts = segment.server, segment.balance, segment.attempts
        assert balance is not None
        _assert_encloses(server, balance)
        for attempt in attempts:
            _assert_encloses(balance, attempt)
            assert sum(phases_of(attempt, ATTEMPT_PHASES)) == attempt.duration_ns // 1000
        for earlier, later in pairwise(attempts):
            assert earlier.end_unix_ns <= later.start_unix_ns
        assert sum(phases_of(server, PHASES)) == server.duration_ns // 1000
        assert balance.attributes["spanway.lb.attempts"] == len(attempts)


async def test_everything_on_a_span_is_on_its_page(
    data_plane: DataPlane, upstream: Upstream, weather_seed: int
) -> None:
    segments = await _bad_weather(data_plane, upstream, weather_seed)

    listed = {
        SpanKind.SERVER: _listed_under("SERVER"),
        SpanKind.INTERNAL: _listed_under("balance"),  # those of the kernel have none
        SpanKind.CLIENT: _listed_under("CLIENT"),
    }
    phase = _listed_under("phase")
    for span in (span for segment in segments for span in segment.spans):
        if "spanway.phase" in span.attributes:
            assert set(span.attributes) <= phase, span.name
            continue
        names = {re.sub(r"phase\.\w+_us", "phase.*_us", name) for name in span.attributes}
        assert names <= listed[span.kind], span.name
    flags = {segment.flag for segment in segments} - {None}
    assert flags <= set(
        re.findall(r"^\| `(\w+)` \| (?:client|proxy|upstream) \|", SPANS_PAGE, re.M)
    )


def _listed_under(heading: str) -> set[str]:
    section = SPANS_PAGE.split(f"### {heading}\n")[1].split("\n#")[0]
    return set(re.findall(r"`([a-z0-9_.*]+)`(?=[^|]*\| (?:text|int|bool))", section))


def _assert_encloses(parent: Span, child: Span) -> None:
    assert parent.start_unix_ns <= child.start_unix_ns
    assert child.start_unix_ns <= child.end_unix_ns
    assert child.end_unix_ns <= parent.end_unix_ns


async def test_spans_that_wait_together_are_one_batch_as_far_as_it_goes(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, tracing=THREE_SPANS)
    async with await data_plane.client() as client:
        for _ in range(800):
            await client.get("/" + "x" * 500, f"User-Agent: {'y' * 500}")
    await data_plane.stop()
    batches = data_plane.engine.take_spans()

    assert len(batches) > 1
    assert all(len(batch.otlp) <= BATCH_BYTES_MAX for batch in batches)
    sealed_bytes = 200 * 1024
    assert all(len(batch.otlp) > BATCH_BYTES_MAX - sealed_bytes for batch in batches[:-1])
    decoded = [len(list(decode(batch.otlp))) for batch in batches]
    assert decoded == [batch.span_count for batch in batches]
    assert sum(decoded) == 3 * 800


async def test_spans_that_do_not_fit_the_queue_are_dropped_and_counted(upstream: Upstream) -> None:
    data_plane = DataPlane(span_queue_bytes=1)
    data_plane.serve(upstream, tracing=THREE_SPANS)
    async with await data_plane.client() as client:
        answered = await client.get()

    assert await data_plane.spans() == []
    stats = data_plane.engine.stats()
    data_plane.close()
    assert answered.status == 200
    assert (stats.spans_recorded, stats.spans_dropped) == (3, 3)

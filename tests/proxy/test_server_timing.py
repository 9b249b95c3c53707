"""What clients are told of their trace by the head of a response."""

import re

import msgspec
import pytest
from data_plane import DataPlane, Segment
from http2 import GET, Http2Client, with_fields
from message import Head, response
from upstream import Upstream, says

from proxy.table import Propagator, RoutePolicy, ServerTiming, Tracing

TIMING = RoutePolicy(server_timing=ServerTiming.TIMING)
PARTS = ["edge", "balance", "connect", "net", "app"]


def context_of(segment: Segment) -> str:
    return f"00-{segment.server.trace_id}-{segment.server.span_id}-03"


def parts_of(timing: str) -> dict[str, float]:
    """The parts of the way and their milliseconds."""
    found = re.findall(r", ([a-z]+);dur=([0-9]+\.[0-9]{3})", timing)
    return {name: float(duration) for name, duration in found}


def assert_told(head: Head, segment: Segment) -> None:
    context = context_of(segment)
    assert head.one("traceresponse") == context
    timing = head.one("server-timing")
    assert timing is not None
    assert timing.startswith(f'trace;desc="{context}"')


async def test_clients_are_told_nothing_unless_it_is_asked_for(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream)
    async with await data_plane.client() as client:
        answered = await client.get()

    assert not answered.head.has("server-timing")
    assert not answered.head.has("traceresponse")


@pytest.mark.parametrize(
    ("level", "parts"), [(ServerTiming.TRACE, []), (ServerTiming.TIMING, PARTS)]
)
async def test_policy_says_what_clients_are_told(
    level: ServerTiming, parts: list[str], data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, policy=RoutePolicy(server_timing=level))
    async with await data_plane.client() as client:
        answered = await client.get()
    segment = await data_plane.segment()

    assert_told(answered.head, segment)
    told = parts_of(str(answered.head.one("server-timing")))
    assert list(told) == parts
    assert sum(told.values()) <= segment.server.duration_ns / 1e6


async def test_policy_wins_over_what_the_table_says(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    told = Tracing(server_timing=ServerTiming.TRACE)
    for policy in (RoutePolicy(), RoutePolicy(server_timing=ServerTiming.OFF)):
        data_plane.serve(upstream, tracing=told, policy=policy)
        async with await data_plane.client() as client:
            answered = await client.get()
        assert answered.head.has("traceresponse") == (policy.server_timing is None)


async def test_client_of_http_2_is_told_too(data_plane: DataPlane, upstream: Upstream) -> None:
    data_plane.serve(upstream, policy=TIMING)
    async with Http2Client(data_plane.ingress.address) as client:
        answered = await client.ask(GET)
    segment = await data_plane.segment()

    assert answered.one("traceresponse") == context_of(segment)
    assert list(parts_of(str(answered.one("server-timing")))) == PARTS


async def test_own_page_says_how_far_the_request_came(data_plane: DataPlane) -> None:
    data_plane.serve(policy=TIMING)
    async with await data_plane.client() as client:
        answered = await client.get()
    segment = await data_plane.segment()

    assert answered.status == 503
    assert_told(answered.head, segment)
    assert list(parts_of(str(answered.head.one("server-timing")))) == ["edge", "balance"]


async def test_grpc_client_of_http_2_is_told_with_its_refusal(data_plane: DataPlane) -> None:
    data_plane.serve(policy=TIMING)
    async with Http2Client(data_plane.ingress.address) as client:
        asked = with_fields(GET, (":method", "POST"), ("content-type", "application/grpc"))
        answered = await client.ask(asked, b"")
    segment = await data_plane.segment()

    assert answered.one("grpc-status") == "14"
    assert answered.one("traceresponse") == context_of(segment)


async def test_page_without_a_route_is_the_tables(data_plane: DataPlane) -> None:
    wanted = Tracing(server_timing=ServerTiming.TRACE)
    data_plane.serve(tracing=wanted)
    async with await data_plane.client_of(
        msgspec.structs.replace(data_plane.table, hosts={})
    ) as client:
        answered = await client.get()
    segment = await data_plane.segment()

    assert answered.status == 404
    assert_told(answered.head, segment)


async def test_timing_of_the_endpoint_stays_and_its_traceresponse_is_replaced(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, policy=TIMING)
    upstream.answer = says(response(200, "Server-Timing: db;dur=5", "traceresponse: 00-1-2-01"))
    async with await data_plane.client() as client:
        answered = await client.get()
    segment = await data_plane.segment()

    assert answered.head.one("traceresponse") == context_of(segment)
    first, second = answered.head.all("server-timing")
    assert (first, second.startswith("trace;desc=")) == ("db;dur=5", True)


async def test_nothing_is_told_where_tracing_is_off(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    off = Tracing(enabled=False, server_timing=ServerTiming.TIMING)
    data_plane.serve(upstream, tracing=off)
    async with await data_plane.client() as client:
        answered = await client.get()

    assert not answered.head.has("server-timing")


async def test_policy_says_in_what_formats_the_endpoint_is_told(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, policy=RoutePolicy(inject=(Propagator.B3,)))
    async with await data_plane.client() as client:
        await client.get("/", "b3: 0")
    segment = await data_plane.segment()

    head = upstream.exchanges[0].head
    (attempt,) = segment.attempts
    assert head.one("b3") == f"{segment.server.trace_id}-{attempt.span_id}-1"
    assert not head.has("traceparent")

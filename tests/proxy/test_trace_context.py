"""Which trace a request belongs to, and what its upstream is told of it."""

import re

import pytest
from client import Client
from data_plane import DataPlane
from message import Head, response
from upstream import OK, Upstream, closes, in_turn, says

from proxy.table import Tracing, TracingPolicy

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"

SAMPLED = f"traceparent: 00-{TRACE}-{PARENT}-01"
UNSAMPLED = f"traceparent: 00-{TRACE}-{PARENT}-00"


def context_of(head: Head) -> tuple[str, str, str]:
    """Trace id, parent id and flags that an upstream was told."""
    said = head.one("traceparent")
    assert said is not None
    match = re.fullmatch("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", said)
    assert match is not None, said
    return match[1], match[2], match[3]


async def test_trace_of_the_client_is_continued(
    data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    await client.get("/", SAMPLED)
    segment = await data_plane.segment()

    trace_id, parent_id, flags = context_of(upstream.exchanges[0].head)
    assert (trace_id, flags) == (TRACE, "01")
    assert {span.trace_id for span in segment.spans} == {TRACE}
    assert segment.server.parent_id == PARENT
    assert parent_id == segment.attempts[0].span_id


async def test_trace_is_made_where_the_client_names_none(
    data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    await client.get()
    segment = await data_plane.segment()

    trace_id, parent_id, flags = context_of(upstream.exchanges[0].head)
    assert (trace_id, flags) == (segment.server.trace_id, "03")
    assert segment.server.parent_id == ""
    assert parent_id == segment.attempts[0].span_id


@pytest.mark.parametrize(
    "fields",
    [
        (f"traceparent: 00-{'0' * 32}-{PARENT}-01",),
        (f"traceparent: 00-{TRACE}-{'0' * 16}-01",),
        (f"traceparent: ff-{TRACE}-{PARENT}-01",),
        (f"traceparent: 00-{TRACE.upper()}-{PARENT}-01",),
        (f"traceparent: 00-{TRACE}-{PARENT}-01-extra",),
        ("traceparent: nonsense",),
        ("traceparent: ",),
        (SAMPLED, SAMPLED),
    ],
    ids=["no_trace", "no_parent", "version", "upper_case", "longer", "nonsense", "empty", "twice"],
)
async def test_invalid_trace_context_begins_a_trace_of_its_own(
    fields: tuple[str, ...], data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    await client.get("/", *fields, "tracestate: a=1")
    segment = await data_plane.segment()

    head = upstream.exchanges[0].head
    trace_id, _, flags = context_of(head)
    assert trace_id == segment.server.trace_id
    assert (trace_id == TRACE, flags) == (False, "03")
    assert segment.server.parent_id == ""
    assert not head.has("tracestate")


async def test_context_of_a_later_version_is_continued_in_ours(
    data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    await client.get("/", f"traceparent: 01-{TRACE}-{PARENT}-01-what-later-versions-add")
    await data_plane.segment()

    assert context_of(upstream.exchanges[0].head)[0] == TRACE


async def test_trace_state_is_passed_on_as_one_field(client: Client, upstream: Upstream) -> None:
    await client.get("/", SAMPLED, "tracestate: a=1,b=2", "tracestate: c=3")

    assert upstream.exchanges[0].head.all("tracestate") == ["a=1,b=2,c=3"]


async def test_invalid_trace_state_is_dropped_and_the_trace_goes_on(
    client: Client, upstream: Upstream
) -> None:
    await client.get("/", SAMPLED, "tracestate: A=1")

    head = upstream.exchanges[0].head
    assert context_of(head)[0] == TRACE
    assert not head.has("tracestate")


async def test_baggage_passes_unread(client: Client, upstream: Upstream) -> None:
    await client.get("/", "baggage: user=1;p", "baggage: ???")

    assert upstream.exchanges[0].head.all("baggage") == ["user=1;p", "???"]


async def test_each_attempt_is_a_parent_of_its_own(
    data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    upstream.answer = in_turn(says(response()), closes, OK)

    await client.get()
    await client.get()
    _, segment = await data_plane.segments()

    told = [context_of(exchange.head)[1] for exchange in upstream.exchanges[1:]]
    assert told == [attempt.span_id for attempt in segment.attempts]
    assert len(set(told)) == 2


async def test_unsampled_trace_is_passed_on_and_leaves_no_span(
    data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    await client.get("/", UNSAMPLED, "tracestate: a=1")
    await client.get("/", UNSAMPLED)

    assert await data_plane.spans() == []
    first, second = (context_of(exchange.head) for exchange in upstream.exchanges)
    assert (first[0], first[2]) == (TRACE, "00")
    assert upstream.exchanges[0].head.all("tracestate") == ["a=1"]
    assert len({PARENT, first[1], second[1]}) == 3


@pytest.mark.parametrize(
    ("ratio", "fields", "flags"),
    [(0.0, (), "02"), (1.0, (), "03"), (0.0, (SAMPLED,), "01"), (1.0, (UNSAMPLED,), "00")],
    ids=["none", "all", "none_but_the_parents", "all_but_the_parents"],
)
async def test_parent_decides_about_sampling_else_the_ratio(
    ratio: float,
    fields: tuple[str, ...],
    flags: str,
    data_plane: DataPlane,
    upstream: Upstream,
) -> None:
    data_plane.serve(upstream, tracing=Tracing(TracingPolicy(ratio)))
    async with await data_plane.client() as client:
        for _ in range(20):
            await client.get("/", *fields)

    assert len(await data_plane.segments()) == 20 * (flags in {"01", "03"})
    assert {context_of(exchange.head)[2] for exchange in upstream.exchanges} == {flags}


async def test_ratio_keeps_about_its_share(data_plane: DataPlane, upstream: Upstream) -> None:
    data_plane.serve(upstream, tracing=Tracing(TracingPolicy(0.5)))
    async with await data_plane.client() as client:
        for _ in range(400):
            await client.get()

    # 6 standard deviations: by chance once in a billion runs.
    assert 140 <= len(await data_plane.segments()) <= 260


@pytest.mark.parametrize("fields", [(), (SAMPLED, "tracestate: A=1"), (SAMPLED, SAMPLED)])
async def test_nothing_is_touched_where_tracing_is_off(
    fields: tuple[str, ...], data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, tracing=Tracing(enabled=False))
    async with await data_plane.client() as client:
        await client.get("/", *fields)

    head = upstream.exchanges[0].head
    context = [pair for pair in head.fields if pair[0] in {"traceparent", "tracestate"}]
    assert context == [tuple(field.split(": ")) for field in fields]
    assert await data_plane.spans() == []


async def test_page_names_no_trace_where_tracing_is_off(data_plane: DataPlane) -> None:
    data_plane.serve(tracing=Tracing(enabled=False))
    async with await data_plane.client() as client:
        answered = await client.get()

    assert answered.text == "503 no_endpoints: the service has no ready endpoint\n"

"""Trace context in every format: whose trace is continued, and in what formats upstream is told.

`tests/vectors/propagation.json` drives the engine's parts in Rust, too.
"""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from client import Client
from data_plane import DataPlane, backend, table
from message import Head, within
from upstream import Upstream

from proxy.table import (
    Listener,
    ListenerKind,
    Propagator,
    Tracing,
    TracingPolicy,
    TrustContext,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "propagation.json").read_text())

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
B3_TRACE = "80f198ee56343ba864fe8b2a57d3eff7"
B3_PARENT = "e457b5a2e4d86bd1"

EVERY_FORMAT = (
    f"traceparent: 00-{TRACE}-{PARENT}-01",
    "tracestate: a=1",
    "baggage: user=1",
    f"b3: {TRACE}-{PARENT}-1",
    f"X-B3-TraceId: {TRACE}",
    f"X-B3-SpanId: {PARENT}",
    "X-B3-ParentSpanId: 05e3ac9a4f6e3b90",
    "X-B3-Sampled: 1",
    "X-B3-Flags: 0",
    f"uber-trace-id: {TRACE}:{PARENT}:0:1",
    "uberctx-user: 1",
    "jaeger-debug-id: 1",
    "jaeger-baggage: user=1",
    "ot-tracer-traceid: 64fe8b2a57d3eff7",
    f"ot-tracer-spanid: {PARENT}",
    "ot-tracer-sampled: true",
    "ot-baggage-user: 1",
    f"X-Amzn-Trace-Id: Root=1-{TRACE[:8]}-{TRACE[8:]};Parent={PARENT};Sampled=1",
    "x-datadog-trace-id: 1234567890123456789",
    "x-datadog-parent-id: 1234567890123456788",
    "x-datadog-sampling-priority: 1",
    "x-datadog-origin: rum",
    "x-datadog-tags: _dd.p.dm=-4",
)
NAMES = {field.partition(":")[0].lower() for field in EVERY_FORMAT}


def speak(data_plane: DataPlane, upstream: Upstream, **listener: Any) -> None:
    tracing = listener.pop("tracing", Tracing())
    data_plane.ingress = msgspec.structs.replace(data_plane.ingress, **listener)
    data_plane.serve(upstream, tracing=tracing)


def told(head: Head) -> list[tuple[str, str]]:
    """What of a head is trace context."""
    return [(name, value) for name, value in head.fields if name in NAMES]


def pattern(value: str) -> str:
    """A regular expression for a value of the vectors."""
    escaped = re.escape(value).replace(r"\{span\}", r"[0-9a-f]{16}")
    return escaped.replace(r"\{span_decimal\}", "[1-9][0-9]{0,19}")


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
async def test_trace_is_continued_as_the_vector_says(
    case: dict[str, Any], data_plane: DataPlane, upstream: Upstream
) -> None:
    formats = tuple(map(Propagator, case["propagators"]))
    speak(data_plane, upstream, extract=formats, inject=formats)
    async with await data_plane.client() as client:
        answered = await client.get("/", *(f"{name}: {value}" for name, value in case["fields"]))

    want = case["want"] or {"trace_id": None, "span_id": None, "sampled": None}
    segments = await data_plane.segments()
    assert answered.status == 200
    assert len(segments) == (want["sampled"] is not False)
    for segment in segments:
        assert segment.server.parent_id == (want["span_id"] or "")
        assert want["trace_id"] in (None, segment.server.trace_id)
    wanted = case.get("told", [])
    got = told(upstream.exchanges[0].head)
    if not wanted:
        assert not any(PARENT in value or B3_PARENT in value for _, value in got)
        return
    context = [pair for pair in got if not pair[0].startswith("uberctx-")]
    assert [name for name, _ in got] == [name for name, _ in wanted if name in NAMES]
    for (_, value), (_, expected) in zip(got, [w for w in wanted if w[0] in NAMES], strict=True):
        assert re.fullmatch(pattern(expected), value), (value, expected)
    for span in (attempt.span_id for segment in segments for attempt in segment.attempts):
        assert any(span in value or str(int(span, 16)) == value for _, value in context)


async def test_formats_that_are_not_sent_pass_as_they_came(
    client: Client, upstream: Upstream
) -> None:
    await client.get("/", *EVERY_FORMAT)

    ours = {"traceparent", "tracestate"}
    got = [pair for pair in told(upstream.exchanges[0].head) if pair[0] not in ours]
    sent = [tuple(field.split(": ")) for field in EVERY_FORMAT]
    assert got == [(name.lower(), value) for name, value in sent if name.lower() not in ours]


async def test_formats_that_are_sent_replace_those_of_the_client(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    speak(data_plane, upstream, inject=tuple(Propagator))
    async with await data_plane.client() as client:
        await client.get("/", *EVERY_FORMAT)
    segment = await data_plane.segment()

    fields = dict(told(upstream.exchanges[0].head))
    assert segment.server.parent_id == PARENT
    stale = {name for name, value in fields.items() if PARENT in value}
    assert stale == set()
    assert "x-b3-parentspanid" not in fields
    assert "x-datadog-origin" not in fields
    assert fields["tracestate"] == "a=1"


async def test_no_format_leaves_everything_as_it_came(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    speak(data_plane, upstream, extract=(), inject=())
    async with await data_plane.client() as client:
        await client.get("/", *EVERY_FORMAT)
    segment = await data_plane.segment()

    sent = [tuple(field.split(": ")) for field in EVERY_FORMAT]
    assert told(upstream.exchanges[0].head) == [(name.lower(), value) for name, value in sent]
    assert (segment.server.parent_id, segment.server.trace_id == TRACE) == ("", False)


async def test_context_of_a_stranger_is_linked_to_and_ends_here(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    speak(data_plane, upstream, trust_context=TrustContext.NONE)
    async with await data_plane.client() as client:
        await client.get("/", *EVERY_FORMAT)
    segment = await data_plane.segment()

    assert segment.server.links == ((TRACE, PARENT),)
    assert (segment.server.parent_id, segment.server.trace_id == TRACE) == ("", False)
    assert all(span.links == () for span in segment.spans[1:])
    (attempt,) = segment.attempts
    traceparent = f"00-{segment.server.trace_id}-{attempt.span_id}-03"
    assert told(upstream.exchanges[0].head) == [("traceparent", traceparent)]


async def test_stranger_decides_nothing_about_sampling(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    formats = (Propagator.TRACECONTEXT, Propagator.B3)
    speak(data_plane, upstream, trust_context=TrustContext.NONE, extract=formats)
    async with await data_plane.client() as client:
        await client.get("/", f"traceparent: 00-{TRACE}-{PARENT}-00")
        await client.get("/", "b3: 0")
    first, second = await data_plane.segments()

    assert (first.server.links, second.server.links) == (((TRACE, PARENT),), ())


async def test_request_without_context_has_no_link(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    speak(data_plane, upstream, trust_context=TrustContext.NONE)
    async with await data_plane.client() as client:
        await client.get("/", "traceparent: nonsense")

    assert (await data_plane.segment()).server.links == ()


@pytest.mark.parametrize(
    ("proxies", "is_continued"), [(("127.0.0.0/8",), True), (("10.0.0.0/8",), False), ((), False)]
)
async def test_context_is_continued_for_trusted_proxies_only(
    proxies: tuple[str, ...], is_continued: bool, data_plane: DataPlane, upstream: Upstream
) -> None:
    whose = TrustContext.TRUSTED_PROXIES
    speak(data_plane, upstream, trust_context=whose, trusted_proxies=proxies)
    async with await data_plane.client() as client:
        await client.get("/", *EVERY_FORMAT[:3])
    segment = await data_plane.segment()

    assert (segment.server.trace_id == TRACE, segment.server.links == ()) == (is_continued,) * 2
    assert upstream.exchanges[0].head.has("baggage") == is_continued


async def test_everything_passes_where_tracing_is_off_whoever_is_trusted(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    off = Tracing(enabled=False)
    formats = tuple(Propagator)
    speak(data_plane, upstream, tracing=off, trust_context=TrustContext.NONE, inject=formats)
    async with await data_plane.client() as client:
        await client.get("/", *EVERY_FORMAT)

    sent = [tuple(field.split(": ")) for field in EVERY_FORMAT]
    assert told(upstream.exchanges[0].head) == [(name.lower(), value) for name, value in sent]


async def test_random_flag_is_only_of_traces_that_begin_here_and_can_be_left_out(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    sent = f"traceparent: 00-{TRACE}-{PARENT}-01"
    for random_flag in (True, False):
        speak(data_plane, upstream, tracing=Tracing(random_flag=random_flag))
        async with await data_plane.client() as client:
            await client.get()
            await client.get("/", sent)

    flags = [str(exchange.head.one("traceparent"))[-2:] for exchange in upstream.exchanges]
    assert flags == ["03", "01", "01", "01"]


async def test_service_listener_speaks_the_formats_of_its_own(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    shop = backend(upstream)
    b3 = (Propagator.B3,)
    address = data_plane.free_port().address
    listener = Listener(address, ListenerKind.SERVICE, shop.key, extract=b3, inject=b3)
    assert data_plane.publish(table((listener,), (shop,), hosts=())) == []
    async with await Client.connect(listener.address) as client:
        await client.get("/", f"b3: {B3_TRACE}-{B3_PARENT}-1")
    segment = await data_plane.segment()

    (attempt,) = segment.attempts
    assert told(upstream.exchanges[0].head) == [("b3", f"{B3_TRACE}-{attempt.span_id}-1")]


HOSTILE = (
    "",
    " ",
    "\x00"[:0],
    "-",
    ":" * 3,
    ";" * 5,
    "=;=;",
    "%3A" * 9,
    "0" * 4_000,
    "a-" * 2_000,
    "\xff\xfe",
    "Root=;Parent=;Sampled=",
    "1" * 40,
    "-1",
    "💥".encode().decode("latin-1"),
)


@pytest.mark.parametrize("name", sorted(NAMES))
async def test_hostile_context_breaks_no_request(
    name: str, data_plane: DataPlane, upstream: Upstream
) -> None:
    formats = tuple(Propagator)
    speak(data_plane, upstream, extract=formats, inject=formats)
    async with await data_plane.client() as client:
        for value in HOSTILE:
            assert (await within(client.get("/", f"{name}: {value}"))).status == 200
            assert (await within(client.get("/", *EVERY_FORMAT, f"{name}: {value}"))).status == 200


@pytest.mark.parametrize("ratio", [0.0, 1.0])
async def test_no_request_id_changes_what_is_sampled(
    ratio: float, data_plane: DataPlane, upstream: Upstream
) -> None:
    ids = (
        "",
        "0",
        "1",
        "d",
        "a" * 32,
        "0" * 32,
        "a" * 4_000,
        "true",
        "00-1-2-01",
        "9" * 400,
        "\xe9",
        "f0e1d2c3-b4a5-9687-9869-5a4b3c2d1e0f",
        "f0e1d2c3-b4a5-4687-9869-5a4b3c2d1e0f",
    )
    speak(data_plane, upstream, tracing=Tracing(TracingPolicy(ratio)))
    async with await data_plane.client() as client:
        for request_id in ids:
            assert (await client.get("/", f"X-Request-ID: {request_id}")).status == 200

    assert len(await data_plane.segments()) == len(ids) * int(ratio)
    flags = {str(exchange.head.one("traceparent"))[-2:] for exchange in upstream.exchanges}
    assert flags == {"03" if ratio else "02"}

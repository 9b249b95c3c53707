"""Which requests are recorded, why, and what their upstream is told of it."""

import asyncio
import hashlib
import hmac
import re
import time
from collections import Counter

import msgspec
import pytest
from client import Client
from data_plane import ROUTE, DataPlane, Segment, backend, table
from message import request, response
from upstream import OK, Exchange, Upstream, closes, holds, in_turn, says

from proxy.table import (
    ANY_HOST,
    Host,
    Listener,
    ListenerKind,
    PathKind,
    PhaseSpans,
    RoutePolicy,
    SamplingRule,
    Tracing,
    TracingPolicy,
)

TRACE = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = f"traceparent: 00-{TRACE}-b7ad6b7169203331-01"
UNSAMPLED = f"traceparent: 00-{TRACE}-b7ad6b7169203331-00"
NEVER = 0.0
ONCE = 0.001
"""A rate that lets one through, and the next after a quarter of an hour."""

KEY = "the key that operator and person share"


def by(segment: Segment) -> str | None:
    said = segment.server.attributes.get("spanway.sampled.by")
    return None if said is None else str(said)


def serve(data_plane: DataPlane, upstream: Upstream, **policy: object) -> None:
    """Everything by the table's policy."""
    data_plane.serve(upstream, tracing=Tracing(msgspec.convert(policy, TracingPolicy)))


async def asked(data_plane: DataPlane, *requests: tuple[str, ...]) -> list[Segment]:
    """What is recorded of requests, each a path and its fields."""
    async with await data_plane.client() as client:
        for path, *fields in requests:
            await client.get(path, *fields)
    return await data_plane.segments()


def is_told_sampled(exchange: Exchange) -> bool:
    said = exchange.head.one("traceparent")
    assert said is not None
    return bool(int(said[-2:], 16) & 1)


def signed(expiry_unix_s: float, key: str = KEY) -> str:
    expiry = str(int(expiry_unix_s))
    signature = hmac.new(key.encode(), expiry.encode(), hashlib.sha256).hexdigest()
    return f"x-spanway-debug: {expiry}.{signature}"


async def one_slow_request(data_plane: DataPlane, upstream: Upstream) -> None:
    """110 requests for `/`, then one for `/slow` that takes as long as 200 others together."""
    released = asyncio.Event()
    upstream.answer = holds("/slow", released)
    async with await data_plane.client() as slow, await data_plane.client() as others:
        for _ in range(110):
            await others.get()
        await slow.send(request("GET", "/slow"))
        for _ in range(200):
            await others.get()
        released.set()
        await slow.response()


async def test_policy_of_the_route_beats_that_of_the_table(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    none, all_of_it = TracingPolicy(NEVER), RoutePolicy(tracing=TracingPolicy(1.0))
    own = msgspec.structs.replace(ROUTE, path="/own", policy="shop/own")
    wanted = table(
        (data_plane.ingress,),
        (backend(upstream),),
        (Host(ANY_HOST, (ROUTE, own)),),
        Tracing(none),
        {ROUTE.policy: RoutePolicy(), "shop/own": all_of_it},
    )
    assert data_plane.publish(wanted) == []

    segments = await asked(data_plane, ("/",), ("/own",), ("/",))

    assert [each.server.attributes["url.path"] for each in segments] == ["/own"]


async def test_service_listener_has_the_policy_of_its_service(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    address = data_plane.free_port().address
    service = Listener(address, ListenerKind.SERVICE, backend="shop/api:80", policy="service")
    wanted = table(
        (data_plane.ingress, service),
        (backend(upstream),),
        policies={ROUTE.policy: RoutePolicy(), "service": RoutePolicy(tracing=TracingPolicy())},
        tracing=Tracing(TracingPolicy(NEVER)),
    )
    async with await data_plane.client_of(wanted) as client:
        await client.get()
    async with await Client.connect(address) as client:
        await client.get()

    segment = await data_plane.segment()
    assert segment.server.attributes["spanway.listener"] == "service"


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        (SamplingRule(1.0, header="X-Canary"), ["/b", "/c"]),
        (SamplingRule(1.0, header="x-canary", value="1"), ["/c"]),
        (SamplingRule(1.0, method="POST"), ["/d"]),
        (SamplingRule(1.0, method="GET", header="x-canary", value="1"), ["/c"]),
        (SamplingRule(1.0, route="/c"), ["/c"]),
        (SamplingRule(1.0), ["/a", "/b", "/c", "/d"]),
    ],
    ids=["header", "value", "method", "both", "route", "all"],
)
async def test_rule_has_a_share_of_its_own_where_it_matches(
    rule: SamplingRule, kept: list[str], data_plane: DataPlane, upstream: Upstream
) -> None:
    of_c = msgspec.structs.replace(ROUTE, kind=PathKind.EXACT, path="/c")
    tracing = Tracing(TracingPolicy(NEVER, rules=(rule,)))
    hosts = (Host(ANY_HOST, (ROUTE, of_c)),)
    wanted = table((data_plane.ingress,), (backend(upstream),), hosts, tracing)
    async with await data_plane.client_of(wanted) as client:
        await client.get("/a")
        await client.get("/b", "X-Canary: 0", "X-Canary: 2")
        await client.get("/c", "X-Canary: 0", "X-Canary: 1")
        await client.ask(request("POST", "/d", body=b""))
    segments = await data_plane.segments()

    assert [each.server.attributes["url.path"] for each in segments] == kept
    assert {by(each) for each in segments} == {"rule"}


async def test_first_rule_that_matches_decides(data_plane: DataPlane, upstream: Upstream) -> None:
    rules = (SamplingRule(NEVER, header="x-bot"), SamplingRule(1.0, header="x-canary"))
    serve(data_plane, upstream, ratio=NEVER, rules=rules)

    segments = await asked(data_plane, ("/a", "x-canary: 1"), ("/b", "x-canary: 1", "x-bot: 1"))

    assert [each.server.attributes["url.path"] for each in segments] == ["/a"]


async def test_rate_bounds_what_the_ratio_keeps_and_counts_the_rest(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    serve(data_plane, upstream, traces_per_s_max=ONCE)

    segments = await asked(data_plane, *[("/",)] * 20)

    assert [by(each) for each in segments] == ["rate"]
    assert data_plane.engine.stats().traces_over_rate == 19


async def test_rate_is_shared_by_the_workers(upstream: Upstream) -> None:
    data_plane = DataPlane(workers=4)
    try:
        serve(data_plane, upstream, traces_per_s_max=ONCE)
        for _ in range(20):
            async with await data_plane.client() as client:
                await client.get()
        assert len(await data_plane.segments()) == 1
    finally:
        data_plane.close()


async def test_rate_does_not_begin_anew_with_another_table(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    for timeout_ms in (1_000, 2_000, 3_000):
        tracing = TracingPolicy(traces_per_s_max=ONCE)
        policy = RoutePolicy(read_timeout_ms=timeout_ms, tracing=tracing)
        data_plane.serve(upstream, policy=policy)
        async with await data_plane.client() as client:
            await client.get()

    assert len(await data_plane.segments()) == 1


async def test_floor_keeps_some_of_what_the_ratio_rejects(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    serve(data_plane, upstream, ratio=NEVER, traces_per_s_min=ONCE)

    segments = await asked(data_plane, *[("/",)] * 20)

    assert [by(each) for each in segments] == ["rate"]


async def test_parents_flag_decides_only_where_the_policy_is_based_on_it(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    serve(data_plane, upstream, ratio=NEVER, is_parent_based=False)
    assert await asked(data_plane, ("/", SAMPLED)) == []
    assert not is_told_sampled(upstream.exchanges[0])


async def test_ratio_is_told_upstream_and_in_the_spans(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    serve(data_plane, upstream, ratio=0.5)

    segments = await asked(data_plane, *[("/",)] * 40)

    told = Counter(exchange.head.one("tracestate") for exchange in upstream.exchanges)
    assert told == {"ot=th:8": len(segments), None: 40 - len(segments)}
    assert {(by(each), each.server.trace_state) for each in segments} == {("ratio", "ot=th:8")}


async def test_nothing_is_said_of_a_ratio_of_one(data_plane: DataPlane, upstream: Upstream) -> None:
    serve(data_plane, upstream, ratio=1.0)

    (segment,) = await asked(data_plane, ("/",))

    assert (by(segment), segment.server.trace_state) == (None, "")
    assert not upstream.exchanges[0].head.has("tracestate")


async def test_parents_probability_is_passed_on(data_plane: DataPlane, upstream: Upstream) -> None:
    serve(data_plane, upstream, ratio=0.5)

    (segment,) = await asked(
        data_plane, ("/", SAMPLED, "tracestate: a=1,ot=th:c;rv:0123456789abcd")
    )

    assert by(segment) == "parent"
    assert upstream.exchanges[0].head.one("tracestate") == "a=1,ot=th:c;rv:0123456789abcd"


@pytest.mark.parametrize(
    ("randomness", "want"),
    [("80000000000000", "ot=th:8;rv:80000000000000,a=1"), ("7fffffffffffff", None)],
    ids=["kept", "rejected"],
)
async def test_randomness_of_the_trace_state_decides_for_the_trace_id(
    randomness: str, want: str | None, data_plane: DataPlane, upstream: Upstream
) -> None:
    serve(data_plane, upstream, ratio=0.5, is_parent_based=False)

    state = f"tracestate: a=1,ot=th:0;rv:{randomness}"
    segments = await asked(data_plane, ("/", SAMPLED, state))

    assert [by(each) for each in segments] == (["ratio"] if want else [])
    told = upstream.exchanges[0].head.one("tracestate")
    assert told == (want or f"ot=rv:{randomness},a=1")


async def test_same_traces_are_kept_by_every_data_plane(upstream: Upstream) -> None:
    ids = [hashlib.sha256(str(index).encode()).hexdigest()[:32] for index in range(40)]
    fields = [f"traceparent: 00-{each}-b7ad6b7169203331-00" for each in ids]
    kept = []
    for ratio in (0.5, 0.5, 0.75):
        data_plane = DataPlane()
        try:
            serve(data_plane, upstream, ratio=ratio, is_parent_based=False)
            segments = await asked(data_plane, *(("/", field) for field in fields))
        finally:
            data_plane.close()
        kept.append({each.server.trace_id for each in segments})
    assert kept[0] == kept[1] < kept[2]
    assert 8 <= len(kept[0]) <= 32


DEBUG = Tracing(TracingPolicy(NEVER), debug_key=KEY)


async def test_signed_debug_header_forces_a_trace_and_ends_here(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, tracing=DEBUG)

    segments = await asked(
        data_plane,
        ("/a", signed(time.time() + 60)),
        ("/b", signed(time.time() + 60), UNSAMPLED, "tracestate: ot=th:8"),
    )

    assert [by(each) for each in segments] == ["debug", "debug"]
    assert all(each.phases for each in segments), "who asks wants to see all of it"
    for exchange in upstream.exchanges:
        assert is_told_sampled(exchange)
        assert not exchange.head.has("x-spanway-debug")
        assert not exchange.head.has("tracestate")


@pytest.mark.parametrize(
    "field",
    [
        "x-spanway-debug: 1",
        "x-spanway-debug: true",
        signed(0),
        signed(10**11),
        signed(time.time() + 3600, key="another"),
        signed(time.time() + 3600)[:-1],
    ],
    ids=["1", "true", "expired", "for_ever", "another_key", "cut"],
)
async def test_strangers_debug_header_forces_nothing_and_ends_here(
    field: str, data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, tracing=DEBUG)

    assert await asked(data_plane, ("/", field)) == []
    assert not upstream.exchanges[0].head.has("x-spanway-debug")


async def test_debug_header_of_a_trusted_proxy_needs_no_signature(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.ingress = msgspec.structs.replace(
        data_plane.ingress, trusted_proxies=("127.0.0.0/8",)
    )
    serve(data_plane, upstream, ratio=NEVER)

    segments = await asked(data_plane, ("/a", "x-spanway-debug: 1"), ("/b",))

    assert [by(each) for each in segments] == ["debug"]


async def test_debug_header_shows_phases_where_nobody_else_sees_them(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    never = TracingPolicy(phase_spans=PhaseSpans.NEVER)
    data_plane.serve(upstream, tracing=Tracing(never, debug_key=KEY))

    debugged, plain = await asked(data_plane, ("/a", signed(time.time() + 60)), ("/b",))

    assert debugged.phases
    assert plain.phases == ()


async def test_slow_request_has_phases_though_all_are_sampled(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    serve(data_plane, upstream)
    await one_slow_request(data_plane, upstream)
    segments = await data_plane.segments()

    with_phases = [each for each in segments if each.phases]
    assert "/slow" in [each.server.attributes["url.path"] for each in with_phases]
    assert len(with_phases) < 30, "few of the others are slow"
    assert len(segments) == 311


async def test_phases_are_spans_as_the_policy_of_the_route_says(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    never = TracingPolicy(phase_spans=PhaseSpans.NEVER)
    always = RoutePolicy(tracing=TracingPolicy(phase_spans=PhaseSpans.ALWAYS))
    data_plane.serve(upstream, tracing=Tracing(never), policy=always)

    (segment,) = await asked(data_plane, ("/",))

    assert segment.phases


TAIL = {"ratio": NEVER, "tail_spans_per_s": 1000.0}


async def test_failed_request_is_recorded_though_it_was_not_sampled(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    upstream.answer = in_turn(OK, says(response(503)), closes, says(response(404)))
    serve(data_plane, upstream, **TAIL)
    async with await data_plane.client() as client:
        for _ in range(2):
            await client.get()
        await client.ask(request("POST", body=b""))
        await client.get()
    segments = await data_plane.segments()

    assert [by(each) for each in segments] == ["tail_error", "tail_error"]
    assert [each.server.attributes["http.response.status_code"] for each in segments] == [503, 502]
    assert data_plane.engine.stats().tail_kept == 2
    for exchange in upstream.exchanges:
        assert not is_told_sampled(exchange)
    assert [len(each.attempts) for each in segments] == [1, 1]


async def test_request_without_an_endpoint_is_kept_and_one_without_a_route_is_not(
    data_plane: DataPlane,
) -> None:
    wanted = table((data_plane.ingress,), (backend(),), (Host("shop.example", (ROUTE,)),))
    tracing = Tracing(msgspec.convert(TAIL, TracingPolicy))
    wanted = msgspec.structs.replace(wanted, tracing=tracing)
    async with await data_plane.client_of(wanted) as client:
        await client.get(host="nowhere.example")
        await client.get(host="shop.example")

    segment = await data_plane.segment()
    assert (by(segment), segment.flag) == ("tail_error", "no_endpoints")


async def test_tail_keeps_no_more_than_its_rate_and_counts_the_rest(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    upstream.answer = says(response(503))
    serve(data_plane, upstream, ratio=NEVER, tail_spans_per_s=ONCE)

    assert len(await asked(data_plane, *[("/",)] * 10)) == 1
    assert data_plane.engine.stats().tail_over_rate == 9


async def test_slow_request_is_recorded_though_it_was_not_sampled(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    serve(data_plane, upstream, **TAIL)
    await one_slow_request(data_plane, upstream)
    segments = await data_plane.segments()

    kept = {(each.server.attributes["url.path"], by(each)) for each in segments}
    assert ("/slow", "tail_slow") in kept
    assert len(segments) < 155, "most of the others are not"
    slow = next(each for each in segments if each.server.attributes["url.path"] == "/slow")
    assert slow.phases


async def test_without_a_tail_an_unsampled_failure_leaves_nothing(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    upstream.answer = says(response(503))
    serve(data_plane, upstream, ratio=NEVER)

    assert await asked(data_plane, ("/",)) == []


async def test_rejected_tracing_leaves_the_last_good_one_and_the_rest_is_served(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    serve(data_plane, upstream, ratio=NEVER)
    wrong = msgspec.structs.replace(data_plane.table, tracing=Tracing(TracingPolicy(2.0)))
    (rejected,) = data_plane.publish(wrong)

    assert rejected.kind == "tracing"
    assert re.search(r"ratio is 2, which is not from 0 to 1", rejected.message)
    assert await asked(data_plane, ("/",)) == []

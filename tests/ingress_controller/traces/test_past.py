"""What was inside at a moment, of spans that went through a real store."""

import time
from pathlib import Path

import msgspec
import pytest
from live_rows import engine_json, live, row
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from sample_spans import attribute

from ingress_controller.peers.live import LiveRequests
from ingress_controller.peers.peer import Identity
from ingress_controller.traces.past import live_at, requests_at
from ingress_controller.traces.store.limits import StoreLimits
from ingress_controller.traces.store.segments import Segments
from ingress_controller.traces.store.store import Store
from proxy.live import Condition, Field, Kind, Live, Phase, Query, Row, Sort

MS = 1_000_000
START_NS = 1_700_000_000_000 * MS
NOBODY = live()


def request(number: int = 1) -> ExportTraceServiceRequest:
    """100 ms: head 10, route 5, queue 15, a failed attempt of 10, another of 50, respond 10."""
    made = ExportTraceServiceRequest()
    group = made.resource_spans.add()
    group.resource.attributes.append(attribute("service.name", string_value="spanway"))
    scoped = group.scope_spans.add()
    scoped.scope.name = "spanway"

    def span(name: str, kind: int, parent: int, start_ms: int, ms: int, **told: object) -> None:
        at_ns = START_NS + start_ms * MS
        attributes = [
            attribute(
                key.replace("__", "."),
                **{"int_value" if isinstance(value, int) else "string_value": value},
            )
            for key, value in told.items()
        ]
        scoped.spans.add(
            trace_id=bytes([number] * 16),
            span_id=(number * 100 + len(scoped.spans) + 1).to_bytes(8),
            parent_span_id=(number * 100 + parent).to_bytes(8) if parent else b"",
            name=name,
            kind=kind,  # type: ignore[arg-type]
            start_time_unix_nano=at_ns,
            end_time_unix_nano=at_ns + ms * MS,
            attributes=attributes,
        )

    span(
        "GET /cart",
        Span.SPAN_KIND_SERVER,
        0,
        0,
        100,
        http__request__method="GET",
        server__address="shop.example",
        http__route="/cart",
        k8s__namespace__name="shop",
        spanway__ingress__name="web",
        client__address="192.0.2.1",
        client__port=40_000,
        spanway__phase__head_us=10_000,
        spanway__phase__respond_us=10_000,
    )
    span(
        "balance shop/api:80",
        Span.SPAN_KIND_INTERNAL,
        1,
        10,
        80,
        k8s__service__name="api",
        spanway__lb__queue_us=15_000,
    )
    span(
        "GET",
        Span.SPAN_KIND_CLIENT,
        2,
        30,
        10,
        k8s__pod__name="api-0",
        spanway__phase__connect_us=10_000,
    )
    span(
        "GET",
        Span.SPAN_KIND_CLIENT,
        2,
        40,
        50,
        k8s__pod__name="api-1",
        k8s__node__name="node-1",
        spanway__phase__connect_us=4_000,
        spanway__phase__tls_us=6_000,
        spanway__phase__send_us=5_000,
        spanway__phase__wait_us=25_000,
        spanway__phase__receive_us=10_000,
    )
    return made


async def at(ms: float, *conditions: Condition, now: Live = NOBODY, sort: Sort = Sort.AGE) -> Live:
    store = Store(None, StoreLimits(age_s_max=1e9))
    await store.add(request(1).SerializeToString())
    at_ns = START_NS + round(ms * MS)
    over = await store.ask(lambda asked: requests_at(asked, at_ns))
    return live_at(Query(conditions, sort=sort), at_ns, over, now)


@pytest.mark.parametrize(
    ("ms", "phase", "phase_age_ms", "pod"),
    [
        (5, Phase.HEAD, 5, ""),
        (12, Phase.ROUTE, 2, ""),
        (20, Phase.QUEUE, 5, ""),
        (35, Phase.CONNECT, 5, "api-0"),
        (42, Phase.CONNECT, 2, "api-1"),
        (47, Phase.CONNECT, 3, "api-1"),
        (52, Phase.SEND, 2, "api-1"),
        (60, Phase.WAIT, 5, "api-1"),
        (85, Phase.STREAM, 5, "api-1"),
        (95, Phase.RESPOND, 5, "api-1"),
    ],
)
async def test_a_request_is_in_the_phase_in_which_the_moment_lies(
    ms: int, phase: Phase, phase_age_ms: int, pod: str
) -> None:
    [found] = (await at(ms)).requests

    assert (found.phase, found.phase_age_us) == (phase, phase_age_ms * 1_000)
    assert (found.age_us, sum(found.phases_us.values())) == (ms * 1_000, ms * 1_000)
    assert (found.pod, found.route, found.service) == (pod, "shop.example/cart", "shop/api:80")
    assert (found.kind, found.client, found.ingress) == (
        Kind.REQUEST,
        "192.0.2.1:40000",
        "shop/web",
    )


@pytest.mark.parametrize("ms", [-1, 100])
async def test_before_it_began_and_after_it_ended_a_request_is_not_inside(ms: int) -> None:
    answer = await at(ms)

    assert (answer.live, answer.requests) == (0, ())


@pytest.mark.parametrize(
    ("condition", "is_found"),
    [
        (Condition(Field.SERVICE, "shop/api"), True),
        (Condition(Field.SERVICE, "shop/api:80"), True),
        (Condition(Field.SERVICE, "shop/api", negated=True), False),
        (Condition(Field.CLIENT, "192.0.2.1"), True),
        (Condition(Field.PHASE, "wait"), True),
        (Condition(Field.NODE, "node-2"), False),
    ],
    ids=str,
)
async def test_conditions_are_the_engines(condition: Condition, is_found: bool) -> None:
    answer = await at(60, condition)

    assert (answer.live, answer.matched) == (1, int(is_found))
    assert [group.name for group in answer.services] == ["shop/api:80"] * is_found


async def test_what_is_inside_still_was_inside_if_it_had_begun() -> None:
    def inside(id_: str, began_ms: int) -> Row:
        return row(
            id=id_,
            start_unix_us=(START_NS + began_ms * MS) // 1_000,
            phases_us={Phase.HEAD: 10_000, Phase.WAIT: 5_000_000},
            phase=Phase.WAIT,
        )

    answer = await at(20, now=live(inside("a" * 16, 0), inside("b" * 16, 15), inside("c" * 16, 21)))

    assert answer.live == 3
    rows = {found.id: found for found in answer.requests}
    assert [rows[id_ * 16].phase for id_ in "ab"] == [Phase.WAIT, Phase.HEAD]
    assert rows["a" * 16].phases_us == {Phase.HEAD: 10_000, Phase.WAIT: 10_000}
    assert rows["b" * 16].age_us == 5_000


async def test_before_all_that_is_kept_it_is_said_where_that_begins() -> None:
    store = Store(None, StoreLimits(age_s_max=1e9))
    asked = LiveRequests(engine_json, store, own=Identity("1", "1"))

    async def kept_from_us(at_ns: int) -> int:
        told = await asked.ask_own(Query(), at_ns)
        return msgspec.json.decode(told, type=Live).kept_from_us

    now_us = time.time_ns() // 1_000
    empty = await kept_from_us(START_NS)
    await store.add(request().SerializeToString())
    before, within, after = [await kept_from_us(START_NS + ms * MS) for ms in (-1, 50, 200)]

    assert empty >= now_us
    assert (before, within, after) == (START_NS // 1_000, 0, 0)


async def test_files_are_kept_too(tmp_path: Path) -> None:
    store = Store(Segments(tmp_path), StoreLimits(age_s_max=1e9))
    await store.add(request().SerializeToString())
    await store.close()

    assert store.kept_from_ns() == START_NS

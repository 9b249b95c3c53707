"""Stores of several replicas, which ask each other over sockets, answer as one that has all."""

import dataclasses
import io
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aiohttp import web
from recorded import CLIENT, MS, SERVER, START_NS, Recording, otlp

from ingress_controller.admin.analysis import REPORTS, read
from ingress_controller.admin.peer import PeerApi
from ingress_controller.asking import Credentials
from ingress_controller.peers import stores as several
from ingress_controller.peers.live import LiveRequests
from ingress_controller.peers.peer import INSTANCE_HEADER, NAME_HEADER, Identity
from ingress_controller.peers.peers import Peers
from ingress_controller.peers.stores import Stores
from ingress_controller.traces.span import Span
from ingress_controller.traces.store.handing_over import spans_of_traces, spans_of_window
from ingress_controller.traces.store.limits import StoreLimits
from ingress_controller.traces.store.queries import Field, Search, spans_of
from ingress_controller.traces.store.segments import EMPTY, Segments
from ingress_controller.traces.store.store import Store

LIMITS = StoreLimits(age_s_max=1e9)
END_NS = START_NS + 600_000 * MS
ALL = Search(start_ns=START_NS, end_ns=END_NS)
TIMES = {"from": str(START_NS // MS), "to": str(END_NS // MS)}


@asynccontextmanager
async def replicas(*stores: Store) -> AsyncIterator[list[Stores]]:
    """One for each store; each knows of the others."""
    async with AsyncExitStack() as stack:
        addresses, owns = [], []
        for number, store in enumerate(stores):
            own = Identity(str(number), f"spanway-{number}", store.id)
            app = web.Application()
            PeerApi(own, LiveRequests(_no_live, own=own), store).add_to(app)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            addresses.append(f"127.0.0.1:{runner.addresses[0][1]}")
            owns.append(own)
        made = []
        for own, store in zip(owns, stores, strict=True):
            peers = Peers(addresses, own, Credentials())
            stack.push_async_callback(peers.close)
            made.append(Stores(store, peers))
        yield made


def _no_live(_: object) -> Any:
    raise AssertionError("nobody asks for live requests here")


async def store_of(spans: list[Span], segments: Segments | None = None) -> Store:
    store = Store(segments, LIMITS)
    if spans:
        await store.add(otlp(spans))
    return store


def shop(count: int = 60) -> Recording:
    """Requests by an edge to a service whose app calls another by a second Spanway."""
    recording = Recording()
    for number in range(count):
        # Ids as they are: random.
        trace_id = f"{0x9E3779B97F4A7C15F39CC0605CEDC835 * (number + 1) % 2**128:032x}"
        edge = recording.request(
            number * 1_000, app_ms=40 + number, told_ms=39 + number, trace_id=trace_id
        )
        app = recording.spans[-1]
        begin_ms = number * 1_000 + 5
        call = recording.span(
            trace_id, app, "api", "GET catalog", (begin_ms, begin_ms + 20), kind=CLIENT
        )
        assert edge.trace_id == trace_id
        recording.request(
            begin_ms, service="catalog", pod="catalog-0", node=f"node-{'bc'[number % 2]}",
            route=None, caller=call, failed=number % 10 == 7,
        )  # fmt: skip
    return recording


def of_hops(spans: list[Span]) -> tuple[list[Span], list[Span]]:
    """As two replicas have them: the edge's and the apps' in one, the inner hops in the other."""
    inner: set[str] = set()
    for span in spans:
        attributes = span.attributes
        if attributes.get("spanway.listener") == "service" or span.parent_id in inner:
            inner.add(span.span_id)
    return [s for s in spans if s.span_id not in inner], [s for s in spans if s.span_id in inner]


def of_traces(spans: list[Span]) -> tuple[list[Span], list[Span]]:
    """As two replicas have them behind a load balancer."""
    one = [span for span in spans if int(span.trace_id, 16) // 2**20 % 2]
    return one, [span for span in spans if span not in one]


QUESTIONS = [
    ("latency", {"by": by, "bins": "3"})
    for by in ("route", "service", "pod", "node", "hop", "phase", "operation", "all")
] + [
    ("nodes", {}),
    ("bottlenecks", {}),
    ("graph", {}),
    ("compare", {"from": str(START_NS // MS + 30_000), "earlier": "30s"}),
]


@pytest.mark.parametrize("divided", [of_hops, of_traces])
async def test_every_report_is_what_one_store_with_all_spans_would_say(
    divided: Callable[[list[Span]], tuple[list[Span], list[Span]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(several, "HELD_S", 60.0)  # each window is handed over once
    spans = shop().spans
    whole = Stores(await store_of(spans))
    ids = sorted({span.trace_id for span in spans})
    questions = [(name, TIMES | query) for name, query in QUESTIONS]
    questions += [("path", {"trace": ids[3]}), ("compare", {"before": ids[3], "after": ids[5]})]
    assert {name for name, _ in questions} == set(REPORTS)
    parts = divided(spans)
    assert all(parts)
    async with replicas(*[await store_of(part) for part in parts], await store_of([])) as asked:
        for number, (name, query) in enumerate(questions):
            wanted = read(name, list(query.items()))
            found, expected = [
                await (
                    stores.of_traces(wanted.report, wanted.trace_ids)
                    if wanted.trace_ids
                    else stores.report(wanted.report, wanted.start_ns, wanted.end_ns)
                )
                for stores in (asked[number % len(asked)], whole)
            ]
            assert _rounded(found.answer) == _rounded(expected.answer), name
            assert [peer.error for peer in found.peers] == ["", ""]


def _rounded(answer: Any) -> Any:
    """As people see it: sums of numbers with a point depend on their order."""
    match answer:
        case msgspec.Struct():
            return _rounded(msgspec.to_builtins(answer))
        case dict():
            return {key: _rounded(value) for key, value in answer.items()}
        case list():
            return [_rounded(value) for value in answer]
        case float():
            return pytest.approx(answer)
        case _:
            return answer


async def test_of_too_many_spans_all_replicas_leave_out_the_same_traces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(several, "HANDED_SPANS_MAX", 200)
    spans = shop(200).spans
    latency = read("latency", list((TIMES | {"by": "route"}).items()))
    by_operation = read("latency", list((TIMES | {"by": "operation"}).items()))
    parts = of_hops(spans)
    async with replicas(*[await store_of(part) for part in parts]) as asked:
        for stores, handed in zip(asked, reversed(parts), strict=True):
            await stores.services()  # it knows by now which replica it is itself
            found, _ = await stores.report(latency.report, latency.start_ns, latency.end_ns)
            one_of = found.basis.traces_one_of
            assert one_of / 2 < len(handed) / 200 <= one_of
            kept = [s for s in spans if int(s.trace_id, 16) % one_of == 0]
            assert found.basis.span_count == len(kept) * one_of
            edges = [s for s in kept if s.attributes.get("spanway.listener") == "ingress"]
            assert found.all.count == len(edges) * one_of
            found, _ = await stores.report(by_operation.report, latency.start_ns, latency.end_ns)
            apps = [s for s in kept if s.scope == "app"]
            assert found.all.count == len(apps) * one_of


@pytest.mark.parametrize(
    ("wanted", "is_found"),
    [
        ({}, True),
        ({"fields": {Field.HOST: "shop.example"}}, True),
        ({"fields": {Field.POD: "catalog-0"}}, True),
        ({"fields": {Field.HOST: "shop.example", Field.ROUTE: "/", Field.POD: "catalog-0"}}, True),
        ({"fields": {Field.POD: "api-0"}, "service": "shop/catalog"}, True),
        ({"fields": {Field.POD: "catalog-0"}, "service": "api", "status": (503, 503)}, True),
        ({"fields": {Field.POD: "catalog-0", Field.HOST: "other.example"}}, False),
        ({"fields": {Field.HOST: "shop.example"}, "is_failed": False}, False),
        ({"fields": {Field.POD: "api-0"}, "is_failed": True}, True),
        ({"fields": {Field.POD: "catalog-0"}, "duration_ns_max": 30 * MS}, False),
        ({"fields": {Field.POD: "catalog-0"}, "duration_ns_min": 30 * MS}, True),
    ],
    ids=str,
)
async def test_a_trace_in_two_replicas_is_found_by_what_each_knows_of_it(
    wanted: dict[str, Any], is_found: bool
) -> None:
    recording = Recording()
    edge = recording.request(0, app_ms=50, told_ms=49)
    call = recording.span(edge.trace_id, edge, "api", "GET", (5, 20), kind=CLIENT)
    recording.request(5, service="catalog", pod="catalog-0", route=None, caller=call, failed=True)
    search = msgspec.structs.replace(ALL, **wanted)
    [summary] = (await Stores(await store_of(recording.spans)).find(ALL)).answer.traces
    async with replicas(*[await store_of(part) for part in of_hops(recording.spans)]) as asked:
        for stores in asked:
            found, peers = await stores.find(search)
            assert found.traces == ([summary] if is_found else [])
            assert [peer.error for peer in peers] == [""]


async def test_the_newest_of_all_replicas_come_first_and_no_more_than_are_wanted() -> None:
    spans = shop(30).spans
    whole = Stores(await store_of(spans))
    search = msgspec.structs.replace(ALL, limit=7, fields={Field.HOST: "shop.example"})
    async with replicas(*[await store_of(part) for part in of_traces(spans)]) as [stores, _]:
        found, expected = [(await one.find(search)).answer for one in (stores, whole)]

    assert found == expected
    assert (len(found.traces), found.is_cut) == (7, True)
    starts = [trace.start_unix_us for trace in found.traces]
    assert all(later > earlier for later, earlier in pairwise(starts))


async def test_names_are_those_of_all_replicas_what_is_said_most_first() -> None:
    spans = shop(20).spans
    whole = Stores(await store_of(spans))
    async with replicas(*[await store_of(part) for part in of_hops(spans)]) as asked:
        for stores in asked:
            for field in (None, Field.POD, Field.NODE, Field.OPERATION):
                found, expected = [
                    (await one.values(field, START_NS, END_NS)).answer for one in (stores, whole)
                ]
                assert found == expected
            assert (await stores.services()).answer == ["api", "spanway"]
            assert (await stores.operations("api")).answer == [
                ("GET /api", SERVER),
                ("GET catalog", CLIENT),
            ]


async def test_all_time_can_be_asked_about() -> None:
    always = read("latency", [("from", "0"), ("to", "99999999999")])
    async with replicas(await store_of([]), await store_of(shop(3).spans)) as [stores, _]:
        found, peers = await stores.report(always.report, always.start_ns, always.end_ns)
        names, also = await stores.values(Field.POD, 0, 99_999_999_999 * 10**9)
        search = msgspec.structs.replace(ALL, start_ns=0, end_ns=99_999_999_999 * 10**9)
        traces, besides = await stores.find(search)

    assert (found.all.count, sorted(names), len(traces.traces)) == (3, ["api-0", "catalog-0"], 3)
    assert [peer.error for peer in (*peers, *also, *besides)] == ["", "", ""]


async def test_replicas_that_share_a_directory_tell_what_is_in_it_once(tmp_path: Path) -> None:
    spans = shop(20).spans
    one, other = of_traces(spans)
    stores = [await store_of(part, Segments(tmp_path)) for part in (one, other)]
    assert stores[0].id == stores[1].id != ""
    latency = read("latency", list(TIMES.items()))

    async def counts(asked: list[Stores]) -> list[int]:
        answers = [
            await of.report(latency.report, latency.start_ns, latency.end_ns) for of in asked
        ]
        return [of.answer.basis.span_count for of in answers]

    async with replicas(*stores) as asked:
        assert await counts(asked) == [len(spans)] * 2  # in memory, each its own
        await stores[0].close()
    async with replicas(*stores) as asked:
        assert await counts(asked) == [len(spans)] * 2  # half of them in the directory


async def test_questions_that_come_together_ask_other_replicas_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked_for: list[object] = []
    ask = Peers.ask

    async def counted(self: Peers, question: Any, *rest: Any) -> Any:
        asked_for.append(question)
        return await ask(self, question, *rest)

    monkeypatch.setattr(Peers, "ask", counted)
    monkeypatch.setattr(several, "HELD_S", 60.0)
    latency = read("latency", list(TIMES.items()))
    async with replicas(await store_of([]), await store_of(shop(5).spans)) as [stores, _]:
        for _ in range(3):
            found, _ = await stores.report(latency.report, latency.start_ns, latency.end_ns)
            assert found.all.count == 5

    assert len(asked_for) == 1


ENORMOUS = 2**63 - 1
HOSTILE = {
    "numbers": dict.fromkeys(("http.response.status_code", "tcp.retransmits"), ENORMOUS)
    | {f"spanway.time.{part}_us": ENORMOUS for part in ("app", "proxy", "client_network")}
    | {f"spanway.phase.{phase}_us": ENORMOUS for phase in ("wait", "receive", "head")},
    "below_zero": {f"spanway.time.{part}_us": -(2**63) for part in ("app", "proxy")},
}


@pytest.mark.parametrize("said", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("seconds", [10, 2**34], ids=["times", "enormous_times"])
async def test_every_report_is_told_whatever_an_application_says_in_its_spans(
    said: dict[str, int], seconds: int
) -> None:
    spans = [
        dataclasses.replace(
            span,
            attributes=span.attributes | said,
            end_unix_ns=min(2**64 - 1, span.start_unix_ns + seconds * 1_000 * MS),
        )
        for span in shop().spans
    ]
    stores = Stores(await store_of(spans))
    for name, query in QUESTIONS:
        wanted = read(name, list((TIMES | query).items()))
        told, _ = await stores.report(wanted.report, wanted.start_ns, wanted.end_ns)
        assert msgspec.json.encode(told)
    assert msgspec.json.encode((await stores.find(ALL)).answer)


async def test_a_trace_is_its_spans_in_all_replicas() -> None:
    spans = shop(1).spans
    edge, inner = of_hops(spans)
    async with replicas(await store_of(edge), await store_of(inner)) as [stores, _]:
        found, _ = await stores.of_traces(
            lambda of: spans_of(of, spans[0].trace_id), [spans[0].trace_id]
        )
        alone, peers = await stores.only_own().of_traces(
            lambda of: spans_of(of, spans[0].trace_id), [spans[0].trace_id]
        )

    assert {span.span_id for span in found} == {span.span_id for span in spans}
    assert ({span.span_id for span in alone}, peers) == ({span.span_id for span in edge}, ())


@asynccontextmanager
async def beside(store: Store, answer: Callable[[bytes], bytes]) -> AsyncIterator[Stores]:
    """One that knows of another replica, which is a fake: it says `answer` of each question."""

    async def serve(request: web.Request) -> web.Response:
        headers = {INSTANCE_HEADER: "1", NAME_HEADER: "spanway-1"}
        return web.Response(body=answer(await request.read()), headers=headers)

    app = web.Application()
    app.router.add_post("/api/peer", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    own = Identity("0", "spanway-0")
    peers = Peers([f"127.0.0.1:{runner.addresses[0][1]}"], own, Credentials())
    try:
        yield Stores(store, peers)
    finally:
        await peers.close()
        await runner.cleanup()


def file_of(table: pa.Table, one_of: str = "1") -> bytes:
    file = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({"spanway.traces_one_of": one_of}), file)
    return file.getvalue()


HANDED = {
    "columns_of_other_types": file_of(pa.table({"trace_lo": ["x"], "start_ns": ["now"]})),
    "no_columns_of_ours": file_of(pa.table({"x": [1]})),
    "thinned_beyond_all_numbers": file_of(EMPTY, "9" * 60),
    "thinned_by_nothing": file_of(EMPTY, "0"),
}


@pytest.mark.parametrize("content", HANDED.values(), ids=HANDED)
async def test_spans_of_another_form_are_left_out_and_their_replica_is_named(
    content: bytes,
) -> None:
    store = await store_of(shop().spans)
    await assert_left_out(content, store, "it answers in another form")


def with_all(column: str, value: object) -> Callable[[pa.Table], pa.Table]:
    """The same spans, of which each says `value` there."""

    def change(table: pa.Table) -> pa.Table:
        field = table.schema.field(column)
        type_ = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        values = pa.array([value] * table.num_rows, type_).cast(field.type)
        return table.set_column(table.schema.get_field_index(column), field, values)

    return change


IMPOSSIBLE = {
    f"{column}={value}": with_all(column, value)
    for column, value in [
        *((name, None) for name in ("trace_hi", "span_id", "start_ns", "duration_ns", "name")),
        *((name, None) for name in ("trace_lo", "service", "kind", "status")),
        *(("duration_ns", number) for number in (-1, -(2**63), 2**63 - 1)),
        *(("start_ns", number) for number in (-1, 2**63 - 1)),
        *(("spanway.time.app_us", number) for number in (-1, 2**63 - 1)),
        ("spanway.phase.wait_us", 2**63 - 1),
    ]
} | {
    "no_duration": lambda table: table.drop_columns(["duration_ns"]),
}


@pytest.mark.parametrize("change", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
async def test_spans_that_cannot_be_are_left_out_and_their_replica_is_named(
    change: Callable[[pa.Table], pa.Table],
) -> None:
    spans = shop().spans
    content = file_of(change(await handed(spans)))
    await assert_left_out(content, await store_of(spans), "it answers in another form")


async def test_a_few_bytes_that_stand_for_too_many_spans_are_not_looked_at() -> None:
    spans = shop(1).spans
    one = (await handed(spans)).slice(0, 1)
    many = pa.concat_tables([one] * 1_000).combine_chunks()
    bomb = io.BytesIO()
    metadata = {"spanway.traces_one_of": "1"}
    with pq.ParquetWriter(bomb, many.schema.with_metadata(metadata), compression="zstd") as file:
        for _ in range(50):
            file.write_table(pa.concat_tables([many] * 100).replace_schema_metadata(metadata))
    assert len(bomb.getvalue()) < 5_000_000
    await assert_left_out(
        bomb.getvalue(),
        await store_of(spans),
        "it answers in another form, as another version of Spanway may: more spans than",
    )


@pytest.mark.parametrize("column", ["attributes", "resource", "events", "links"])
@pytest.mark.parametrize(
    "text",
    [
        *("x", "[1]", "[[1]]", '{"a":null}'),
        *("[" * 5_000 + "]" * 5_000, '{"a":' * 900 + "1" + "}" * 900),
        '[{"unix_ns":-1,"name":[],"attributes":[],"trace_id":1}]',
    ],
    ids=lambda text: text[:16],
)
async def test_of_json_in_another_form_nothing_is_shown_but_the_rest_of_its_span(
    column: str, text: str
) -> None:
    spans = shop(2).spans
    content = file_of(with_all(column, text)(await handed(spans[:4])))
    id_ = spans[0].trace_id
    async with beside(await store_of(spans[4:]), lambda _: content) as stores:
        found, peers = await stores.of_traces(lambda of: spans_of(of, id_), [id_])

    assert [span.name for span in found] == [
        span.name for span in sorted(spans, key=lambda s: s.start_unix_ns) if span.trace_id == id_
    ]
    assert [peer.error for peer in peers] == [""]
    assert msgspec.json.encode(found)


async def handed(spans: list[Span]) -> pa.Table:
    """As a replica hands over all columns."""
    ids = sorted({span.trace_id for span in spans})
    store = await store_of(spans)
    content = await store.ask(lambda of: spans_of_traces(of, ids, START_NS, END_NS))
    return pq.read_table(io.BytesIO(content))


async def test_damaged_spans_are_left_out_and_their_replica_is_named() -> None:
    store = await store_of(shop().spans)
    spans = await store.ask(lambda of: spans_of_window(of, START_NS, END_NS, 1_000_000))
    damaged = spans[:4] + b"\xff" * 2_000 + spans[2_004:]
    await assert_left_out(damaged, store, "it answers in another form")


async def test_spans_that_a_report_chokes_on_are_left_out_and_their_replica_is_named() -> None:
    spans = shop().spans
    content = file_of(with_all("resource", "x")(await handed(spans)))
    error = "its spans, or another replica's, cannot be read"
    await assert_left_out(content, await store_of(spans), error, reports=["latency"])


async def assert_left_out(
    content: bytes, store: Store, error: str, reports: Sequence[str] = ("latency", "bottlenecks")
) -> None:
    async with beside(store, lambda _: content) as stores:
        for name in reports:
            wanted = read(name, list(TIMES.items()))
            window = wanted.start_ns, wanted.end_ns
            told, peers = await stores.report(wanted.report, *window)
            alone, _ = await stores.only_own().report(wanted.report, *window)

            assert told == alone
            assert [peer.instance for peer in peers] == ["spanway-1"]
            assert peers[0].error.startswith(error)


@pytest.mark.parametrize("match", [[-1, 1, 1], [1 << 64, 1, 1], [1, 1, -1], [1, 1, 1 << 64]])
async def test_what_is_no_trace_is_not_asked_for(match: list[int]) -> None:
    store = await store_of(shop().spans)
    content = msgspec.json.encode(([match], []))
    async with beside(store, lambda _: content) as stores:
        found, peers = await stores.find(ALL)

    assert len(found.traces) == ALL.limit
    assert "another form" in peers[0].error

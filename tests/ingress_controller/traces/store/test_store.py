"""The trace store over real files: what goes in is found, whatever happens to the process."""

import asyncio
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import duckdb
import msgspec
import pyarrow as pa
import pytest
from sample_spans import START_UNIX_NS, TRACE_ID, attribute, batch, request

from ingress_controller.peers.stores import Stores
from ingress_controller.traces.span import decode
from ingress_controller.traces.store.limits import StoreLimits
from ingress_controller.traces.store.queries import (
    Field,
    QuestionTooLargeError,
    Search,
    TraceSummary,
    spans_of,
)
from ingress_controller.traces.store.segments import MERGED_FILES, Segments
from ingress_controller.traces.store.store import CHUNK_ROWS, Store
from proxy.columns import Columns, MalformedSpansError

ALWAYS = StoreLimits(seal_rows=1, age_s_max=1e9)
"""Each request is sealed."""

NEVER = StoreLimits(age_s_max=1e9)

ENDLESS = "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range + b.range = 7"

ALL = Search(start_ns=0, end_ns=2**63 - 1)


def files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.suffix)


async def found(store: Store, wanted: Search) -> list[TraceSummary]:
    return (await Stores(store).find(wanted)).answer.traces


def _count(connection: duckdb.DuckDBPyConnection) -> int:
    [(count,)] = connection.execute("SELECT count(*) FROM spans").fetchall()
    return int(count)


@pytest.mark.parametrize("limits", [NEVER, ALWAYS], ids=["newest", "sealed"])
async def test_a_trace_comes_back_as_it_was_sent(tmp_path: Path, limits: StoreLimits) -> None:
    store = Store(Segments(tmp_path), limits)
    sent = request(3)

    assert await store.add(sent.SerializeToString()) == (3, 0, 0)

    with store.connection() as connection:
        found = spans_of(connection, TRACE_ID.hex())
    assert sorted(found, key=lambda span: span.span_id) == decode(sent.SerializeToString())
    assert len(files(tmp_path)) == (limits is ALWAYS)


async def test_newest_and_sealed_spans_of_one_trace_are_one_trace(tmp_path: Path) -> None:
    store = Store(Segments(tmp_path), StoreLimits(seal_rows=2, age_s_max=1e9))
    await store.add(request(2).SerializeToString())
    await store.add(request(1, service="api", first=2).SerializeToString())

    [trace] = await found(store, ALL)

    assert (trace.span_count, trace.services) == (3, ("api", "shop"))
    assert (trace.start_unix_us, trace.duration_us) == (START_UNIX_NS // 1_000, 2_000)
    assert (store.stats.newest_rows, store.stats.segment_count) == (1, 1)


@pytest.mark.parametrize(
    ("wanted", "is_found"),
    [
        ({"service": "shop"}, True),
        ({"service": "shopp"}, False),
        ({"is_failed": True}, True),
        ({"is_failed": False}, False),
        ({"duration_ns_min": 2_000_000}, True),
        ({"duration_ns_min": 2_000_001}, False),
        ({"start_ns": START_UNIX_NS, "end_ns": START_UNIX_NS}, True),
        ({"start_ns": START_UNIX_NS + 1}, False),
        ({"text": "GET"}, True),
        ({"text": "' OR 1=1 --"}, False),
        ({"fields": {Field.METHOD: "GET"}}, True),
        ({"fields": {Field.METHOD: "GET", Field.VERDICT: "app"}}, False),
        ({"fields": {Field.METHOD: "GET"}, "is_failed": False}, False),
        ({"status": (500, 599)}, True),
        ({"status": (200, 299)}, False),
        ({"duration_ns_max": 2_000_000}, True),
        ({"duration_ns_max": 1_999_999}, False),
    ],
    ids=str,
)
async def test_a_search_finds_what_fits_and_nothing_else(
    tmp_path: Path, wanted: dict[str, object], is_found: bool
) -> None:
    store = Store(Segments(tmp_path), ALWAYS)
    await store.add(request().SerializeToString())
    limits = {"start_ns": 0, "end_ns": 2**63 - 1} | wanted

    traces = await found(store, Search(**limits))  # type: ignore[arg-type]

    assert bool(traces) == is_found


@pytest.mark.parametrize(
    ("hops", "verdict"),
    [
        ([("app", 400), ("cluster-network", 380), ("proxy", 90)], "cluster-network"),
        ([("app", 400), ("app", 390), ("cluster-network", 300)], "cluster-network"),
        ([("app", 400), ("app", 390)], "app"),
        ([("app", 400), ("cluster-network", 150)], "app"),
        ([("client-network", 400), ("app", 390)], "client-network"),
        ([("none", None), ("proxy", 90)], "none"),
        ([(None, None)], ""),
    ],
)
async def test_the_verdict_of_a_trace_is_of_the_hop_that_knows_best(
    tmp_path: Path, hops: list[tuple[str | None, int | None]], verdict: str
) -> None:
    store = Store(Segments(tmp_path), ALWAYS)
    sent = request(len(hops))
    spans = sent.resource_spans[0].scope_spans[0].spans
    for number, (span, (told, excess_us)) in enumerate(zip(spans, hops, strict=True)):
        span.start_time_unix_nano += number * 1_000
        if told is not None:
            span.attributes.append(attribute("spanway.verdict", string_value=told))
        if excess_us is not None:
            span.attributes.append(attribute("spanway.verdict.excess_us", int_value=excess_us))
    await store.add(sent.SerializeToString())

    [trace] = await found(store, ALL)

    assert trace.verdict == verdict


@pytest.mark.parametrize("text", ["basket", "T /bas", "shop.ex", "GET /"])
async def test_text_is_found_in_path_host_and_name(tmp_path: Path, text: str) -> None:
    store = Store(Segments(tmp_path), ALWAYS)
    sent = request()
    [span] = sent.resource_spans[0].scope_spans[0].spans
    span.name = "GET /basket" if text.startswith("T") else "GET /"
    span.attributes.append(attribute("url.path", string_value="/basket/7"))
    span.attributes.append(attribute("server.address", string_value="shop.example"))
    await store.add(sent.SerializeToString())

    assert await found(store, Search(start_ns=0, end_ns=2**63 - 1, text=text))
    assert not await found(store, Search(start_ns=0, end_ns=2**63 - 1, text=text + "%"))


async def test_files_with_other_columns_are_searched_too(tmp_path: Path) -> None:
    segments = Segments(tmp_path)
    columns = Columns()
    columns.add(request(1).SerializeToString())
    rows = pa.Table.from_batches([pa.record_batch(columns.take())])
    segments.write(rows.drop_columns(["http.response.status_code", "url.path"]))()
    store = Store(segments, ALWAYS)
    await store.add(request(1, first=1).SerializeToString())

    [trace] = await found(store, msgspec.structs.replace(ALL, text="GET", status=(503, 503)))

    assert trace.span_count == 2
    assert not await found(store, msgspec.structs.replace(ALL, text="nowhere"))


async def test_malformed_request_adds_nothing(tmp_path: Path) -> None:
    store = Store(Segments(tmp_path), NEVER)

    with pytest.raises(MalformedSpansError, match="it ends within a field"):
        await store.add(request(2).SerializeToString()[:-1])

    assert store.stats.newest_rows == 0


async def test_span_without_an_id_is_refused_and_counted(tmp_path: Path) -> None:
    store = Store(Segments(tmp_path), NEVER)
    sent = request(2)
    sent.resource_spans[0].scope_spans[0].spans[0].trace_id = bytes(16)

    assert await store.add(sent.SerializeToString()) == (1, 1, 0)
    assert store.stats.refused_spans == 1


@pytest.mark.parametrize("limits", [NEVER, ALWAYS], ids=["newest", "sealed"])
async def test_a_span_that_is_sent_again_counts_once(tmp_path: Path, limits: StoreLimits) -> None:
    store = Store(Segments(tmp_path), limits)
    await store.add(request(2).SerializeToString())

    assert await store.add(request(3).SerializeToString()) == (1, 0, 2)

    assert await store.ask(_count) == 3
    assert store.stats.repeated_spans == 2


async def test_a_trace_tells_a_span_once_that_came_to_two_processes(tmp_path: Path) -> None:
    before, after = (Store(Segments(tmp_path), ALWAYS) for _ in range(2))
    for store in (before, after):
        await store.add(request(2).SerializeToString())

    [trace] = await found(after, ALL)

    assert trace.span_count == 2
    assert len(await after.ask(lambda asked: spans_of(asked, TRACE_ID.hex()))) == 2


async def test_attribute_of_another_type_than_its_column_is_not_lost(tmp_path: Path) -> None:
    store = Store(Segments(tmp_path), NEVER)
    sent = request()
    [span] = sent.resource_spans[0].scope_spans[0].spans
    span.attributes[1].value.string_value = "five hundred"
    await store.add(sent.SerializeToString())

    with store.connection() as connection:
        [found] = spans_of(connection, TRACE_ID.hex())

    assert found.attributes["http.response.status_code"] == "five hundred"


@pytest.mark.parametrize("number", [-1, 2**42 + 1, 2**63 - 1])
async def test_number_that_is_no_measurement_is_told_and_not_counted(
    tmp_path: Path, number: int
) -> None:
    store = Store(Segments(tmp_path), NEVER)
    sent = request()
    [span] = sent.resource_spans[0].scope_spans[0].spans
    span.attributes[1].value.int_value = number
    await store.add(sent.SerializeToString())

    with store.connection() as connection:
        [found] = spans_of(connection, TRACE_ID.hex())
        counted = connection.execute('SELECT count("http.response.status_code") FROM spans')
        assert counted.fetchall() == [(0,)]

    assert found.attributes["http.response.status_code"] == number


async def test_times_that_cannot_be_are_cut(tmp_path: Path) -> None:
    store = Store(Segments(tmp_path), NEVER)
    sent = request()
    [span] = sent.resource_spans[0].scope_spans[0].spans
    span.start_time_unix_nano, span.end_time_unix_nano = 2**63, 2**64 - 1
    await store.add(sent.SerializeToString())

    with store.connection() as connection:
        [found] = spans_of(connection, TRACE_ID.hex())

    assert found.end_unix_ns == 2**63 - 1
    assert found.end_unix_ns - found.start_unix_ns == 2**52


async def test_a_question_reads_nothing_but_the_store(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    secret = tmp_path / "secret.csv"
    secret.write_text("password\nhunter2\n")
    store = Store(Segments(tmp_path / "store"), ALWAYS)
    await store.add(request().SerializeToString())

    with store.connection() as connection:
        assert connection.execute("SELECT count(*) FROM spans").fetchone() == (1,)
        for statement in (
            f"SELECT * FROM read_csv('{secret}')",
            f"COPY spans TO '{tmp_path / 'out.csv'}'",
            "SET enable_external_access = true",
        ):
            with pytest.raises(duckdb.Error):
                connection.execute(statement)


async def test_oldest_files_go_when_there_are_too_many_bytes(tmp_path: Path) -> None:
    one = Store(Segments(tmp_path / "one"), ALWAYS)
    await one.add(request().SerializeToString())
    room = StoreLimits(seal_rows=1, age_s_max=1e9, bytes_max=int(one.stats.segment_bytes * 2.5))
    store = Store(Segments(tmp_path / "store"), room)

    for number in range(4):
        sent = request(first=number)
        [span] = sent.resource_spans[0].scope_spans[0].spans
        span.start_time_unix_nano += number
        await store.add(sent.SerializeToString())

    assert store.stats.segment_count == 2
    with store.connection() as connection:
        starts = connection.execute("SELECT start_ns FROM spans ORDER BY ALL").fetchall()
    assert starts == [(START_UNIX_NS + 2,), (START_UNIX_NS + 3,)]


async def test_spans_beyond_their_age_go(tmp_path: Path) -> None:
    store = Store(Segments(tmp_path), StoreLimits(seal_rows=1, age_s_max=60.0))
    fresh = request(first=1)
    [span] = fresh.resource_spans[0].scope_spans[0].spans
    span.start_time_unix_nano = time.time_ns()
    await store.add(request().SerializeToString())
    await store.add(fresh.SerializeToString())

    assert store.stats.segment_count == 1


async def test_spans_in_memory_are_sealed_at_the_end(tmp_path: Path) -> None:
    store = Store(Segments(tmp_path), NEVER)
    await store.add(request(2).SerializeToString())
    await store.close()

    with Store(Segments(tmp_path), NEVER).connection() as connection:
        assert len(spans_of(connection, TRACE_ID.hex())) == 2


async def test_without_a_directory_the_oldest_spans_in_memory_go_and_are_counted() -> None:
    store = Store(None, StoreLimits(seal_rows=1, newest_rows_max=CHUNK_ROWS))
    for number in range(3):
        await store.send(batch(CHUNK_ROWS, first=number * CHUNK_ROWS))

    assert store.stats.newest_rows == CHUNK_ROWS
    assert store.stats.dropped_spans == 2 * CHUNK_ROWS
    assert len(await found(store, ALL)) == 1


async def test_spans_wait_in_memory_while_their_directory_is_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(Segments(tmp_path / "store"), ALWAYS)
    shutil.rmtree(tmp_path / "store")
    await store.add(request(2).SerializeToString())
    assert "StoreNotWritten" in caplog.text
    (tmp_path / "store").mkdir()

    await store.close()

    assert (store.stats.newest_rows, store.stats.segment_count) == (0, 1)


async def test_small_files_are_merged_and_nothing_is_lost_or_twice(tmp_path: Path) -> None:
    store = Store(Segments(tmp_path), ALWAYS)
    for number in range(MERGED_FILES):
        await store.send(batch(2, first=2 * number))
    before = {path: path.read_bytes() for path in files(tmp_path)}

    await store.tend()

    [merged] = files(tmp_path)
    assert await store.ask(_count) == 2 * MERGED_FILES
    # As if it had been killed before the files were removed.
    merged.with_suffix(".replaced").write_text("\n".join(path.name for path in before))
    for path, content in before.items():
        path.write_bytes(content)
    assert await store.ask(_count) == 2 * MERGED_FILES
    again = Store(Segments(tmp_path), ALWAYS)
    assert await again.ask(_count) == 2 * MERGED_FILES
    assert files(tmp_path) == [merged]


async def test_a_damaged_file_is_set_aside_and_the_others_are_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(Segments(tmp_path), ALWAYS)
    await store.add(request(2).SerializeToString())
    [first] = files(tmp_path)
    await store.add(request(3, first=2).SerializeToString())
    first.write_bytes(b"PAR1" + bytes(100))

    assert await store.ask(_count) == 3
    assert "SegmentDamaged" in caplog.text
    assert first.with_suffix(".damaged").exists()


async def test_a_question_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    store = Store(Segments(tmp_path), StoreLimits(question_s=0.05))

    with pytest.raises(QuestionTooLargeError, match=r"longer than 0.05 s"):
        await store.ask(lambda asked: asked.execute(ENDLESS).fetchall())


async def test_a_question_that_takes_too_much_memory_is_given_up(tmp_path: Path) -> None:
    store = Store(Segments(tmp_path), NEVER)
    sorting = "SELECT list(a.range) FROM range(100000) a, range(10000) b"

    with pytest.raises(QuestionTooLargeError, match="too much memory"):
        await store.ask(lambda asked: asked.execute(sorting).fetchall())


async def test_two_processes_see_what_either_has_sealed(tmp_path: Path) -> None:
    before, after = (Store(Segments(tmp_path), ALWAYS) for _ in range(2))
    await before.add(request(2).SerializeToString())
    await after.add(request(1).SerializeToString())

    assert await before.ask(_count) == await after.ask(_count) == 3


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    segments = Segments(tmp_path / "store")
    columns = Columns()
    columns.add(request().SerializeToString())

    segments.write(pa.Table.from_batches([pa.record_batch(columns.take())]))()

    [segment] = segments.all
    assert segment.path.stat().st_mode & 0o777 == 0o600
    assert segments.directory.stat().st_mode & 0o777 == 0o700


_WRITER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from sample_spans import batch
from ingress_controller.traces.store.segments import Segments
from ingress_controller.traces.store.store import Store, StoreLimits

async def write():
    store = Store(Segments(Path(sys.argv[1])), StoreLimits(seal_rows=100, age_s_max=1e9))
    while True:
        await store.send(batch(100))
        print("sealed", flush=True)
        await store.tend()

asyncio.run(write())
"""


async def test_no_sealed_span_is_lost_or_twice_after_a_kill_at_any_moment(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    sealed = 0
    for _ in range(6):
        here = str(Path(__file__).parents[2])
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _WRITER, str(tmp_path), here, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        lines = moments.randrange(1, 20)
        for _ in range(lines):
            await process.stdout.readline()
        await asyncio.sleep(moments.random() * 0.02)  # to hit a write or a merge, not to wait
        process.send_signal(signal.SIGKILL)
        sealed += lines + len((await process.stdout.read()).split())
        await process.wait()

        counted = await Store(Segments(tmp_path), NEVER).ask(_count)

        # What was being written when it was killed is there whole, or not at all.
        assert counted in (100 * sealed, 100 * (sealed + 1))
        sealed = counted // 100

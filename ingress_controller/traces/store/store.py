"""The newest spans in memory, the others sealed, and both as one view for questions.

Rules: spans are added and sealed on a thread of the store's own; a question gets a connection of
its own over what there is at that moment, on another thread. A crash loses what was not sealed, at
most `seal_age_s` of spans; a sealed file, never. Without a directory, or where it cannot be
written, the newest stay in memory and the oldest of them go.
"""

import asyncio
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ingress_controller.telemetry.events import Event, emit
from ingress_controller.traces.export.sender import DELIVERED, Answer, Outcome
from ingress_controller.traces.export.thread import CallingThread
from ingress_controller.traces.store.handing_over import Handed
from ingress_controller.traces.store.limits import StoreLimits
from ingress_controller.traces.store.queries import (
    QUESTION_MEMORY_BYTES,
    HandedUnreadableError,
    QuestionTooLargeError,
)
from ingress_controller.traces.store.segments import EMPTY, Segment, Segments
from proxy.columns import Added, Columns, MalformedSpansError
from proxy.spans import SpanBatch

CHUNK_ROWS = 16 * 1024
"""Rows that share the dictionaries of their names in memory; some 9 MiB."""

QUESTIONS_MAX = 2
"""At once; more wait. Each may take `QUESTION_MEMORY_BYTES`."""

QUESTION_THREADS_MAX = 2
"""For one question; the workers want their cores."""

DEFAULTS = StoreLimits()

_T = TypeVar("_T")
_UNIX_NS_MAX = 2**63 - 1


class StoreNotWritten(Event, frozen=True):
    """Spans stay in memory, and the oldest go; it is tried again."""

    level: ClassVar[int] = logging.ERROR
    directory: str
    reason: str


@dataclass(frozen=True, slots=True)
class StoreStats:
    """`newest_rows` are in memory; `refused_spans` had no valid ids; `repeated_spans` had come
    before; `dropped_spans` were in memory and could not be sealed. `directory` is empty where all
    is in memory."""

    directory: str
    stored_spans: int
    refused_spans: int
    repeated_spans: int
    dropped_spans: int
    newest_rows: int
    segment_count: int
    segment_bytes: int


class Store:
    """A destination of spans, as `Exporter` takes one; `segments` is None for memory alone."""

    in_flight_max = 1

    def __init__(self, segments: Segments | None, limits: StoreLimits = DEFAULTS) -> None:
        self._segments = segments
        self._limits = limits
        self._thread = CallingThread("spanway-store")
        self._lock = threading.Lock()  # of all below, and of which files there are
        self._columns = Columns()
        self._chunks: list[pa.RecordBatch] = []
        self._oldest_s = 0.0
        self._stored_spans = 0
        self._refused_spans = 0
        self._repeated_spans = 0
        self._dropped_spans = 0
        self._failure = ""
        self._turns = asyncio.Semaphore(QUESTIONS_MAX)

    @property
    def stats(self) -> StoreStats:
        with self._lock:
            segments = self._segments.all if self._segments is not None else []
            return StoreStats(
                str(self._segments.directory) if self._segments is not None else "",
                self._stored_spans,
                self._refused_spans,
                self._repeated_spans,
                self._dropped_spans,
                self._newest_rows,
                len(segments),
                sum(segment.size_bytes for segment in segments),
            )

    @property
    def id(self) -> str:
        """Of the directory: processes that share one have the same. Empty where there is none."""
        return self._segments.id if self._segments is not None else ""

    async def open(self) -> None:
        """Nothing is to be done before the first spans."""

    async def send(self, batch: SpanBatch) -> Answer:
        """Adds a batch of the engine, which hands over each once."""
        try:
            added = await self._thread.call(lambda: self._add(batch.otlp))
        except MalformedSpansError as err:
            return Answer(Outcome.REFUSED, str(err))
        return (
            Answer(Outcome.DELIVERED, rejected_spans=added.refused) if added.refused else DELIVERED
        )

    async def close(self) -> None:
        """Seals what is left. Afterwards it still answers, and takes no more spans."""
        await self._thread.call(self._seal)
        self._thread.close()

    async def add(self, otlp: bytes) -> Added:
        """Adds an export request of whoever may send it again, for want of an answer.

        Raises:
            MalformedSpansError: it is none.
        """
        return await self._thread.call(lambda: self._add(otlp, is_once=True))

    async def run(self) -> None:
        """Tends it until cancelled."""
        while True:
            await asyncio.sleep(self._limits.seal_age_s / 4)
            await self.tend()

    async def tend(self) -> None:
        """Seals what has been in memory for its time, merges files, and removes what is too old."""
        await self._thread.call(self._tend)

    def kept_from_ns(self) -> int | None:
        """When the oldest span that is kept began, in UTC nanoseconds; None where there is none.
        Blocks as long as a span is added or a file shown."""
        with self._lock:
            self._gather()
            starts = [pc.min(chunk["start_ns"]).as_py() for chunk in self._chunks]
            if self._segments is not None:
                starts += [segment.start_ns for segment in self._segments.all]
        return min(starts, default=None)

    async def ask(
        self,
        question: Callable[[duckdb.DuckDBPyConnection], _T],
        *,
        start_ns: int = 0,
        end_ns: int = _UNIX_NS_MAX,
        also: Sequence[Handed] = (),
        is_of_memory: bool = False,
    ) -> _T:
        """What `question` answers about the view `spans`, which has all that started between the
        two times, in UTC nanoseconds, and perhaps more; and what other replicas have handed over,
        `also`. How much that is thinned, and with it all, says the view `thinned`. With
        `is_of_memory` what is in files is left out.

        It runs in a thread, a few at once. It must give what it is asked as parameters of a
        statement, never as a part of one; the connection can read the store's files and nothing
        else, and write nothing.

        Raises:
            QuestionTooLargeError: it was given up.
            HandedUnreadableError: `also` is nothing that can be asked.
        """
        async with self._turns:
            running = _Running()
            bound = asyncio.get_running_loop().call_later(self._limits.question_s, running.give_up)

            def work() -> _T:
                with self.connection(
                    start_ns, end_ns, also=also, is_of_memory=is_of_memory
                ) as connection:
                    return running.run(connection, question)

            try:
                try:
                    return await asyncio.to_thread(work)
                except (duckdb.IOException, duckdb.InvalidInputException):
                    # A file was merged, or its time was over, meanwhile; or it is damaged.
                    if self._segments is not None:
                        await asyncio.to_thread(self._segments.set_aside_damaged)
                    return await asyncio.to_thread(work)
            except (duckdb.InterruptException, duckdb.OutOfMemoryException) as err:
                raise QuestionTooLargeError(self._limits.question_s) from err
            except duckdb.Error as err:
                if not also:
                    raise
                raise HandedUnreadableError from err
            finally:
                bound.cancel()
                running.give_up()  # whoever asked has gone

    @contextmanager
    def connection(
        self,
        start_ns: int = 0,
        end_ns: int = _UNIX_NS_MAX,
        *,
        also: Sequence[Handed] = (),
        is_of_memory: bool = False,
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """What `ask` gives to a question. Blocks for some milliseconds."""
        with self._lock:
            self._gather()
            newest = pa.Table.from_batches(self._chunks) if self._chunks else None
            files = None if is_of_memory else self._segments
            segments = files.within(start_ns, end_ns) if files is not None else []
        connection = duckdb.connect(
            config={
                "memory_limit": f"{QUESTION_MEMORY_BYTES}B",
                "threads": QUESTION_THREADS_MAX,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
        )
        try:
            # A search looks at a file once for each of its conditions.
            connection.execute("SET parquet_metadata_cache = true")
            _define(connection, newest, segments, also)
            paths = ", ".join(_quoted(of.path) for of in also)
            connection.execute(f"SET allowed_paths = [{paths}]")
            if self._segments is not None:
                directory = _quoted(str(self._segments.directory))
                connection.execute(f"SET allowed_directories = [{directory}]")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            yield connection
        finally:
            connection.close()

    @property
    def _newest_rows(self) -> int:
        rows = self._columns.row_count
        for chunk in self._chunks:
            rows += chunk.num_rows
        return rows

    def _add(self, otlp: bytes, *, is_once: bool = False) -> Added:
        with self._lock:
            if not self._newest_rows:
                self._oldest_s = time.monotonic()
            added = self._columns.add(otlp, is_once=is_once)
            self._stored_spans += added.taken
            self._refused_spans += added.refused
            self._repeated_spans += added.repeated
            if self._columns.row_count >= CHUNK_ROWS:
                self._gather()
            is_full = self._newest_rows >= self._limits.seal_rows
        if is_full and not self._failure:  # else it is tried again by age
            self._seal()
        self._drop_oldest()
        return added

    def _gather(self) -> None:
        if self._columns.row_count:
            self._chunks.append(pa.record_batch(self._columns.take()))

    def _drop_oldest(self) -> None:
        with self._lock:
            while self._newest_rows > self._limits.newest_rows_max and self._chunks:
                self._dropped_spans += self._chunks.pop(0).num_rows

    def _tend(self) -> None:
        if time.monotonic() - self._oldest_s >= self._limits.seal_age_s:
            self._seal()
        if self._segments is not None:
            self._merge(self._segments)
            self._retain(self._segments)

    def _seal(self) -> None:
        """Questions see the rows in memory until they are in a file, and in none twice."""
        if self._segments is None:
            return
        with self._lock:
            self._gather()
            chunks = list(self._chunks)
        if not chunks:
            return
        table = pa.Table.from_batches(chunks).unify_dictionaries()
        try:
            show = self._segments.write(table)
            with self._lock:
                show()
                self._chunks = self._chunks[len(chunks) :]
        except OSError as err:
            self._note_failure(err.strerror or str(err))
        else:
            self._failure = ""
            self._retain(self._segments)
        self._oldest_s = time.monotonic()

    def _merge(self, segments: Segments) -> None:
        small = segments.small()
        if not small:
            return
        try:
            show = segments.write(segments.read(small), small)
            with self._lock:
                show()
        except (OSError, pa.ArrowException) as err:
            self._note_failure(str(err))

    def _retain(self, segments: Segments) -> None:
        newer_than_ns = time.time_ns() - int(self._limits.age_s_max * 1_000_000_000)
        with self._lock:
            segments.retain(bytes_max=self._limits.bytes_max, newer_than_ns=newer_than_ns)

    def _note_failure(self, reason: str) -> None:
        if reason != self._failure and self._segments is not None:
            emit(StoreNotWritten(str(self._segments.directory), reason))
        self._failure = reason


class _Running:
    """A question in its thread, which another thread may give up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._is_given_up = False

    def run(
        self,
        connection: duckdb.DuckDBPyConnection,
        question: Callable[[duckdb.DuckDBPyConnection], _T],
    ) -> _T:
        with self._lock:
            if self._is_given_up:
                raise duckdb.InterruptException
            self._connection = connection
        try:
            return question(connection)
        finally:
            with self._lock:
                self._connection = None

    def give_up(self) -> None:
        with self._lock:
            self._is_given_up = True
            if self._connection is not None:
                self._connection.interrupt()


def _define(
    connection: duckdb.DuckDBPyConnection,
    newest: pa.Table | None,
    segments: Iterable[Segment],
    also: Iterable[Handed],
) -> None:
    """The views `spans` and `thinned`. Only names of files of our own become a part of them: no
    statement that makes a view takes parameters. Of files that have the same columns DuckDB opens
    one to know them."""
    parts = []
    by_schema: defaultdict[str, list[str]] = defaultdict(list)
    for segment in segments:
        by_schema[segment.schema].append(_quoted(str(segment.path)))
    if newest is not None or not by_schema:
        connection.register("newest", EMPTY if newest is None else newest)
        parts.append("SELECT * FROM newest")
    parts += [f"SELECT * FROM read_parquet([{', '.join(paths)}])" for paths in by_schema.values()]
    parts += [f"SELECT * FROM read_parquet([{_quoted(of.path)}])" for of in also]
    one_of = max((of.traces_one_of for of in also), default=1)
    where = f" WHERE trace_lo % {one_of} = 0" if one_of > 1 else ""
    connection.execute(f"CREATE VIEW thinned AS SELECT {one_of} AS one_of")
    connection.execute(
        "CREATE VIEW spans AS " + " UNION ALL BY NAME ".join(part + where for part in parts)
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

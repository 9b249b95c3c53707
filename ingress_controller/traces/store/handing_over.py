"""Spans for another replica, and those of one: a file of the store's own form, in memory.

Rules: what is handed over is bounded in bytes. Of a window with too many spans some traces are left
out, by their random ids and by a power of two: so all replicas leave out the same ones, once each
is thinned as much as the one that was thinned most. What is handed over is looked at whole before
anything is asked of it: reports rely on what `crates/columns` sees to of spans that come as OTLP.
"""

import io
import os
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ingress_controller.traces.store.queries import QUESTION_MEMORY_BYTES, TooMuchToHandOverError
from ingress_controller.traces.store.segments import EMPTY

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

HANDED_BYTES_MAX = 48 * 1024 * 1024
"""Of one file: a million spans, of which each has some 30 bytes."""

BATCH_ROWS = 64 * 1024
"""Rows that are on their way into the file; as many as a group of rows has."""

HANDED_ROWS_MAX = 2_000_000
"""Of one file: `HANDED_BYTES_MAX` are a million spans, but a few bytes may stand for any number."""

HANDED_TEXT_BYTES_MAX = 2 * 1024 * 1024 * 1024
"""All texts of one file, row by row, for the same reason: a span has some 600 bytes of it."""

NUMBER_MAX = 1 << 42
"""As `crates/columns` has it."""

DURATION_NS_MAX = NUMBER_MAX << 10
"""The same."""

_ONE_OF = b"spanway.traces_one_of"
_ONE_OF_MAX = 1 << 20  # of a window: a trillion spans
_NEEDED = frozenset(
    {"trace_hi", "trace_lo", "span_id", "start_ns", "duration_ns", "kind", "status", "name"}
    | {"service"}
)
_MOST = {"start_ns": (1 << 63) - 1 - DURATION_NS_MAX, "duration_ns": DURATION_NS_MAX}


class Handed:
    """A file that another replica has handed over; it ends with this object.

    `path` is the file's, for this process; `traces_one_of`: it has one in so many traces.

    Raises:
        ValueError: the content is something else, or no store would have it; the message says why.
    """

    def __init__(self, content: bytes) -> None:
        try:
            about = pq.read_metadata(pa.BufferReader(content))
            self.traces_one_of = int((about.metadata or {})[_ONE_OF])
            schema = about.schema.to_arrow_schema()
        except (OSError, KeyError, pa.ArrowException) as err:
            raise ValueError("no spans") from err
        if not _is_of_spans(schema):
            raise ValueError("other columns than spans have here")
        if not 1 <= self.traces_one_of <= _ONE_OF_MAX or about.num_rows > HANDED_ROWS_MAX:
            raise ValueError("more spans than there can be")
        # In memory, since there may be no place to write to; DuckDB reads files only.
        descriptor = os.memfd_create("spanway-handed", os.MFD_CLOEXEC)
        weakref.finalize(self, os.close, descriptor)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        self.path = f"/proc/self/fd/{descriptor}"
        _look(self.path, schema)


def _look(path: str, schema: pa.Schema) -> None:
    """Raises ValueError: a value is missing, or is none that a span can have."""
    ours = [field.name for field in EMPTY.schema if field.name in schema.names]
    types = {name: _plain(EMPTY.schema.field(name).type) for name in ours}
    # What is formatted here is text of this program alone.
    numbers = [name for name in ours if pa.types.is_int64(types[name])]
    wrong = [f'"{name}" IS NULL' for name in _NEEDED]
    wrong += [f'"{name}" NOT BETWEEN 0 AND {_MOST.get(name, NUMBER_MAX)}' for name in numbers]
    texts = [f'coalesce(strlen("{name}"), 0)' for name in ours if pa.types.is_string(types[name])]
    statement = f"""
        SELECT count(*) FILTER ({" OR ".join(wrong)}), coalesce(sum({" + ".join(texts)}), 0)
        FROM read_parquet($path)
    """
    try:
        with duckdb.connect() as connection:
            connection.execute(f"SET memory_limit = '{QUESTION_MEMORY_BYTES}B'; SET threads = 1")
            [(wrong_count, text_bytes)] = connection.execute(statement, {"path": path}).fetchall()
    except duckdb.Error as err:
        raise ValueError("a damaged file") from err
    if wrong_count:
        raise ValueError(f"{wrong_count} spans with values that no span has")
    if text_bytes > HANDED_TEXT_BYTES_MAX:
        raise ValueError("more text than there can be")


def _is_of_spans(schema: pa.Schema) -> bool:
    """Whether its columns can be put beside ours: columns of one name become one, of a type that
    has room for both. Another version may have more, or not have all."""
    types = {field.name: _plain(field.type) for field in schema}
    ours = {field.name: _plain(field.type) for field in EMPTY.schema}
    return types.keys() >= _NEEDED and all(
        types[name] == ours[name] for name in types & ours.keys()
    )


def _plain(type_: pa.DataType) -> pa.DataType:
    return type_.value_type if pa.types.is_dictionary(type_) else type_


def spans_of_window(
    connection: "DuckDBPyConnection", start_ns: int, end_ns: int, spans_max: int
) -> bytes:
    """What reports need of the spans that started from the one time on and before the other, about
    `spans_max` at most.

    Raises:
        TooMuchToHandOverError: it would be too large.
    """
    bounds = {"start_ns": start_ns, "end_ns": end_ns}
    [(count,)] = connection.execute(_COUNT, bounds).fetchall()
    one_of = 1 << (-(-count // spans_max) - 1).bit_length() if count else 1
    return _file(connection, _WINDOW, bounds | {"one_of": one_of}, one_of)


def spans_of_traces(
    connection: "DuckDBPyConnection", trace_ids: Sequence[str], start_ns: int, end_ns: int
) -> bytes:
    """All of the spans of these traces that started between the two times.

    Raises:
        TooMuchToHandOverError: it would be too large.
    """
    halves = [(int(id_[:16], 16), int(id_[16:], 16)) for id_ in trace_ids]
    bounds = {"start_ns": start_ns, "end_ns": end_ns}
    ids = {"his": [hi for hi, _ in halves], "los": [lo for _, lo in halves]}
    return _file(connection, _TRACES, bounds | ids, 1)


def _file(
    connection: "DuckDBPyConnection", statement: str, parameters: dict[str, Any], one_of: int
) -> bytes:
    found = connection.sql(statement, params=parameters)
    batches: pa.RecordBatchReader = found.to_arrow_reader(BATCH_ROWS)
    file = io.BytesIO()
    with pq.ParquetWriter(file, batches.schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)
            if file.tell() > HANDED_BYTES_MAX:
                raise TooMuchToHandOverError(HANDED_BYTES_MAX)
        writer.add_key_value_metadata({_ONE_OF: str(one_of)})
    return file.getvalue()


_COUNT = "SELECT count(*) FROM spans WHERE start_ns >= $start_ns AND start_ns < $end_ns"

# Long texts that no report looks at stay where they are.
_WINDOW = """
SELECT * EXCLUDE (attributes, events, links, status_message, trace_state) FROM spans
WHERE start_ns >= $start_ns AND start_ns < $end_ns AND trace_lo % $one_of = 0
"""

_TRACES = """
SELECT * FROM spans
WHERE start_ns BETWEEN $start_ns AND $end_ns AND trace_lo IN (SELECT unnest($los::UBIGINT[]))
  AND trace_hi IN (SELECT unnest($his::UBIGINT[]))
"""

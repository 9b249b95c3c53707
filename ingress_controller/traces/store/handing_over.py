"""Spans for another replica, and those of one: a file of the store's own form, in memory.

Rules: what is handed over is bounded in bytes. Of a window with too many spans some traces are left
out, by their random ids and by a power of two: so all replicas leave out the same ones, once each
is thinned as much as the one that was thinned most.
"""

import io
import os
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ingress_controller.traces.store.queries import TooMuchToHandOverError
from ingress_controller.traces.store.segments import EMPTY

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

HANDED_BYTES_MAX = 48 * 1024 * 1024
"""Of one file: a million spans, of which each has some 30 bytes."""

BATCH_ROWS = 64 * 1024
"""Rows that are on their way into the file; as many as a group of rows has."""

_ONE_OF = b"spanway.traces_one_of"
_ONE_OF_MAX = 1 << 62  # it is a number in a statement
_NEEDED = frozenset({"trace_hi", "trace_lo", "span_id", "start_ns"})


class Handed:
    """A file that another replica has handed over; it ends with this object.

    `path` is the file's, for this process; `traces_one_of`: it has one in so many traces.

    Raises:
        ValueError: the content is something else, or its columns mean something else here.
    """

    def __init__(self, content: bytes) -> None:
        try:
            about = pq.read_metadata(pa.BufferReader(content))
            self.traces_one_of = int((about.metadata or {})[_ONE_OF])
            is_known = _is_of_spans(about.schema.to_arrow_schema())
        except (OSError, KeyError, pa.ArrowException) as err:
            raise ValueError("no spans") from err
        if not is_known or not 1 <= self.traces_one_of <= _ONE_OF_MAX:
            raise ValueError("no spans as they are here")
        # In memory, since there may be no place to write to; DuckDB reads files only.
        descriptor = os.memfd_create("spanway-handed", os.MFD_CLOEXEC)
        weakref.finalize(self, os.close, descriptor)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        self.path = f"/proc/self/fd/{descriptor}"


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

"""Spans as Arrow columns: OTLP goes in, record batches of one schema come out.

No span becomes a Python object. `crates/columns/src/schema.rs` says which columns there are.
"""

from typing import NamedTuple, Protocol

from proxy._engine import Columns as _Columns


class MalformedSpansError(ValueError):
    """The bytes are no spans; the message says what is wrong in one sentence."""


class Added(NamedTuple):
    """How many spans became rows; how many were refused, since they have no valid trace id and span
    id; how many had come before."""

    taken: int
    refused: int
    repeated: int


class ArrowArray(Protocol):
    """Rows for whoever reads Arrow: `pyarrow.record_batch(rows)`.

    Source: Arrow, "The Arrow PyCapsule Interface".
    """

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]: ...


class Columns:
    """Collects rows. Every method may be called from any thread, and releases the GIL."""

    def __init__(self) -> None:
        self._columns = _Columns()

    @property
    def row_count(self) -> int:
        """Rows that wait to be taken."""
        return self._columns.rows()

    def add(self, otlp: bytes, *, is_once: bool = False) -> Added:
        """Adds the spans of an `ExportTraceServiceRequest` in protobuf.

        With `is_once` those are left out that came so before: among the last 100,000, or a bit more
        (`crates/columns/src/recent.rs`).

        Raises:
            MalformedSpansError: the bytes are something else; nothing was added.
        """
        try:
            return Added(*self._columns.add(otlp, is_once))
        except ValueError as err:
            raise MalformedSpansError(str(err)) from err

    def take(self) -> ArrowArray:
        """All rows; afterwards there are none."""
        return self._columns.take()

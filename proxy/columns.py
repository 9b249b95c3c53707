"""Spans as Arrow columns: OTLP goes in, record batches of one schema come out.

No span becomes a Python object. `crates/columns/src/schema.rs` says which columns there are.
"""

from typing import Protocol

from proxy._engine import Columns as _Columns


class MalformedSpansError(ValueError):
    """The bytes are no spans; the message says what is wrong in one sentence."""


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

    def add(self, otlp: bytes) -> tuple[int, int]:
        """Adds the spans of an `ExportTraceServiceRequest` in protobuf.

        Returns how many became rows, and how many were refused: those without a valid trace id and
        span id.

        Raises:
            MalformedSpansError: the bytes are something else; nothing was added.
        """
        try:
            return self._columns.add(otlp)
        except ValueError as err:
            raise MalformedSpansError(str(err)) from err

    def take(self) -> ArrowArray:
        """All rows; afterwards there are none."""
        return self._columns.take()

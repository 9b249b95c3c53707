"""Sealed spans: Parquet files in a directory, which appear whole or not at all.

Rules: blocking. The directory is the truth and is looked at each time, so that several processes
may share it, as during a takeover. A file's name says which time it covers: a search opens only
those that matter, and retention none. A sealed file is never changed, only removed. Files that are
small are merged; until the last of them is gone, a list beside the merged one says that they do not
count, so that a crash at any moment neither loses a span nor has one twice.
"""

import contextlib
import logging
import os
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingress_controller.telemetry.events import Event, emit
from proxy.columns import Columns

ROW_GROUP_ROWS = 64 * 1024
"""What a search for one trace reads of a file at least. DuckDB: 122,880, for scans of all."""

ZSTD_LEVEL = 3
"""The library's own default; 9 saves 4 % of the bytes and takes three times the CPU."""

MERGED_FILES = 16
"""So many small neighbours become one: at one file in 30 s, every eight minutes."""

SMALL_BYTES = (64 * 1024, 1024 * 1024)
"""Files below the first are merged with their like, then those below the second: what is rewritten
is rewritten a few times only, and a merge holds 16 MiB of files."""

UNFINISHED_S = 3600.0
"""What was begun so long ago is of a process that died; a file takes a second to write."""

_SUFFIX = ".parquet"
_UNFINISHED = ".unfinished"
_REPLACED = ".replaced"
_DAMAGED = ".damaged"
_ID = ".id"


class SegmentDamaged(Event, frozen=True):
    """It is set aside; its spans are missing."""

    level: ClassVar[int] = logging.ERROR
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Segment:
    """One file: the spans that started from `start_ns` to `end_ns`, in UTC nanoseconds, both ends
    included. Files of one `schema` have the same columns."""

    path: Path
    start_ns: int
    end_ns: int
    schema: str
    size_bytes: int


class Segments:
    """The sealed files of `directory`, which is made if it is missing; its owner alone reads them.

    Raises:
        OSError: it cannot be made, read or written.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = self.directory / f"{uuid.uuid4().hex}{_UNFINISHED}"
        probe.touch(mode=0o600)
        probe.unlink()
        self._clear()
        self.id = _id(self.directory)

    @property
    def all(self) -> list[Segment]:
        """By their start."""
        paths = {Path(entry.path): entry for entry in os.scandir(self.directory)}
        replaced = {
            self.directory / name
            for path in paths
            if path.suffix == _REPLACED and path.with_suffix(_SUFFIX) in paths
            for name in _lines(path)
        }
        found = (_segment(path) for path in paths if path not in replaced)
        return sorted(filter(None, found), key=lambda segment: segment.start_ns)

    def within(self, start_ns: int, end_ns: int) -> list[Segment]:
        """Those that may hold spans that started between the two."""
        return [one for one in self.all if one.end_ns >= start_ns and one.start_ns <= end_ns]

    def write(self, spans: pa.Table, replaced: Sequence[Segment] = ()) -> Callable[[], None]:
        """Writes `spans`, of which there must be some; what is returned shows them.

        That is quick, and raises nothing once the file is there. Sorted by trace, so that the spans
        of one lie together: they compress better, and a search for a trace reads one row group of a
        file. The `replaced` files count no longer from that moment on, and are removed.

        Raises:
            OSError: the disk is full, or gone; there is no file then.
        """
        assert spans.num_rows > 0, "an empty file covers no time"
        starts = pc.min_max(spans["start_ns"])
        start_ns, end_ns = starts["min"].as_py(), starts["max"].as_py()
        spans = spans.sort_by([(name, "ascending") for name in _ORDER])
        unique = uuid.uuid4().hex[:8]
        name = f"spans-{start_ns:020}-{end_ns:020}-{_schema(spans.schema)}-{unique}{_SUFFIX}"
        path = self.directory / name
        try:
            _write(spans, path.with_suffix(_UNFINISHED))
            if replaced:
                _write_lines(path.with_suffix(_REPLACED), [one.path.name for one in replaced])
        except OSError:
            path.with_suffix(_UNFINISHED).unlink(missing_ok=True)
            path.with_suffix(_REPLACED).unlink(missing_ok=True)
            raise

        def show() -> None:
            path.with_suffix(_UNFINISHED).rename(path)
            _sync(self.directory)
            if replaced:
                self._remove(replaced)
                path.with_suffix(_REPLACED).unlink(missing_ok=True)

        return show

    def retain(self, *, bytes_max: int, newer_than_ns: int) -> None:
        """Removes whole files, the oldest first, until both bounds hold."""
        kept = self.all
        size_bytes = sum(segment.size_bytes for segment in kept)
        removed = []
        for segment in kept:
            if segment.end_ns >= newer_than_ns and size_bytes <= bytes_max:
                break
            size_bytes -= segment.size_bytes
            removed.append(segment)
        self._remove(removed)

    def small(self) -> list[Segment]:
        """Neighbours that are worth merging; empty if there are none."""
        found = self.all
        for bytes_max in SMALL_BYTES:
            neighbours: list[Segment] = []
            for segment in found:
                neighbours = [*neighbours, segment] if segment.size_bytes < bytes_max else []
                if len(neighbours) == MERGED_FILES:
                    return neighbours
        return []

    def read(self, segments: Iterable[Segment]) -> pa.Table:
        """All their spans.

        Raises:
            OSError: one of them is gone. pa.ArrowException: one is of a version of Spanway with
                columns of other types, or damaged.
        """
        tables = [pq.read_table(one.path, read_dictionary=_NAMES) for one in segments]
        return pa.concat_tables(tables, promote_options="default").unify_dictionaries()

    def set_aside_damaged(self) -> None:
        """Files that are none of Parquet's are renamed, so that the others can be read."""
        for segment in self.all:
            try:
                pq.read_metadata(segment.path)
            except FileNotFoundError:
                continue
            except (OSError, pa.ArrowException) as err:
                segment.path.rename(segment.path.with_suffix(_DAMAGED))
                emit(SegmentDamaged(str(segment.path.with_suffix(_DAMAGED)), str(err)))

    def _remove(self, segments: Iterable[Segment]) -> None:
        for segment in segments:
            segment.path.unlink(missing_ok=True)

    def _clear(self) -> None:
        """Removes what processes have left that died."""
        for path in self.directory.iterdir():
            if path.suffix == _UNFINISHED and time.time() - path.stat().st_mtime > UNFINISHED_S:
                path.unlink(missing_ok=True)
            elif path.suffix == _REPLACED and path.with_suffix(_SUFFIX).exists():
                for name in _lines(path):
                    (self.directory / name).unlink(missing_ok=True)
                path.unlink(missing_ok=True)


def _id(directory: Path) -> str:
    """What names the directory, whatever machine it is seen from: a word in a file there."""
    path, unfinished = directory / _ID, directory / f"{uuid.uuid4().hex}{_UNFINISHED}"
    if not path.exists():
        _write_lines(unfinished, [uuid.uuid4().hex])
        with contextlib.suppress(FileExistsError):  # another process was faster
            path.hardlink_to(unfinished)
        unfinished.unlink()
    return _lines(path)[0]


def _named(schema: pa.Schema, is_of: Callable[[pa.DataType], bool]) -> list[str]:
    return [field.name for field in schema if is_of(field.type)]


EMPTY = pa.Table.from_batches([pa.record_batch(Columns().take())])
"""No rows, all columns."""

_ORDER = ("trace_hi", "trace_lo", "start_ns")
_RANDOM = ("span_id", "parent_id")
_NAMES = _named(EMPTY.schema, pa.types.is_dictionary)


def _write(spans: pa.Table, path: Path) -> None:
    numbers = _named(spans.schema, pa.types.is_integer)
    with os.fdopen(_private(path), "wb") as file:
        pq.write_table(
            spans,
            file,
            row_group_size=ROW_GROUP_ROWS,
            compression="zstd",
            compression_level=ZSTD_LEVEL,
            use_dictionary=_named(spans.schema, pa.types.is_dictionary),
            # Numbers as distances from the one before, but for what is random.
            column_encoding={
                name: "PLAIN" if name in _RANDOM else "DELTA_BINARY_PACKED" for name in numbers
            },
            store_schema=False,
        )
        file.flush()
        os.fsync(file.fileno())


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with os.fdopen(_private(path), "wb") as file:
        file.write("".join(f"{line}\n" for line in lines).encode())
        file.flush()
        os.fsync(file.fileno())


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except FileNotFoundError:  # its files are gone, too
        return []


def _segment(path: Path) -> Segment | None:
    """What a file's name says; None where it is not one of ours, or gone."""
    if path.suffix != _SUFFIX:
        return None
    match path.stem.split("-"):
        case ["spans", start, end, schema, _] if start.isdecimal() and end.isdecimal():
            try:
                return Segment(path, int(start), int(end), schema, path.stat().st_size)
            except FileNotFoundError:
                return None
        case _:
            return None


def _schema(schema: pa.Schema) -> str:
    """A name for these columns, whatever order they are in and however they are encoded."""
    columns = sorted(
        f"{field.name} {kind.value_type if pa.types.is_dictionary(kind) else kind}"
        for field in schema
        for kind in [field.type]
    )
    text = "\n".join(columns)
    return f"{zlib.crc32(text.encode()):08x}"


def _private(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

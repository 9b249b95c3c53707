"""Batches on disk: what a queue has no room for while its destination is away.

Rules: a batch is a file of its own, written under another name and renamed, so that it is whole or
not there; its name says its turn and its spans. It is compressed, since a disk may be slower than
spans come, and has gzip's checksum. It is removed when it was delivered, not when it
was read, so that neither a crash nor a restart loses it. All files together are bounded; the oldest
goes for a newer one. One process has the directory at a time, by a lock: another does without until
it is free. Calls block for a disk's time; they are made in a thread.
"""

import contextlib
import fcntl
import gzip
import os
import re
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ingress_controller.traces.export.destination import GZIP_LEVEL, Spill
from ingress_controller.traces.export.losses import DropReason
from proxy.spans import SpanBatch

LOCK_NAME = "lock"
_NAME = re.compile(r"([0-9]{16})-([0-9]{1,9})\.otlp\.gz")

OnLoss = Callable[[DropReason, int, str], None]


class SpilledBatch(NamedTuple):
    """A batch that is still on disk; `turn` names it there."""

    turn: int
    batch: SpanBatch


class _File(NamedTuple):
    span_count: int
    byte_count: int


class SpillFiles:
    """The files of one exporter, oldest first. `on_loss` is told of reason, spans and why."""

    def __init__(self, spill: Spill, on_loss: OnLoss) -> None:
        self._directory = spill.directory
        self._bytes_max = spill.bytes_max
        self._on_loss = on_loss
        self._lock: int | None = None
        self._files: OrderedDict[int, _File] = OrderedDict()
        self._reading: int | None = None
        self._next_turn = 0
        self.byte_count = 0

    def open(self) -> bool:
        """Takes the directory, and what is in it from before; False if another process has it.

        Raises:
            OSError: it cannot be used.
        """
        if self._lock is not None:
            return True
        lock = os.open(self._directory / LOCK_NAME, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._lock = lock
        for path in sorted(self._directory.iterdir()):
            if found := _NAME.fullmatch(path.name):
                turn = int(found[1])
                self._files[turn] = _File(int(found[2]), path.stat().st_size)
                self._next_turn = turn + 1
            elif path.suffix == ".new":
                path.unlink()  # a process ended while it was written
        self.byte_count = sum(file.byte_count for file in self._files.values())
        return True

    def put(self, batch: SpanBatch) -> None:
        """Writes it, after the oldest ones have gone that it leaves no room for.

        Raises:
            OSError: it is not written.
        """
        content = gzip.compress(batch.otlp, GZIP_LEVEL)
        file_bytes = len(content)
        while self.byte_count + file_bytes > self._bytes_max:
            oldest = next((turn for turn in self._files if turn != self._reading), None)
            why = f"{self._directory} is full"
            if oldest is None:  # what is being sent takes all the room
                self._on_loss(DropReason.SPILL_FULL, batch.span_count, why)
                return
            self._lose(oldest, DropReason.SPILL_FULL, why)
        turn = self._next_turn
        path = self._path(turn, batch.span_count)
        new = path.with_suffix(".new")
        try:
            new.touch(mode=0o600)
            new.write_bytes(content)
            new.rename(path)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise
        self._next_turn += 1
        self._files[turn] = _File(batch.span_count, file_bytes)
        self.byte_count += file_bytes

    def oldest(self) -> SpilledBatch | None:
        """The oldest, until it is removed; None if there is none. What is not whole is removed."""
        while self._files:
            turn, file = next(iter(self._files.items()))
            path = self._path(turn, file.span_count)
            try:
                otlp, why = gzip.decompress(path.read_bytes()), "it is empty"
            except (OSError, EOFError, zlib.error) as err:
                otlp, why = b"", getattr(err, "strerror", None) or str(err)
            if otlp:
                self._reading = turn
                return SpilledBatch(turn, SpanBatch(otlp, file.span_count))
            self._lose(turn, DropReason.CORRUPT, f"{path}: {why}")
        return None

    def remove(self, turn: int) -> None:
        """It needs no keeping any more."""
        if turn == self._reading:
            self._reading = None
        file = self._files.pop(turn)
        self.byte_count -= file.byte_count
        with contextlib.suppress(OSError):  # read again after a restart, and sent again: allowed
            self._path(turn, file.span_count).unlink()

    def close(self) -> None:
        """Leaves the directory to others."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def is_open(self) -> bool:
        return self._lock is not None

    @property
    def has_some(self) -> bool:
        return bool(self._files)

    def _lose(self, turn: int, reason: DropReason, why: str) -> None:
        span_count = self._files[turn].span_count
        self.remove(turn)
        self._on_loss(reason, span_count, why)

    def _path(self, turn: int, span_count: int) -> Path:
        return self._directory / f"{turn:016}-{span_count}.otlp.gz"

"""Spans that were not delivered: counted by reason, logged once an interval and reason."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar

import msgspec

from ingress_controller.telemetry.events import Event, emit

LOG_INTERVAL_S = 10.0
"""Losses of one kind are logged at most this often; the line has their sum."""


class DropReason(StrEnum):
    """Why spans were not delivered."""

    QUEUE_FULL = "queue_full"
    REJECTED = "rejected"  # the destination refused the batch or some of its spans
    UNREACHABLE = "unreachable"  # every attempt failed
    SHUTDOWN = "shutdown"  # the deadline of the last flush passed
    SPILL_FULL = "spill_full"  # the oldest file had to go for a newer one
    CORRUPT = "corrupt"  # a file was not what had been written


class SpansLost(Event, frozen=True):
    """They will not be delivered."""

    level: ClassVar[int] = logging.ERROR
    exporter: str
    spans: int
    reason: DropReason
    why: str


class ExportStats(msgspec.Struct, frozen=True):
    """Of one exporter: counts since the start. `queue_bytes` is held in memory now, including what
    is being sent; `spill_bytes` on disk."""

    name: str
    sent_spans: int
    dropped_spans: Mapping[DropReason, int]
    retry_count: int
    queue_bytes: int
    spill_bytes: int = 0


class Losses:
    """See the module; `exporter` is whose they are. Any thread may count."""

    def __init__(self, exporter: str) -> None:
        self.spans: Counter[DropReason] = Counter()
        self._exporter = exporter
        self._lock = threading.Lock()
        self._unlogged: Counter[DropReason] = Counter()
        self._why: dict[DropReason, str] = {}
        self._quiet_until_s: dict[DropReason, float] = {}

    def count(self, reason: DropReason, span_count: int, why: str) -> None:
        with self._lock:
            self.spans[reason] += span_count
            self._unlogged[reason] += span_count
            self._why[reason] = why
            if time.monotonic() >= self._quiet_until_s.get(reason, 0.0):
                self._log(reason)

    def log_now(self) -> None:
        with self._lock:
            for reason in [reason for reason, count in self._unlogged.items() if count]:
                self._log(reason)

    def _log(self, reason: DropReason) -> None:
        self._quiet_until_s[reason] = time.monotonic() + LOG_INTERVAL_S
        spans = self._unlogged.pop(reason)
        emit(SpansLost(self._exporter, spans, reason, self._why[reason]))

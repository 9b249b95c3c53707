"""What has changed between two looks at live requests, as events of a watch.

A live request has no versions and nobody tells of its changes, so a watch looks again and again.
Rules: pure but for the clock. What comes and goes between two looks is not seen. A request has
changed when its phase, its endpoint, its status or another lasting fact has; that it has grown
older or moved more bytes is no event.
Source: Kubernetes API concepts, "Efficient detection of changes".
"""

import time
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec

from ingress_controller.peers.live import SharedLive
from proxy.live import Condition, Row

REMEMBERED_ROWS_MAX = 10_000  # of the latest lists, so that a watch can go on from them; 10 MiB
REMEMBERED_LISTS_MAX = 256  # the same; a watch follows its list within milliseconds


class EventType(StrEnum):
    """What happened to an object."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class Event(NamedTuple):
    """`row` is the newest one; of a request that is over, the last one that was seen."""

    type: EventType
    row: Row


Known = Mapping[str, Row]
"""What whoever watches knows, by id."""


def changes(known: Known, live: SharedLive) -> tuple[list[Event], Known]:
    """The events that lead from `known` to what is live, the oldest requests first, and that.

    Where a worker or a replica did not answer, what is missing of it is not taken to be over.
    """
    now = {row.id: row for row in live.requests}
    events = []
    for row in live.requests:
        before = known.get(row.id)
        if before is None:
            events.append(Event(EventType.ADDED, row))
        elif _lasting(before) != _lasting(row):
            events.append(Event(EventType.MODIFIED, row))
    missing = {name: row for name, row in known.items() if name not in now}
    silent = {peer.instance for peer in live.peers if peer.error}
    kept = {
        name: row for name, row in missing.items() if live.workers_silent or row.instance in silent
    }
    over = (Event(EventType.DELETED, row) for name, row in missing.items() if name not in kept)
    return [*over, *events], {**kept, **now}


def _lasting(row: Row) -> Row:
    return msgspec.structs.replace(
        row, age_us=0, phase_age_us=0, phases_us={}, received_bytes=0, sent_bytes=0
    )


class _List(NamedTuple):
    conditions: tuple[Condition, ...]
    rows: dict[str, Row]


class Memory:
    """What lists have told, by their version, so that a watch that follows one misses nothing."""

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._newest_us = 0
        self._lists: dict[str, _List] = {}
        self._row_count = 0

    def new_version(self) -> str:
        """A resourceVersion: a number that grows, also over restarts and between instances."""
        self._newest_us = max(self._newest_us + 1, self._clock() // 1_000)
        return str(self._newest_us)

    def add(self, version: str, conditions: tuple[Condition, ...], rows: Iterable[Row]) -> None:
        """Keeps rows that a list, or a further part of it, has told; older lists give way."""
        told = self._lists.setdefault(version, _List(conditions, {}))
        before = len(told.rows)
        told.rows.update((row.id, row) for row in rows)
        self._row_count += len(told.rows) - before
        while self._row_count > REMEMBERED_ROWS_MAX or len(self._lists) > REMEMBERED_LISTS_MAX:
            oldest = next(iter(self._lists))
            self._row_count -= len(self._lists.pop(oldest).rows)

    def known(self, version: str, conditions: tuple[Condition, ...]) -> Known | None:
        """What the list of that version and these conditions told; None if nobody knows."""
        told = self._lists.get(version)
        return told.rows if told is not None and told.conditions == conditions else None

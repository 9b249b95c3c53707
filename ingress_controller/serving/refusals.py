"""Who was not let in at an address of ours: counted by reason, logged once an interval and reason.

Rule: what somebody showed to be let in is in no line, only from where.
"""

import logging
import time
from collections import Counter
from enum import StrEnum
from typing import ClassVar

from ingress_controller.telemetry.events import Event, emit

LOG_INTERVAL_S = 10.0
"""Refusals of one kind are logged at most this often; the line has how many there were."""


class Reason(StrEnum):
    """Why somebody was not answered."""

    UNKNOWN = "unknown"  # 401, or 403 for a log-in: nothing was shown, or nothing that is known
    NOT_ALLOWED = "not_allowed"  # 403: the right is missing in Kubernetes
    UNDECIDED = "undecided"  # 503: Kubernetes cannot be asked, or has not said whom to believe
    STRANGE_HOST = "strange_host"  # 403: asked for by a name that could be anybody's
    CROWDED = "crowded"  # there were too many connections, and one had to go
    HANDSHAKE = "handshake"  # TLS could not be agreed on; who merely leaves is not refused


class _Refused(Event, frozen=True):
    """`client` is the last one of `count`: with CROWDED, for whom another one had to go, if any
    could."""

    level: ClassVar[int] = logging.WARNING
    reason: Reason
    count: int
    client: str


class AdminRefused(_Refused, frozen=True):
    """At the admin address."""


class ApiRefused(_Refused, frozen=True):
    """At the address that the API server asks for `kubectl`."""


class Refusals:
    """See the module; of one address, for the event loop that it is served by."""

    def __init__(self, event: type[AdminRefused | ApiRefused]) -> None:
        self.counts: Counter[Reason] = Counter()
        self._event = event
        self._unlogged: Counter[Reason] = Counter()
        self._quiet_until_s: dict[Reason, float] = {}

    def note(self, reason: Reason, client: str) -> None:
        self.counts[reason] += 1
        self._unlogged[reason] += 1
        now_s = time.monotonic()
        if now_s >= self._quiet_until_s.get(reason, 0.0):
            self._quiet_until_s[reason] = now_s + LOG_INTERVAL_S
            emit(self._event(reason, self._unlogged.pop(reason), client))

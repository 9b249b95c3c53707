"""Certificates that are used, and which of them are not valid now.

Rules: one owner writes and reads; the time comes from outside. All are looked at again only when
one of them begins or ends.
"""

from collections.abc import Iterable, Iterator

from ingress_controller.model.problem import Problem, Severity
from ingress_controller.routing.backend_policy import certificate_key
from ingress_controller.routing.host_tls import CertificateUse
from ingress_controller.routing.shared import Namer


class Dates:
    """See the module. Times are UTC milliseconds."""

    def __init__(self) -> None:
        self._uses: dict[Namer, tuple[CertificateUse, ...]] = {}
        self._next_unix_ms: int | None = 0  # when one begins or ends; None: never

    def put(self, source: Namer, uses: Iterable[CertificateUse]) -> None:
        """From now on these are the certificates of `source`."""
        new = tuple(uses)
        if new == self._uses.get(source, ()):
            return
        self._uses.pop(source, None)
        if new:
            self._uses[source] = new
        self._next_unix_ms = 0

    def problems(self, now_unix_ms: int) -> tuple[Problem, ...] | None:
        """What is not valid now; None if nothing can have changed since the last call."""
        if self._next_unix_ms is None or now_unix_ms < self._next_unix_ms:
            return None
        uses = [use for of_source in self._uses.values() for use in of_source]
        ahead = (
            at
            for use in uses
            for at in (use.pair.not_before_unix_ms, use.pair.not_after_unix_ms + 1)
            if at > now_unix_ms
        )
        self._next_unix_ms = min(ahead, default=None)
        return tuple(_problems(uses, now_unix_ms))


def _problems(uses: Iterable[CertificateUse], now_unix_ms: int) -> Iterator[Problem]:
    for use in uses:
        name = f"The certificate in Secret {certificate_key(use.secret)}"
        if now_unix_ms > use.pair.not_after_unix_ms:
            yield Problem(
                use.owner, use.field, f"{name} has expired.", "Renew it.", Severity.WARNING
            )
        elif now_unix_ms < use.pair.not_before_unix_ms:
            message = f"{name} is not valid yet."
            yield Problem(use.owner, use.field, message, "Look at the clocks.", Severity.WARNING)

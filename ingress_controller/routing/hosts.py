"""Which Ingresses claim which host, so that a change of one looks at its own hosts only.

Rules: one owner writes and reads. Who wins a host is decided in `conflicts`, always anew from all
claims to that host, so the order of changes does not matter.
"""

from collections.abc import Iterable, Iterator

from ingress_controller.model.problem import ObjectKey
from ingress_controller.routing.claims import Claim


class HostIndex:
    """Claims by host and Ingress."""

    def __init__(self) -> None:
        self._hosts_of: dict[ObjectKey, tuple[str, ...]] = {}
        self._claims: dict[str, dict[ObjectKey, tuple[Claim, ...]]] = {}

    def put(self, owner: ObjectKey, claims: Iterable[Claim]) -> set[str]:
        """From now on these are all claims of `owner`; returns the hosts to settle anew."""
        by_host: dict[str, list[Claim]] = {}
        for claim in claims:
            by_host.setdefault(claim.host, []).append(claim)
        stale = set(by_host)
        for host in self._hosts_of.pop(owner, ()):
            stale.add(host)
            claimed = self._claims[host]
            del claimed[owner]
            if not claimed:
                del self._claims[host]
        if by_host:
            self._hosts_of[owner] = tuple(by_host)
        for host, own in by_host.items():
            self._claims.setdefault(host, {})[owner] = tuple(own)
        return stale

    def claims(self, host: str) -> Iterator[Claim]:
        """All claims to `host`, in no order."""
        for own in self._claims.get(host, {}).values():
            yield from own

"""The table as it should be, by key, and which keys may differ from the table in force.

Rules: a key stays open until the table in force was seen to hold what is wanted. So what the engine
rejected is in the next update again, and a change costs its own keys however large the table is.
"""

from collections.abc import Mapping
from typing import Generic, TypeVar

from proxy.table import Backend, Certificate, Host, RoutePolicy, RouteTable, Update

_V = TypeVar("_V")


class Part(Generic[_V]):
    """One kind of entries of the table. One owner writes and reads."""

    def __init__(self) -> None:
        self._wanted: dict[str, _V] = {}
        self._open: set[str] = set()

    def get(self, key: str) -> _V | None:
        """What is wanted of `key`."""
        return self._wanted.get(key)

    def put(self, key: str, value: _V | None) -> None:
        """From now on `value` is wanted, None for nothing; an equal one is no change."""
        if value == self._wanted.get(key):
            return
        if value is None:
            del self._wanted[key]
        else:
            self._wanted[key] = value
        self._open.add(key)

    def settle(self, in_force: Mapping[str, _V]) -> None:
        """Closes the keys that are in force as they are wanted."""
        self._open = {key for key in self._open if self._differs(key, in_force.get(key))}

    def changes(
        self, in_force: Mapping[str, _V]
    ) -> tuple[tuple[tuple[str, _V], ...], tuple[str, ...]]:
        """What is to be put and what to be removed, in order of keys, to have what is wanted."""
        self.settle(in_force)
        keys = sorted(self._open)
        upsert = tuple((key, self._wanted[key]) for key in keys if key in self._wanted)
        return upsert, tuple(key for key in keys if key not in self._wanted)

    def _differs(self, key: str, in_force: _V | None) -> bool:
        wanted = self._wanted.get(key)
        return wanted is not in_force and wanted != in_force  # most were taken as they are


class Wanted:
    """All parts of a table."""

    def __init__(self) -> None:
        self.hosts: Part[Host] = Part()
        self.backends: Part[Backend] = Part()
        self.policies: Part[RoutePolicy] = Part()
        self.certificates: Part[Certificate] = Part()

    def settle(self, in_force: RouteTable) -> None:
        """Closes what is in force, so that the next update need not look at it again."""
        self.hosts.settle(in_force.hosts)
        self.backends.settle(in_force.backends)
        self.policies.settle(in_force.policies)
        self.certificates.settle(in_force.certificates)

    def update(self, in_force: RouteTable, frame: RouteTable) -> Update | None:
        """What turns `in_force` into what is wanted; None if it is that already.

        The same as `difference` says of the two whole tables. `frame` has what is not kept by key:
        listeners, tracing and locality.
        """
        hosts_upsert, hosts_remove = self.hosts.changes(in_force.hosts)
        backends_upsert, backends_remove = self.backends.changes(in_force.backends)
        policies_upsert, policies_remove = self.policies.changes(in_force.policies)
        certificates_upsert, certificates_remove = self.certificates.changes(in_force.certificates)
        update = Update(
            base=in_force.generation,
            generation=in_force.generation + 1,
            listeners=frame.listeners,
            tracing=frame.tracing,
            locality=frame.locality,
            hosts_upsert=tuple(host for _, host in hosts_upsert),
            hosts_remove=hosts_remove,
            backends_upsert=tuple(backend for _, backend in backends_upsert),
            backends_remove=backends_remove,
            policies_upsert=policies_upsert,
            policies_remove=policies_remove,
            certificates_upsert=certificates_upsert,
            certificates_remove=certificates_remove,
        )
        unchanged = Update(
            base=in_force.generation,
            generation=in_force.generation + 1,
            listeners=in_force.listeners,
            tracing=in_force.tracing,
            locality=in_force.locality,
        )
        return None if update == unchanged else update

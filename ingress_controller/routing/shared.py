"""What several parts of a table share: entries that are there as long as one of them names them,
and objects that several of them hang on.

Rules: one owner writes and reads.
"""

from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, TypeVar

from ingress_controller.routing.wanted import Part

_V = TypeVar("_V")
_N = TypeVar("_N", bound=Hashable)

ObjectName = tuple[str, str]
"""Namespace and name."""

Namer = tuple[str, str]
"""Who names something: `host`, `backend` or `listeners`, and its key in the table."""


class SharedEntries(Generic[_V]):
    """Entries of one part of the table, by who names them. The same key means the same entry."""

    def __init__(self, part: Part[_V]) -> None:
        self._part = part
        self._keys_of: dict[Namer, frozenset[str]] = {}
        self._sources: dict[str, set[Namer]] = {}

    def put(self, source: Namer, entries: Mapping[str, _V]) -> None:
        """From now on `source` names these, and no others."""
        old = self._keys_of.pop(source, frozenset())
        if entries:
            self._keys_of[source] = frozenset(entries)
        for key in old - entries.keys():
            self._sources[key].discard(source)
            if not self._sources[key]:
                del self._sources[key]
                self._part.put(key, None)
        for key, value in entries.items():
            self._sources.setdefault(key, set()).add(source)
            self._part.put(key, value)


class Hangers(Generic[_N]):
    """Who names which object of one kind, also one that does not exist."""

    def __init__(self) -> None:
        self._names_of: dict[_N, frozenset[ObjectName]] = {}
        self._sources: dict[ObjectName, set[_N]] = {}

    def put(self, source: _N, names: Iterable[ObjectName]) -> None:
        """From now on `source` hangs on these, and no others."""
        old, new = self._names_of.pop(source, frozenset()), frozenset(names)
        if new:
            self._names_of[source] = new
        for name in old - new:
            self._sources[name].discard(source)
            if not self._sources[name]:
                del self._sources[name]
        for name in new - old:
            self._sources.setdefault(name, set()).add(source)

    def sources(self, name: ObjectName) -> tuple[_N, ...]:
        """Who is to be looked at again when the object changed."""
        return tuple(self._sources.get(name, ()))

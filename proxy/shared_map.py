"""An immutable mapping whose changed copy is cheap.

The entries are spread over shards, and a copy shares all shards but those that it changes: of
10,000 entries, one change copies 40. Whoever holds a table therefore holds a snapshot, although
the next table is made of it. The engine's table is built the same way (`table/shared_map.rs`).
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")

SHARD_COUNT = 256  # 10,000 entries make 40 a shard; copying the list of shards takes 1 µs

_EMPTY: tuple[dict[object, object], ...] = ({},) * SHARD_COUNT


class SharedMap(Mapping[_K, _V]):
    """See the module. Equal to any mapping with the same entries; iterates in no useful order."""

    __slots__ = ("_count", "_shards")

    def __init__(self, entries: Mapping[_K, _V] | None = None) -> None:
        self._shards: tuple[dict[_K, _V], ...] = _EMPTY  # type: ignore[assignment]
        self._count = 0
        if entries:
            self._set(entries.items(), ())

    def changed(
        self, upsert: Iterable[tuple[_K, _V]], remove: Iterable[_K] = ()
    ) -> "SharedMap[_K, _V]":
        """A copy without `remove`, then with `upsert`; what is to be removed may be absent.

        Itself if there is neither.
        """
        upsert, remove = tuple(upsert), tuple(remove)
        if not upsert and not remove:
            return self
        copy: SharedMap[_K, _V] = SharedMap()
        copy._shards, copy._count = self._shards, self._count
        copy._set(upsert, remove)
        return copy

    def _set(self, upsert: Iterable[tuple[_K, _V]], remove: Iterable[_K]) -> None:
        shards = list(self._shards)
        for key in remove:
            shard = self._own(shards, key)
            if key in shard:
                del shard[key]
                self._count -= 1
        for key, value in upsert:
            shard = self._own(shards, key)
            self._count += key not in shard
            shard[key] = value
        self._shards = tuple(shards)

    def _own(self, shards: list[dict[_K, _V]], key: _K) -> dict[_K, _V]:
        """The key's shard, copied before its first change: until then others read it too."""
        index = _shard_index(key)
        if shards[index] is self._shards[index]:
            shards[index] = dict(shards[index])
        return shards[index]

    def __getitem__(self, key: _K) -> _V:
        return self._shards[_shard_index(key)][key]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[_K]:
        return chain.from_iterable(self._shards)

    def __repr__(self) -> str:
        return f"SharedMap({dict(self)!r})"


def _shard_index(key: object) -> int:
    """Other bits of the hash than those that the shards themselves use first."""
    return (hash(key) >> 24) % SHARD_COUNT

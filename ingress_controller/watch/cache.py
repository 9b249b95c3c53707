"""The latest version of every object, and which of them changed since they were last looked at.

Rules: sources put and remove, one owner takes the changes. All of it on one event loop, and no
method but `wait` awaits, so no lock. Bounded: what does not fit is refused and counted.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import TypeAlias

import msgspec

from ingress_controller.model.decode import HeldObject, RawObject
from ingress_controller.model.problem import ObjectKey

OBJECTS_MAX = 200_000  # Kubernetes' own limit is 150,000 pods a cluster

Changes: TypeAlias = dict[ObjectKey, HeldObject | None]
"""New versions by key; None for an object that is gone."""


class Cache:
    """See the module."""

    def __init__(self, objects_max: int = OBJECTS_MAX) -> None:
        self._objects: dict[ObjectKey, HeldObject] = {}
        self._objects_max = objects_max
        self._changed: set[ObjectKey] = set()
        self._refused: set[ObjectKey] = set()
        self._is_dirty = asyncio.Event()

    @property
    def object_count(self) -> int:
        return len(self._objects)

    @property
    def refused_count(self) -> int:
        """Objects that exist but are not held, because the cache is full."""
        return len(self._refused)

    def held(self, key: ObjectKey) -> HeldObject | None:
        """The newest version as it is held: the same object until there is a newer one."""
        return self._objects.get(key)

    def get(self, key: ObjectKey) -> RawObject | None:
        """The newest version, parsed; for who needs it now and then."""
        held = self._objects.get(key)
        return msgspec.json.decode(held) if isinstance(held, bytes) else held

    def put(self, key: ObjectKey, raw: HeldObject) -> None:
        """A new version; an equal one is no change."""
        old = self._objects.get(key)
        if old == raw:
            return
        if old is None and len(self._objects) >= self._objects_max:
            if len(self._refused) < self._objects_max:
                self._refused.add(key)
            return
        self._refused.discard(key)
        self._objects[key] = raw
        self._mark(key)

    def remove(self, key: ObjectKey) -> None:
        """The object is gone; no change if it was not there."""
        self._refused.discard(key)
        if self._objects.pop(key, None) is not None:
            self._mark(key)

    def replace(
        self,
        objects: Mapping[ObjectKey, HeldObject],
        *,
        kind: str | None,
        namespace: str = "",
        is_selected: Callable[[RawObject], bool] = lambda _: True,
    ) -> None:
        """`objects` are all there are of `kind` (None: of every kind) in `namespace` (or all).

        `is_selected` tells the objects of a kind that is listed in parts from those of other parts.
        """
        for key in [*self._objects, *self._refused]:
            is_in_scope = kind in (None, key.kind) and namespace in ("", key.namespace)
            if is_in_scope and key not in objects and is_selected(self.get(key) or {}):
                self.remove(key)
        for key, raw in objects.items():
            self.put(key, raw)

    def touch(self) -> None:
        """Wakes the owner although no object changed."""
        self._is_dirty.set()

    async def wait(self) -> None:
        """Returns as soon as there is something to take."""
        await self._is_dirty.wait()

    def take(self) -> Changes:
        """The changes since the last call, each object's newest version only."""
        self._is_dirty.clear()
        changed, self._changed = self._changed, set()
        return {key: self._objects.get(key) for key in changed}

    def _mark(self, key: ObjectKey) -> None:
        self._changed.add(key)
        self._is_dirty.set()

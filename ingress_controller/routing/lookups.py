"""What was found for each used Service port, and what has to be found again.

Rules: one owner writes and reads. Nothing is found twice from the same objects.
"""

from collections.abc import Mapping

import msgspec

from ingress_controller.model.problem import ObjectKey
from ingress_controller.model.values import Values
from ingress_controller.routing.backends import Found, Observed, Resolved, find
from ingress_controller.routing.uses import Use, port_ref, service_name


class Known(msgspec.Struct, frozen=True):
    """What was found, and from what."""

    observed: Observed
    found: Found


class Lookups:
    """See the module. Keys are those of backends."""

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}
        self._by_name: dict[str, set[str]] = {}
        self._resolved: Mapping[str, Resolved] = {}
        self.external_names: frozenset[str] = frozenset()

    def resolve(self, resolved: Mapping[str, Resolved]) -> set[str]:
        """Takes the newest answers of DNS; returns the backends to find again."""
        old, self._resolved = self._resolved, resolved
        if resolved is old:
            return set()
        names = [name for name in self._by_name if old.get(name) != resolved.get(name)]
        return {key for name in names for key in self._by_name[name]}

    def find(self, key: str, use: Use, values: Values, *, is_served: bool) -> Found:
        """What the Service port that `use` names leads to now; `is_served`: it has a listener."""
        service, port = service_name(use), port_ref(use)
        value = values.services.get(service)
        answer = self._resolved.get(value.external_name) if value is not None else None
        observed = Observed(value, values.slices.get(service, ()), answer, is_served)
        known = self._known.get(key)
        if known is not None and known.observed.is_same(observed):
            return known.found
        self.forget(key)
        found = find(ObjectKey("Service", *service), port, observed)
        self._known[key] = Known(observed, found)
        name = _external_name(observed)
        if name:
            self._by_name.setdefault(name, set()).add(key)
            self.external_names |= {name}
        return found

    def forget(self, key: str) -> None:
        """The backend is not used any more."""
        known = self._known.pop(key, None)
        name = _external_name(known.observed) if known is not None else ""
        if not name:
            return
        keys = self._by_name[name]
        keys.discard(key)
        if not keys:
            del self._by_name[name]
            self.external_names -= {name}


def _external_name(observed: Observed) -> str:
    return observed.service.external_name if observed.service is not None else ""

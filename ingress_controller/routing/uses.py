"""Which Service ports are used, by whom, and which Services and names they hang on.

Rules: one owner writes and reads. The key of a backend says which Service port it is, so any of
its uses can stand for all of them.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Protocol

from ingress_controller.model.ingress import PortRef, ServiceRef
from ingress_controller.model.problem import ObjectKey
from ingress_controller.model.values import ServiceName
from ingress_controller.routing.backends import Part
from ingress_controller.routing.problems import Source

_NUMBER = re.compile(r"-?[1-9][0-9]{0,30}")


class Use(Protocol):
    """One reference to a Service port: a claim, or a service listener."""

    @property
    def backend(self) -> str:
        """Key of the backend in the table."""

    @property
    def owner(self) -> ObjectKey: ...

    @property
    def service(self) -> ServiceRef: ...

    def field(self, part: Part, /) -> str:
        """The field of the owner to blame for a wrong `part`."""


def service_name(use: Use) -> ServiceName:
    """The Service that is referred to; references never leave a namespace."""
    return use.owner.namespace, use.service.name


def port_ref(use: Use) -> PortRef:
    """The port that the backend's key stands for, whether written as a number or as its text.

    No port of a Service has a name without a letter. Source: RFC 6335, 5.1.
    """
    port = use.service.port
    return PortRef(number=int(port.name)) if _NUMBER.fullmatch(port.name) else port


class UseIndex:
    """Uses by backend and source; backends by Service."""

    def __init__(self) -> None:
        self._backends_of: dict[Source, tuple[str, ...]] = {}
        self._uses: dict[str, dict[Source, tuple[Use, ...]]] = {}
        self._by_service: dict[ServiceName, set[str]] = {}

    def put(self, source: Source, uses: Iterable[Use]) -> set[str]:
        """From now on these are all uses by `source`; returns the backends that it concerns."""
        by_backend: dict[str, list[Use]] = {}
        for use in uses:
            by_backend.setdefault(use.backend, []).append(use)
        stale = set(by_backend)
        for key in self._backends_of.pop(source, ()):
            stale.add(key)
            if key not in by_backend:
                self._drop(source, key)
        if by_backend:
            self._backends_of[source] = tuple(by_backend)
        for key, own in by_backend.items():
            self._uses.setdefault(key, {})[source] = tuple(own)
            self._by_service.setdefault(service_name(own[0]), set()).add(key)
        return stale

    def uses(self, backend: str) -> Iterator[Use]:
        """All uses of a backend, in no order; none if it is not used any more."""
        for own in self._uses.get(backend, {}).values():
            yield from own

    def backends(self, service: ServiceName) -> Iterable[str]:
        """The backends that are ports of `service`."""
        return self._by_service.get(service, ())

    def _drop(self, source: Source, key: str) -> None:
        uses = self._uses[key]
        service = service_name(uses.pop(source)[0])
        if not uses:
            del self._uses[key]
            backends = self._by_service[service]
            backends.discard(key)
            if not backends:
                del self._by_service[service]

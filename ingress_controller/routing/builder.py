"""Values in, RouteTable and Problems out.

Rules: no I/O, no clock: the same values and the same previous table give the same table. What did
not change keeps its identity, so an endpoint change costs a look at each backend and no more.
"""

from collections.abc import Iterator, Mapping

import msgspec

from ingress_controller.addresses import ServiceListener
from ingress_controller.model.ingress import Ingress, ServiceRef
from ingress_controller.model.problem import ObjectKey, Problem
from ingress_controller.model.values import Values
from ingress_controller.routing.backends import Found, Observed, Part, Resolved, find
from ingress_controller.routing.claims import Claims, claims_of
from ingress_controller.routing.classes import class_problems, ours
from ingress_controller.routing.conflicts import Settled, settle
from ingress_controller.routing.listeners import Served, annotated, service_listeners
from proxy.table import Backend, Listener, RouteTable, Tracing


class Options(msgspec.Struct, frozen=True):
    """What of the settings decides the table.

    `is_manifests`: the objects come from a directory and not from an API server. Then the class
    needs no object, Ingresses without class are ours, and Services may ask for listeners.
    """

    ingress_class: str = "spanway"
    is_manifests: bool = False
    listeners: tuple[Listener, ...] = ()
    service_listeners: tuple[ServiceListener, ...] = ()
    forwarded: bool = False
    tracing: Tracing = Tracing()


class Built(msgspec.Struct, frozen=True):
    """`table` is the previous one itself if nothing changed.

    `ours` are the Ingresses of our class; `external_names` are the DNS names that the next build
    wants resolved.
    """

    table: RouteTable
    problems: tuple[Problem, ...]
    ours: Mapping[ObjectKey, Ingress]
    external_names: frozenset[str]


class _Use(msgspec.Struct, frozen=True):
    """One reference to a Service port, and the fields to blame."""

    key: str
    owner: ObjectKey
    service: ServiceRef
    name_field: str
    port_field: str


class _Known(msgspec.Struct, frozen=True):
    """What was found for a backend, and from what."""

    use: _Use
    observed: Observed
    found: Found


class Builder:
    """Builds tables; remembers what it found, never what it decided."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._claims: dict[ObjectKey, tuple[Ingress, Claims]] = {}
        self._ours: dict[ObjectKey, Ingress] = {}
        self._settled: Settled = settle(())
        self._uses: tuple[_Use, ...] = ()
        self._found: dict[str, _Known] = {}

    def build(
        self,
        values: Values,
        resolved: Mapping[str, Resolved],
        previous: RouteTable,
        *,
        now_unix_ms: int,
    ) -> Built:
        """The table for `values`; its generation is one more than `previous` if it differs."""
        options = self._options
        mine = ours(
            values.ingresses,
            values.classes,
            options.ingress_class,
            needs_object=not options.is_manifests,
        )
        problems = list(values.problems)
        problems += class_problems(
            values.ingresses.values(),
            values.classes,
            options.ingress_class,
            needs_object=not options.is_manifests,
        )
        self._settle(mine)
        for _, claims in self._claims.values():
            problems += claims.problems
        problems += self._settled.problems
        served, listener_problems = self._listeners(values)
        problems += listener_problems
        uses = [*self._uses, *map(_served_use, served)]
        self._find(values, resolved, uses)
        for use in uses:
            problems += _use_problems(use, self._found[use.key].found)
        table = self._table(previous, served, now_unix_ms)
        unique = sorted(set(problems), key=lambda p: (p.object, p.field, p.message))
        return Built(table, tuple(unique), mine, self._external_names())

    def _settle(self, mine: dict[ObjectKey, Ingress]) -> None:
        if mine == self._ours and all(mine[key] is self._ours[key] for key in mine):
            return
        known = self._claims
        self._claims = {
            key: known[key]
            if key in known and known[key][0] is ingress
            else (ingress, claims_of(key, ingress))
            for key, ingress in mine.items()
        }
        self._ours = mine
        self._settled = settle(
            claim for _, claims in self._claims.values() for claim in claims.claims
        )
        self._uses = tuple(_claim_uses(self._settled))

    def _listeners(self, values: Values) -> tuple[list[Served], list[Problem]]:
        options = self._options
        taken = [listener.address for listener in options.listeners]
        served = service_listeners(options.service_listeners, taken, forwarded=options.forwarded)
        if not options.is_manifests:
            return served, []
        taken += [one.listener.address for one in served]
        more, problems = annotated(values.services, taken, forwarded=options.forwarded)
        return served + more, problems

    def _find(self, values: Values, resolved: Mapping[str, Resolved], uses: list[_Use]) -> None:
        found: dict[str, _Known] = {}
        for use in uses:
            if use.key in found:
                continue
            name = (use.owner.namespace, use.service.name)
            service = values.services.get(name)
            answer = resolved.get(service.external_name) if service is not None else None
            observed = Observed(service, values.slices.get(name, ()), answer)
            known = self._found.get(use.key)
            if known is None or not known.observed.is_same(observed):
                result = find(ObjectKey("Service", *name), use.service.port, observed)
                known = _Known(use, observed, result)
            found[use.key] = known
        self._found = found

    def _table(self, previous: RouteTable, served: list[Served], now_unix_ms: int) -> RouteTable:
        listeners = (*self._options.listeners, *(one.listener for one in served))
        backends = {
            key: _backend(known, previous.backends.get(key), now_unix_ms)
            for key, known in self._found.items()
        }
        table = RouteTable(
            previous.generation,
            listeners,
            self._settled.hosts,
            backends,
            tracing=self._options.tracing,
        )
        if table == previous:
            return previous
        return msgspec.structs.replace(table, generation=previous.generation + 1)

    def _external_names(self) -> frozenset[str]:
        services = (known.observed.service for known in self._found.values())
        return frozenset(s.external_name for s in services if s is not None and s.external_name)


def _backend(known: _Known, previous: Backend | None, now_unix_ms: int) -> Backend:
    """The backend; its time of change is the previous one's unless its endpoints changed."""
    found, changed_unix_ms = known.found, now_unix_ms
    if previous is not None and previous.endpoints == found.endpoints:
        if previous.missing == found.missing:
            return previous
        changed_unix_ms = previous.changed_unix_ms
    return Backend(
        known.use.owner.namespace,
        known.use.service.name,
        str(known.use.service.port),
        found.endpoints,
        changed_unix_ms,
        missing=found.missing,
    )


def _claim_uses(settled: Settled) -> Iterator[_Use]:
    for claim in settled.won:
        field = f"{claim.backend_field}.service"
        kind = "name" if claim.service.port.name else "number"
        name_field, port_field = f"{field}.name", f"{field}.port.{kind}"
        yield _Use(claim.backend, claim.owner, claim.service, name_field, port_field)


def _served_use(served: Served) -> _Use:
    key = served.listener.backend
    return _Use(key, served.owner, served.service, served.field, served.field)


def _use_problems(use: _Use, found: Found) -> Iterator[Problem]:
    yield from found.problems
    if found.fault is not None:
        field = use.name_field if found.fault.part is Part.NAME else use.port_field
        yield Problem(use.owner, field, found.fault.message, found.fault.fix)

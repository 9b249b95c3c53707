"""Values in, RouteTable and Problems out; a change costs what it touches.

Rules: no I/O, no clock. What is built depends on the values alone and not on the order in which
they came: every entry of the table is made anew, by a pure function, from all that it hangs on, and
indexes say which entries hang on what changed. One change runs down one chain:

    object ─▶ Ingress ─▶ claims ─▶ hosts ─▶ uses ─▶ backends ─▶ update
                      Service, its slices, DNS ─────┘
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from ingress_controller.addresses import ServiceListener
from ingress_controller.model.ingress import Ingress
from ingress_controller.model.problem import ObjectKey, Problem
from ingress_controller.model.service import LISTEN_ANNOTATION, Service
from ingress_controller.model.values import ServiceName, Values
from ingress_controller.routing.backends import Found, Resolved
from ingress_controller.routing.claims import claims_of
from ingress_controller.routing.classes import ClassRule
from ingress_controller.routing.conflicts import settle
from ingress_controller.routing.hosts import HostIndex
from ingress_controller.routing.listeners import annotated, service_listeners
from ingress_controller.routing.lookups import Lookups
from ingress_controller.routing.problems import ProblemBook, Problems
from ingress_controller.routing.uses import Use, UseIndex, port_ref, service_name
from ingress_controller.routing.wanted import Wanted
from proxy.shared_map import SharedMap
from proxy.table import Backend, Listener, RouteTable, Tracing, Update, applied


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
    """`table` is the previous one after `update`; itself, with no update, if nothing changed.

    `appeared` and `gone` say how `problems` differ from the last build's. `ours` are the Ingresses
    of our class; `external_names` are the DNS names that the next build wants resolved.
    """

    table: RouteTable
    update: Update | None
    problems: Problems
    appeared: tuple[Problem, ...]
    gone: tuple[Problem, ...]
    ours: Mapping[ObjectKey, Ingress]
    external_names: frozenset[str]


class Builder:
    """Builds the tables of one `Values`, whose changes it takes."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._rule: ClassRule | None = None
        self._naming: set[ObjectKey] = set()
        self._ours: SharedMap[ObjectKey, Ingress] = SharedMap()
        self._hosts = HostIndex()
        self._uses = UseIndex()
        self._lookups = Lookups()
        self._listening: dict[ServiceName, Service] = {}
        self._listeners: tuple[Listener, ...] | None = None
        self._wanted = Wanted()
        self._problems = ProblemBook()

    def build(
        self,
        values: Values,
        resolved: Mapping[str, Resolved],
        previous: RouteTable,
        *,
        now_unix_ms: int,
    ) -> Built:
        """The table for `values`; its generation is one more than `previous` if it differs.

        `previous` is empty the first time, then what the engine took of the last build's table.
        """
        touched = values.take_touched()
        for key in touched:
            problem = values.problem(key)
            self._problems.put(("object", key), () if problem is None else (problem,))
        backends = self._change_hosts(self._change_ingresses(values, touched))
        backends |= self._change_listeners(values, touched)
        for key in touched:
            if key.kind == "Service":
                backends.update(self._uses.backends((key.namespace, key.name)))
        backends |= self._lookups.resolve(resolved)
        for backend in backends:
            self._change_backend(backend, values, now_unix_ms)
        frame = RouteTable(listeners=self._listeners or (), tracing=self._options.tracing)
        update = self._wanted.update(previous, frame)
        table = previous if update is None else applied(previous, update)
        told = self._problems.tell()
        return Built(
            table,
            update,
            told.problems,
            told.appeared,
            told.gone,
            self._ours,
            self._lookups.external_names,
        )

    def settle(self, in_force: RouteTable) -> None:
        """Looks at what became of the last build now, and not at the start of the next."""
        self._wanted.settle(in_force)

    def _change_ingresses(self, values: Values, touched: Iterable[ObjectKey]) -> set[str]:
        """The hosts that are to be settled anew."""
        name = self._options.ingress_class
        found = values.classes.get(name)
        rule = ClassRule(name, found, not self._options.is_manifests)
        changed = [key for key in touched if key.kind == "Ingress"]
        if rule != self._rule:
            self._rule = rule
            changed = list({*changed, *values.ingresses})  # each may be ours now, or no more
        hosts: set[str] = set()
        mine: dict[ObjectKey, Ingress] = {}
        for key in changed:
            ingress = values.ingresses.get(key)
            self._naming.discard(key)
            if ingress is not None and rule.names_us(ingress):
                self._naming.add(key)
            if ingress is not None and rule.is_ours(ingress):
                mine[key] = ingress
            hosts |= self._change_claims(key, mine.get(key))
        if changed:
            self._ours = self._ours.changed(mine.items(), changed)
        self._problems.put(("class", name), rule.problems(len(self._naming)))
        return hosts

    def _change_claims(self, key: ObjectKey, ingress: Ingress | None) -> set[str]:
        if ingress is None:
            self._problems.put(("claims", key), ())
            return self._hosts.put(key, ())
        claims = claims_of(key, ingress)
        self._problems.put(("claims", key), claims.problems)
        return self._hosts.put(key, claims.claims)

    def _change_hosts(self, names: Iterable[str]) -> set[str]:
        """The backends that are to be looked at again."""
        backends: set[str] = set()
        for name in names:
            settled = settle(name, self._hosts.claims(name))
            self._wanted.hosts.put(name, settled.host)
            self._problems.put(("host", name), settled.problems)
            backends |= self._uses.put(("host", name), settled.won)
        return backends

    def _change_listeners(self, values: Values, touched: Iterable[ObjectKey]) -> set[str]:
        """The backends that are to be looked at again; listeners are few, so all are made anew."""
        is_stale = self._listeners is None
        if self._options.is_manifests:
            is_stale |= self._follow_annotations(values, touched)
        if not is_stale:
            return set()
        options = self._options
        taken = [listener.address for listener in options.listeners]
        served = service_listeners(options.service_listeners, taken, forwarded=options.forwarded)
        taken += [one.listener.address for one in served]
        more, problems = annotated(self._listening, taken, forwarded=options.forwarded)
        served += more
        self._listeners = (*options.listeners, *(one.listener for one in served))
        self._problems.put(("listeners", ""), problems)
        return self._uses.put(("listeners", ""), served)

    def _follow_annotations(self, values: Values, touched: Iterable[ObjectKey]) -> bool:
        """Keeps `_listening`, the Services that ask for listeners; whether one asks otherwise."""
        is_changed = False
        for key in touched:
            if key.kind != "Service":
                continue
            name = (key.namespace, key.name)
            old, new = self._listening.pop(name, None), values.services.get(name)
            if _asked(new):
                self._listening[name] = values.services[name]
            is_changed |= _asked(old) != _asked(new)
        return is_changed

    def _change_backend(self, key: str, values: Values, now_unix_ms: int) -> None:
        use = next(self._uses.uses(key), None)
        if use is None:
            self._lookups.forget(key)
            self._problems.put(("backend", key), ())
            self._wanted.backends.put(key, None)
            return
        found = self._lookups.find(key, service_name(use), port_ref(use), values)
        self._problems.put(("backend", key), _use_problems(self._uses.uses(key), found))
        backend = _backend(use, found, self._wanted.backends.get(key), now_unix_ms)
        self._wanted.backends.put(key, backend)


def _asked(service: Service | None) -> str:
    return service.metadata.annotation(LISTEN_ANNOTATION) if service is not None else ""


def _backend(use: Use, found: Found, previous: Backend | None, now_unix_ms: int) -> Backend:
    """The backend; its time of change is the previous one's unless its endpoints changed."""
    is_same = previous is not None and previous.endpoints == found.endpoints
    namespace, service = service_name(use)
    return Backend(
        namespace,
        service,
        str(port_ref(use)),
        found.endpoints,
        previous.changed_unix_ms if previous is not None and is_same else now_unix_ms,
        missing=found.missing,
    )


def _use_problems(uses: Iterable[Use], found: Found) -> Iterator[Problem]:
    yield from found.problems
    if found.fault is None:
        return
    for use in uses:
        field = use.field(found.fault.part)
        yield Problem(use.owner, field, found.fault.message, found.fault.fix)

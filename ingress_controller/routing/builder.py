"""Values in, RouteTable and Problems out; a change costs what it touches.

Rules: no I/O, no clock. What is built depends on the values alone and not on the order in which
they came: every entry of the table is made anew, by a pure function, from all that it hangs on, and
indexes say which entries hang on what changed. One change runs down one chain:

    object ─▶ Ingress ─▶ claims ─▶ hosts ─▶ uses ─▶ backends ─▶ update
                      Service, its slices, DNS ─────┘
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from ingress_controller.addresses import ServiceListener
from ingress_controller.model.ingress import Ingress
from ingress_controller.model.problem import ObjectKey, Problem
from ingress_controller.model.service import LISTEN_ANNOTATION, Service
from ingress_controller.model.values import ServiceName, Values
from ingress_controller.routing.backend_policy import (
    Reached,
    certificate_key,
    reached,
    secrets_of,
)
from ingress_controller.routing.backends import Found, Resolved
from ingress_controller.routing.certificates import Secrets
from ingress_controller.routing.claims import claims_of
from ingress_controller.routing.classes import ClassRule
from ingress_controller.routing.conflicts import Settled, settle
from ingress_controller.routing.dates import Dates
from ingress_controller.routing.host_tls import WishIndex, tls_of_host
from ingress_controller.routing.hosts import HostIndex
from ingress_controller.routing.listeners import annotated, service_listeners
from ingress_controller.routing.listening import DefaultCertificate, Listening
from ingress_controller.routing.lookups import Lookups
from ingress_controller.routing.policy import IngressPolicy, guarded, https_of, ingress_policy
from ingress_controller.routing.problems import ProblemBook, Problems
from ingress_controller.routing.shared import Hangers, Namer, SharedEntries
from ingress_controller.routing.tracing import TracingRules
from ingress_controller.routing.uses import Use, UseIndex, port_ref, service_name
from ingress_controller.routing.wanted import Wanted
from proxy.shared_map import SharedMap
from proxy.table import (
    ANY_HOST,
    Backend,
    Host,
    Listener,
    ListenerKind,
    Locality,
    RouteTable,
    Tracing,
    Update,
    applied,
)

_LISTENERS: Namer = ("listeners", "")


class Options(msgspec.Struct, frozen=True):
    """What of the settings decides the table.

    `is_manifests`: the objects come from a directory and not from an API server. Then the class
    needs no object, Ingresses without class are ours, and Services may ask for listeners.
    `service_listener` is what all of those are like, but for their address and backend.
    """

    ingress_class: str = "spanway"
    is_manifests: bool = False
    listeners: tuple[Listener, ...] = ()
    service_listeners: tuple[ServiceListener, ...] = ()
    service_listener: Listener = Listener("", ListenerKind.SERVICE)
    tracing: Tracing = Tracing()
    locality: Locality = Locality()
    default_certificate: DefaultCertificate = DefaultCertificate()


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
        self.tracing = options.tracing
        """What is recorded where no object says otherwise, from the next build on."""
        self._rule: ClassRule | None = None
        self._naming: set[ObjectKey] = set()
        self._elsewhere: dict[ObjectKey, str] = {}
        self._ours: SharedMap[ObjectKey, Ingress] = SharedMap()
        self._hosts = HostIndex()
        self._uses = UseIndex()
        self._lookups = Lookups()
        self._https = https_of(options.listeners)
        self._said: dict[ObjectKey, IngressPolicy] = {}
        self._wishes = WishIndex()
        self._secrets = Secrets()
        self._secret_uses: Hangers[Namer] = Hangers()
        self._tracing_uses: Hangers[ObjectKey | Namer] = Hangers()
        self._dates = Dates()
        self._listening: dict[ServiceName, Service] = {}
        self._served: dict[ServiceName, Service | None] = {}
        self._listeners: tuple[Listener, ...] | None = None
        self._wanted = Wanted()
        self._policies = SharedEntries(self._wanted.policies)
        self._certificates = SharedEntries(self._wanted.certificates)
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
        stale = self._change_secrets(values, touched)
        retraced = self._retraced(touched)
        ingresses = {key for key in (*touched, *retraced) if isinstance(key, ObjectKey)}
        hosts = self._change_ingresses(values, ingresses)
        hosts |= {name for kind, name in stale if kind == "host"}
        backends = self._change_hosts(hosts)
        backends |= {name for kind, name in stale if kind == "backend"}
        backends |= self._change_listeners(
            values, touched, is_stale=_LISTENERS in {*stale, *retraced}
        )
        for key in touched:
            if key.kind == "Service":
                backends.update(self._uses.backends(_name(key)))
        backends |= self._lookups.resolve(resolved)
        for backend in backends:
            self._change_backend(backend, values, now_unix_ms)
        dated = self._dates.problems(now_unix_ms)
        if dated is not None:
            self._problems.put(("dates", ""), dated)
        options = self._options
        frame = RouteTable(
            listeners=self._listeners or (), tracing=self.tracing, locality=options.locality
        )
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

    def _change_secrets(self, values: Values, touched: Iterable[ObjectKey]) -> set[Namer]:
        """What is to be made anew, because it names a Secret that changed."""
        stale: set[Namer] = set()
        for key in touched:
            if key.kind == "Secret":
                name = (key.namespace, key.name)
                self._secrets.put(name, values.secrets.get(name))
                stale.update(self._secret_uses.sources(name))
        return stale

    def _retraced(self, touched: Iterable[ObjectKey]) -> set[ObjectKey | Namer]:
        """What is to be made anew, because it names a TracingPolicy that changed."""
        changed = (key for key in touched if key.kind == "TracingPolicy")
        return {source for key in changed for source in self._tracing_uses.sources(_name(key))}

    def _tracing_rules(self, values: Values) -> TracingRules:
        return TracingRules(values.tracing_policies, self._options.tracing.policy)

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
            self._elsewhere.pop(key, None)
            if ingress is not None and rule.names_us(ingress):
                self._naming.add(key)
            if ingress is not None and (other := rule.elsewhere(ingress)):
                self._elsewhere[key] = other
            if ingress is not None and rule.is_ours(ingress):
                mine[key] = ingress
            hosts |= self._change_claims(key, mine.get(key), values)
        if changed:
            self._ours = self._ours.changed(mine.items(), changed)
        self._problems.put(
            ("class", name), rule.problems(len(self._naming), Counter(self._elsewhere.values()))
        )
        return hosts

    def _change_claims(self, key: ObjectKey, ingress: Ingress | None, values: Values) -> set[str]:
        if ingress is None:
            self._said.pop(key, None)
            self._tracing_uses.put(key, ())
            self._problems.put(("claims", key), ())
            return self._hosts.put(key, ()) | self._wishes.put(key, {})
        claims = claims_of(key, ingress)
        said = ingress_policy(key, ingress, self._https, self._tracing_rules(values))
        self._said[key] = said
        self._tracing_uses.put(key, (said.tracing,) if said.tracing else ())
        self._problems.put(("claims", key), (*claims.problems, *said.problems))
        return self._hosts.put(key, claims.claims) | self._wishes.put(key, said.wishes)

    def _change_hosts(self, names: Iterable[str]) -> set[str]:
        """The backends that are to be looked at again."""
        backends: set[str] = set()
        for name in names:
            settled = settle(name, self._hosts.claims(name))
            self._guard_host(name, settled)
            backends |= self._uses.put(("host", name), settled.won)
        return backends

    def _guard_host(self, name: str, settled: Settled) -> None:
        """Puts the host with its TLS and the policies of its routes."""
        source, wishes = ("host", name), self._wishes.wishes(name)
        tls = tls_of_host(name, wishes, self._secrets)
        use = tls.use if tls is not None else None
        host = settled.host
        if host is None and tls is not None and tls.is_secured and name != ANY_HOST:
            host = Host(name, ())  # only spec.tls names it: routes of a wildcard or any host answer
        made = guarded(host, self._said, tls, self._https) if host is not None else None
        certificates = {certificate_key(use.secret): use.pair.certificate} if use else {}
        self._wanted.hosts.put(name, made.host if made else None)
        self._policies.put(source, made.policies if made else {})
        self._certificates.put(source, certificates)
        self._secret_uses.put(source, (key for wish in wishes for key in wish.secrets))
        self._dates.put(source, (use,) if use else ())
        of_tls = tls.problems if tls is not None else ()
        self._problems.put(source, (*settled.problems, *of_tls, *(made.problems if made else ())))

    def _change_listeners(
        self, values: Values, touched: Iterable[ObjectKey], *, is_stale: bool
    ) -> set[str]:
        """The backends that are to be looked at again; listeners are few, so all are made anew."""
        is_stale |= self._listeners is None
        is_stale |= any(values.services.get(name) is not old for name, old in self._served.items())
        if self._options.is_manifests:
            is_stale |= self._follow_annotations(values, touched)
        if not is_stale:
            return set()
        options = self._options
        taken = [listener.address for listener in options.listeners]
        like = options.service_listener
        served = service_listeners(options.service_listeners, taken, like=like)
        taken += [one.listener.address for one in served]
        more, problems = annotated(self._listening, taken, like=like)
        served += more
        unlike = set(self._served)
        self._served = {name: values.services.get(name) for name in map(service_name, served)}
        unlike ^= set(self._served)
        rules = self._tracing_rules(values)
        made = Listening(self._secrets, options.default_certificate, rules)
        for listener in options.listeners:
            made.ingress_listener(listener)
        for one in served:
            made.service_listener(one, values.services.get(service_name(one)))
        self._listeners = tuple(made.listeners)
        self._policies.put(_LISTENERS, made.policies)
        self._certificates.put(_LISTENERS, made.certificates)
        default = options.default_certificate.secret
        self._secret_uses.put(_LISTENERS, () if default is None else (default,))
        self._tracing_uses.put(_LISTENERS, made.tracing)
        self._dates.put(_LISTENERS, made.uses)
        self._problems.put(_LISTENERS, (*problems, *made.problems))
        backends = self._uses.put(_LISTENERS, served)
        return backends.union(*(self._uses.backends(name) for name in unlike))

    def _follow_annotations(self, values: Values, touched: Iterable[ObjectKey]) -> bool:
        """Keeps `_listening`, the Services that ask for listeners; whether one asks otherwise."""
        is_changed = False
        for key in touched:
            if key.kind != "Service":
                continue
            name = _name(key)
            old, new = self._listening.pop(name, None), values.services.get(name)
            if _asked(new):
                self._listening[name] = values.services[name]
            is_changed |= _asked(old) != _asked(new)
        return is_changed

    def _change_backend(self, key: str, values: Values, now_unix_ms: int) -> None:
        source, use = ("backend", key), next(self._uses.uses(key), None)
        if use is None:
            self._lookups.forget(key)
            self._problems.put(source, ())
            self._wanted.backends.put(key, None)
            self._certificates.put(source, {})
            self._secret_uses.put(source, ())
            return
        found = self._lookups.find(key, use, values, is_served=service_name(use) in self._served)
        service = ObjectKey("Service", *service_name(use))
        at = reached(service, found.policy, self._secrets)
        problems = (*_use_problems(self._uses.uses(key), found), *at.problems)
        self._problems.put(source, problems)
        backend = _backend(use, found, at, self._wanted.backends.get(key), now_unix_ms=now_unix_ms)
        self._wanted.backends.put(key, backend)
        self._certificates.put(source, dict(at.certificates))
        self._secret_uses.put(source, secrets_of(service, found.policy))


def _name(key: ObjectKey) -> ServiceName:
    return key.namespace, key.name


def _asked(service: Service | None) -> str:
    return service.metadata.annotation(LISTEN_ANNOTATION) if service is not None else ""


def _backend(
    use: Use, found: Found, at: Reached, previous: Backend | None, *, now_unix_ms: int
) -> Backend:
    """The backend; its time of change is the previous one's unless its endpoints changed."""
    endpoints = () if at.missing else found.endpoints
    is_same = previous is not None and previous.endpoints == endpoints
    namespace, service = service_name(use)
    return msgspec.structs.replace(
        at.template,
        namespace=namespace,
        service=service,
        port=str(port_ref(use)),
        endpoints=endpoints,
        changed_unix_ms=previous.changed_unix_ms if previous and is_same else now_unix_ms,
        missing=found.missing or at.missing,
    )


def _use_problems(uses: Iterable[Use], found: Found) -> Iterator[Problem]:
    yield from found.problems
    if found.fault is None:
        return
    for use in uses:
        field = use.field(found.fault.part)
        yield Problem(use.owner, field, found.fault.message, found.fault.fix)

"""Policies and TLS reach routes and hosts: which policy, by key, each route of a host has.

Rules: pure. A route without annotations and without need of HTTPS has the empty key, the defaults.
What cannot be guarded as was asked for lets nobody in (`DENIED`).
Source for what is expected: ingress-nginx, ssl-redirect and auth-tls-*.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from ingress_controller.model.ingress import Ingress
from ingress_controller.model.problem import ObjectKey, Problem, Severity
from ingress_controller.model.service import Service
from ingress_controller.routing.annotations.annotation import PREFIX, HostPolicy, Scope
from ingress_controller.routing.annotations.reading import Read, read, strays
from ingress_controller.routing.annotations.table import BY_NAME, EVERYBODY
from ingress_controller.routing.host_tls import (
    TlsOfHost,
    Wish,
    wishes_of,
)
from ingress_controller.routing.ingress_nginx import nginx_problems, unanswered_guards
from ingress_controller.routing.tracing import PolicyName, TracingRules, traced
from proxy.table import (
    ClientCertificates,
    Host,
    HostTls,
    Listener,
    PathKind,
    Route,
    RoutePolicy,
)

DENIED = "+denied"
"""Key of the policy that lets nobody in."""

_HTTPS = "+https"
"""Added to a key: the same, but plain HTTP is redirected."""

_SCOPES = frozenset({Scope.ROUTE, Scope.HOST, Scope.TRACING})


class Https(msgspec.Struct, frozen=True):
    """Whether there are listeners with TLS; `is_missing`: there are only others."""

    is_served: bool = False
    is_missing: bool = False


class IngressPolicy(msgspec.Struct, frozen=True):
    """What the annotations and `spec.tls` of one Ingress say."""

    route: Read[RoutePolicy]
    wishes: Mapping[str, Wish]
    tracing: PolicyName | None  # the TracingPolicy that it names
    problems: tuple[Problem, ...]


class Guarded(msgspec.Struct, frozen=True):
    """A host with its TLS and the policies of its routes, and what their keys stand for."""

    host: Host
    policies: Mapping[str, RoutePolicy]
    problems: tuple[Problem, ...]


def https_of(listeners: Iterable[Listener]) -> Https:
    """What the listeners for Ingresses mean for redirects."""
    kinds = {listener.tls for listener in listeners}
    return Https(is_served=True in kinds, is_missing=kinds == {False})


def ingress_policy(
    key: ObjectKey, ingress: Ingress, https: Https, tracing: TracingRules
) -> IngressPolicy:
    """Reads the annotations and `spec.tls` of one Ingress."""
    annotations = ingress.metadata.annotations
    route, name = _route_policy(key, annotations, tracing)
    host = read(key, annotations, Scope.HOST, HostPolicy())
    wishes, tls_problems = wishes_of(key, ingress, host)
    unanswered = unanswered_guards(annotations, route.given | host.given)
    if unanswered:
        closed = msgspec.structs.replace(route.value, deny=EVERYBODY)
        route = msgspec.structs.replace(route, value=closed, given=route.given | {"deny"})
    problems = (
        *nginx_problems(key, annotations, unanswered),
        *route.problems,
        *host.problems,
        *_idle(key, host),
        *strays(key, annotations, _SCOPES),
        *tls_problems,
        *(_unserved(key, ingress) if https.is_missing else ()),
    )
    return IngressPolicy(route, wishes, name, problems)


class ListenerPolicy(msgspec.Struct, frozen=True):
    """The policy of a Service's listeners; `key` is empty where it says nothing."""

    key: str
    route: Read[RoutePolicy]
    tracing: PolicyName | None


def listener_policy(key: ObjectKey, service: Service, tracing: TracingRules) -> ListenerPolicy:
    """Reads what the annotations of a Service say of its listeners."""
    said, name = _route_policy(key, service.metadata.annotations, tracing)
    return ListenerPolicy(f"service:{key.path}" if said.given else "", said, name)


def _route_policy(
    key: ObjectKey, annotations: Mapping[str, str] | None, tracing: TracingRules
) -> tuple[Read[RoutePolicy], PolicyName | None]:
    """The policy, and the TracingPolicy that it hangs on."""
    said = read(key, annotations, Scope.ROUTE, RoutePolicy())
    own = traced(key, annotations, tracing)
    fields = {name: x for name, x in own.fields.items() if getattr(said.value, name) is None}
    value = msgspec.structs.replace(said.value, **fields)
    return Read(value, said.given | set(fields), (*said.problems, *own.problems)), own.name


def guarded(
    host: Host, said: Mapping[ObjectKey, IngressPolicy], tls: TlsOfHost | None, https: Https
) -> Guarded:
    """`host` with the policies of its routes, as their Ingresses have `said`, and its TLS."""
    maker = _Maker(said, tls, https)
    made = maker.host(host)
    return Guarded(made, maker.policies, tuple(maker.problems))


class _Maker:
    """Makes one host, collecting the policies that its routes name."""

    def __init__(
        self, said: Mapping[ObjectKey, IngressPolicy], tls: TlsOfHost | None, https: Https
    ) -> None:
        self.policies: dict[str, RoutePolicy] = {}
        self.problems: list[Problem] = []
        self._said = said
        self._tls = tls
        self._https = https

    def host(self, host: Host) -> Host:
        routes = tuple(self._route(route) for route in host.routes)
        tls = self._passed_through(host, self._tls) if self._tls is not None else None
        is_same = tls is None and all(a is b for a, b in zip(routes, host.routes, strict=True))
        return host if is_same else Host(host.name, routes, tls)

    def _route(self, route: Route) -> Route:
        tls = self._tls
        said = self._said[ObjectKey("Ingress", route.namespace, route.ingress)].route
        key = f"{route.namespace}/{route.ingress}" if said.given else ""
        policy = said.value
        if tls is not None and tls.is_denied:
            key, policy = DENIED, RoutePolicy(deny=EVERYBODY)
        elif tls is not None and self._is_https_only(said, tls) and not policy.https_only:
            key, policy = key + _HTTPS, msgspec.structs.replace(policy, https_only=True)
        if not key:
            return route
        self.policies.setdefault(key, policy)
        return msgspec.structs.replace(route, policy=key)

    def _is_https_only(self, said: Read[RoutePolicy], tls: TlsOfHost) -> bool:
        """A required certificate must not be a matter of the port that is asked."""
        if tls.tls.client_certificates is ClientCertificates.REQUIRED:
            return True
        return self._https.is_served and tls.is_secured and "https-only" not in said.given

    def _passed_through(self, host: Host, tls: TlsOfHost) -> HostTls:
        if tls.passthrough is None:
            return tls.tls
        for route in host.routes:
            if route.kind is PathKind.PREFIX and route.path == "/":
                return HostTls(passthrough=route.backend)
        message = f'Host "{host.name}" has no path "/" whose backend the connections could go to.'
        field = BY_NAME[f"{PREFIX}tls-passthrough"].field
        fix = 'Add a rule with path "/" and pathType Prefix.'
        self.problems.append(Problem(tls.passthrough, field, message, fix))
        return tls.tls


def _idle(key: ObjectKey, said: Read[HostPolicy]) -> Iterator[Problem]:
    is_off = said.value.client_certificates is ClientCertificates.OFF
    if is_off and "client-ca-secret" in said.given:
        field = BY_NAME[f"{PREFIX}client-ca-secret"].field
        message = f"It has no effect without {PREFIX}client-certificates."
        fix = "Add that one, or remove this."
        yield Problem(key, field, message, fix, Severity.WARNING)


def _unserved(key: ObjectKey, ingress: Ingress) -> Iterator[Problem]:
    if ingress.spec.tls:
        message = "TLS is not served, because there is no HTTPS listener."
        fix = "Start Spanway with --https ADDR:PORT."
        yield Problem(key, "spec.tls", message, fix, Severity.WARNING)

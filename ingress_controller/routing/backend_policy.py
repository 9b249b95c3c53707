"""How one port of a Service is balanced and reached: by its annotations, else by its own fields.

Rules: pure. An annotation wins over `appProtocol` and `trafficDistribution`. A backend whose
Secrets cannot be used has no endpoints (503) rather than less verification than was asked for.
Source: Service v1; KEP-3726 and GEP-1911 for `appProtocol`; KEP-4444, KEP-3015 for the other.
"""

from collections.abc import Iterable, Iterator
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from ingress_controller.model.problem import ObjectKey, Problem, Severity
from ingress_controller.model.service import Service, ServicePort
from ingress_controller.model.values import SecretKey
from ingress_controller.routing.annotations.annotation import PREFIX, BackendPolicy, Scope
from ingress_controller.routing.annotations.grammar import Place, SecretName, Weight
from ingress_controller.routing.annotations.reading import Read, read, strays
from ingress_controller.routing.annotations.table import BY_NAME
from ingress_controller.routing.certificates import Fault, Secrets
from proxy.table import Backend, Balance, Certificate, Endpoint, Prefer, Protocol, UpstreamTls

_PLAIN = Backend("", "", "")


class _Spoken(NamedTuple):
    protocol: Protocol
    tls: UpstreamTls | None = None


_APP_PROTOCOLS = MappingProxyType(
    {
        "kubernetes.io/h2c": _Spoken(Protocol.H2),
        "kubernetes.io/ws": _Spoken(Protocol.HTTP1),
        "kubernetes.io/wss": _Spoken(Protocol.HTTP1, UpstreamTls()),
        "http": _Spoken(Protocol.HTTP1),
        "http2": _Spoken(Protocol.H2),
        "h2c": _Spoken(Protocol.H2),
        "h2": _Spoken(Protocol.H2, UpstreamTls()),
        "https": _Spoken(Protocol.AUTO, UpstreamTls()),
        "ws": _Spoken(Protocol.HTTP1),
        "wss": _Spoken(Protocol.HTTP1, UpstreamTls()),
        "grpc": _Spoken(Protocol.H2),
        "grpcs": _Spoken(Protocol.H2, UpstreamTls()),
    }
)
"""Others say nothing about HTTP (`tcp`, `mysql`) and leave the default: HTTP/1.1 without TLS."""

_DISTRIBUTIONS = MappingProxyType(
    {
        "PreferClose": Prefer.ZONE,
        "PreferSameZone": Prefer.ZONE,
        "PreferSameNode": Prefer.NODE,
    }
)


class Reached(msgspec.Struct, frozen=True):
    """A policy with what its Secrets hold; `missing` says why it cannot be used."""

    template: Backend = _PLAIN
    certificates: tuple[tuple[str, Certificate], ...] = ()
    missing: str = ""
    problems: tuple[Problem, ...] = ()


def backend_policy(
    key: ObjectKey, service: Service, port: ServicePort | None, *, is_served: bool
) -> Read[BackendPolicy]:
    """What the Service `key` says about `port`; `is_served`: it has a service listener."""
    annotations = service.metadata.annotations
    said = read(key, annotations, Scope.BACKEND, BackendPolicy(_template(service, port)))
    scopes = {Scope.BACKEND, Scope.LISTENER, *((Scope.ROUTE, Scope.TRACING) if is_served else ())}
    problems = (
        *said.problems,
        *_idle(key, said),
        *strays(key, annotations, frozenset(scopes)),
    )
    return msgspec.structs.replace(said, problems=problems)


def weighted(endpoints: Iterable[Endpoint], weights: Iterable[Weight]) -> tuple[Endpoint, ...]:
    """The endpoints with their weights: a pod's before its node's before its zone's."""
    by_place: dict[Place, dict[str, int]] = {place: {} for place in Place}
    for one in weights:
        by_place[one.place][one.name] = one.weight

    def weight(endpoint: Endpoint) -> int:
        own = ((Place.POD, endpoint.pod), (Place.NODE, endpoint.node), (Place.ZONE, endpoint.zone))
        return next((by_place[p][name] for p, name in own if name in by_place[p]), endpoint.weight)

    return tuple(
        endpoint
        if weight(endpoint) == endpoint.weight
        else msgspec.structs.replace(endpoint, weight=weight(endpoint))
        for endpoint in endpoints
    )


def reached(key: ObjectKey, policy: BackendPolicy, secrets: Secrets) -> Reached:
    """`policy` of the Service `key` with the Secrets it names."""
    tls = policy.template.tls
    if tls is None or (policy.ca is None and policy.certificate is None):
        return Reached(policy.template)
    faults: list[Problem] = []
    certificates: list[tuple[str, Certificate]] = []
    if policy.ca is not None:
        ca = secrets.authorities(secret_key(policy.ca, key))
        if isinstance(ca, Fault):
            faults.append(_fault(key, "upstream-tls-ca-secret", ca))
        else:
            tls = msgspec.structs.replace(tls, ca=ca)
    if policy.certificate is not None:
        name = secret_key(policy.certificate, key)
        pair = secrets.pair(name)
        if isinstance(pair, Fault):
            faults.append(_fault(key, "upstream-tls-secret", pair))
        else:
            certificates.append((certificate_key(name), pair.certificate))
            tls = msgspec.structs.replace(tls, certificate=certificate_key(name))
    template = msgspec.structs.replace(policy.template, tls=tls)
    missing = faults[0].message if faults else ""
    return Reached(template, tuple(certificates), missing, tuple(faults))


def secrets_of(key: ObjectKey, policy: BackendPolicy) -> tuple[SecretKey, ...]:
    """Those that the Service `key` names."""
    named = (policy.ca, policy.certificate)
    return tuple(secret_key(name, key) for name in named if name is not None)


def secret_key(name: SecretName, owner: ObjectKey) -> tuple[str, str]:
    """Namespace and name; the namespace is the owner's where none is written."""
    return name.namespace or owner.namespace, name.name


def certificate_key(name: tuple[str, str]) -> str:
    """Key of a Secret's certificate in the table."""
    return f"{name[0]}/{name[1]}"


def _template(service: Service, port: ServicePort | None) -> Backend:
    app_protocol = (port.app_protocol or "" if port is not None else "").lower()
    spoken = _APP_PROTOCOLS.get(app_protocol, _Spoken(Protocol.HTTP1))
    prefer = _DISTRIBUTIONS.get(service.spec.traffic_distribution or "", Prefer.ANY)
    return msgspec.structs.replace(_PLAIN, protocol=spoken.protocol, tls=spoken.tls, prefer=prefer)


def _idle(key: ObjectKey, said: Read[BackendPolicy]) -> Iterator[Problem]:
    """What was said to no effect, because what it is about is off."""
    template = said.value.template
    off = []
    if template.balance is not Balance.HASH:
        off.append(("hash-on", "balance: hash"))
    if template.tls is None:
        off += [
            (name, "upstream-tls") for name in ("upstream-tls-ca-secret", "upstream-tls-secret")
        ]
    for name, needed in off:
        if name in said.given:
            message = f"It has no effect without {PREFIX}{needed}."
            fix = "Add that one, or remove this."
            yield Problem(key, BY_NAME[PREFIX + name].field, message, fix, Severity.WARNING)


def _fault(key: ObjectKey, name: str, fault: Fault) -> Problem:
    fix = f"{fault.fix} Until then its requests get 503."
    return Problem(key, BY_NAME[PREFIX + name].field, fault.message, fix)

"""One port of one Service: its ready endpoints, or why it has none. Pure.

Rules: endpoints are those that are ready (unset counts as ready), each once, sorted, so that the
same endpoints in other slices are no change. Source: EndpointSlice v1 and its consumer's guide.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

import msgspec

from ingress_controller.model.ingress import PortRef
from ingress_controller.model.problem import ObjectKey, Problem, Severity
from ingress_controller.model.service import (
    SERVICE_NAME_LABEL,
    TCP,
    EndpointSlice,
    Service,
    ServicePort,
)
from ingress_controller.routing.annotations.annotation import BackendPolicy
from ingress_controller.routing.backend_policy import backend_policy, weighted
from proxy.table import Endpoint


class Part(StrEnum):
    """What of a reference to a Service port is at fault."""

    NAME = "name"
    PORT = "port"


class Fault(msgspec.Struct, frozen=True):
    """Why a reference leads nowhere; becomes a Problem of each object that holds one."""

    part: Part
    message: str
    fix: str


class Resolved(msgspec.Struct, frozen=True):
    """What DNS said of an external name: addresses, or why there are none."""

    addresses: tuple[str, ...] = ()
    error: str = ""


class Found(msgspec.Struct, frozen=True):
    """`missing` says why there can be no endpoint, `fault` whose mistake that is.

    `policy` is how they are balanced and reached, as the Service says.
    """

    endpoints: tuple[Endpoint, ...] = ()
    missing: str = ""
    fault: Fault | None = None
    problems: tuple[Problem, ...] = ()
    policy: BackendPolicy = BackendPolicy()


class Observed(msgspec.Struct, frozen=True):
    """What is known of a Service. `resolved` is of its external name, None until DNS answers.

    `is_served`: it has a service listener.
    """

    service: Service | None = None
    slices: tuple[EndpointSlice, ...] = ()
    resolved: Resolved | None = None
    is_served: bool = False

    def is_same(self, other: "Observed") -> bool:
        """Whether both hold the same values, by identity: cheap for thousands of endpoints."""
        return (
            self.service is other.service
            and self.slices is other.slices
            and self.resolved == other.resolved
            and self.is_served == other.is_served
        )


def find(key: ObjectKey, port: PortRef, observed: Observed) -> Found:
    """The endpoints of `port` of the Service `key`, and how they are reached."""
    service = observed.service
    if service is None:
        message = f"Service {key.path} does not exist."
        return _missing(Fault(Part.NAME, message, "Create it, or correct the name."))
    declared = _declared(service, port)
    found = _found(key, port, declared, observed)
    said = backend_policy(key, service, declared, is_served=observed.is_served)
    return msgspec.structs.replace(
        found,
        endpoints=weighted(found.endpoints, said.value.weights),
        problems=(*found.problems, *said.problems),
        policy=said.value,
    )


def _found(
    key: ObjectKey, port: PortRef, declared: ServicePort | None, observed: Observed
) -> Found:
    service, slices = observed.service, observed.slices
    assert service is not None, "find has looked"
    if service.external_name and not slices:
        number = _external_port(port, declared)
        if number is None:
            return _missing(_no_port(key, service, port))
        return _external(key, service.external_name, number, observed.resolved)
    if declared is None:
        return _missing(_no_port(key, service, port))
    if not slices:
        message = f"Service {key.path} has no EndpointSlice, so requests to it get 503."
        label = f"{SERVICE_NAME_LABEL}: {key.name}"
        fix = (
            "In a cluster Kubernetes makes one of the pods of its selector; without a selector, and"
            f" in a directory of manifests, add one with the label {label}."
        )
        return Found(problems=(Problem(key, "", message, fix, Severity.WARNING),))
    return _in_slices(key, declared, slices)


def _missing(fault: Fault) -> Found:
    return Found(missing=fault.message, fault=fault)


def _declared(service: Service, port: PortRef) -> ServicePort | None:
    for candidate in service.tcp_ports:
        if (candidate.name == port.name) if port.name else (candidate.port == port.number):
            return candidate
    return None


def _no_port(key: ObjectKey, service: Service, port: PortRef) -> Fault:
    ports = ", ".join(f"{p.port} ({p.name})" if p.name else str(p.port) for p in service.tcp_ports)
    wanted = f'named "{port.name}"' if port.name else str(port.number)
    message = f"Service {key.path} has no TCP port {wanted}."
    return Fault(Part.PORT, message, f"It has {ports}." if ports else "It declares no TCP port.")


def _external(key: ObjectKey, name: str, port: int, resolved: Resolved | None) -> Found:
    if resolved is None:
        return Found(missing=f"The external name {name} of Service {key.path} is being resolved.")
    if not resolved.addresses:
        message = f'The DNS name "{name}" has no address: {resolved.error}.'
        fix = "Correct the name, or look at the DNS."
        problem = Problem(key, "spec.externalName", message, fix)
        return Found(missing=f"Service {key.path}: {message}", problems=(problem,))
    return Found(endpoints=_sorted(Endpoint(address, port) for address in resolved.addresses))


def _external_port(port: PortRef, declared: ServicePort | None) -> int | None:
    """An ExternalName Service need not declare its ports: a number then stands for itself."""
    if declared is None:
        return port.number or None
    return declared.target_port if isinstance(declared.target_port, int) else declared.port


def _in_slices(key: ObjectKey, port: ServicePort, slices: Sequence[EndpointSlice]) -> Found:
    endpoints: list[Endpoint] = []
    problems: list[Problem] = []
    names: set[str] = set()
    is_named = False
    for piece in slices:
        names.update(p.name or "" for p in piece.ports or ())
        number = _slice_port(piece, port)
        if number is not None:
            is_named = True
            _collect(piece, number, endpoints, problems)
    if not is_named and names:
        have = ", ".join(f'"{name}"' for name in sorted(names))
        message = (
            f'No EndpointSlice of the Service has a port named "{port.name or ""}" but {have}.'
        )
        fix = "Slice ports and Service ports belong together by name."
        problems.append(Problem(key, "spec.ports", message, fix, Severity.WARNING))
    return Found(endpoints=_sorted(endpoints), problems=tuple(problems))


def _slice_port(piece: EndpointSlice, port: ServicePort) -> int | None:
    for candidate in piece.ports or ():
        if (candidate.name or "") == (port.name or "") and (candidate.protocol or TCP) == TCP:
            return candidate.port
    return None


def _collect(
    piece: EndpointSlice, number: int, endpoints: list[Endpoint], problems: list[Problem]
) -> None:
    key = ObjectKey("EndpointSlice", piece.metadata.namespace, piece.metadata.name)
    if piece.address_type not in ("IPv4", "IPv6"):
        message = f'The address type "{piece.address_type}" is not served.'
        fix = "Use IPv4 or IPv6; for a DNS name, a Service of type ExternalName."
        problems.append(Problem(key, "addressType", message, fix))
        return
    for index, item in enumerate(piece.endpoints or ()):
        if not item.is_ready or not item.addresses:
            continue
        address = item.addresses[0]
        if not _is_address(address):
            field = f"endpoints[{index}].addresses[0]"
            message = f'"{address}" is not an IP address.'
            problems.append(Problem(key, field, message, "Write an IPv4 or IPv6 address."))
            continue
        endpoints.append(Endpoint(address, number, item.pod, item.node_name or "", item.zone or ""))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _sorted(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    return tuple(_once(sorted(endpoints, key=lambda e: (e.address, e.port, e.pod, e.node, e.zone))))


def _once(endpoints: Iterable[Endpoint]) -> Iterator[Endpoint]:
    """An endpoint may be in two slices while Kubernetes moves it. Source: EndpointSlice docs."""
    seen: set[tuple[str, int]] = set()
    for endpoint in endpoints:
        if (endpoint.address, endpoint.port) not in seen:
            seen.add((endpoint.address, endpoint.port))
            yield endpoint

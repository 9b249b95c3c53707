"""Service (v1) and EndpointSlice (discovery.k8s.io/v1)."""

from ingress_controller.model.decode import Metadata, Value

LISTEN_ANNOTATION = "spanway.io/listen"
"""`PORT=ADDR:PORT[, …]` on a Service: local addresses that serve its ports (manifests only)."""

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
"""On an EndpointSlice: the Service that it belongs to."""

TCP = "TCP"


class ServicePort(Value, frozen=True):
    """One port of a Service. `target_port` matters only without slices (ExternalName).

    `app_protocol` is a name of KEP-3726 (`kubernetes.io/h2c`), of IANA, or a vendor's.
    """

    port: int
    name: str | None = None
    protocol: str | None = None
    target_port: int | str | None = None
    app_protocol: str | None = None


class ServiceSpec(Value, frozen=True):
    """`spec` of a Service."""

    type: str | None = None
    external_name: str | None = None
    traffic_distribution: str | None = None
    ports: tuple[ServicePort, ...] | None = None


class LoadBalancerAddress(Value, frozen=True):
    """One entry of `status.loadBalancer.ingress`."""

    ip: str | None = None
    hostname: str | None = None


class LoadBalancerStatus(Value, frozen=True):
    """`status.loadBalancer`, the same in Services and Ingresses."""

    ingress: tuple[LoadBalancerAddress, ...] | None = None


class ServiceStatus(Value, frozen=True):
    """`status` of a Service."""

    load_balancer: LoadBalancerStatus | None = None


class Service(Value, frozen=True):
    """A Service."""

    metadata: Metadata
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus | None = None

    @property
    def external_name(self) -> str:
        """The DNS name that stands for its endpoints; empty unless its type is ExternalName."""
        return self.spec.external_name or "" if self.spec.type == "ExternalName" else ""

    @property
    def tcp_ports(self) -> tuple[ServicePort, ...]:
        """Its ports that can carry HTTP; no protocol means TCP."""
        return tuple(p for p in self.spec.ports or () if (p.protocol or TCP) == TCP)


class EndpointConditions(Value, frozen=True):
    """`ready` unset counts as ready. Source: EndpointSlice v1, EndpointConditions."""

    ready: bool | None = None


class TargetRef(Value, frozen=True):
    """The object behind an endpoint, usually a Pod."""

    kind: str | None = None
    name: str | None = None


class SliceEndpoint(Value, frozen=True):
    """One endpoint. Its addresses are interchangeable, and consumers use the first."""

    addresses: tuple[str, ...] | None = None
    conditions: EndpointConditions | None = None
    node_name: str | None = None
    target_ref: TargetRef | None = None
    zone: str | None = None

    @property
    def is_ready(self) -> bool:
        """False also for endpoints that terminate, even if they still serve."""
        return self.conditions is None or self.conditions.ready is not False

    @property
    def pod(self) -> str:
        """The Pod's name, empty where the endpoint is none."""
        ref = self.target_ref
        return ref.name or "" if ref is not None and ref.kind == "Pod" else ""


class SlicePort(Value, frozen=True):
    """One port of a slice; its name is the Service port's name, also where that is empty."""

    name: str | None = None
    port: int | None = None
    protocol: str | None = None


class EndpointSlice(Value, frozen=True):
    """An EndpointSlice. `address_type` is IPv4, IPv6 or FQDN."""

    metadata: Metadata
    address_type: str = "IPv4"
    endpoints: tuple[SliceEndpoint, ...] | None = None
    ports: tuple[SlicePort, ...] | None = None

    @property
    def service_name(self) -> str:
        """The Service that it belongs to; empty where it says none."""
        return (self.metadata.labels or {}).get(SERVICE_NAME_LABEL, "")

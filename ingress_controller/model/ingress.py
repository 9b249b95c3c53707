"""Ingress and IngressClass of networking.k8s.io/v1. Rule: what is ours is decided in routing."""

from ingress_controller.model.decode import Metadata, Value

CONTROLLER = "spanway.io/ingress-controller"
"""`spec.controller` of the IngressClasses that Spanway handles."""

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
"""Named an Ingress's class before Kubernetes 1.18; still in many manifests."""

DEFAULT_CLASS_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"


class PortRef(Value, frozen=True):
    """A Service port by name or number; exactly one is set in a valid object."""

    name: str = ""
    number: int = 0

    def __str__(self) -> str:
        return self.name or str(self.number)


class ServiceRef(Value, frozen=True):
    """`backend.service`."""

    name: str
    port: PortRef = PortRef()


class ResourceRef(Value, frozen=True):
    """`backend.resource`, which Spanway does not serve."""

    kind: str
    name: str


class BackendRef(Value, frozen=True):
    """What answers a path: a Service port, or a resource."""

    service: ServiceRef | None = None
    resource: ResourceRef | None = None


class IngressPath(Value, frozen=True):
    """One path of a rule. `path_type` is Exact, Prefix or ImplementationSpecific."""

    path_type: str
    backend: BackendRef
    path: str | None = None


class HttpRule(Value, frozen=True):
    """`rule.http`."""

    paths: tuple[IngressPath, ...] | None = None


class IngressRule(Value, frozen=True):
    """One host and its paths; no host stands for every host."""

    host: str | None = None
    http: HttpRule | None = None


class IngressTls(Value, frozen=True):
    """One certificate and the hosts it is for."""

    hosts: tuple[str, ...] | None = None
    secret_name: str | None = None


class IngressSpec(Value, frozen=True):
    """`spec` of an Ingress."""

    ingress_class_name: str | None = None
    default_backend: BackendRef | None = None
    rules: tuple[IngressRule, ...] | None = None
    tls: tuple[IngressTls, ...] | None = None


class Ingress(Value, frozen=True):
    """An Ingress."""

    metadata: Metadata
    spec: IngressSpec = IngressSpec()

    @property
    def class_name(self) -> str:
        """The class it names, by field or by the older annotation; empty where it names none."""
        return self.spec.ingress_class_name or self.metadata.annotation(CLASS_ANNOTATION)


class IngressClassSpec(Value, frozen=True):
    """`spec` of an IngressClass."""

    controller: str = ""


class IngressClass(Value, frozen=True):
    """An IngressClass."""

    metadata: Metadata
    spec: IngressClassSpec = IngressClassSpec()

    @property
    def is_default(self) -> bool:
        """Whether Ingresses that name no class belong to it."""
        return self.metadata.annotation(DEFAULT_CLASS_ANNOTATION) == "true"

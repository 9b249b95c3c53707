"""The latest value of every object that Spanway reads, indexed for the route builder.

Rules: one owner (the reconcile loop) writes and reads. An object that turns bad keeps its last
good value and gets a Problem; an equal value keeps its identity, so that "is it the same?" is `is`.
What changed is remembered until the one reader takes it.
"""

from collections.abc import Mapping
from types import MappingProxyType

from ingress_controller.model.decode import HeldObject, Value, decode, generation_of
from ingress_controller.model.ingress import Ingress, IngressClass
from ingress_controller.model.problem import ObjectKey, Problem
from ingress_controller.model.secret import Secret
from ingress_controller.model.service import EndpointSlice, Service
from ingress_controller.model.tracing_policy import TracingPolicy

API_VERSIONS = MappingProxyType(
    {
        "Ingress": "networking.k8s.io/v1",
        "IngressClass": "networking.k8s.io/v1",
        "Service": "v1",
        "EndpointSlice": "discovery.k8s.io/v1",
        "Secret": "v1",
        "TracingPolicy": "spanway.io/v1alpha1",
    }
)
"""The kinds that Spanway reads, and the API version it reads them in."""

ServiceName = tuple[str, str]
"""Namespace and name."""

SecretKey = tuple[str, str]
"""Namespace and name."""

OWN_KINDS = frozenset({"TracingPolicy"})
"""Kinds of ours: they are told in their status whether they are accepted."""

_TYPES: dict[str, type[Value]] = {
    "Ingress": Ingress,
    "IngressClass": IngressClass,
    "Service": Service,
    "EndpointSlice": EndpointSlice,
    "Secret": Secret,
    "TracingPolicy": TracingPolicy,
}


class Values:
    """See the module. Reading attributes is free; only `apply` changes them."""

    def __init__(self) -> None:
        self.ingresses: dict[ObjectKey, Ingress] = {}
        self.classes: dict[str, IngressClass] = {}
        self.services: dict[ServiceName, Service] = {}
        self.slices: dict[ServiceName, tuple[EndpointSlice, ...]] = {}
        self.secrets: dict[SecretKey, Secret] = {}
        self.tracing_policies: dict[tuple[str, str], TracingPolicy] = {}
        self.own: Mapping[ObjectKey, int] = {}
        """Objects of `OWN_KINDS` with the generation that was looked at; replaced, not changed."""
        self._problems: dict[ObjectKey, Problem] = {}
        self._values: dict[ObjectKey, Value] = {}
        self._touched: set[ObjectKey] = set()

    def problem(self, key: ObjectKey) -> Problem | None:
        """What is wrong with an object by itself."""
        return self._problems.get(key)

    def apply(self, key: ObjectKey, raw: HeldObject | None) -> None:
        """Take in the newest version of an object; None means that it is gone."""
        if key.kind in OWN_KINDS:
            others = {other: seen for other, seen in self.own.items() if other != key}
            self.own = others if raw is None else {**others, key: generation_of(raw)}
        if self._problems.pop(key, None) is not None:
            self._touched.add(key)
        if raw is None:
            self._replace(key, None)
            return
        value = decode(key, raw, _TYPES[key.kind])
        if isinstance(value, Problem):
            self._problems[key] = value
            self._touched.add(key)
        elif value != self._values.get(key):
            self._replace(key, value)

    def take_touched(self) -> set[ObjectKey]:
        """Whose value or Problem changed since the last call; a Service also by its slices."""
        touched, self._touched = self._touched, set()
        return touched

    def _replace(self, key: ObjectKey, value: Value | None) -> None:
        self._touched.add(key)
        old = self._values.pop(key, None)
        if old is not None:
            self._forget(key, old)
        if value is not None:
            self._values[key] = value
            self._remember(key, value)

    def _remember(self, key: ObjectKey, value: Value) -> None:
        match value:
            case Ingress():
                self.ingresses[key] = value
            case IngressClass():
                self.classes[key.name] = value
            case Service():
                self.services[key.namespace, key.name] = value
            case EndpointSlice():
                of = (key.namespace, value.service_name)
                self.slices[of] = (*self.slices.get(of, ()), value)
                self._touched.add(ObjectKey("Service", *of))
            case Secret():
                self.secrets[key.namespace, key.name] = value
            case TracingPolicy():
                self.tracing_policies[key.namespace, key.name] = value

    def _forget(self, key: ObjectKey, value: Value) -> None:
        match value:
            case Ingress():
                del self.ingresses[key]
            case IngressClass():
                del self.classes[key.name]
            case Service():
                del self.services[key.namespace, key.name]
            case EndpointSlice():
                of = (key.namespace, value.service_name)
                self._touched.add(ObjectKey("Service", *of))
                rest = tuple(other for other in self.slices.pop(of) if other is not value)
                if rest:
                    self.slices[of] = rest
            case Secret():
                del self.secrets[key.namespace, key.name]
            case TracingPolicy():
                del self.tracing_policies[key.namespace, key.name]

"""What one Ingress asks for, by itself: claims to a host and path. Pure.

Rules: whether a claim wins is decided in `conflicts`, whether its Service exists in `backends`.
ImplementationSpecific is read as Prefix. A default backend is a claim to "/" of each host of its
Ingress and of every host; it never takes a path from a rule.
"""

import sys

import msgspec

from ingress_controller.model.ingress import (
    BackendRef,
    Ingress,
    IngressPath,
    IngressRule,
    ServiceRef,
)
from ingress_controller.model.problem import ObjectKey, Problem, Severity
from ingress_controller.routing.backends import Part
from ingress_controller.routing.names import Fault, host_name, looks_like_regex, path_value
from proxy.table import ANY_HOST, PathKind, Route

PATH_KINDS = {
    "Exact": PathKind.EXACT,
    "Prefix": PathKind.PREFIX,
    "ImplementationSpecific": PathKind.PREFIX,
}
DEFAULT_BACKEND = "spec.defaultBackend"


class Claim(msgspec.Struct, frozen=True, gc=False):
    """One host and path that an Ingress wants, and the Service port to answer it.

    `rule` is the field in the Ingress that asks for it; `index` counts the Ingress's claims.
    """

    owner: ObjectKey
    host: str
    kind: PathKind
    path: str
    service: ServiceRef
    rule: str
    created_unix_s: float
    index: int

    @property
    def is_default(self) -> bool:
        """Whether it stands for a default backend."""
        return self.rule == DEFAULT_BACKEND

    @property
    def rank(self) -> tuple[bool, float, str, str, int]:
        """Smaller wins; never equal for two claims of one table."""
        _, namespace, name = self.owner
        return self.is_default, self.created_unix_s, namespace, name, self.index

    @property
    def backend(self) -> str:
        """Key of the backend in the table; interned, since routes by the thousand name it."""
        return sys.intern(f"{self.owner.namespace}/{self.service.name}:{self.service.port}")

    def field(self, part: Part) -> str:
        """The field of the owner to blame when the reference to the Service leads nowhere."""
        backend = self.rule if self.is_default else f"{self.rule}.backend"
        port = "name" if self.service.port.name else "number"
        return f"{backend}.service.name" if part is Part.NAME else f"{backend}.service.port.{port}"

    def route(self) -> Route:
        """The claim as the table's route."""
        return Route(
            self.kind, self.path, self.backend, self.owner.namespace, self.owner.name, self.rule
        )


class Claims(msgspec.Struct, frozen=True):
    """All claims of one Ingress, and what is wrong with the rest of it."""

    claims: tuple[Claim, ...]
    problems: tuple[Problem, ...]


def claims_of(owner: ObjectKey, ingress: Ingress) -> Claims:
    """See the module."""
    reader = _Reader(owner, ingress)
    reader.read()
    return Claims(tuple(reader.claims), tuple(reader.problems))


class _Reader:
    """Walks one Ingress, collecting."""

    def __init__(self, owner: ObjectKey, ingress: Ingress) -> None:
        self.claims: list[Claim] = []
        self.problems: list[Problem] = []
        self._owner = owner
        self._ingress = ingress

    def read(self) -> None:
        spec = self._ingress.spec
        hosts: dict[str, None] = {}
        for index, rule in enumerate(spec.rules or ()):
            host = self._host(rule, f"spec.rules[{index}]")
            if host is not None:
                hosts[host] = None
                self._paths(rule, host, f"spec.rules[{index}]")
        if spec.default_backend is not None:
            self._default(spec.default_backend, [*hosts, ANY_HOST])
        elif not spec.rules:
            self._problem("spec", "It has neither rules nor a default backend.", "Add one of them.")

    def _host(self, rule: IngressRule, field: str) -> str | None:
        if not rule.host:
            return ANY_HOST
        host = host_name(rule.host)
        if isinstance(host, Fault):
            self._problem(f"{field}.host", host.message, f"{host.fix} The rule is left out.")
            return None
        return host

    def _paths(self, rule: IngressRule, host: str, field: str) -> None:
        paths = rule.http.paths if rule.http is not None else None
        if not paths and self._ingress.spec.default_backend is None:
            message = "The rule has no paths and the Ingress no default backend."
            self._problem(field, message, "Add http.paths or spec.defaultBackend.")
        for index, path in enumerate(paths or ()):
            self._path(path, host, f"{field}.http.paths[{index}]")

    def _path(self, path: IngressPath, host: str, field: str) -> None:
        kind = PATH_KINDS.get(path.path_type)
        if kind is None:
            message = f'The path type "{path.path_type}" is unknown.'
            self._problem(f"{field}.pathType", message, f"Use one of {', '.join(PATH_KINDS)}.")
            return
        value = path_value(path.path, kind)
        if isinstance(value, Fault):
            self._problem(f"{field}.path", value.message, value.fix)
            return
        if looks_like_regex(value):
            message = f'"{value}" looks like a regular expression, but is compared as it is.'
            fix = "Use pathType Exact or Prefix with a plain path."
            self._problem(f"{field}.path", message, fix, Severity.WARNING)
        service = self._service(path.backend, f"{field}.backend")
        if service is not None:
            self._claim((host, kind, value), service, field)

    def _default(self, backend: BackendRef, hosts: list[str]) -> None:
        service = self._service(backend, DEFAULT_BACKEND)
        if service is not None:
            for host in dict.fromkeys(hosts):
                self._claim((host, PathKind.PREFIX, "/"), service, DEFAULT_BACKEND)

    def _claim(self, at: tuple[str, PathKind, str], service: ServiceRef, rule: str) -> None:
        host, kind, path = at
        created_unix_s = self._ingress.metadata.created_unix_s
        index = len(self.claims)
        # Each Ingress has a "spec.rules[0].http.paths[0]": one string is enough for all of them.
        rule = sys.intern(rule)
        self.claims.append(
            Claim(self._owner, host, kind, path, service, rule, created_unix_s, index)
        )

    def _service(self, backend: BackendRef, field: str) -> ServiceRef | None:
        if backend.resource is not None:
            ref = backend.resource
            message = f"{ref.kind} {ref.name} is a resource backend, and only Services are served."
            self._problem(f"{field}.resource", message, "Name a Service instead.")
        elif backend.service is None:
            self._problem(
                field, "The backend names no Service.", "Add service.name and service.port."
            )
        elif backend.service.port.name and backend.service.port.number:
            message = "The port is given by name and by number."
            self._problem(f"{field}.service.port", message, "Keep one of the two.")
        elif not backend.service.port.name and not backend.service.port.number:
            message = f"No port of Service {backend.service.name} is named."
            self._problem(f"{field}.service.port", message, "Add port.number or port.name.")
        else:
            return backend.service
        return None

    def _problem(
        self, field: str, message: str, fix: str, severity: Severity = Severity.ERROR
    ) -> None:
        self.problems.append(Problem(self._owner, field, message, fix, severity))

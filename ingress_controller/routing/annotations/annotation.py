"""What an annotation is: its name and place, how it is written, what it sets; and these targets.

Rules: pure; `table.py` declares which annotations there are.
"""

from enum import StrEnum
from typing import Any

import msgspec

from ingress_controller.routing.annotations.grammar import Grammar, SecretName, Weight
from proxy.table import Backend, ClientCertificates, RoutePolicy, TlsVersion

PREFIX = "spanway.io/"


class Scope(StrEnum):
    """What an annotation is about, and so on which objects it counts."""

    ROUTE = "route"  # the routes of an Ingress, or the service listeners of a Service
    HOST = "host"  # TLS of the hosts of an Ingress
    BACKEND = "backend"  # a Service, whoever asks for it
    TRACING = "tracing"  # the traces of what ROUTE is about
    LISTENER = "listener"  # a Service that opens a listener


class HostPolicy(msgspec.Struct, frozen=True):
    """What an Ingress says about TLS of its hosts, beside `spec.tls`."""

    version_min: TlsVersion = TlsVersion.TLS12
    client_certificates: ClientCertificates = ClientCertificates.OFF
    client_ca: SecretName | None = None
    passthrough: bool = False


class TracingWish(msgspec.Struct, frozen=True):
    """How an object wants its requests traced: a TracingPolicy of its namespace, and what differs
    from it."""

    policy: str = ""
    ratio: float | None = None
    traces_per_s_max: float | None = None


class BackendPolicy(msgspec.Struct, frozen=True):
    """What a Service says about its backends: `template` has all fields but those of a place.

    The Secrets still have to be looked up: `ca` and `certificate` of the template's TLS.
    """

    template: Backend = Backend("", "", "")
    weights: tuple[Weight, ...] = ()
    ca: SecretName | None = None
    certificate: SecretName | None = None


ROOTS: dict[Scope, msgspec.Struct] = {
    Scope.ROUTE: RoutePolicy(),
    Scope.HOST: HostPolicy(),
    Scope.BACKEND: BackendPolicy(),
    Scope.TRACING: TracingWish(),
}
"""What each scope's annotations change, as it is without any."""


class Strict(msgspec.Struct, frozen=True):
    """What is in force when an annotation that guards something cannot be read."""

    value: Any
    words: str


class Annotation(msgspec.Struct, frozen=True):
    """One annotation. `name` is without the prefix, `sets` a path in the scope's root.

    `default` is written as the annotation would be; empty where there is none. `needs` names the
    annotation without which it says nothing.
    """

    name: str
    scope: Scope
    sets: str
    grammar: Grammar
    doc: str
    example: str
    default: str = ""
    strict: Strict | None = None
    needs: str = ""

    @property
    def full_name(self) -> str:
        return PREFIX + self.name

    @property
    def field(self) -> str:
        """Its path in the object."""
        return f"metadata.annotations[{self.full_name}]"

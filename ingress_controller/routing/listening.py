"""The listeners of a table with what they name: the default certificate, policies of Services.

Rules: pure. The default certificate is the Secret that the settings name; while it cannot be used,
the one that Spanway was started with, so that a listener never lacks one.
"""

import msgspec

from ingress_controller.model.problem import ObjectKey, Problem
from ingress_controller.model.service import Service
from ingress_controller.model.values import SecretKey
from ingress_controller.routing.backend_policy import certificate_key
from ingress_controller.routing.certificates import Fault, Secrets
from ingress_controller.routing.host_tls import CertificateUse
from ingress_controller.routing.listeners import Served
from ingress_controller.routing.policy import listener_policy
from ingress_controller.routing.tracing import PolicyName, TracingRules
from proxy.table import Certificate, Listener, RoutePolicy

DEFAULT_KEY = "+default"
"""Key of the certificate that Spanway was started with."""


class DefaultCertificate(msgspec.Struct, frozen=True):
    """For hosts that have none: that of `secret`, else `certificate`."""

    secret: SecretKey | None = None
    certificate: Certificate | None = None


class Listening:
    """Collects the listeners of one table, and what they name."""

    def __init__(
        self, secrets: Secrets, default: DefaultCertificate, tracing: TracingRules
    ) -> None:
        self.listeners: list[Listener] = []
        self.policies: dict[str, RoutePolicy] = {}
        self.certificates: dict[str, Certificate] = {}
        self.uses: list[CertificateUse] = []
        self.problems: list[Problem] = []
        self.tracing: list[PolicyName] = []  # the TracingPolicies that are named
        self._secrets = secrets
        self._default = default
        self._tracing = tracing

    def ingress_listener(self, listener: Listener) -> None:
        """A listener of the settings; with TLS it gets the default certificate."""
        if listener.tls:
            listener = msgspec.structs.replace(listener, certificate=self._default_key())
        self.listeners.append(listener)

    def service_listener(self, served: Served, service: Service | None) -> None:
        """A service listener, with the policy that its Service asks for."""
        key = ""
        if service is not None:
            owner = ObjectKey("Service", served.owner.namespace, served.service.name)
            said = listener_policy(owner, service, self._tracing)
            key = said.key
            self.problems += said.route.problems
            self.tracing += [said.tracing] if said.tracing else []
            if key:
                self.policies[key] = said.route.value
        self.listeners.append(msgspec.structs.replace(served.listener, policy=key))

    def _default_key(self) -> str:
        secret = self._default.secret
        if secret is not None:
            owner = ObjectKey("Secret", *secret)
            pair = self._secrets.pair(secret)
            if not isinstance(pair, Fault):
                key = certificate_key(secret)
                self.certificates[key] = pair.certificate
                self.uses.append(CertificateUse(owner, "", secret, pair))
                return key
            fix = f"{pair.fix} Until then the default certificate is a self-signed one."
            self.problems.append(Problem(owner, "", pair.message, fix))
        if self._default.certificate is None:
            return ""
        self.certificates[DEFAULT_KEY] = self._default.certificate
        return DEFAULT_KEY

"""How TLS ends for each host: `spec.tls` and annotations of all Ingresses that name it. Pure.

Rules: a host's TLS is one, so of several Ingresses the oldest that says something about it decides,
then the first by namespace/name, and who says otherwise is told; of what guards the host, the
strictest counts. A certificate that cannot be used leaves the default one; client certificates
that cannot be verified let nobody in.
Source: Ingress v1, spec.tls: an entry without hosts is for all of its Ingress.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from ingress_controller.model.ingress import Ingress, IngressTls
from ingress_controller.model.problem import ObjectKey, Problem, Severity
from ingress_controller.model.values import SecretKey
from ingress_controller.routing.annotations.annotation import PREFIX, HostPolicy
from ingress_controller.routing.annotations.reading import Read
from ingress_controller.routing.annotations.table import BY_NAME
from ingress_controller.routing.backend_policy import certificate_key, secret_key
from ingress_controller.routing.certificates import Fault, Pair, Secrets
from ingress_controller.routing.names import Fault as NameFault
from ingress_controller.routing.names import host_name
from proxy.table import ANY_HOST, ClientCertificates, HostTls, TlsVersion

NAMES_SHOWN_MAX = 5  # of a certificate, in one message; some have a hundred

_STRICTNESS: Mapping[str, Sequence[StrEnum]] = MappingProxyType(
    {"version_min": list(TlsVersion), "client_certificates": list(ClientCertificates)}
)
"""Fields of a HostPolicy of which the strictest counts, and their values in that order."""


class CertificateWish(NamedTuple):
    """One entry of `spec.tls` that names the host; without a Secret it is for the default one."""

    field: str
    secret: SecretKey | None


class Wish(msgspec.Struct, frozen=True):
    """What one Ingress says about TLS of one host."""

    owner: ObjectKey
    created_unix_s: float
    certificates: tuple[CertificateWish, ...]
    policy: Read[HostPolicy]

    @property
    def rank(self) -> tuple[float, str, str]:
        """Smaller decides."""
        return self.created_unix_s, self.owner.namespace, self.owner.name

    @property
    def secrets(self) -> Iterator[SecretKey]:
        """Those that it names."""
        for certificate in self.certificates:
            if certificate.secret is not None:
                yield certificate.secret
        client_ca = self.policy.value.client_ca
        if client_ca is not None:
            yield secret_key(client_ca, self.owner)


class WishIndex:
    """Which Ingresses say something about which host. One owner writes and reads."""

    def __init__(self) -> None:
        self._hosts_of: dict[ObjectKey, tuple[str, ...]] = {}
        self._wishes: dict[str, dict[ObjectKey, Wish]] = {}

    def put(self, owner: ObjectKey, wishes: Mapping[str, Wish]) -> set[str]:
        """From now on these are all wishes of `owner`; returns the hosts to settle anew."""
        stale = {*wishes, *self._hosts_of.pop(owner, ())}
        if wishes:
            self._hosts_of[owner] = tuple(wishes)
        for host in stale:
            of_host = self._wishes.setdefault(host, {})
            of_host.pop(owner, None)
            if host in wishes:
                of_host[owner] = wishes[host]
            if not of_host:
                del self._wishes[host]
        return stale

    def wishes(self, host: str) -> tuple[Wish, ...]:
        """All about `host`, in no order."""
        return tuple(self._wishes.get(host, {}).values())


class CertificateUse(msgspec.Struct, frozen=True):
    """Where a certificate is asked for."""

    owner: ObjectKey
    field: str
    secret: SecretKey
    pair: Pair


class TlsOfHost(msgspec.Struct, frozen=True):
    """`is_secured`: `spec.tls` names it. `is_denied`: nobody may be let in.

    `passthrough` is the Ingress that wants its connections handed over, `use` its certificate.
    """

    tls: HostTls = HostTls()
    is_secured: bool = False
    is_denied: bool = False
    passthrough: ObjectKey | None = None
    use: CertificateUse | None = None
    problems: tuple[Problem, ...] = ()


def wishes_of(
    owner: ObjectKey, ingress: Ingress, policy: Read[HostPolicy]
) -> tuple[dict[str, Wish], tuple[Problem, ...]]:
    """What an Ingress says about TLS, by host: those of its rules and of its `spec.tls`.

    Hosts that it says nothing about are left out. A wildcard in `spec.tls` is also for hosts of its
    own rules, and never for those of another Ingress, which may be somebody else's.
    """
    names = [host_name(rule.host) if rule.host else ANY_HOST for rule in ingress.spec.rules or ()]
    of_rules = list(dict.fromkeys(name for name in names if isinstance(name, str)))
    wanted: dict[str, list[CertificateWish]] = {host: [] for host in of_rules}
    problems: list[Problem] = []
    for index, entry in enumerate(ingress.spec.tls or ()):
        field = f"spec.tls[{index}]"
        secret = (owner.namespace, entry.secret_name) if entry.secret_name else None
        for host in _hosts(owner, field, entry, of_rules):
            if isinstance(host, Problem):
                problems.append(host)
            else:
                wish = CertificateWish(f"{field}.secretName", secret)
                wanted.setdefault(host, []).append(wish)
    for host in of_rules:
        _, _, parent = host.partition(".")
        wanted[host] = wanted[host] or wanted.get(f"*.{parent}", [])
    created_unix_s = ingress.metadata.created_unix_s
    wishes = {
        host: Wish(owner, created_unix_s, tuple(certificates), policy)
        for host, certificates in wanted.items()
        if certificates or policy.given
    }
    return wishes, tuple(problems)


def tls_of_host(host: str, wishes: Sequence[Wish], secrets: Secrets) -> TlsOfHost | None:
    """How TLS ends for `host`; all `wishes` are about it, and without one nothing is said."""
    if not wishes:
        return None
    return _Host(host, sorted(wishes, key=lambda wish: wish.rank), secrets).settled()


def _hosts(
    owner: ObjectKey, field: str, entry: IngressTls, of_rules: list[str]
) -> Iterator[str | Problem]:
    if not entry.hosts:
        yield from of_rules
    for index, text in enumerate(entry.hosts or ()):
        name = host_name(text)
        if isinstance(name, NameFault):
            yield Problem(owner, f"{field}.hosts[{index}]", name.message, name.fix)
        else:
            yield name


class _Host:
    """Settles one host; `wishes` are in order of rank."""

    def __init__(self, host: str, wishes: Sequence[Wish], secrets: Secrets) -> None:
        self._host = host
        self._shown = host or "any host"
        self._wishes = wishes
        self._secrets = secrets
        self._problems: list[Problem] = []

    def settled(self) -> TlsOfHost:
        by = self._policies()
        wanted = HostPolicy(**{name: getattr(by[name].policy.value, name) for name in by})
        use, is_secured = self._certificate()
        ca = self._client_ca(wanted, by)
        is_denied = ca is None  # the handshake succeeds, so that the client can be told so by 403
        tls = HostTls(
            certificate=certificate_key(use.secret) if use else "",
            version_min=wanted.version_min,
            client_certificates=ClientCertificates.OFF if is_denied else wanted.client_certificates,
            client_ca=ca or "",
        )
        return TlsOfHost(
            tls,
            is_secured,
            is_denied,
            by["passthrough"].owner if wanted.passthrough else None,
            use,
            tuple(self._problems),
        )

    def _policies(self) -> dict[str, Wish]:
        """Who decides about each field of the HostPolicy."""
        winners: dict[str, Wish] = {}
        for wish in self._wishes:
            for name in sorted(wish.policy.given):
                annotation = BY_NAME[PREFIX + name]
                field = annotation.sets
                winner = winners.setdefault(field, wish)
                have, want = (getattr(one.policy.value, field) for one in (winner, wish))
                if field in _STRICTNESS:
                    order = _STRICTNESS[field]
                    if order.index(want) > order.index(have):
                        winners[field] = wish
                elif have != want:
                    message = f"{self._named()} already has another {name}, by {winner.owner}."
                    fix = "Say the same in both."
                    self._problem(wish, annotation.field, message, fix)
        return winners

    def _certificate(self) -> tuple[CertificateUse | None, bool]:
        """What is used, None for the default one; and whether `spec.tls` names the host."""
        asked = [(wish, one) for wish in self._wishes for one in wish.certificates]
        if not asked:
            return None, False
        winner, first = asked[0]
        for wish, other in asked[1:]:
            if other.secret != first.secret:
                have = f"Secret {certificate_key(first.secret)}" if first.secret else "the default"
                by = first.field if wish is winner else f"{winner.owner}, {first.field}"
                message = f"{self._named()} already has its certificate, {have}, by {by}."
                self._problem(wish, other.field, message, "Name the same Secret in both.")
        if first.secret is None:
            return None, True
        pair = self._secrets.pair(first.secret)
        if isinstance(pair, Fault):
            fix = f"{pair.fix} Until then {self._shown} has the default certificate."
            self._problem(winner, first.field, pair.message, fix)
            return None, True
        if self._host != ANY_HOST and not pair.covers(self._host):
            names = ", ".join(pair.names[:NAMES_SHOWN_MAX]) or "no host"
            key = certificate_key(first.secret)
            message = f"The certificate in Secret {key} is for {names}, not for {self._host}."
            fix = "Clients will refuse it; make one with that name."
            self._problem(winner, first.field, message, fix, severity=Severity.WARNING)
        return CertificateUse(winner.owner, first.field, first.secret, pair), True

    def _client_ca(self, wanted: HostPolicy, by: Mapping[str, Wish]) -> str | None:
        """The authorities, PEM; None if nobody may be let in for want of them."""
        if wanted.client_certificates is ClientCertificates.OFF:
            return ""
        if "client_ca" not in by:
            wish = by["client_certificates"]
            message = f"{PREFIX}client-ca-secret does not say whose certificates are accepted."
            self._denied(wish, "client-certificates", Fault(message, "Add it."))
            return None
        wish = by["client_ca"]
        name = wish.policy.value.client_ca
        assert name is not None, "what is given has been read"
        ca = self._secrets.authorities(secret_key(name, wish.owner))
        if isinstance(ca, Fault):
            self._denied(wish, "client-ca-secret", ca)
            return None
        return ca

    def _denied(self, wish: Wish, name: str, fault: Fault) -> None:
        fix = f"{fault.fix} Until then {self._shown} answers 403."
        self._problem(wish, BY_NAME[PREFIX + name].field, fault.message, fix)

    def _problem(
        self, wish: Wish, field: str, *texts: str, severity: Severity = Severity.ERROR
    ) -> None:
        message, fix = texts
        self._problems.append(Problem(wish.owner, field, message, fix, severity))

    def _named(self) -> str:
        return f'Host "{self._host}"' if self._host else "Any host"

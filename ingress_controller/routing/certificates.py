"""Secrets become certificates of the table, or one sentence that says why they cannot.

Rules: no I/O, no clock. A Secret is read once for as long as it stays the same. Nothing of a
private key is in a message. Source: Kubernetes, "TLS Secrets"; RFC 9525, 6.3 for names: a wildcard
stands for one label, and the subject's common name does not count.
"""

from collections.abc import Iterable

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from ingress_controller.model.secret import CA_LABEL, TLS_TYPE, Secret
from ingress_controller.model.values import SecretKey
from proxy.table import Certificate

PEM_BYTES_MAX = 1024 * 1024  # Kubernetes' own bound for a Secret; files have the same
CHAIN_CERTIFICATES_MAX = 16  # a chain has three; OpenSSL verifies up to 100
CA_CERTIFICATES_MAX = 1_000  # the web's own bundle has 140

_CHAIN, _KEY, _CA = "tls.crt", "tls.key", "ca.crt"


class Fault(msgspec.Struct, frozen=True):
    """Why a Secret cannot be used, and what to do."""

    message: str
    fix: str


class Pair(msgspec.Struct, frozen=True):
    """A certificate with its key, and what of it people should know.

    `names` are its DNS names in lower case; the times are UTC milliseconds.
    """

    certificate: Certificate
    names: tuple[str, ...]
    not_before_unix_ms: int
    not_after_unix_ms: int

    def covers(self, host: str) -> bool:
        """Whether clients that ask for `host` (exact or wildcard) would accept it."""
        _, _, parent = host.partition(".")
        return host in self.names or f"*.{parent}" in self.names


class Secrets:
    """What Secrets hold, by namespace and name; reads each once."""

    def __init__(self) -> None:
        self._secrets: dict[SecretKey, Secret] = {}
        self._pairs: dict[SecretKey, Pair | Fault] = {}
        self._authorities: dict[SecretKey, str | Fault] = {}

    def put(self, key: SecretKey, secret: Secret | None) -> None:
        """The newest version of a Secret; None means that it is gone."""
        self._pairs.pop(key, None)
        self._authorities.pop(key, None)
        if secret is None:
            self._secrets.pop(key, None)
        else:
            self._secrets[key] = secret

    def pair(self, key: SecretKey) -> Pair | Fault:
        """The certificate and private key of a kubernetes.io/tls Secret."""
        secret = self._secrets.get(key)
        if secret is None:
            return Fault(f"{_name(key)} does not exist.", f"Create it with the type {TLS_TYPE}.")
        if key not in self._pairs:
            self._pairs[key] = _pair(key, secret)
        return self._pairs[key]

    def authorities(self, key: SecretKey) -> str | Fault:
        """The certificates in `ca.crt`, PEM, without anything else that was in it."""
        secret = self._secrets.get(key)
        if secret is None or not secret.is_readable:
            message = f"{_name(key)} does not exist, or is not one that Spanway reads."
            fix = (
                f"Create it with {_CA}, and let it be read:"
                f" kubectl -n {key[0]} label secret {key[1]} {CA_LABEL}=true"
            )
            return Fault(message, fix)
        if key not in self._authorities:
            self._authorities[key] = _authorities(key, secret)
        return self._authorities[key]


def pair_of_pem(chain_pem: bytes, key_pem: bytes) -> Pair:
    """The certificate, leaf first, and its private key.

    Raises:
        ValueError: they are not usable; half a sentence that says why.
    """
    chain = _certificates(chain_pem, "certificate chain", CHAIN_CERTIFICATES_MAX)
    key = _private_key(key_pem)
    leaf = chain[0]
    if key.public_key() != _public_key(leaf):
        raise ValueError("its private key does not belong to the first certificate of its chain")
    private_key = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return Pair(
        Certificate(_pem(chain), private_key.decode()),
        _names(leaf),
        int(leaf.not_valid_before_utc.timestamp() * 1_000),
        int(leaf.not_valid_after_utc.timestamp() * 1_000),
    )


def _name(key: SecretKey) -> str:
    return f"Secret {key[0]}/{key[1]}"


def _pair(key: SecretKey, secret: Secret) -> Pair | Fault:
    if secret.type != TLS_TYPE:
        what = f"is of type {secret.type}" if secret.type else "has no type"
        return Fault(f"{_name(key)} {what}, not {TLS_TYPE}.", "Create it anew with that type.")
    fix = f"kubectl -n {key[0]} create secret tls {key[1]} --cert=FILE --key=FILE makes one."
    try:
        return pair_of_pem(_content(secret, _CHAIN), _content(secret, _KEY))
    except ValueError as err:
        return Fault(f"{_name(key)} cannot be used: {err}.", fix)


def _authorities(key: SecretKey, secret: Secret) -> str | Fault:
    try:
        return _pem(_certificates(_content(secret, _CA), _CA, CA_CERTIFICATES_MAX))
    except ValueError as err:
        fix = f"Put the authorities' certificates (PEM) under the key {_CA}."
        return Fault(f"{_name(key)} cannot be used: {err}.", fix)


def _content(secret: Secret, name: str) -> bytes:
    content = secret.content(name)
    if not content or not content.strip():
        raise ValueError(f"it has no {name}")
    if len(content) > PEM_BYTES_MAX:
        raise ValueError(f"its {name} is larger than {PEM_BYTES_MAX // 1024} KiB")
    return content


def _certificates(pem: bytes, name: str, count_max: int) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ValueError(f"its {name} is no certificate in PEM form") from None
    if len(found) > count_max:
        raise ValueError(f"its {name} has more than {count_max} certificates")
    return found


def _private_key(pem: bytes) -> PrivateKeyTypes:
    try:
        # Whether an RSA key's numbers are prime is not checked: that takes longer than all else
        # here, and whether the key belongs to the certificate is checked by its public half.
        return serialization.load_pem_private_key(
            pem, password=None, unsafe_skip_rsa_key_validation=True
        )
    except TypeError:
        raise ValueError(
            "its private key is encrypted, and nobody is there to type the password"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("its private key is not in PEM form, or of an unknown kind") from None


def _public_key(leaf: x509.Certificate) -> object:
    try:
        return leaf.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("its certificate has a public key of an unknown kind") from None


def _pem(chain: Iterable[x509.Certificate]) -> str:
    """Written anew: what stands between the certificates in a file is not passed on."""
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in chain)


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return tuple(name.lower() for name in extension.value.get_values_for_type(x509.DNSName))

"""A certificate from files, or a self-signed one: for hosts that have none, and for our own API.

Rules: blocks for some milliseconds; the key is in memory only. For hosts that have none nginx and
Traefik do the same: a handshake then succeeds far enough for a person to see which certificate is
missing.
"""

import datetime
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ingress_controller.routing.certificates import Pair, pair_of_pem
from proxy.table import Certificate

NAME = "Spanway default certificate"
VALID = datetime.timedelta(days=365)  # ingress-nginx's own; a process does not live that long
CLOCK_SKEW = datetime.timedelta(hours=1)  # of clients behind us


def from_files(chain: Path, private_key: Path) -> Certificate:
    """The certificate in `chain`, leaf first, and its key.

    Raises:
        ValueError: it cannot be used; half a sentence that says why.
    """
    return pair_from_files(chain, private_key).certificate


def pair_from_files(chain: Path, private_key: Path) -> Pair:
    """The same, with the names that it is for. Raises ValueError."""
    return pair_of_pem(_content(chain), _content(private_key))


def self_signed(
    common_name: str = NAME,
    names: Sequence[str] = ("spanway.invalid",),
    valid: datetime.timedelta = VALID,
) -> Certificate:
    """A new one, for DNS `names`, that no client trusts unless it is told to."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + valid)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), False)
        .sign(key, hashes.SHA256())
    )
    private_key = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    chain = certificate.public_bytes(serialization.Encoding.PEM)
    return Certificate(chain.decode(), private_key.decode())


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise ValueError(f'"{path}" cannot be read: {err.strerror}') from err

"""Certificates for tests: self-signed, with the names and days that a test wants."""

import datetime
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
NOW_UNIX_MS = int(NOW.timestamp() * 1_000)


@cache
def pair(
    *names: str, begin: datetime.datetime = NOW - DAY, end: datetime.datetime = NOW + 3_650 * DAY
) -> tuple[str, str]:
    """A certificate and its private key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0] if names else "none")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(begin, end))
        .not_valid_after(end)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    chain = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return chain.decode(), _pem(key, serialization.NoEncryption())


def encrypted(private_key: str) -> str:
    """The same key, behind a password."""
    key = serialization.load_pem_private_key(private_key.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return _pem(key, serialization.BestAvailableEncryption(b"secret"))


def _pem(
    key: ec.EllipticCurvePrivateKey, encryption: serialization.KeySerializationEncryption
) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, encryption).decode()


def subject_of(certificate: str) -> str:
    """Who a certificate is for, for example `CN=shop.example`."""
    return x509.load_pem_x509_certificate(certificate.encode()).subject.rfc4514_string()

"""When the certificates of hosts end."""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from cryptography import x509

from proxy.table import RouteTable

EXPIRIES_KEPT_MAX = 16_384  # certificates whose end is not read again with each scrape


class Expiry(NamedTuple):
    """`host` is `*` for any; `unix_s` is the end in seconds since 1970."""

    host: str
    namespace: str
    secret: str
    unix_s: float


def expiries(table: RouteTable) -> Iterator[Expiry]:
    """Of every host that has a certificate of its own."""
    for name, host in table.hosts.items():
        key = host.tls.certificate if host.tls is not None else ""
        certificate = table.certificates.get(key)
        if certificate is not None:
            namespace, _, secret = key.rpartition("/")
            yield Expiry(name or "*", namespace, secret, _end(certificate.chain))


@lru_cache(maxsize=EXPIRIES_KEPT_MAX)
def _end(chain: str) -> float:
    """The leaf is first, and was read before it came into a table."""
    leaf = x509.load_pem_x509_certificate(chain.encode())
    return leaf.not_valid_after_utc.timestamp()

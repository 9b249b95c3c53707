"""What somebody is known by, as it lies in files: text that nobody sees, certificates with keys.

Rules: nothing of a secret is in a message or in a `repr`.
"""

from pathlib import Path

import msgspec

SECRET_BYTES_MIN = 16  # 128 bits, of a key or token that can be guessed at for a week
SECRET_BYTES_MAX = 4_096  # a key is 32, a token of Kubernetes some 1,200; more is another file


class Secret(msgspec.Struct, frozen=True):
    """Text that is never shown; empty for none."""

    text: str = ""

    def __repr__(self) -> str:
        return "Secret(...)" if self.text else "Secret()"


class CertificateFiles(msgspec.Struct, frozen=True):
    """A certificate chain and its private key, both PEM."""

    chain: Path
    private_key: Path


class AdminAccess(msgspec.Struct, frozen=True):
    """By what an admin server is known, and what it wants of who asks; any of it will do.

    Attributes:
        certificate: its own, for TLS; None for none.
        client_ca: whoever shows a certificate of this authority may ask; None for nobody.
        token: who knows it may ask; empty for nobody.
        token_file: where the token is, if it can be read again.
        has_kubernetes: who has a token of the cluster's may ask for what it has the right to.
        audience: for whom such a token has to be; empty for the API server itself.
    """

    certificate: CertificateFiles | None = None
    client_ca: Path | None = None
    token: Secret = Secret()
    token_file: Path | None = None
    has_kubernetes: bool = False
    audience: str = ""

    @property
    def is_open(self) -> bool:
        """Whoever reaches it may ask."""
        return not (self.token.text or self.client_ca or self.has_kubernetes)

    @property
    def takes_tokens(self) -> bool:
        """Whoever listens on the way would learn one, without TLS."""
        return bool(self.token.text or self.has_kubernetes)


def secret_in(path: Path) -> Secret:
    """What is in the file, without spaces around it.

    Raises:
        ValueError: it is of no use; half a sentence that says why, and what would be.
    """
    try:
        text = path.read_bytes()[: SECRET_BYTES_MAX + 1].decode().strip()
    except (OSError, UnicodeDecodeError) as err:
        reason = err.strerror if isinstance(err, OSError) else "it is not UTF-8 text"
        raise ValueError(f'"{path}" cannot be read: {reason}') from err
    if not SECRET_BYTES_MIN <= len(text.encode()) <= SECRET_BYTES_MAX:
        raise ValueError(
            f'what is in "{path}" has not from {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX}'
            " bytes; make it by `openssl rand -hex 32`"
        )
    return Secret(text)

"""Terms of a server that are in files: certificates, and whom to believe; they are followed.

Rules: what cannot be used is a ValueError, half a sentence that says why, and changes nothing.
"""

import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Generic, TypeVar

from ingress_controller.credentials import CertificateFiles
from ingress_controller.default_certificate import from_files, pair_from_files
from ingress_controller.telemetry.events import Event, emit

FILES_S = 10.0  # between two looks at files of certificates; a kubelet renews them in a minute

_T = TypeVar("_T")


def content_of(files: CertificateFiles) -> bytes:
    """What is in them now. Raises ValueError: it is of no use; half a sentence that says why."""
    try:
        pair = from_files(files.chain, files.private_key)
    except ValueError as err:
        raise ValueError(f"the serving certificate cannot be used: {err}") from err
    return (pair.chain + pair.private_key).encode()


def server_name(files: CertificateFiles) -> str:
    """Whom the certificate is for, if that is a name; else empty. Raises ValueError."""
    names = pair_from_files(files.chain, files.private_key).names
    return next((name for name in names if "*" not in name), "")


def server_context(files: CertificateFiles, client_ca: str = "") -> ssl.SSLContext:
    """TLS from 1.2 on. A client may show a certificate of `client_ca` (PEM), but need not: one with
    a certificate of somebody else's gets no connection.

    Raises:
        ValueError: something cannot be used; half a sentence that says what.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(files.chain, files.private_key)
    except OSError as err:  # ssl.SSLError is one
        raise ValueError(f"the serving certificate cannot be used: {err}") from err
    if client_ca:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(cadata=client_ca)
        except (ssl.SSLError, ValueError) as err:
            raise ValueError(f"the authority of clients cannot be used: {err}") from err
    return context


class Followed(Generic[_T]):
    """Terms that are taken over when they change; what cannot be used changes nothing, and is told
    once, as `unusable` of why, as is that it is `usable` again."""

    def __init__(
        self,
        take: Callable[[_T], Awaitable[None]],
        unusable: Callable[[str], Event],
        usable: Callable[[], Event],
    ) -> None:
        self._take = take
        self._unusable = unusable
        self._usable = usable
        self._taken: _T | None = None
        self._trouble = ""

    async def begin(self, terms: _T) -> None:
        """Takes the first ones. Raises ValueError: they cannot be used."""
        await self._take(terms)
        self._taken = terms

    async def look(self, read: Callable[[], _T]) -> None:
        """Takes over what `read` gives, if that is new; it raises ValueError for what is of no
        use."""
        try:
            terms = read()
            if terms != self._taken:
                await self.begin(terms)
        except ValueError as err:
            if (trouble := str(err)) != self._trouble:
                emit(self._unusable(trouble))
                self._trouble = trouble
        else:
            if self._trouble:
                emit(self._usable())
            self._trouble = ""


def text_of(path: Path) -> str:
    """What is in a file of certificates. Raises ValueError."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as err:
        reason = err.strerror if isinstance(err, OSError) else "it is not PEM"
        raise ValueError(f'"{path}" cannot be read: {reason}') from err

"""Asking an admin address: what is shown there, whom to believe, and why nobody answers.

For the commands of a terminal and for other replicas. Rules: the one place that makes sessions for
it. A token is read again for each request, since Kubernetes renews those of pods, and goes to
nobody else: an admin address leads nowhere, so a redirect is an error.
"""

import contextlib
import os
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import msgspec
from aiohttp import hdrs

from ingress_controller.credentials import CertificateFiles, Secret, secret_in

INTERRUPTIONS = (aiohttp.ClientError, TimeoutError, OSError)
"""What a request raises when nobody answers, or not as a Spanway does."""

_REDIRECTS = range(300, 400)


class Credentials(msgspec.Struct, frozen=True):
    """What is shown to an admin address, and by what that is known.

    Attributes:
        token: what was in its file at first; empty for none.
        token_file: where it is, if it can be read again.
        certificate: of whoever asks.
        ca_file: authorities whose certificates are believed; None for those of the system.
        server_name: whom its certificate is for; empty for the host that is asked.
    """

    token: Secret = Secret()
    token_file: Path | None = None
    certificate: CertificateFiles | None = None
    ca_file: Path | None = None
    server_name: str = ""

    @property
    def needs_tls(self) -> bool:
        """Something of it has a meaning with TLS only."""
        return bool(self.certificate or self.ca_file or self.server_name)


class AdminAddress(msgspec.Struct, frozen=True):
    """One that is asked. `url` ends with a slash; there may be a path in it."""

    url: str
    credentials: Credentials = Credentials()

    def __str__(self) -> str:
        """As people write it."""
        return self.url.removeprefix("http://").rstrip("/")


def token_from(path: Path) -> Credentials:
    """Credentials with the token in `path`, which may be a pipe: that can be read once only.

    Raises:
        ValueError: there is none; half a sentence that says why.
    """
    token = secret_in(path)
    if not token.text.isprintable():
        raise ValueError(f'what is in "{path}" is no token: it has several lines')
    return Credentials(token=token, token_file=path if path.is_file() else None)


def session(
    credentials: Credentials, *, timeout_s: float, base_url: str | None = None
) -> aiohttp.ClientSession:
    """For requests to admin addresses; `timeout_s` is for each of them with its answer.

    Raises:
        ValueError: a certificate cannot be used; half a sentence that says why.
    """
    return aiohttp.ClientSession(
        base_url,
        connector=aiohttp.TCPConnector(ssl=_context(credentials)),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        middlewares=(_showing(credentials),),
    )


def reason_of(err: BaseException) -> str:
    """Why one of `INTERRUPTIONS` came, in words that go on after "it cannot be asked: "."""
    tls = _tls_reason(err)
    match err:
        case aiohttp.ClientConnectorCertificateError():
            cause = err.certificate_error
            what = getattr(cause, "verify_message", "") or str(cause)
            reason = f"its certificate is not trusted ({what.lower().rstrip('.')})"
        case _ if is_tls_missing(err):
            reason = "it speaks no TLS"
        case _ if tls:
            reason = f"TLS failed: {tls.replace('_', ' ').lower()}"
        case _ if is_closed(err):
            reason = "it closes the connection"
        case aiohttp.ClientConnectorDNSError():
            reason = f"{err.host} has no address"
        case aiohttp.ClientConnectorError() if err.os_error.errno:
            reason = os.strerror(err.os_error.errno).lower()
        case TimeoutError():
            reason = "no answer in time"
        case _:
            reason = str(err) or type(err).__name__
    return reason


def is_closed(err: BaseException) -> bool:
    """The other side ends the connection: what it wants may be TLS, or a certificate. Servers in
    Python do not say that by an alert of TLS."""
    ends = (aiohttp.ServerDisconnectedError, ConnectionResetError)
    cause = getattr(err, "os_error", err)
    return isinstance(cause, ends) or "ALERT" in _tls_reason(err)


def is_tls_missing(err: BaseException) -> bool:
    """What answers speaks no TLS."""
    return _tls_reason(err) in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")


def _tls_reason(err: BaseException) -> str:
    """OpenSSL's word for it; empty if TLS is not why."""
    cause = getattr(err, "os_error", None) or err.__cause__ or err
    return getattr(cause, "reason", None) or "" if isinstance(cause, ssl.SSLError) else ""


_Next = Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]


def _showing(
    credentials: Credentials,
) -> Callable[[aiohttp.ClientRequest, _Next], Awaitable[aiohttp.ClientResponse]]:
    async def ask(request: aiohttp.ClientRequest, answer: _Next) -> aiohttp.ClientResponse:
        if token := _token(credentials):
            request.headers[hdrs.AUTHORIZATION] = f"Bearer {token}"
        if credentials.server_name:
            request.server_hostname = credentials.server_name
        response = await answer(request)
        if response.status in _REDIRECTS:
            response.close()
            raise aiohttp.ClientPayloadError(f"it leads elsewhere (status {response.status})")
        return response

    return ask


def _token(credentials: Credentials) -> str:
    if credentials.token_file is not None:
        with contextlib.suppress(ValueError):  # it is being renewed: the last one may still do
            return secret_in(credentials.token_file).text
    return credentials.token.text


def _context(credentials: Credentials) -> ssl.SSLContext | bool:
    if not credentials.needs_tls:
        return True  # aiohttp's own, which exists already
    try:
        context = ssl.create_default_context(cafile=credentials.ca_file)
    except OSError as err:
        raise ValueError(f'"{credentials.ca_file}" has no authority to trust: {_of(err)}') from err
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an authority need not be a root
    if (pair := credentials.certificate) is not None:
        try:
            # Without a password OpenSSL would ask on the terminal for it.
            context.load_cert_chain(pair.chain, pair.private_key, password="")
        except OSError as err:
            raise ValueError(
                f'"{pair.chain}" and "{pair.private_key}" cannot be used: {_of(err)}'
            ) from err
    return context


def _of(err: OSError) -> str:
    """`ssl.SSLError` is one, too."""
    if isinstance(err, ssl.SSLError):
        return (err.reason or str(err)).replace("_", " ").lower()
    return (err.strerror or str(err)).lower()

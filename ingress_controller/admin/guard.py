"""Who may ask the admin server, and what a browser may do with the answers.

Rules: one middleware for all routes. Where nothing is wanted of who asks, whoever reaches the
address may read, as with other proxies; a page of somebody else's must not do so through a browser
that reaches it (DNS rebinding), so a Host that could be in public DNS is refused. With a token that
cannot happen, since neither the header nor the cookie is sent for another name, nor with TLS, whose
certificate is for another one. No answer allows another origin, and what can be sent here (spans)
has a content type that a browser asks about before.
Source: Content Security Policy Level 3; Fetch, "CORS protocol"; RFC 6265bis, SameSite.
"""

import asyncio
import hashlib
import hmac
import ipaddress

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ingress_controller.serving import kept

COOKIE = "spanway-admin"
COOKIE_S = 30 * 24 * 3600  # how long a browser keeps it; a new token ends it at once
LOG_IN_BYTES_MAX = 8 * 1024  # of what a log-in sends; a token has at most 4 KiB
LOG_IN_S_MAX = 5.0  # for it to come: anybody may begin one

_PRIVATE_SUFFIXES = (".localhost", ".local", ".svc", ".internal")
"""Names that are in no public DNS: RFC 6761, RFC 6762, Kubernetes' Services, ICANN's reserved."""

_OPEN = frozenset({"/", "/livez", "/readyz", "/api/session"})
_OPEN_PREFIX = "/ui/"
"""Answered to everybody: probes have no token, the page has to ask for it, and nothing is told."""

_CHALLENGE = {"WWW-Authenticate": "Bearer"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none';"
        " object-src 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Ways(msgspec.Struct, frozen=True):
    """How who asks may show that it may: any one of them; without one nobody has to.

    Attributes:
        token: to be known; empty for none.
        has_client_ca: TLS verifies the certificate of a client that shows one.
    """

    token: str = ""
    has_client_ca: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """For the page, which says what to do by them."""
        ways = {"token": self.token, "certificate": self.has_client_ca}
        return tuple(name for name, is_given in ways.items() if is_given)


NO_WAYS = Ways()
"""Whoever reaches the address may ask."""

_WAYS = {
    "token": "send `Authorization: Bearer` with what is in the file of --admin-token-file",
    "certificate": "show a certificate of the authority in --admin-client-ca",
}


class Guard:
    """Lets in who shows one of `ways`."""

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        # What a browser keeps does not tell the token, and is the same for all replicas.
        self._cookie = hmac.digest(ways.token.encode(), COOKIE.encode(), hashlib.sha256).hex()

    def add_to(self, app: web.Application) -> None:
        """Adds the middleware, the headers, and the log-in."""
        app.middlewares.append(self._middleware)
        app.on_response_prepare.append(_secure)
        app.router.add_get("/api/session", self._session)
        app.router.add_post("/api/session", self._log_in)

    @property
    def _middleware(self) -> Middleware:
        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            if _is_open(request.path):
                return await handler(request)
            if refused := self._refused(request):
                return refused
            with kept(request):
                return await handler(request)

        return check

    def _refused(self, request: web.Request) -> web.Response | None:
        ways = self._ways.names
        if ways and not self._is_known(request):
            wanted = "; or ".join(_WAYS[way] for way in ways)
            return refusal(401, f"It is not known who asks: {wanted}.", _CHALLENGE)
        if not ways and not request.secure and not is_private(request.host):
            return refusal(
                403,
                f'Host: "{request.host[:64]}" may be anybody\'s name for this address; ask by'
                " IP address, or start Spanway with --admin-token-file.",
            )
        return None

    def _is_known(self, request: web.Request) -> bool:
        if self._ways.has_client_ca and request.get_extra_info("peercert"):
            return True
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._is_token(token)
        return bool(self._ways.token) and _is_same(request.cookies.get(COOKIE, ""), self._cookie)

    def _is_token(self, given: str) -> bool:
        return bool(self._ways.token) and _is_same(given.strip(), self._ways.token)

    async def _session(self, request: web.Request) -> web.Response:
        """What is wanted, and whether it is given."""
        ways = self._ways.names
        return web.json_response({"ways": ways, "is_open": not ways or self._is_known(request)})

    async def _log_in(self, request: web.Request) -> web.Response:
        try:
            given = msgspec.json.decode(await _body(request), type=_LogIn).token
        except TimeoutError:
            return refusal(
                408, f"The body did not come within {LOG_IN_S_MAX:g} s; send it at once."
            )
        except msgspec.MsgspecError:
            return refusal(400, 'The body is not {"token": "…"}; send the token so.')
        if not self._is_token(given):
            return refusal(403, "token: it is another one; look into the file of the running one.")
        response = web.json_response({"ways": self._ways.names, "is_open": True})
        response.set_cookie(
            COOKIE,
            self._cookie,
            max_age=COOKIE_S,
            httponly=True,
            samesite="Strict",
            secure=request.secure,
        )
        return response


async def _body(request: web.Request) -> bytes:
    """The beginning of it, up to one byte more than it may have. Raises TimeoutError."""
    body = b""
    async with asyncio.timeout(LOG_IN_S_MAX):
        while chunk := await request.content.read(LOG_IN_BYTES_MAX + 1 - len(body)):
            body += chunk
    return body


class _LogIn(msgspec.Struct):
    token: str


def is_private(host: str) -> bool:
    """A Host header's value names no host that somebody could have in public DNS."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    name = name.lower().rstrip(".")
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return "." not in name or name.endswith(_PRIVATE_SUFFIXES)
    return True


def refusal(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """An answer that says what is wrong, as all of the API's do."""
    return web.json_response({"error": message}, status=status, headers=headers)


def _is_open(path: str) -> bool:
    return path in _OPEN or path.startswith(_OPEN_PREFIX)


def _is_same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(errors="surrogateescape"), wanted.encode())


async def _secure(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)

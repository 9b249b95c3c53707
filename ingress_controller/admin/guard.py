"""Who may ask the admin server, and what a browser may do with the answers.

Rules: one middleware for all routes. Without a token whoever reaches the address may read, as with
other proxies; a page of somebody else's must not do so through a browser that reaches it (DNS
rebinding), so a Host that could be in public DNS is refused. With a token that cannot happen, since
neither the header nor the cookie is sent for another name. No answer allows another
origin, and what can be sent here (spans) has a content type that a browser asks about before.
Source: Content Security Policy Level 3; Fetch, "CORS protocol"; RFC 6265bis, SameSite.
"""

import hashlib
import hmac
import ipaddress

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

COOKIE = "spanway-admin"
COOKIE_S = 30 * 24 * 3600  # how long a browser keeps it; a new token ends it at once
TOKEN_REQUEST_BYTES_MAX = 8 * 1024  # of what a log-in sends; a token has at most 4 KiB

_PRIVATE_SUFFIXES = (".localhost", ".local", ".svc", ".internal")
"""Names that are in no public DNS: RFC 6761, RFC 6762, Kubernetes' Services, ICANN's reserved."""

_OPEN = frozenset({"/", "/livez", "/readyz", "/api/session"})
_OPEN_PREFIX = "/ui/"
"""Answered to everybody: probes have no token, the page has to ask for it, and nothing is told."""

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


class Guard:
    """`token` is empty where none is wanted."""

    def __init__(self, token: str = "") -> None:
        self._token = token
        # What a browser keeps does not tell the token, and is the same for all replicas.
        self._cookie = hmac.digest(token.encode(), COOKIE.encode(), hashlib.sha256).hex()

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
            if not self._token and not is_private(request.host):
                return refusal(
                    403,
                    f'Host: "{request.host[:64]}" may be anybody\'s name for this address; ask by'
                    " IP address, or start Spanway with --admin-token-file.",
                )
            if self._token and not self._is_known(request):
                return refusal(
                    401,
                    "Authorization: a token is needed; send `Bearer` and what is in the file of"
                    " --admin-token-file.",
                    {"WWW-Authenticate": "Bearer"},
                )
            return await handler(request)

        return check

    def _is_known(self, request: web.Request) -> bool:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return _is_same(token.strip(), self._token)
        return _is_same(request.cookies.get(COOKIE, ""), self._cookie)

    async def _session(self, request: web.Request) -> web.Response:
        """Whether a token is needed, and given."""
        is_open = not self._token or self._is_known(request)
        return web.json_response({"token_needed": bool(self._token), "is_open": is_open})

    async def _log_in(self, request: web.Request) -> web.Response:
        body = await request.content.read(TOKEN_REQUEST_BYTES_MAX)
        try:
            given = msgspec.json.decode(body, type=_LogIn).token
        except msgspec.MsgspecError:
            return refusal(400, 'The body is not {"token": "…"}; send the token so.')
        if not _is_same(given.strip(), self._token):
            return refusal(403, "token: it is another one; look into the file of the running one.")
        response = web.json_response({"token_needed": True, "is_open": True})
        response.set_cookie(
            COOKIE,
            self._cookie,
            max_age=COOKIE_S,
            httponly=True,
            samesite="Strict",
            secure=request.secure,
        )
        return response


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

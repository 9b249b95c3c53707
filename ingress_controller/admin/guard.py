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
from http import HTTPStatus
from typing import NamedTuple

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ingress_controller import shallow_json
from ingress_controller.admin.sealing import SESSION_S, Seal
from ingress_controller.delegated.access import Access, Asked, NotAllowedError
from ingress_controller.delegated.reviews import UndecidedError
from ingress_controller.delegated.tokens import Tokens
from ingress_controller.serving.refusals import AdminRefused, Reason, Refusals
from ingress_controller.serving.server import kept

COOKIE = "spanway-admin"
COOKIE_S = 30 * 24 * 3600  # how long a browser keeps it; a new token ends it at once
LOG_IN_BYTES_MAX = 8 * 1024  # of what a log-in sends; a token has at most 4 KiB
LOG_IN_S_MAX = 5.0  # for it to come: anybody may begin one

_PRIVATE_SUFFIXES = (".localhost", ".local", ".svc", ".internal")
"""Names that are in no public DNS: RFC 6761, RFC 6762, Kubernetes' Services, ICANN's reserved."""

_SESSION = "/api/session"
_OPEN = frozenset({"/", "/livez", "/readyz", _SESSION})
_OPEN_PREFIX = "/ui/"
"""Answered to everybody: probes have no token, the page has to ask for it, and nothing is told."""

_REASONS = {
    HTTPStatus.UNAUTHORIZED: Reason.UNKNOWN,
    HTTPStatus.FORBIDDEN: Reason.NOT_ALLOWED,
    HTTPStatus.SERVICE_UNAVAILABLE: Reason.UNDECIDED,
}
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


class Kubernetes(NamedTuple):
    """Who asks, and whether it may, by the API server's word; `seal` is for cookies of it."""

    tokens: Tokens
    access: Access
    seal: Seal


class Ways(msgspec.Struct, frozen=True):
    """How who asks may show that it may: any one of them; without one nobody has to.

    Attributes:
        token: to be known; empty for none.
        has_client_ca: TLS verifies the certificate of a client that shows one.
        kubernetes: a token of its users and accounts, by their rights; None for none.
    """

    token: str = ""
    has_client_ca: bool = False
    kubernetes: Kubernetes | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """For the page, which says what to do by them."""
        ways = {
            "token": self.token,
            "certificate": self.has_client_ca,
            "kubernetes": self.kubernetes,
        }
        return tuple(name for name, is_given in ways.items() if is_given)


NO_WAYS = Ways()
"""Whoever reaches the address may ask."""

_WAYS = {
    "token": "send `Authorization: Bearer` with what is in the file of --admin-token-file",
    "certificate": "show a certificate of the authority in --admin-client-ca",
    "kubernetes": "send `Authorization: Bearer` with a token of this Kubernetes",
}


class Guard:
    """Lets in who shows one of `ways`, and notes who does not."""

    def __init__(self, ways: Ways, refusals: Refusals | None = None) -> None:
        self._ways = ways
        self._refusals = refusals or Refusals(AdminRefused)
        # What a browser keeps does not tell the token, and is the same for all replicas.
        self._cookie = hmac.digest(ways.token.encode(), COOKIE.encode(), hashlib.sha256).hex()

    def add_to(self, app: web.Application) -> None:
        """Adds the middleware, the headers, and the log-in."""
        app.middlewares.append(self._middleware)
        app.on_response_prepare.append(_secure)
        app.router.add_get(_SESSION, self._session)
        app.router.add_post(_SESSION, self._log_in)

    @property
    def _middleware(self) -> Middleware:
        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            if _is_open(request.path):
                return await handler(request)
            if refused := await self._refused(request):
                self._note(refused, request)
                return refused
            with kept(request):
                return await handler(request)

        return check

    async def _refused(self, request: web.Request) -> web.Response | None:
        """Why who asks is not answered; None if it is."""
        if self._ways == NO_WAYS:
            return None if request.secure or is_private(request.host) else _strange(request.host)
        if self._ways.has_client_ca and request.get_extra_info("peercert"):
            return None
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return await self._refused_token(token.strip(), request)
        cookie = request.cookies.get(COOKIE, "")
        if self._ways.token and _is_same(cookie, self._cookie):
            return None
        kubernetes = self._ways.kubernetes
        sealed = kubernetes.seal.opened(cookie) if kubernetes is not None else ""
        return await self._refused_token(sealed, request)

    async def _refused_token(self, token: str, request: web.Request) -> web.Response | None:
        """The same of who knows `token`."""
        ways = self._ways
        if ways.token and _is_same(token, ways.token):
            return None
        try:
            user = await ways.kubernetes.tokens.user(token) if ways.kubernetes and token else None
            if user is None or ways.kubernetes is None:
                wanted = "; or ".join(_WAYS[way] for way in ways.names)
                return refusal(401, f"It is not known who asks: {wanted}.", _CHALLENGE)
            await ways.kubernetes.access.check(user, _asked(request))
        except NotAllowedError as err:
            return refusal(
                403, f"{err}; deploy/kubernetes/admin.yaml has a ClusterRole to bind to who may."
            )
        except UndecidedError as err:
            return refusal(503, f"Who asks, and what it may, cannot be found out now: {err}.")
        return None

    def _note(self, refused: web.Response, request: web.Request) -> None:
        is_strange = self._ways == NO_WAYS
        reason = Reason.STRANGE_HOST if is_strange else _REASONS[HTTPStatus(refused.status)]
        self._refusals.note(reason, request.remote or "")

    async def _session(self, request: web.Request) -> web.Response:
        """What is wanted, and whether it is given. 503: nobody knows."""
        refused = await self._refused(request) if self._ways != NO_WAYS else None
        if refused is not None and refused.status == HTTPStatus.SERVICE_UNAVAILABLE:
            return refused
        return web.json_response({"ways": self._ways.names, "is_open": refused is None})

    async def _log_in(self, request: web.Request) -> web.Response:
        try:
            token = shallow_json.read(await _body(request), _LogIn).token.strip()
        except TimeoutError:
            return refusal(
                408, f"The body did not come within {LOG_IN_S_MAX:g} s; send it at once."
            )
        except msgspec.DecodeError:
            return refusal(400, 'The body is not {"token": "…"}; send the token so.')
        if refused := await self._refused_token(token, request):
            self._note(refused, request)
            if refused.status != HTTPStatus.UNAUTHORIZED:
                return refused
            return refusal(403, "token: nobody here knows it; it may have ended, or be another's.")
        try:
            cookie, age_s = self._kept(token)
        except ValueError as err:
            return refusal(403, f"token: {err}; send it as `Authorization: Bearer` instead.")
        response = web.json_response({"ways": self._ways.names, "is_open": True})
        response.set_cookie(
            COOKIE,
            cookie,
            max_age=age_s,
            httponly=True,
            samesite="Strict",
            secure=request.secure,
        )
        return response

    def _kept(self, token: str) -> tuple[str, int]:
        """What a browser keeps of a token that is known, and for how long. Raises ValueError."""
        kubernetes = self._ways.kubernetes
        if kubernetes is None or (self._ways.token and _is_same(token, self._ways.token)):
            return self._cookie, COOKIE_S
        return kubernetes.seal.sealed(token), SESSION_S


def _asked(request: web.Request) -> Asked:
    """What somebody needs the right to, in Kubernetes' words.

    Paths of ours are below `/spanway`: everybody may get `/api/*` of the API server, by its own
    ClusterRole system:discovery. `/metrics` is what roles of a Prometheus have already. It is the
    route's path, without what is variable in it, so that few are asked about.
    """
    resource = request.match_info.route.resource
    path = resource.canonical.partition("{")[0] if resource is not None else "/"
    is_reading = request.method in ("GET", "HEAD") or path == _SESSION
    verb = "get" if is_reading else request.method.lower()
    return Asked(verb, path=path if path == "/metrics" else f"/spanway{path}")


def _strange(host: str) -> web.Response:
    return refusal(
        403,
        f'Host: "{host[:64]}" may be anybody\'s name for this address; ask by IP address, or start'
        " Spanway with --admin-token-file.",
    )


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

"""Health, the web page and the API under it: JSON over HTTP, no secrets, on loopback.

Rules: handlers read what others own and change nothing. Answers are built on request.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ingress_controller.admin import openapi
from ingress_controller.admin.analysis import AnalysisApi
from ingress_controller.admin.guard import NO_WAYS, Guard, Kubernetes, Ways, refusal
from ingress_controller.admin.jaeger import JaegerApi
from ingress_controller.admin.live import LiveApi
from ingress_controller.admin.metrics import Scraped, page
from ingress_controller.admin.otlp_receiver import OtlpReceiver
from ingress_controller.admin.page import add_page
from ingress_controller.admin.peer import PeerApi
from ingress_controller.admin.problems import explain, problems
from ingress_controller.admin.sealing import Seal
from ingress_controller.admin.traces import TracesApi
from ingress_controller.credentials import AdminAccess, secret_in
from ingress_controller.delegated.access import Access
from ingress_controller.delegated.reviews import Reviewer
from ingress_controller.delegated.tokens import Tokens
from ingress_controller.kubernetes_api import KubernetesApi
from ingress_controller.peers.live import LiveRequests
from ingress_controller.peers.peer import Identity
from ingress_controller.peers.peers import Peers
from ingress_controller.peers.stores import Stores
from ingress_controller.reconcile import Outcome
from ingress_controller.routing.explaining import Match
from ingress_controller.serving.refusals import AdminRefused, Reason, Refusals
from ingress_controller.serving.server import HttpServer, address_of, bound
from ingress_controller.serving.terms import FILES_S, Followed, content_of, server_context, text_of
from ingress_controller.telemetry.events import Event
from proxy.live import Query
from proxy.table import Backend, HeaderEdits, Host, RoutePolicy, RouteTable, Tracing

if TYPE_CHECKING:
    from ingress_controller.traces.store.store import Store

INDEX = """\
Spanway {version}: a browser gets the web page here

/livez          200 while the process works
/readyz         200 once requests are served as the objects say; else 503 and what is missing
/api/routes     the table in force: listeners, hosts, routes, backends with endpoints
/api/problems   what is wrong with objects, and what to do
/api/explain    which route answers a URL, and why: ?url=http://shop.example/cart
/api/live       the requests that are inside now: filters, order, counts; watch=1 goes on
/api/traces     the traces that are kept: search; /api/traces/ID is one; /api/values what to search
/api/analysis/… where their time went: latency, nodes, bottlenecks, compare, graph, path
/jaeger/api/…   the same as Jaeger answers it, for Grafana and others
/v1/traces      POST: applications' own spans, by OTLP/HTTP
/metrics        all that is counted, for Prometheus: text 0.0.4 or OpenMetrics with exemplars
/api/stats      counters of the data plane, the export and the cache
/api/config     the settings in force, without secrets
/api/openapi.json   all of this, for machines

Several replicas answer as one for live requests and traces; peers=false is this one alone.
"""

PATH_CHARACTERS_MAX = 256  # said back of one that is not there
_SCRAPES_MAX = 2  # at once; each may hold tens of megabytes, and Prometheus asks one at a time


class State(Scraped, Protocol):
    """What the server shows; the composition root gives it."""

    @property
    def version(self) -> str: ...

    @property
    def outcome(self) -> Outcome: ...

    @property
    def missing(self) -> tuple[str, ...]:
        """What keeps it from being ready, in words; empty when it is."""

    @property
    def stats(self) -> Mapping[str, Any]: ...

    @property
    def config(self) -> Sequence[msgspec.Struct]:
        """The settings in force, by group; no secret is in them."""

    @property
    def store(self) -> "Store | None": ...

    @property
    def own(self) -> Identity:
        """Who this replica is."""

    @property
    def peers(self) -> Peers | None:
        """The other ones, if it knows of any."""

    def live(self, query: Query) -> bytes:
        """A `Live` in JSON; blocks for milliseconds."""

    def explain(self, host: str, path: str) -> Match | None:
        """The route that the engine would take."""


class AdminUnusable(Event, frozen=True):
    """A file of the admin address cannot be used; what was in it before goes on."""

    level: ClassVar[int] = logging.WARNING
    reason: str


class AdminUsable(Event, frozen=True):
    """It is solved."""

    address: str


class _Terms(msgspec.Struct, frozen=True):
    """What connections are made by: what is in the files of `AdminAccess` now."""

    certificate: bytes
    client_ca: str
    token: str


class AdminServer:
    """Serves `state` at one address, to whom `access` lets in; with an `api`, also who is known to
    its server and may, as `access` says."""

    def __init__(self, state: State, access: AdminAccess, api: KubernetesApi | None = None) -> None:
        self._state = state
        self._access = access
        self._reviewer = Reviewer(api, "deploy/kubernetes/admin.yaml") if api is not None else None
        self._own_seal = Seal()
        self._refusals = Refusals(AdminRefused)
        self._http = HttpServer(self._refusals.note)
        self._address = ""
        self._followed = Followed[_Terms](
            self._serve, AdminUnusable, lambda: AdminUsable(self._address)
        )

    @property
    def refused(self) -> Mapping[Reason, int]:
        """How often somebody was not answered since the start, by why."""
        return self._refusals.counts

    async def start(self, address: str, listening: socket.socket | None = None) -> str:
        """Listens on `address`; returns it with the port that port 0 became. `run` serves.

        Args:
            listening: a socket that is bound to it already; else one is opened.
        Raises:
            OSError: the address cannot be bound. ValueError: a file cannot be used.
        """
        await self._followed.begin(self._terms())
        listening = listening or bound(address)
        self._address = address_of(address, listening)
        self._http.listen(listening)
        return self._address

    async def run(self) -> None:
        """Serves, once it has started, and follows the files, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._http.run())
            while True:
                await asyncio.sleep(FILES_S)
                if self._address:
                    await self._followed.look(self._terms)

    def duplicate(self) -> socket.socket | None:
        """A duplicate of the listening socket, for another process; None if not started."""
        return self._http.duplicate()

    async def stop(self) -> None:
        """Answers what is under way, then closes. Does nothing if not started."""
        await self._http.stop()

    def _terms(self) -> _Terms:
        """As they are now. Raises ValueError."""
        access = self._access
        token = secret_in(access.token_file) if access.token_file is not None else access.token
        return _Terms(
            content_of(access.certificate) if access.certificate is not None else b"",
            text_of(access.client_ca) if access.client_ca is not None else "",
            token.text,
        )

    async def _serve(self, terms: _Terms) -> None:
        """Raises ValueError: the terms cannot be used."""
        certificate = self._access.certificate
        context = server_context(certificate, terms.client_ca) if certificate is not None else None
        ways = Ways(terms.token, bool(terms.client_ca), self._kubernetes(terms))
        await self._http.change(application(self._state, ways, self._refusals), context)
        if self._state.peers is not None:
            await self._state.peers.close()  # they have a certificate like the new one

    def _kubernetes(self, terms: _Terms) -> Kubernetes | None:
        """Answers that it has begin anew with the terms."""
        if self._reviewer is None or not self._access.has_kubernetes:
            return None
        seal = Seal(terms.token) if terms.token else self._own_seal
        return Kubernetes(
            Tokens(self._reviewer, self._access.audience), Access(self._reviewer), seal
        )


def application(
    state: State, ways: Ways = NO_WAYS, refusals: Refusals | None = None
) -> web.Application:
    """The routes, for `AdminServer` and for tests; who is not let in is noted in `refusals`."""

    def json(answer: Callable[[], Any]) -> Callable[[web.Request], Any]:
        async def respond(_: web.Request) -> web.Response:
            body = msgspec.json.format(msgspec.json.encode(answer()), indent=2)
            return web.Response(body=body + b"\n", content_type="application/json")

        return respond

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    scrapes = asyncio.Semaphore(_SCRAPES_MAX)

    async def metrics(request: web.Request) -> web.Response:
        accept = request.headers.get("Accept", "")
        encodings = request.headers.get("Accept-Encoding", "")
        async with scrapes:
            made = await asyncio.to_thread(page, state, state.readings, accept, encodings)
        headers = {"Content-Type": made.content_type, "Vary": "Accept, Accept-Encoding"}
        if made.is_gzipped:
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=made.body, headers=headers)

    async def readyz(_: web.Request) -> web.Response:
        missing = state.missing
        if not missing:
            return web.Response(text="ok\n")
        text = "".join(f"waiting for {what}\n" for what in missing)
        return web.Response(status=503, text=text)

    app = web.Application()
    Guard(ways, refusals).add_to(app)
    app.middlewares.append(_saying_what_there_is(state.version))
    add_page(app, INDEX.format(version=state.version))
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/api/routes", json(lambda: routes(state.outcome.table)))
    app.router.add_get("/api/problems", json(lambda: problems(state.outcome)))
    app.router.add_get("/api/explain", explain(lambda: state.outcome, state.explain))
    live = LiveRequests(state.live, state.store, own=state.own, peers=state.peers)
    app.router.add_get("/api/live", LiveApi(live).serve)
    PeerApi(state.own, live, state.store).add_to(app)
    stores = Stores(state.store, state.peers) if state.store is not None else None
    for api in (TracesApi(stores), AnalysisApi(stores), JaegerApi(stores)):
        api.add_to(app)
    OtlpReceiver(state.store).add_to(app)
    app.router.add_get("/api/stats", json(lambda: state.stats))
    app.router.add_get(
        "/api/config", json(lambda: {"version": state.version, "groups": state.config})
    )
    app.router.add_get("/api/openapi.json", json(lambda: openapi.document(state.version)))
    return app


def _saying_what_there_is(version: str) -> Middleware:
    """A path or method that is not there is answered as all errors are."""

    @web.middleware
    async def respond(request: web.Request, handler: Handler) -> web.StreamResponse:
        path = request.path[:PATH_CHARACTERS_MAX]
        try:
            return await handler(request)
        except web.HTTPMethodNotAllowed as err:
            allowed = ", ".join(sorted(err.allowed_methods))
            return refusal(405, f"{path} takes {allowed}.", {"Allow": allowed})
        except web.HTTPNotFound:
            return refusal(404, f"{path} is not here: / lists what Spanway {version} has.")

    return respond


def routes(table: RouteTable) -> dict[str, Any]:
    """The table by name; a host's routes in order of precedence, backends with their endpoints.

    Of certificates only the keys' names, of header edits only the headers' names: values may be
    credentials. Authorities and the key of debug headers are shown as being there.
    """
    return {
        "generation": table.generation,
        "tracing": _tracing(table.tracing),
        "listeners": table.listeners,
        "hosts": [_host(table.hosts[name]) for name in sorted(table.hosts)],
        "policies": {key: _policy(table.policies[key]) for key in sorted(table.policies)},
        "backends": [_backend(table.backends[key]) for key in sorted(table.backends)],
        "certificates": sorted(table.certificates),
        "locality": table.locality,
    }


def _tracing(tracing: Tracing) -> dict[str, Any]:
    return msgspec.structs.asdict(tracing) | {"debug_key": _given(tracing.debug_key)}


def _host(host: Host) -> dict[str, Any]:
    shown: dict[str, Any] = {"host": host.name or "*", "routes": host.routes}
    if host.tls is not None:
        tls = msgspec.structs.asdict(host.tls)
        shown["tls"] = tls | {"client_ca": _given(host.tls.client_ca)}
    return shown


def _policy(policy: RoutePolicy) -> dict[str, Any]:
    edits = {
        "request_headers": _edits(policy.request_headers),
        "response_headers": _edits(policy.response_headers),
    }
    return msgspec.structs.asdict(policy) | edits


def _edits(edits: HeaderEdits) -> dict[str, Any]:
    return {
        "remove": edits.remove,
        "set": [name for name, _ in edits.set],
        "add": [name for name, _ in edits.add],
    }


def _backend(backend: Backend) -> dict[str, Any]:
    shown = {"key": backend.key, **msgspec.structs.asdict(backend)}
    if backend.tls is not None:
        shown["tls"] = msgspec.structs.asdict(backend.tls) | {"ca": _given(backend.tls.ca)}
    return shown


def _given(text: str) -> str:
    return "given" if text else ""

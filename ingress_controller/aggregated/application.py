"""Who asks what at which path: authenticated, then authorized, then answered.

Rules: nothing is answered but health before both; whatever cannot be answered is a Status.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from aiohttp import web
from aiohttp.typedefs import Handler

from ingress_controller.aggregated.discovery import Document, discovery
from ingress_controller.aggregated.front_proxy import FrontProxy
from ingress_controller.aggregated.kinds import ROOT, Kind
from ingress_controller.aggregated.list_options import is_watch
from ingress_controller.aggregated.openapi import openapi
from ingress_controller.aggregated.status_error import (
    GROUP,
    VERSION,
    StatusError,
    forbidden,
    undecided,
)
from ingress_controller.delegated.access import Access, Asked, NotAllowedError
from ingress_controller.delegated.reviews import UndecidedError
from ingress_controller.delegated.user import User
from ingress_controller.serving.refusals import Reason, Refusals
from ingress_controller.serving.server import kept

_ANSWERED = (
    *(StatusError, NotAllowedError, UndecidedError),
    *(web.HTTPNotFound, web.HTTPMethodNotAllowed),
)
_HEALTH = ("/healthz", "/livez", "/readyz")
_USER = web.RequestKey("user", User)


class Resource(Protocol):
    """The objects of one kind. An empty namespace is all of them; of a cluster's own kind it always
    is. Both raise StatusError."""

    @property
    def kind(self) -> Kind[Any]: ...

    async def get(self, request: web.Request, namespace: str, name: str) -> web.Response: ...

    async def list(self, request: web.Request, namespace: str) -> web.StreamResponse:
        """Also a watch, if its verbs have that."""

    def stop(self) -> None:
        """Watches end, as they do now and then anyway."""


def application(
    resources: Sequence[Resource],
    access: Access,
    front_proxy: FrontProxy | None,
    refusals: Refusals,
) -> web.Application:
    """The routes; `front_proxy` is whom to believe, if that is known. Who is not let in is noted in
    `refusals`."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if request.path not in _HEALTH:
                request[_USER] = _authenticated(request, front_proxy)
                with kept(request):
                    return await handler(request)
            return await handler(request)
        except _ANSWERED as err:
            if reason := _reason(err):
                refusals.note(reason, request.remote or "")
            return _status(request, err).response()

    async def health(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    def document(of: Callable[[str], Document]) -> Handler:
        async def respond(request: web.Request) -> web.Response:
            await access.check(request[_USER], Asked("get", path=request.path))
            return _document(request, of(request.headers.get("Accept", "")))

        return respond

    app = web.Application(middlewares=[guarded])
    for path in _HEALTH:
        app.router.add_get(path, health)
    kinds = [resource.kind for resource in resources]
    for path, of in {**discovery(kinds), **openapi(kinds)}.items():
        app.router.add_get(path, document(of))
    for resource in resources:
        _add_objects(app, resource, access)
    return app


def _add_objects(app: web.Application, resource: Resource, access: Access) -> None:
    plural = resource.kind.plural

    def wanted(verb: str, namespace: str, name: str = "") -> Asked:
        return Asked(verb, plural, namespace, name, group=GROUP, version=VERSION)

    async def objects(request: web.Request) -> web.StreamResponse:
        namespace = request.match_info.get("namespace", "")
        verb = "watch" if is_watch(request.query) else "list"
        await access.check(request[_USER], wanted(verb, namespace))
        if verb not in resource.kind.verbs:
            raise StatusError(405, "MethodNotAllowed", f"{plural} cannot be watched; list them")
        return await resource.list(request, namespace)

    async def one(request: web.Request) -> web.StreamResponse:
        namespace, name = request.match_info.get("namespace", ""), request.match_info["name"]
        await access.check(request[_USER], wanted("get", namespace, name))
        return await resource.get(request, namespace, name)

    scopes = ("", "/namespaces/{namespace}") if resource.kind.is_namespaced else ("",)
    for scope in scopes:
        app.router.add_get(f"{ROOT}{scope}/{plural}", objects)
        app.router.add_get(f"{ROOT}{scope}/{plural}/{{name}}", one)


def _authenticated(request: web.Request, front_proxy: FrontProxy | None) -> User:
    if front_proxy is None:
        raise UndecidedError("whom to believe is not known yet")
    user = front_proxy.user(_common_name(request), request.headers)
    if user is None:
        raise StatusError(401, "Unauthorized", "ask by way of the API server: kubectl get requests")
    return user


def _reason(err: Exception) -> Reason | None:
    """Why somebody was not let in; None if it is something else."""
    match err:
        case StatusError(code=401):
            return Reason.UNKNOWN
        case NotAllowedError():
            return Reason.NOT_ALLOWED
        case UndecidedError():
            return Reason.UNDECIDED
    return None


def _status(request: web.Request, err: Exception) -> StatusError:
    """What one of `_ANSWERED` is to Kubernetes."""
    match err:
        case StatusError():
            return err
        case NotAllowedError():
            return forbidden(err)
        case UndecidedError():
            return undecided(err)
        case web.HTTPNotFound():
            return StatusError(404, "NotFound", f"there is nothing at {request.path}")
    message = f"this is for looking at: {request.method} is not possible"
    return StatusError(405, "MethodNotAllowed", message)


def _common_name(request: web.Request) -> str | None:
    """Of the client's certificate, which TLS has verified; None if it has none."""
    certificate = request.get_extra_info("peercert")
    if not certificate:
        return None
    subject = (pair for part in certificate.get("subject", ()) for pair in part)
    return next((value for name, value in subject if name == "commonName"), "")


def _document(request: web.Request, document: Document) -> web.Response:
    headers = {"ETag": document.etag, "Vary": "Accept", "Cache-Control": "no-cache"}
    if request.headers.get("If-None-Match") == document.etag:
        return web.Response(status=304, headers=headers)
    headers["Content-Type"] = document.content_type
    return web.Response(body=document.body, headers=headers)

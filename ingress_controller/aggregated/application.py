"""Who asks what at which path: authenticated, then authorized, then answered.

Rules: nothing is answered but health before both; whatever cannot be answered is a Status.
"""

from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Handler

from ingress_controller.aggregated import documents
from ingress_controller.aggregated.access import Access, Asked
from ingress_controller.aggregated.documents import Document
from ingress_controller.aggregated.front_proxy import FrontProxy
from ingress_controller.aggregated.list_options import list_options
from ingress_controller.aggregated.requests import RESOURCE, Requests
from ingress_controller.aggregated.status_error import GROUP, StatusError

_HEALTH = ("/healthz", "/livez", "/readyz")
_OBJECTS = f"{documents.ROOT}/{RESOURCE}"
_OBJECTS_OF_NAMESPACE = f"{documents.ROOT}/namespaces/{{namespace}}/{RESOURCE}"


def application(
    requests: Requests, access: Access, front_proxy: Callable[[], FrontProxy | None]
) -> web.Application:
    """The routes; `front_proxy` says whom to believe now."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if request.path not in _HEALTH:
                await _admit(request, front_proxy(), access)
            return await handler(request)
        except StatusError as err:
            return err.response()
        except web.HTTPNotFound:
            return StatusError(404, "NotFound", f"there is nothing at {request.path}").response()
        except web.HTTPMethodNotAllowed:
            message = f"live requests are for looking at: {request.method} is not possible"
            return StatusError(405, "MethodNotAllowed", message).response()

    async def health(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def objects(request: web.Request) -> web.StreamResponse:
        return await requests.list(request, request.match_info.get("namespace", ""))

    async def one(request: web.Request) -> web.StreamResponse:
        found = request.match_info
        return await requests.get(request, found.get("namespace", ""), found["name"])

    async def groups(request: web.Request) -> web.Response:
        return _document(request, documents.groups(request.headers.get("Accept", "")))

    app = web.Application(middlewares=[guarded])
    for path in _HEALTH:
        app.router.add_get(path, health)
    app.router.add_get("/apis", groups)
    app.router.add_get(f"/apis/{GROUP}", _fixed(documents.GROUP_DOCUMENT))
    app.router.add_get(documents.ROOT, _fixed(documents.RESOURCES))
    app.router.add_get("/openapi/v2", _fixed(documents.OPENAPI_V2))
    app.router.add_get("/openapi/v3", _fixed(documents.OPENAPI_V3_ROOT))
    app.router.add_get(f"/openapi/v3{documents.ROOT}", _fixed(documents.OPENAPI_V3))
    for path in (_OBJECTS, _OBJECTS_OF_NAMESPACE):
        app.router.add_get(path, objects)
        app.router.add_get(f"{path}/{{name}}", one)
    return app


async def _admit(request: web.Request, front_proxy: FrontProxy | None, access: Access) -> None:
    """Returns if who asks is known, and may."""
    if front_proxy is None:
        raise StatusError(503, "ServiceUnavailable", "whom to believe is not known yet")
    user = front_proxy.user(_common_name(request), request.headers)
    if user is None:
        raise StatusError(401, "Unauthorized", "ask by way of the API server: kubectl get requests")
    await access.check(user, _asked(request))


def _common_name(request: web.Request) -> str | None:
    """Of the client's certificate, which TLS has verified; None if it has none."""
    certificate = request.get_extra_info("peercert")
    if not certificate:
        return None
    subject = (pair for part in certificate.get("subject", ()) for pair in part)
    return next((value for name, value in subject if name == "commonName"), "")


def _asked(request: web.Request) -> Asked:
    path = request.match_info.route.resource
    found = request.match_info
    if path is None or not path.canonical.startswith((_OBJECTS, _OBJECTS_OF_NAMESPACE)):
        return Asked(request.method.lower(), path=request.path)
    name = found.get("name", "")
    verb = "get" if name else "watch" if list_options(request.query).is_watch else "list"
    return Asked(verb, RESOURCE, found.get("namespace", ""), name)


def _fixed(document: Document) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def respond(request: web.Request) -> web.Response:
        return _document(request, document)

    return respond


def _document(request: web.Request, document: Document) -> web.Response:
    headers = {"ETag": document.etag, "Vary": "Accept", "Cache-Control": "no-cache"}
    if request.headers.get("If-None-Match") == document.etag:
        return web.Response(status=304, headers=headers)
    headers["Content-Type"] = document.content_type
    return web.Response(body=document.body, headers=headers)

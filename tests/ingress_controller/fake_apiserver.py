"""A fake of the Kubernetes API server, over real HTTP: lists, watches, and ways to misbehave.

It knows only what is asked of it here. The tests under tests/real use a real one.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from kubernetes_asyncio import client

from ingress_controller.kubernetes_api import KubernetesApi

Json = dict[str, Any]

COLLECTIONS = {
    "Ingress": "/apis/networking.k8s.io/v1/ingresses",
    "IngressClass": "/apis/networking.k8s.io/v1/ingressclasses",
    "Service": "/api/v1/services",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/endpointslices",
    "Secret": "/api/v1/secrets",
    "ConfigMap": "/api/v1/namespaces/kube-system/configmaps",
    "TracingPolicy": "/apis/spanway.io/v1alpha1/tracingpolicies",
}


NESTED = "<nested>"
"""In an object: JSON that is nested 5,000 levels deep, as the real server takes it."""


class FakeApiserver:
    """Objects by collection and `namespace/name`; `version` grows by one with each change."""

    def __init__(self) -> None:
        self.version = 100
        self.objects: dict[str, dict[str, Json]] = {path: {} for path in COLLECTIONS.values()}
        self.denied: set[str] = set()
        self.requests: list[tuple[str, str, Any]] = []
        self.answers: dict[tuple[str, str], tuple[int, Json]] = {}
        self._events: list[tuple[int, str, Json]] = []
        self._oldest = 0
        self._changed = asyncio.Condition()
        self._cut: dict[str, bytes] = {}
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._respond)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def put(self, raw: Json) -> None:
        path, name = self._place(raw)
        kind = "MODIFIED" if name in self.objects[path] else "ADDED"
        await self._record(path, name, kind, raw)

    async def delete(self, raw: Json) -> None:
        path, name = self._place(raw)
        await self._record(path, name, "DELETED", raw)

    async def bookmark(self, kind: str) -> None:
        """Tells watchers the newest version, as if other resources had changed since."""
        self.version += 50
        raw = {"kind": kind, "metadata": {"resourceVersion": str(self.version)}}
        await self._tell(COLLECTIONS[kind], "BOOKMARK", raw)

    def forget(self) -> None:
        """Compacts: versions before now are gone, and a watch from one gets 410."""
        self._oldest = self.version

    async def cut(self, kind: str, rest: bytes = b"") -> None:
        """Ends the watches of `kind` after sending `rest`, without ending the response."""
        self._cut[COLLECTIONS[kind]] = rest
        async with self._changed:
            self._changed.notify_all()

    def watches(self, kind: str) -> list[str]:
        """The versions that watches of `kind` began with, so far."""
        path = COLLECTIONS[kind]
        return [
            query["resourceVersion"]
            for method, asked, query in self.requests
            if method == "GET" and asked == path and "watch" in query
        ]

    def lists(self, kind: str) -> int:
        path = COLLECTIONS[kind]
        return sum(
            asked == path and "watch" not in query
            for m, asked, query in self.requests
            if m == "GET"
        )

    @staticmethod
    def _place(raw: Json) -> tuple[str, str]:
        metadata = raw["metadata"]
        return COLLECTIONS[raw["kind"]], f"{metadata.get('namespace', '')}/{metadata['name']}"

    async def _record(self, path: str, name: str, kind: str, raw: Json) -> None:
        self.version += 1
        raw = {**raw, "metadata": {**raw["metadata"], "resourceVersion": str(self.version)}}
        if kind == "DELETED":
            del self.objects[path][name]
        else:
            self.objects[path][name] = raw
        await self._tell(path, kind, raw)

    async def _tell(self, path: str, kind: str, raw: Json) -> None:
        self._events.append((self.version, path, {"type": kind, "object": raw}))
        async with self._changed:
            self._changed.notify_all()

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        path, query = request.path, dict(request.query)
        body = await request.json() if request.can_read_body else query
        self.requests.append((request.method, path, body))
        if path in self.denied:
            return _status(403, "Forbidden", "nope")
        if (request.method, path) in self.answers:
            status, answer = self.answers[request.method, path]
            return web.json_response(answer, status=status)
        if path not in self.objects:
            return _status(404, "NotFound", path)
        if "watch" in query:
            return await self._watch(request, path, int(query["resourceVersion"] or 0))
        return self._list(path, query)

    def _list(self, path: str, query: dict[str, str]) -> web.Response:
        items = [raw for raw in self.objects[path].values() if _is_selected(raw, query)]
        begin, limit = int(query.get("continue", 0)), int(query["limit"])
        metadata = {"resourceVersion": str(self.version)}
        if begin + limit < len(items):
            metadata["continue"] = str(begin + limit)
        page = {"metadata": metadata, "items": items[begin : begin + limit]}
        return web.json_response(page, dumps=_dumps)

    async def _watch(self, request: web.Request, path: str, since: int) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        if since < self._oldest:
            gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
            await response.write(_line({"type": "ERROR", "object": gone}))
            return response
        self._cut.pop(path, None)
        while True:
            for version, of, event in self._events:
                if version > since and of == path:
                    if _is_selected(event["object"], dict(request.query)):
                        await response.write(_line(event))
                    since = version
            if path in self._cut:
                await response.write(self._cut.pop(path))
                assert request.transport is not None
                request.transport.close()
                return response
            async with self._changed:
                await self._changed.wait()


def _is_selected(raw: Json, query: dict[str, str]) -> bool:
    """Knows `metadata.name=X`, `type=X`, `type!=X` and `label=value`."""
    field = query.get("fieldSelector", "")
    if field.startswith("metadata.name="):
        return field == f"metadata.name={raw['metadata']['name']}"
    label, _, value = query.get("labelSelector", "").partition("=")
    wanted = field.rpartition("=")[2]
    is_type = raw.get("type") == wanted
    has_label = not label or (raw["metadata"].get("labels") or {}).get(label) == value
    return has_label and (not field or is_type is ("!=" not in field))


def _line(event: Json) -> bytes:
    return _dumps(event).encode() + b"\n"


def _dumps(of: Json) -> str:
    return json.dumps(of).replace(f'"{NESTED}"', '{"f:a":' * 5_000 + "1" + "}" * 5_000)


def _status(code: int, reason: str, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "reason": reason, "message": message}, status=code)


@asynccontextmanager
async def running() -> AsyncIterator[tuple[FakeApiserver, KubernetesApi]]:
    """The fake, and an API to talk to it."""
    server = FakeApiserver()
    await server.start()
    api = client.ApiClient(client.Configuration(host=f"http://127.0.0.1:{server.port}"))
    try:
        yield server, KubernetesApi(api)
    finally:
        await api.close()
        await server.stop()

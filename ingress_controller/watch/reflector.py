"""List and watch of one resource: after a complete list, every change in order, without a gap.

Rules: a list replaces what the cache has of the resource, so a change that was missed is seen then.
A watch goes on from the last version seen, bookmarks included; the server's 410 means that it has
forgotten that version, and leads to a new list. While the server is away the cache keeps serving.
A kind of our own that the cluster does not have, or
does not let us read, is none: it is asked for again now and then, and nothing waits for it.
Source: Kubernetes API concepts, "Efficient detection of changes"; client-go's Reflector.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import msgspec

from ingress_controller import shallow_json
from ingress_controller.kubernetes_api import INTERRUPTIONS, ApiError, KubernetesApi, reason_of
from ingress_controller.model.decode import HeldObject, RawObject
from ingress_controller.model.problem import ObjectKey
from ingress_controller.telemetry.events import Event, emit
from ingress_controller.watch.cache import Cache

PAGE_OBJECTS = 500  # client-go's default
WATCH_S = 300  # client-go: 5 to 10 min; the server ends the watch then, so that watches spread
BACKOFF_FIRST_S = 0.2  # client-go: 0.8 s; a server that restarts is back soon
ABSENT_S = 60.0  # until a kind that is not installed is asked for again; a person is doing that
BACKOFF_S_MAX = 5.0  # client-go: 30 s; requests fail on stale endpoints meanwhile, so shorter
_NOT_FOUND = 404
_FORBIDDEN = 403
_GONE = 410
_DENIED = frozenset({401, _FORBIDDEN})


class Resource(msgspec.Struct, frozen=True):
    """One kind in the API. `group` is empty for the core group.

    One that `is_optional` need not be installed.
    `selectors` are query parameters that choose some of its objects, and `is_selected` knows them.
    """

    kind: str
    group: str
    plural: str
    is_namespaced: bool = True
    version: str = "v1"
    is_optional: bool = False
    selectors: tuple[tuple[str, str], ...] = ()
    is_selected: Callable[[RawObject], bool] = lambda _: True

    def path(self, namespace: str = "") -> str:
        """Of the collection, in one namespace or in all."""
        group = f"/apis/{self.group}" if self.group else "/api"
        scope = f"/namespaces/{namespace}" if namespace and self.is_namespaced else ""
        return f"{group}/{self.version}{scope}/{self.plural}"


class WatchInterrupted(Event, frozen=True):
    """The API server cannot be followed for now; what is known keeps serving."""

    level: ClassVar[int] = logging.WARNING
    resource: str
    namespace: str
    reason: str


class WatchResumed(Event, frozen=True):
    """It can again."""

    resource: str
    namespace: str


class Backoff:
    """Waits longer each time, up to a bound, each time a random part of it."""

    def __init__(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self.sleep = sleep
        self._delay_s = BACKOFF_FIRST_S

    async def wait(self) -> None:
        await self.sleep(self._delay_s * random.uniform(0.5, 1.0))
        self._delay_s = min(self._delay_s * 2, BACKOFF_S_MAX)

    def reset(self) -> None:
        self._delay_s = BACKOFF_FIRST_S


class Reflector:
    """Follows one resource in one namespace, or in all."""

    def __init__(
        self,
        api: KubernetesApi,
        resource: Resource,
        namespace: str,
        cache: Cache,
        *,
        backoff: Backoff | None = None,
    ) -> None:
        self._api = api
        self._resource = resource
        self._namespace = namespace
        self._cache = cache
        self._backoff = backoff or Backoff()
        self._version: str | None = None
        self._is_synced = False
        self._interruption = ""

    @property
    def missing(self) -> str:
        """Empty once a list is complete, for good: later interruptions leave what is known."""
        if self._is_synced:
            return ""
        where = f" in namespace {self._namespace}" if self._namespace else ""
        why = f" ({self._interruption})" if self._interruption else ""
        return f"{self._resource.plural}{where} of {self._api.server}{why}"

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                if self._version is None:
                    await self._list()
                await self._watch()
            except ApiError as err:
                if self._resource.is_optional and err.status in (_NOT_FOUND, _FORBIDDEN):
                    self._absent(err)
                    await self._backoff.sleep(ABSENT_S)
                    continue
                if err.status not in _DENIED:
                    self._version = None  # 410, or a version that the server cannot serve
                if err.status != _GONE:
                    self._interrupted(self._denied(err) if err.status in _DENIED else str(err))
            except (*INTERRUPTIONS, msgspec.DecodeError) as err:
                self._interrupted(reason_of(err))
            await self._backoff.wait()

    async def _list(self) -> None:
        objects: dict[ObjectKey, HeldObject] = {}
        query = {"limit": str(PAGE_OBJECTS), **dict(self._resource.selectors)}
        path = self._resource.path(self._namespace)
        while True:
            page = await self._api.request("GET", path, query=query)
            for item in page.get("items") or ():
                key, raw = self._object(item)
                objects[key] = raw
            token = page["metadata"].get("continue")
            if not token:
                break
            query["continue"] = token  # a 410 here starts the list again, from `run`
        self._version = page["metadata"].get("resourceVersion", "")
        self._held(objects)
        self._resumed()

    def _held(self, objects: dict[ObjectKey, HeldObject]) -> None:
        """These are all that there are."""
        self._cache.replace(
            objects,
            kind=self._resource.kind,
            namespace=self._namespace,
            is_selected=self._resource.is_selected,
        )
        if not self._is_synced:
            self._is_synced = True
            self._cache.touch()

    async def _watch(self) -> None:
        """Applies events until the server ends the watch, which it does every few minutes."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version or "",
            "timeoutSeconds": str(int(WATCH_S * random.uniform(1, 2))),
            **dict(self._resource.selectors),
        }
        async for line in self._api.lines(self._resource.path(self._namespace), query):
            if line.strip():
                self._apply(shallow_json.decode(line))
                self._backoff.reset()  # not after a list: its watch may be refused for ever
            self._resumed()

    def _apply(self, event: dict[str, Any]) -> None:
        raw = event["object"]
        if event["type"] == "ERROR":
            code, reason = int(raw.get("code", 500)), str(raw.get("reason", ""))
            raise ApiError(code, reason, str(raw.get("message", "")))
        if event["type"] != "BOOKMARK":
            key, stripped = self._object(raw)
            if event["type"] == "DELETED":
                self._cache.remove(key)
            else:
                self._cache.put(key, stripped)
        self._version = raw["metadata"]["resourceVersion"]

    def _object(self, raw: dict[str, Any]) -> tuple[ObjectKey, HeldObject]:
        metadata = raw["metadata"]
        metadata.pop("managedFields", None)  # often larger than the rest of the object
        key = ObjectKey(self._resource.kind, metadata.get("namespace", ""), metadata["name"])
        return key, msgspec.json.encode(raw)

    def _denied(self, err: ApiError) -> str:
        if err.status == 401:  # noqa: PLR2004 - HTTP's number
            return "the API server does not accept the credentials (401)"
        scope = f"a Role in namespace {self._namespace}" if self._namespace else "a ClusterRole"
        resource = self._resource
        return (
            f"access is denied (403): {scope} needs the rule apiGroups: [{resource.group!r}],"
            f" resources: [{resource.plural}], verbs: [list, watch];"
            " an API server that has just started says so until it has read its rules"
        )

    def _absent(self, err: ApiError) -> None:
        """There are none; that they may not be read is said once, that they do not exist is not."""
        self._held({})
        if err.status == _FORBIDDEN:
            self._interrupted(self._denied(err))
        self._version = None

    def _interrupted(self, reason: str) -> None:
        if reason != self._interruption:
            self._interruption = reason
            emit(WatchInterrupted(self._resource.plural, self._namespace or "*", reason))

    def _resumed(self) -> None:
        if self._interruption:
            self._interruption = ""
            emit(WatchResumed(self._resource.plural, self._namespace or "*"))

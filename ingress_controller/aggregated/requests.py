"""Live requests as objects: one, a list of them, or a watch.

Rules: the engine filters and orders, the oldest first; here its rows become answers. Who asks has
been found to be allowed to.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from ingress_controller.aggregated.forms import Writer, json_response, writer
from ingress_controller.aggregated.kinds import API_VERSION
from ingress_controller.aggregated.list_options import (
    LIST_ROWS_MAX,
    Continue,
    ListOptions,
    is_watch,
    list_options,
)
from ingress_controller.aggregated.request_kind import REQUEST
from ingress_controller.aggregated.status_error import StatusError, expired, not_found
from ingress_controller.aggregated.watching import Event, Known, Memory, changes
from ingress_controller.peers.live import ForgottenError, LiveRequests
from proxy.live import Condition, Field, Query, Row

WATCH_INTERVAL_S = 0.5  # between two looks; what lives shorter is nothing to watch
WATCHES_MAX = 16  # at once; more get 429

_ELSEWHERE = "it is over, in another namespace, or in a replica of Spanway that does not answer"


class Requests:
    """Answers as `instance`, of what is inside all replicas."""

    kind = REQUEST

    def __init__(self, live: LiveRequests, instance: str) -> None:
        self._live = live
        self._instance = instance
        self._memory = Memory()
        self._watches = 0
        self._is_stopping = asyncio.Event()

    def stop(self) -> None:
        """Watches end, as they do now and then anyway."""
        self._is_stopping.set()

    async def get(self, request: web.Request, namespace: str, name: str) -> web.Response:
        """One of them, in a namespace or in any.

        Raises:
            StatusError: there is none of that name.
        """
        named = (Condition(Field.ID, name), *_in_namespace(namespace))
        live = await self._live.ask(Query(named, limit=1))
        if not live.requests:
            raise not_found(REQUEST.plural, name, _ELSEWHERE)
        made = writer(REQUEST, request, self._instance)
        return json_response(made.one(live.requests[0], self._memory.new_version()), live.peers)

    async def list(self, request: web.Request, namespace: str) -> web.StreamResponse:
        """All of a namespace, or of all; with `watch` what changes of them.

        Raises:
            StatusError: a parameter is wrong, or what it goes on from is forgotten.
        """
        options = list_options(request.query)
        conditions = (*options.conditions, *_in_namespace(namespace))
        if is_watch(request.query):
            return await self._watch(request, options, conditions)
        part = options.part
        query = Query(conditions, limit=options.limit)
        try:
            live, places = await self._live.part(query, part.places if part is not None else {})
        except ForgottenError as err:
            raise expired("continue: another server began this list; begin anew") from err
        rows = live.requests
        version = part.version if part is not None else self._memory.new_version()
        # A part that goes on from another replica's first one is not all that the client knows.
        if part is None or self._memory.known(version, conditions) is not None:
            self._memory.add(version, conditions, rows)
        token = Continue(version, places).text() if len(rows) == options.limit else ""
        made = writer(REQUEST, request, self._instance)
        return json_response(made.many(rows, version, token), live.peers)

    async def _watch(
        self, request: web.Request, options: ListOptions, conditions: tuple[Condition, ...]
    ) -> web.StreamResponse:
        known = self._known(options, conditions)
        made = writer(REQUEST, request, self._instance)
        if self._watches >= WATCHES_MAX:
            raise StatusError(
                429, "TooManyRequests", f"{WATCHES_MAX} watch already; try again later"
            )
        self._watches += 1
        try:
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            await response.prepare(request)
            watch = _Watch(request, response, made, conditions)
            # It was to last so long, or whoever watched has left.
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(options.timeout_s):
                    await self._follow(watch, options, known)
            return response
        finally:
            self._watches -= 1

    def _known(self, options: ListOptions, conditions: tuple[Condition, ...]) -> Known:
        """What the client knows already."""
        if options.version in ("", "0") or options.sends_initial_events:
            return {}
        known = self._memory.known(options.version, conditions)
        if known is None:
            raise expired(
                f"resourceVersion: {options.version[:32]} is forgotten, or another server's;"
                " list anew"
            )
        return known

    async def _follow(self, watch: "_Watch", options: ListOptions, known: Known) -> None:
        wants_bookmark = options.sends_initial_events and options.wants_bookmarks
        while not self._is_stopping.is_set() and watch.is_open:
            live = await self._live.ask(Query(watch.conditions, limit=LIST_ROWS_MAX))
            events, known = changes(known, live)
            version = self._memory.new_version()
            await watch.send(events, version)
            if wants_bookmark:
                await watch.send_bookmark(version)
                wants_bookmark = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WATCH_INTERVAL_S):
                    await self._is_stopping.wait()


class _Watch:
    """The stream that somebody watches."""

    def __init__(
        self,
        request: web.Request,
        response: web.StreamResponse,
        writer: Writer[Row],
        conditions: tuple[Condition, ...],
    ) -> None:
        self._request = request
        self._response = response
        self._writer = writer
        self.conditions = conditions

    @property
    def is_open(self) -> bool:
        transport = self._request.transport
        return transport is not None and not transport.is_closing()

    async def send(self, events: Iterable[Event], version: str) -> None:
        """Writes the events, a line each. Raises ConnectionError when nobody listens any more."""
        lines = (
            _line({"type": event.type, "object": self._writer.one(event.row, version)})
            for event in events
        )
        if content := b"".join(lines):
            await self._response.write(content)

    async def send_bookmark(self, version: str) -> None:
        """Says that all that there was has been told."""
        about = {"resourceVersion": version, "annotations": {"k8s.io/initial-events-end": "true"}}
        mark = {"kind": REQUEST.name, "apiVersion": API_VERSION, "metadata": about}
        await self._response.write(_line({"type": "BOOKMARK", "object": mark}))


def _in_namespace(namespace: str) -> tuple[Condition, ...]:
    return (Condition(Field.NAMESPACE, namespace),) if namespace else ()


def _line(event: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(event) + b"\n"

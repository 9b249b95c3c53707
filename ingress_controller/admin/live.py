"""`/api/live`: which requests are inside now, or were at another moment, in all replicas.

Rules: the engine filters, orders and counts; here a URL becomes its question, and a wrong one a
sentence that names the parameter, its value and what to write instead. The past is the store's.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from ingress_controller.admin.parameters import (
    HEADERS,
    PEERS,
    ParameterError,
    answer,
    asks_peers,
    cut,
    duration_ns,
    given_once,
    one_of,
    refusal,
    refused,
    time_ns,
    whole_number,
)
from ingress_controller.admin.traces import NO_STORE
from ingress_controller.peers.live import SharedLive, merged
from ingress_controller.peers.peers import Asked, Peers, Told
from ingress_controller.peers.questions import LiveAsked
from ingress_controller.traces.past import live_at, requests_at
from ingress_controller.traces.store.queries import QuestionTooLargeError
from proxy.live import ROWS_MAX, Condition, Field, Kind, Live, Phase, Query, Sort

if TYPE_CHECKING:
    from ingress_controller.traces.store.store import Store

LIMIT = 100  # rows where nothing is said
LIMIT_MAX = 1_000  # rows: some 800 KiB of JSON; the counts are always of all
AGE_S_MAX = 86_400.0 * 365  # of what is asked for; nothing lives longer
WATCHERS_MAX = 16  # at once; more get 503
WATCH_S_MAX = 600.0  # then who watches asks anew, as who it is by then; kube-apiserver: 30 min
INTERVAL_S = 1.0  # between the answers of a watch, where nothing is said
INTERVAL_S_MIN = 0.2  # five a second: no eye is faster, and each asks every worker
INTERVAL_S_MAX = 60.0  # a proxy in between may close what is silent for longer
QUESTIONS_MAX = 4  # to the engine at once; more wait
PEERS_S_MAX = 3.0  # for other replicas, whose workers have two; then the answer is without them

_OTHERS = ("age_min", "sort", "order", "limit", "watch", "interval", "at", PEERS)
_CLOSED = {Field.PHASE: Phase, Field.KIND: Kind}


class NoPastError(Exception):
    """There is no store, so that only the present is known."""


class LiveApi:
    """Serves `/api/live`; `ask` is the engine's and blocks for milliseconds. Without a store the
    past is not known, without `peers` nobody else is asked. `name` is this replica's."""

    def __init__(
        self,
        ask: Callable[[Query], Live],
        store: "Store | None" = None,
        *,
        peers: Peers | None = None,
        name: str = "",
    ) -> None:
        self._ask = ask
        self._store = store
        self._name = name
        self._peers = peers
        self._questions = asyncio.Semaphore(QUESTIONS_MAX)
        self._watchers = 0

    async def ask(
        self, query: Query, at_ns: int | None = None, *, of_all: bool = True
    ) -> SharedLive:
        """What is inside all replicas, or was at a moment; `of_all` false: this one.

        Raises:
            NoPastError, QuestionTooLargeError: a moment cannot be told of.
        """
        own, others = await asyncio.gather(
            self.ask_own(query, at_ns), self._others(LiveAsked(query, at_ns), of_all=of_all)
        )
        return merged(query, (Told(self._name, own), *others.told), others.peers)

    async def ask_own(
        self, query: Query, at_ns: int | None = None, *, is_of_memory: bool = False
    ) -> Live:
        """The same of this replica; the event loop goes on meanwhile. With `is_of_memory` the past
        is only what is not in files yet."""
        async with self._questions:
            if at_ns is None:
                return await asyncio.to_thread(self._ask, query)
            now = await asyncio.to_thread(self._ask, Query(limit=ROWS_MAX))
        if self._store is None:
            raise NoPastError
        over = await self._store.ask(
            lambda asked: requests_at(asked, at_ns), end_ns=at_ns, is_of_memory=is_of_memory
        )
        return await asyncio.to_thread(live_at, query, at_ns, over, now)

    async def _others(self, asked: LiveAsked, *, of_all: bool) -> Asked[Live]:
        if self._peers is None or not of_all:
            return Asked((), ())
        return await self._peers.ask(asked, _read_live, PEERS_S_MAX)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One answer, or with `watch=1` one after the other as server-sent events."""
        parameters = list(request.query.items())
        try:
            query = read_query(parameters)
            interval_s = read_interval_s(parameters)
            at_ns = read_at_ns(parameters)
            of_all = asks_peers(request.query)
        except ParameterError as err:
            return refused(err)
        if interval_s is None:
            try:
                return answer(await self.ask(query, at_ns, of_all=of_all))
            except NoPastError:
                return refusal(404, f"at: {NO_STORE}")
            except QuestionTooLargeError as err:
                return refusal(503, f"at: {err}; try again later.")
        if self._watchers >= WATCHERS_MAX:
            return refusal(503, f"watch: {WATCHERS_MAX} watch already; ask without it, or later.")
        self._watchers += 1
        try:
            return await self._watch(request, query, interval_s, of_all=of_all)
        finally:
            self._watchers -= 1

    async def _watch(
        self, request: web.Request, query: Query, interval_s: float, *, of_all: bool
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=HEADERS | {"Content-Type": "text/event-stream"})
        await response.prepare(request)
        loop = asyncio.get_running_loop()
        until_s = loop.time() + WATCH_S_MAX
        try:
            while loop.time() < until_s:
                # JSON has no line end in it, so that each is one line of `data`.
                live = msgspec.json.encode(await self.ask(query, of_all=of_all))
                await response.write(b"event: live\ndata: " + live + b"\n\n")
                await asyncio.sleep(interval_s)
        except ConnectionError:  # who watched has left
            pass
        return response


def read_query(parameters: Iterable[tuple[str, str]]) -> Query:
    """The question that a URL's parameters ask.

    Raises:
        ParameterError: one of them is unknown, is there twice, or cannot be read.
    """
    given = given_once(parameters, [*Field, *_OTHERS])
    order = one_of("order", given.get("order", "desc"), _Order)
    return Query(
        conditions=tuple(_condition(field, given[field]) for field in Field if field in given),
        age_min_us=_age_us(given.get("age_min", "0")),
        sort=one_of("sort", given.get("sort", Sort.AGE), Sort),
        ascending=order is _Order.ASC,
        limit=whole_number("limit", given.get("limit", str(LIMIT)), 0, LIMIT_MAX),
    )


def read_interval_s(parameters: Iterable[tuple[str, str]]) -> float | None:
    """Seconds between the answers of a watch; None where it is none.

    Raises:
        ParameterError: as above.
    """
    given = dict(parameters)
    watch = given.get("watch", "0")
    if watch not in ("0", "1"):
        raise ParameterError("watch", cut(watch), "is neither 1 nor 0")
    text = given.get("interval", str(INTERVAL_S))
    try:
        interval_s = float(text)
    except ValueError:
        interval_s = 0.0
    if not INTERVAL_S_MIN <= interval_s <= INTERVAL_S_MAX:
        fix = f"is not a number of seconds from {INTERVAL_S_MIN:g} to {INTERVAL_S_MAX:g}"
        raise ParameterError("interval", cut(text), fix)
    return interval_s if watch == "1" else None


def read_at_ns(parameters: Iterable[tuple[str, str]]) -> int | None:
    """The moment that is asked about, in UTC nanoseconds; None for now.

    Raises:
        ParameterError: as above.
    """
    given = dict(parameters)
    if "at" not in given:
        return None
    at_ns = time_ns("at", given["at"])
    if at_ns > time.time_ns():
        raise ParameterError("at", cut(given["at"]), "is later than now")
    if given.get("watch") == "1":
        raise ParameterError("watch", "1", "is given beside at; what is over does not change")
    return at_ns


_read_live = msgspec.json.Decoder(Live).decode


class _Order(StrEnum):
    ASC = "asc"
    DESC = "desc"


def _condition(field: Field, text: str) -> Condition:
    value = text.removeprefix("!")
    if field in _CLOSED:
        one_of(field, value, _CLOSED[field])
    return Condition(field, value, negated=value != text)


def _age_us(text: str) -> int:
    return duration_ns("age_min", text, AGE_S_MAX) // 1_000

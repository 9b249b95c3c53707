"""`/api/live`: which requests are inside now, or were at another moment, in all replicas.

Rules: the engine filters, orders and counts; here a URL becomes its question, and a wrong one a
sentence that names the parameter, its value and what to write instead. The past is the store's.
"""

import asyncio
import time
from collections.abc import Iterable
from enum import StrEnum

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
from ingress_controller.peers.live import LiveRequests, NoPastError
from ingress_controller.traces.store.queries import QuestionTooLargeError
from proxy.live import Condition, Field, Kind, Phase, Query, Sort

LIMIT = 100  # rows where nothing is said
LIMIT_MAX = 1_000  # rows: some 800 KiB of JSON; the counts are always of all
AGE_S_MAX = 86_400.0 * 365  # of what is asked for; nothing lives longer
WATCHERS_MAX = 16  # at once; more get 503
WATCH_S_MAX = 600.0  # then who watches asks anew, as who it is by then; kube-apiserver: 30 min
INTERVAL_S = 1.0  # between the answers of a watch, where nothing is said
INTERVAL_S_MIN = 0.2  # five a second: no eye is faster, and each asks every worker
INTERVAL_S_MAX = 60.0  # a proxy in between may close what is silent for longer

_OTHERS = ("age_min", "sort", "order", "limit", "watch", "interval", "at", PEERS)
_CLOSED = {Field.PHASE: Phase, Field.KIND: Kind}


class LiveApi:
    """Serves `/api/live`."""

    def __init__(self, live: LiveRequests) -> None:
        self._live = live
        self._watchers = 0

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
                live = await self._live.ask_json(query, at_ns, of_all=of_all)
            except NoPastError:
                return refusal(404, f"at: {NO_STORE}")
            except QuestionTooLargeError as err:
                return refusal(503, f"at: {err}; try again later.")
            return answer(msgspec.Raw(live))
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
                live = await self._live.ask_json(query, of_all=of_all)
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

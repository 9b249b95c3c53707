"""`/api/traces`: which traces are in the store, and one of them whole.

Rules: a question to the store runs on a thread, a few at once, for a bounded time.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from ingress_controller.admin.parameters import (
    PEERS,
    WINDOW,
    ParameterError,
    Window,
    answer,
    asks_peers,
    cut,
    duration_ns,
    given_once,
    refusal,
    refused,
    trace_id_of,
    whole_number,
    window,
)
from ingress_controller.peers.peer import Answer, Peer, missing
from ingress_controller.peers.stores import Stores
from ingress_controller.traces.span import Span
from ingress_controller.traces.store.queries import (
    SPANS_MAX,
    TRACES_MAX,
    Field,
    QuestionTooLargeError,
    Search,
    TraceSummary,
    spans_of,
)

LIMIT = 20  # traces where nothing is said; Jaeger's page, too
DURATION_S_MAX = 86_400.0 * 30  # of what is asked for; WebSocket connections last for days

_OTHERS = (
    "service",
    "status",
    "text",
    "attribute",
    "min_duration",
    "max_duration",
    "error",
    "limit",
    PEERS,
    *WINDOW,
)
_FIELDS = {field.name.lower(): field for field in Field}
COLUMNS = ["service", *_FIELDS]
"""Of what there are values; a search has a parameter for each."""

_STATUS = re.compile(r"([1-5])(xx|[0-9]{2})")

NO_STORE = "There is no trace store here; start Spanway without --store off."


class ShownSpan(msgspec.Struct, frozen=True):
    """A span. `offset_ns` is from the trace's start, since JavaScript has no number for nanoseconds
    since 1970; `resource` is an index."""

    span_id: str
    parent_id: str
    name: str
    kind: str
    service: str
    scope: str
    resource: int
    offset_ns: int
    duration_ns: int
    status: str
    status_message: str
    attributes: Mapping[str, Any]
    events: tuple["ShownEvent", ...]
    links: tuple[tuple[str, str], ...]


class ShownEvent(msgspec.Struct, frozen=True):
    """An event of a span; `offset_ns` as there."""

    offset_ns: int
    name: str
    attributes: Mapping[str, Any]


class ShownTrace(Answer, frozen=True):
    """One trace, its spans in the order of their start. `is_cut`: it has more than are shown."""

    trace_id: str
    start_unix_us: int
    duration_ns: int
    services: tuple[str, ...]
    is_cut: bool
    resources: tuple[Mapping[str, Any], ...]
    spans: tuple[ShownSpan, ...]


class Found(Answer, frozen=True):
    """The newest traces that fit, and the time that was searched. `is_cut`: there may be more."""

    traces: tuple[TraceSummary, ...]
    is_cut: bool
    from_unix_us: int
    to_unix_us: int


class Values(Answer, frozen=True):
    """What spans say of `of`, most often said first."""

    of: str
    values: tuple[str, ...]


class TracesApi:
    """Serves them from `stores`, if there is one here."""

    def __init__(self, stores: Stores | None) -> None:
        self._stores = stores

    def add_to(self, app: web.Application) -> None:
        """Adds the routes."""
        app.router.add_get("/api/traces", self.search)
        app.router.add_get("/api/traces/{id}", self.trace)
        app.router.add_get("/api/values", self.values)

    async def search(self, request: web.Request) -> web.Response:
        """Summaries of the newest traces that fit."""
        if self._stores is None:
            return refusal(404, NO_STORE)
        try:
            wanted = read_search(request.query.items())
            found, peers = await asked_stores(self._stores, request.query).find(wanted)
        except ParameterError as err:
            return refused(err)
        except QuestionTooLargeError as err:
            return refusal(503, f"{err}; search a shorter time, or for more.")
        times = (wanted.start_ns // 1_000, wanted.end_ns // 1_000)
        return answer(Found(tuple(found.traces), found.is_cut, *times, peers=peers))

    async def trace(self, request: web.Request) -> web.Response:
        """One trace, as far as its spans came to one of the replicas."""
        if self._stores is None:
            return refusal(404, NO_STORE)
        try:
            wanted = trace_id_of("id", request.match_info["id"])
            spans, peers = await asked_stores(self._stores, request.query).of_traces(
                lambda of: spans_of(of, wanted), [wanted]
            )
        except ParameterError as err:
            return refused(err)
        except QuestionTooLargeError as err:
            return refusal(503, f"{err}; try again later.")
        if not spans:
            return refusal(404, no_span(wanted, peers))
        return answer(msgspec.structs.replace(shown_trace(spans), peers=peers))

    async def values(self, request: web.Request) -> web.Response:
        """What can be written for `service` and the like."""
        if self._stores is None:
            return refusal(404, NO_STORE)
        try:
            given = given_once(request.query.items(), ["of", *WINDOW, PEERS])
            times, field = window(given), _field(given.get("of", ""))
            found, peers = await asked_stores(self._stores, given).values(field, *times)
        except ParameterError as err:
            return refused(err)
        except QuestionTooLargeError as err:
            return refusal(503, f"{err}; ask for a shorter time.")
        return answer(Values(given["of"], tuple(found), peers=peers))


def asked_stores(stores: Stores, given: Mapping[str, str]) -> Stores:
    """Those of all replicas, or with `peers=false` this one's.

    Raises:
        ParameterError: it says something else.
    """
    return stores if asks_peers(given) else stores.only_own()


def no_span(trace_id: str, peers: Iterable[Peer]) -> str:
    """What is said of a trace that is not there."""
    sentences = [f"No span of trace {trace_id} is here: not recorded, or too old."]
    return " ".join((*sentences, *missing(peers)))


def read_search(parameters: Iterable[tuple[str, str]]) -> Search:
    """The search that a URL's parameters ask for.

    Raises:
        ParameterError: one of them is unknown, is there twice, or cannot be read.
    """
    given = given_once(parameters, [*_FIELDS, *_OTHERS])
    times: Window = window(given)
    return Search(
        start_ns=times.start_ns,
        end_ns=times.end_ns,
        service=given.get("service"),
        fields={field: given[name] for name, field in _FIELDS.items() if name in given},
        status=_status(given["status"]) if "status" in given else None,
        attributes=_attribute(given["attribute"]) if "attribute" in given else {},
        text=given.get("text"),
        duration_ns_min=_duration(given, "min_duration"),
        duration_ns_max=_duration(given, "max_duration"),
        is_failed=_is_failed(given),
        limit=whole_number("limit", given.get("limit", str(LIMIT)), 1, TRACES_MAX),
    )


def shown_trace(spans: list[Span]) -> ShownTrace:
    """The trace of `spans`, of which there must be some."""
    start_ns = min(span.start_unix_ns for span in spans)
    end_ns = max(span.start_unix_ns + span.duration_ns for span in spans)
    resources: dict[bytes, int] = {}
    indexes = [
        resources.setdefault(msgspec.json.encode(span.resource, order="sorted"), len(resources))
        for span in spans
    ]
    return ShownTrace(
        trace_id=spans[0].trace_id,
        start_unix_us=start_ns // 1_000,
        duration_ns=end_ns - start_ns,
        services=tuple(dict.fromkeys(span.service for span in spans)),
        is_cut=len(spans) >= SPANS_MAX,
        resources=tuple(map(_decoded, resources)),
        spans=tuple(
            _shown(span, index, start_ns) for span, index in zip(spans, indexes, strict=True)
        ),
    )


def _shown(span: Span, resource: int, start_ns: int) -> ShownSpan:
    return ShownSpan(
        span_id=span.span_id,
        parent_id=span.parent_id,
        name=span.name,
        kind=span.kind.name.lower(),
        service=span.service,
        scope=span.scope,
        resource=resource,
        offset_ns=span.start_unix_ns - start_ns,
        duration_ns=span.duration_ns,
        status=span.status.name.lower(),
        status_message=span.status_message,
        attributes=span.attributes,
        events=tuple(
            ShownEvent(event.unix_ns - start_ns, event.name, event.attributes)
            for event in span.events
        ),
        links=span.links,
    )


def _decoded(text: bytes) -> Mapping[str, Any]:
    return msgspec.json.decode(text, type=dict[str, Any])


def _field(of: str) -> Field | None:
    if of not in COLUMNS:
        raise ParameterError("of", cut(of), f"is none of {', '.join(COLUMNS)}")
    return _FIELDS.get(of)


def _attribute(text: str) -> Mapping[str, str]:
    name, separator, value = text.partition("=")
    if not (name and separator):
        raise ParameterError("attribute", cut(text), "has no name; write user.id=7")
    return {name: value}


def _duration(given: Mapping[str, str], name: str) -> int | None:
    return duration_ns(name, given[name], DURATION_S_MAX) if name in given else None


def _is_failed(given: Mapping[str, str]) -> bool | None:
    text = given.get("error")
    if text not in (None, "true", "false"):
        raise ParameterError("error", cut(text), "is neither true nor false")
    return text == "true" if text else None


def _status(text: str) -> tuple[int, int]:
    found = _STATUS.fullmatch(text)
    if found is None:
        raise ParameterError("status", cut(text), "is no status; write 503 or 5xx")
    least = int(found[1]) * 100
    return (least, least + 99) if found[2] == "xx" else (int(text), int(text))

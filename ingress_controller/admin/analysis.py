"""`/api/analysis/…`: the reports of `analysis` over HTTP.

Rules: here a URL becomes a question; the store bounds how many are asked at once, and for how long.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from aiohttp import web

from ingress_controller.admin.parameters import (
    PEERS,
    WINDOW,
    ParameterError,
    answer,
    cut,
    duration_ns,
    given_once,
    one_of,
    refusal,
    refused,
    trace_id_of,
    whole_number,
    window,
)
from ingress_controller.admin.traces import NO_STORE, asked_stores, no_span
from ingress_controller.analysis.bottlenecks import Bottlenecks, bottlenecks
from ingress_controller.analysis.compare import Comparison, TraceComparison, compare, compare_traces
from ingress_controller.analysis.graph import Graph, graph
from ingress_controller.analysis.latency import Latency, latency
from ingress_controller.analysis.measures import BINS_MAX, Window
from ingress_controller.analysis.nodes import Nodes, nodes
from ingress_controller.analysis.path import Path, path
from ingress_controller.analysis.queries.groups import ROWS_MAX, By, Question, Sort
from ingress_controller.analysis.queries.hops import SLACK_NS, Filters
from ingress_controller.peers.peer import Answer
from ingress_controller.peers.stores import Answered, Stores
from ingress_controller.traces.span import Span
from ingress_controller.traces.store.queries import QuestionTooLargeError, spans_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

LIMIT = 20  # groups where nothing is said: a screen of them
KINDS = 5  # kinds of requests whose bottlenecks are looked for, where nothing is said
KINDS_MAX = 20  # each is some hundred traces
EARLIER_S_MAX = 86_400.0 * 365  # from one window of a comparison to the other

_FILTERS = tuple(Filters.__struct_fields__)


class NotHere(Answer, frozen=True):
    """There is no span of that trace."""

    trace_id: str


class Asked(NamedTuple):
    """A report that is wanted: what to ask, and the time, or the traces, whose spans it needs."""

    report: Callable[["DuckDBPyConnection"], Answer]
    start_ns: int = 0
    end_ns: int = 0
    trace_ids: tuple[str, ...] = ()


class AnalysisApi:
    """Serves the reports from `stores`, if there is one here."""

    def __init__(self, stores: Stores | None) -> None:
        self._stores = stores

    def add_to(self, app: web.Application) -> None:
        """Adds a route for each of `REPORTS`."""
        app.router.add_get("/api/analysis/{report}", self.serve)

    async def serve(self, request: web.Request) -> web.Response:
        """One report."""
        name = request.match_info["report"]
        if name not in REPORTS:
            return refusal(
                404, f'There is no report "{cut(name)}"; there are {", ".join(REPORTS)}.'
            )
        if self._stores is None:
            return refusal(404, NO_STORE)
        try:
            asked = read(name, list(request.query.items()))
            found, peers = await _asked(asked_stores(self._stores, request.query), asked)
        except ParameterError as err:
            return refused(err)
        except QuestionTooLargeError as err:
            return refusal(503, f"{err}; ask for a shorter time.")
        if isinstance(found, NotHere):
            return refusal(404, no_span(found.trace_id, peers))
        return answer(msgspec.structs.replace(found, peers=peers))


async def _asked(stores: Stores, asked: Asked) -> Answered[Answer]:
    if asked.trace_ids:
        return await stores.of_traces(asked.report, asked.trace_ids)
    return await stores.report(asked.report, asked.start_ns, asked.end_ns)


def read(name: str, parameters: Sequence[tuple[str, str]]) -> Asked:
    """What is asked for by a report's name, one of `REPORTS`, and a URL's parameters.

    Raises:
        ParameterError: one of them is unknown, is there twice, or cannot be read.
    """
    report = REPORTS[name]
    return report.read(given_once(parameters, (*report.parameters, PEERS)))


def _latency(given: dict[str, str]) -> Asked:
    question, times = _question(given), _window(given)
    return _within(times, lambda connection: latency(connection, times, question))


def _nodes(given: dict[str, str]) -> Asked:
    filters, bins, times = _filters(given), _bins(given), _window(given)
    return _within(times, lambda connection: nodes(connection, times, filters, bins))


def _bottlenecks(given: dict[str, str]) -> Asked:
    filters, times = _filters(given), _window(given)
    limit = whole_number("limit", given.get("limit", str(KINDS)), 1, KINDS_MAX)
    return _within(times, lambda connection: bottlenecks(connection, times, filters, limit))


def _graph(given: dict[str, str]) -> Asked:
    filters, times = _filters(given), _window(given)
    return _within(times, lambda connection: graph(connection, times, filters))


def _compare(given: dict[str, str]) -> Asked:
    if "before" in given or "after" in given:
        before, after = _trace_id(given, "before"), _trace_id(given, "after")
        return Asked(
            lambda connection: _of_traces(connection, compare_traces, before, after),
            trace_ids=(before, after),
        )
    question, now = _question(given), _window(given)
    by_ns = now.end_ns - now.start_ns
    if "earlier" in given:
        by_ns = duration_ns("earlier", given["earlier"], EARLIER_S_MAX)
    earlier = now.earlier(by_ns)
    both = Window(min(earlier.start_ns, now.start_ns), now.end_ns)
    return _within(both, lambda connection: compare(connection, earlier, now, question))


def _path(given: dict[str, str]) -> Asked:
    trace_id = _trace_id(given, "trace")
    return Asked(lambda connection: _of_traces(connection, path, trace_id), trace_ids=(trace_id,))


class Report(NamedTuple):
    """How a report is asked for: its parameters, what reads them; and what is answered."""

    summary: str
    parameters: tuple[str, ...]
    read: Callable[[dict[str, str]], Asked]
    answer: Any


_GROUPED = ("by", "sort", "limit", *_FILTERS, *WINDOW)

REPORTS: Mapping[str, Report] = {
    "latency": Report(
        "How long requests took, and whose the time was.", (*_GROUPED, "bins"), _latency, Latency
    ),
    "nodes": Report("Which node is slow.", (*_FILTERS, "bins", *WINDOW), _nodes, Nodes),
    "bottlenecks": Report(
        "What makes slow requests slow.",
        ("host", "route", "namespace", "limit", *WINDOW),
        _bottlenecks,
        Bottlenecks,
    ),
    "compare": Report(
        "What got slower, between two windows or two traces.",
        (*_GROUPED, "earlier", "before", "after"),
        _compare,
        Comparison | TraceComparison,
    ),
    "graph": Report("Who calls whom.", (*_FILTERS, *WINDOW), _graph, Graph),
    "path": Report("What one trace waited for.", ("trace",), _path, Path),
}
"""By their name in the URL; docs/ANALYSIS.md says what each is."""


def _within(times: Window, report: Callable[["DuckDBPyConnection"], Answer]) -> Asked:
    return Asked(report, times.start_ns - SLACK_NS, times.end_ns + SLACK_NS)


def _window(given: dict[str, str]) -> Window:
    start_ns, end_ns = window(given)
    return Window(start_ns, max(end_ns, start_ns + 1))


def _question(given: Mapping[str, str]) -> Question:
    return Question(
        by=one_of("by", given.get("by", By.ROUTE), By),
        filters=_filters(given),
        sort=one_of("sort", given.get("sort", Sort.TIME), Sort),
        limit=whole_number("limit", given.get("limit", str(LIMIT)), 1, ROWS_MAX),
        bins=_bins(given),
    )


def _filters(given: Mapping[str, str]) -> Filters:
    return Filters(**{name: given[name] for name in _FILTERS if name in given})


def _bins(given: Mapping[str, str]) -> int:
    return whole_number("bins", given.get("bins", "0"), 0, BINS_MAX)


def _trace_id(given: Mapping[str, str], name: str) -> str:
    return trace_id_of(name, given.get(name, ""))


def _of_traces(
    connection: "DuckDBPyConnection", report: Callable[..., Answer], *trace_ids: str
) -> Answer:
    """`report` of the spans of each of the traces."""
    of_all: list[list[Span]] = []
    for trace_id in trace_ids:
        spans = spans_of(connection, trace_id)
        if not spans:
            return NotHere(trace_id)
        of_all.append(spans)
    return report(*of_all)

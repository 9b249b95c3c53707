"""Whole traces: those of the slowest requests and of usual ones, and how many ran together.

An *entry* is the span with which a trace begins here: a request at the edge, or a span without a
parent, the longest one of its trace. Work that nobody asked for (INTERNAL) is no entry.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ingress_controller.analysis.contributors import Measured
from ingress_controller.analysis.measures import Window
from ingress_controller.analysis.queries.hops import SLACK_NS, Filters
from ingress_controller.traces.span import Span, SpanKind, SpanStatus

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ENTRIES_MIN = 10
"""Requests of a kind, below which none is slower than usual."""

SLOW_MIN = 5
SLOW_MAX = 50
"""Traces that are looked at: the slowest hundredth, but at least the one and at most the other."""

USUAL_MAX = 50
"""Traces nearest to the median that are looked at."""

TRACE_SPANS_MAX = 2_000
"""Of one trace: the longest; the others cannot have been waited for long."""

OPERATION_SPANS_MAX = 200_000
"""The newest of each operation that are looked at for how many were in flight together."""


MOMENT_SPANS = 50
"""Spans that began one after the other, among which it is looked at how their time hangs on how
many are in flight. What is slow for a while has many in flight for that reason, and not the other
way round: among all spans that would look the same."""

MOMENT_SPANS_MIN = 5


class EntryGroup(msgspec.Struct, frozen=True):
    """Requests of one kind: the service and what it was asked for."""

    service: str
    operation: str
    count: int
    p50_ns: int
    p99_ns: int


class ChosenTrace(msgspec.Struct, frozen=True):
    """A trace whose spans are looked at."""

    entry: tuple[str, str]
    is_slow: bool
    spans: list[Span]


class Flight(msgspec.Struct, frozen=True):
    """Spans of an operation that began while `in_flight_min` to `in_flight_max` of them, itself
    among them, were under way; how long they took."""

    in_flight_min: int
    in_flight_max: int
    count: int
    p50_ns: int


class Concurrency(msgspec.Struct, frozen=True):
    """How the time of an operation hangs on how many of it are in flight: the median of moments."""

    flights: Sequence[Flight]
    count: int
    correlation: float | None
    slope_ns: float | None


def entry_groups(
    connection: "DuckDBPyConnection", window: Window, filters: Filters, limit: int
) -> list[EntryGroup]:
    """Those that took the most time first; makes the table `entries` for `chosen_traces`."""
    bounds = {"start_ns": window.start_ns, "end_ns": window.end_ns}
    asked = {"host": filters.host, "route": filters.route, "namespace": filters.namespace}
    connection.execute(_ENTRIES, bounds | asked)
    found = connection.execute(_ENTRY_GROUPS, {"least": ENTRIES_MIN, "limit": limit})
    return [EntryGroup(*row) for row in found.fetchall()]


def chosen_traces(
    connection: "DuckDBPyConnection", window: Window, entries: Iterable[EntryGroup]
) -> list[ChosenTrace]:
    """Slow and usual traces of these groups of `entries`."""
    wanted = [{"service": group.service, "operation": group.operation} for group in entries]
    if not wanted:
        return []
    bounds = {"slow_min": SLOW_MIN, "slow_max": SLOW_MAX, "usual_max": USUAL_MAX}
    connection.execute(_CHOSEN, bounds | {"wanted": wanted})
    around = {"earlier_ns": window.start_ns - SLACK_NS, "later_ns": window.end_ns + SLACK_NS}
    found = connection.execute(_SPANS, around | {"spans_max": TRACE_SPANS_MAX})
    names = [column[0] for column in found.description or ()]
    traces: dict[tuple[int, int], ChosenTrace] = {}
    while rows := found.fetchmany(1_000):
        for row in rows:
            told = dict(zip(names, row, strict=True))
            ids = told["trace_hi"], told["trace_lo"]
            entry = told["entry"]["service"], told["entry"]["operation"]
            trace = traces.setdefault(ids, ChosenTrace(entry, told["is_slow"], []))
            trace.spans.append(_span(told))
    return list(traces.values())


def concurrency(connection: "DuckDBPyConnection", window: Window, of: Measured) -> Concurrency:
    """Of these spans. How many were in flight is counted among recorded ones, when each began."""
    asked = {"start_ns": window.start_ns, "end_ns": window.end_ns, "spans_max": OPERATION_SPANS_MAX}
    connection.execute(_IN_FLIGHT, asked | of._asdict())
    [whole] = connection.execute(
        _GROWTH, {"moment": MOMENT_SPANS, "least": MOMENT_SPANS_MIN}
    ).fetchall()
    flights = [Flight(*row) for row in connection.execute(_FLIGHTS).fetchall()]
    return Concurrency(flights, *whole)


def _span(row: Mapping[str, Any]) -> Span:
    attributes = {name: row[name] for name in _ATTRIBUTES if row[name] is not None}
    return Span(
        trace_id=f"{row['trace_hi']:016x}{row['trace_lo']:016x}",
        span_id=f"{row['span_id']:016x}",
        parent_id=f"{row['parent_id']:016x}" if row["parent_id"] is not None else "",
        name=row["name"],
        kind=SpanKind(row["kind"]) if row["kind"] in _KINDS else SpanKind.UNSPECIFIED,
        service=row["service"],
        start_unix_ns=row["start_ns"],
        end_unix_ns=row["start_ns"] + row["duration_ns"],
        attributes=attributes,
        status=SpanStatus.ERROR if row["status"] == SpanStatus.ERROR else SpanStatus.UNSET,
        scope=row["scope"] or "",
    )


_KINDS = frozenset(SpanKind)
_ATTRIBUTES = (
    "k8s.namespace.name",
    "k8s.service.name",
    "k8s.pod.name",
    "server.address",
    "server.port",
    "network.peer.address",
    "network.peer.port",
    "spanway.phase",
    "spanway.lb.queue_us",
    "spanway.phase.connect_us",
    "spanway.phase.tls_us",
    "spanway.phase.send_us",
    "spanway.phase.wait_us",
    "spanway.phase.receive_us",
    "spanway.time.client_network_us",
    "spanway.time.cluster_network_us",
    "spanway.net.source",
    "spanway.net.wakeup_us",
    "tcp.min_rtt_us",
    "tcp.retransmits",
)
"""What contributors are told apart by."""

_ENTRIES = """
CREATE OR REPLACE TEMP TABLE entries AS
SELECT trace_hi, trace_lo, max(duration_ns) AS duration_ns, arg_max({
    'service': service,
    'operation': CASE WHEN scope = 'spanway' AND "http.route" IS NOT NULL
      THEN coalesce("server.address", '*') || "http.route" ELSE name END
  }, duration_ns) AS entry
FROM spans
WHERE start_ns >= $start_ns AND start_ns < $end_ns AND kind <> 1
  AND (parent_id IS NULL OR "spanway.listener" = 'ingress')
  AND "http.response.status_code" IS DISTINCT FROM 101
  AND ($host IS NULL OR "server.address" = $host)
  AND ($route IS NULL OR "http.route" = $route)
  AND ($namespace IS NULL OR "k8s.namespace.name" = $namespace)
GROUP BY trace_hi, trace_lo
"""

_ENTRY_GROUPS = """
SELECT entry.service, entry.operation, count(*) * (SELECT one_of FROM thinned),
  quantile_disc(duration_ns, 0.5),
  quantile_disc(duration_ns, 0.99)
FROM entries
GROUP BY entry
HAVING count(*) >= $least
ORDER BY sum(duration_ns) DESC, entry
LIMIT $limit
"""

_CHOSEN = """
CREATE OR REPLACE TEMP TABLE chosen AS
WITH ranked AS (
  SELECT *, count(*) OVER kind AS entry_count,
    row_number() OVER (kind ORDER BY duration_ns DESC, trace_hi, trace_lo) AS place
  FROM entries WHERE list_contains($wanted, entry)
  WINDOW kind AS (PARTITION BY entry)
),
bounded AS (
  SELECT *, least($slow_max, greatest($slow_min, entry_count // 100)) AS slow_count,
    abs(2 * place - entry_count - 1) AS from_median
  FROM ranked
)
SELECT trace_hi, trace_lo, entry, place <= slow_count AS is_slow
FROM bounded
WHERE place <= slow_count OR (from_median <= $usual_max AND 2 * from_median <= entry_count)
"""

_SPANS = """
SELECT chosen.entry, chosen.is_slow, spans.*
FROM spans JOIN chosen USING (trace_hi, trace_lo)
WHERE start_ns >= $earlier_ns AND start_ns < $later_ns
QUALIFY row_number() OVER (PARTITION BY trace_hi, trace_lo ORDER BY duration_ns DESC) <= $spans_max
"""

_IN_FLIGHT = """
CREATE OR REPLACE TEMP TABLE in_flight AS
WITH newest AS (
  SELECT start_ns, duration_ns FROM spans
  WHERE start_ns >= $start_ns AND start_ns < $end_ns AND service = $service AND name = $name
    AND ($address = '' OR "server.address" = $address) AND ($port = 0 OR "server.port" = $port)
  ORDER BY start_ns DESC LIMIT $spans_max
),
events AS (
  SELECT start_ns AS at_ns, 1 AS step, duration_ns FROM newest
  UNION ALL
  SELECT start_ns + duration_ns, -1, NULL FROM newest
),
counted AS (
  SELECT at_ns, duration_ns, step, sum(step) OVER (
    ORDER BY at_ns, step ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS in_flight
  FROM events
)
SELECT at_ns, duration_ns,
  (1 + (greatest(1, in_flight) - 1) * (SELECT one_of FROM thinned))::BIGINT AS in_flight
FROM counted WHERE step = 1
"""

_GROWTH = """
WITH placed AS (
  SELECT *, (row_number() OVER (ORDER BY at_ns, duration_ns) - 1) // $moment AS moment
  FROM in_flight
),
moments AS (
  SELECT CASE WHEN stddev_pop(duration_ns) > 0 THEN corr(duration_ns, in_flight) END AS correlation,
    regr_slope(duration_ns, in_flight) AS slope_ns
  FROM placed GROUP BY moment
  HAVING count(*) >= $least AND stddev_pop(in_flight) > 0
)
SELECT (SELECT count(*) FROM in_flight), median(correlation), median(slope_ns) FROM moments
"""

_FLIGHTS = """
SELECT min(in_flight), max(in_flight), count(*), quantile_disc(duration_ns, 0.5)
FROM in_flight
GROUP BY floor(log2(in_flight))
ORDER BY 1
"""

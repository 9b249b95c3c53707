"""Who calls whom: through Spanway, and directly, as far as spans tell."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from ingress_controller.analysis.measures import Window
from ingress_controller.analysis.queries.hops import FILTERED, SLACK_NS, Filters

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ARROWS_MAX = 500
"""Of each kind, those with the most requests: a map of more is no map."""


class Forwarded(msgspec.Struct, frozen=True):
    """Requests that Spanway took from `caller` (None: nobody who sends spans) to a Service, but for
    those whose caller's span has not come."""

    caller: str | None
    is_edge: bool
    service: str | None
    count: int
    error_count: int
    quantiles_ns: Sequence[int]
    parts_us: Sequence[int]


class Served(msgspec.Struct, frozen=True):
    """Attempts at one pod."""

    service: str | None
    pod: str
    node: str | None
    count: int
    error_count: int
    quantiles_ns: Sequence[int]
    parts_us: Sequence[int]


class Called(msgspec.Struct, frozen=True):
    """Spans of one service below those of another; `network_us` is what the caller waited longer
    than the callee worked."""

    caller: str
    callee: str
    count: int
    error_count: int
    quantiles_ns: Sequence[int]
    network_us: int
    callee_us: int


class Alias(msgspec.Struct, frozen=True):
    """The name under which the pods of a Service send spans."""

    service: str
    callee: str
    count: int


def forwarded(connection: "DuckDBPyConnection", filters: Filters) -> list[Forwarded]:
    """Of the table `hops`."""
    rows = connection.execute(_FORWARDED, _bounded(filters)).fetchall()
    return [Forwarded(*row) for row in rows]


def served(connection: "DuckDBPyConnection", filters: Filters) -> list[Served]:
    """Of the table `hops`."""
    rows = connection.execute(_SERVED, _bounded(filters)).fetchall()
    return [Served(*row) for row in rows]


def aliases(connection: "DuckDBPyConnection") -> list[Alias]:
    """Of the table `hops`, the most frequent first."""
    return [Alias(*row) for row in connection.execute(_ALIASES, {"limit": ARROWS_MAX}).fetchall()]


def called(connection: "DuckDBPyConnection", window: Window, *, one_of: int) -> list[Called]:
    """Calls in which Spanway had no part, in one of `one_of` traces."""
    asked = {
        "start_ns": window.start_ns,
        "end_ns": window.end_ns,
        "earlier_ns": window.start_ns - SLACK_NS,
        "one_of": one_of,
        "limit": ARROWS_MAX,
    }
    return [Called(*row) for row in connection.execute(_CALLED, asked).fetchall()]


def _bounded(filters: Filters) -> dict[str, str | int | None]:
    return {**msgspec.structs.asdict(filters), "limit": ARROWS_MAX}


_PARTS = """
  [sum(client_network_us)::BIGINT, sum(proxy_us)::BIGINT, sum(cluster_network_us)::BIGINT,
   sum(app_us)::BIGINT, sum(app_queue_us)::BIGINT]
"""

_FORWARDED = f"""
SELECT caller, is_edge, service, count(*), count(*) FILTER (has_failed),
  quantile_disc(duration_ns, [0.5, 0.99]), {_PARTS}
FROM hops
WHERE is_last AND is_awaited IS NOT TRUE {FILTERED}
GROUP BY caller, is_edge, service
ORDER BY 4 DESC, 1, 2, 3
LIMIT $limit
"""

_SERVED = f"""
SELECT service, pod, node, count(*), count(*) FILTER (attempt_failed),
  quantile_disc(attempt_ns, [0.5, 0.99]), {_PARTS}
FROM hops
WHERE pod IS NOT NULL {FILTERED}
GROUP BY service, pod, node
ORDER BY 4 DESC, 1, 2, 3
LIMIT $limit
"""

_ALIASES = """
SELECT service, callee, count(*) FROM hops
WHERE service IS NOT NULL AND callee IS NOT NULL
GROUP BY service, callee
ORDER BY 3 DESC, 1, 2
LIMIT $limit
"""

_CALLED = """
WITH own AS (
  SELECT trace_lo, span_id, parent_id, service, kind, duration_ns, status, start_ns
  FROM spans
  WHERE scope IS DISTINCT FROM 'spanway' AND start_ns >= $earlier_ns AND start_ns < $end_ns
    AND trace_lo % $one_of = 0
)
SELECT caller.service, callee.service, count(*), count(*) FILTER (callee.status = 2),
  quantile_disc(CASE WHEN caller.kind = 3 THEN greatest(caller.duration_ns, callee.duration_ns)
    ELSE callee.duration_ns END, [0.5, 0.99]),
  sum(CASE WHEN caller.kind = 3
    THEN greatest(0, caller.duration_ns - callee.duration_ns) // 1000 ELSE 0 END)::BIGINT,
  sum(callee.duration_ns // 1000)::BIGINT
FROM own callee JOIN own caller
  ON caller.trace_lo = callee.trace_lo AND caller.span_id = callee.parent_id
WHERE callee.start_ns >= $start_ns AND callee.service <> caller.service
GROUP BY caller.service, callee.service
ORDER BY 3 DESC, 1, 2
LIMIT $limit
"""

"""Requests in groups: how many, how long, whose the time was; over time, too."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ingress_controller.analysis.measures import Window, bin_ns
from ingress_controller.analysis.queries.hops import FILTERED, Filters

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ROWS_MAX = 1_000
"""Of one answer: more are no list for a person."""


class By(StrEnum):
    """What requests are grouped by."""

    ALL = "all"
    ROUTE = "route"
    SERVICE = "service"
    POD = "pod"
    NODE = "node"
    HOP = "hop"
    PHASE = "phase"
    OPERATION = "operation"


class Sort(StrEnum):
    """Which groups come first."""

    TIME = "time"
    COUNT = "count"
    ERRORS = "errors"
    P50 = "p50"
    P99 = "p99"


class Group(msgspec.Struct, frozen=True):
    """What was measured of one group. `quantiles_ns` are p25, p50, p75, p90, p99 and p99.9;
    `parts_us` the sums of each `Part`, None where nobody knows. The group of all has no labels."""

    labels: Mapping[str, str | None] | None
    count: int
    error_count: int
    quantiles_ns: Sequence[int]
    max_ns: int
    time_ns: int
    parts_us: Sequence[int | None]


class Bin(msgspec.Struct, frozen=True):
    """A group's part of a bin."""

    labels: Mapping[str, str | None] | None
    row: tuple[int, int, int, int, int]


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Which groups: the first `limit` by `sort`; `bins` points of their series, 0 for none."""

    by: By = By.ROUTE
    filters: Filters = Filters()
    sort: Sort = Sort.TIME
    limit: int = 20
    bins: int = 0


def groups(
    connection: "DuckDBPyConnection", window: Window, question: Question, one_of: int
) -> tuple[list[Group], int]:
    """The group of all, then those that are asked for, and how many there are; of one in `one_of`
    traces, as the table `hops` is.

    Of operations all filters but `service`, which is the one that made the spans, are left out.
    """
    dimension = _DIMENSIONS[question.by]
    sample = f"SELECT {dimension.labels} AS labels, {dimension.measured} WHERE {dimension.only}"
    parameters: dict[str, Any] = msgspec.structs.asdict(question.filters)
    if question.by is By.OPERATION:
        bounds = {"start_ns": window.start_ns, "end_ns": window.end_ns}
        parameters = {**bounds, "service": question.filters.service, "one_of": one_of}
    connection.execute(f"CREATE OR REPLACE TEMP TABLE samples AS {sample}", parameters)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE grouped AS {_GROUPED}")
    [(count,)] = connection.execute("SELECT count(*) - 1 FROM grouped").fetchall()
    order = _ORDERS[question.sort]
    rows = connection.execute(
        f"SELECT * FROM grouped ORDER BY is_all DESC, {order} DESC, labels LIMIT $limit",
        {"limit": question.limit + 1},
    ).fetchall()
    return [Group(None if is_all else labels, *row) for is_all, labels, *row in rows], count


def series_of(
    connection: "DuckDBPyConnection", window: Window, bins: int, groups: Iterable[Group]
) -> list[Bin]:
    """Of these groups of the last `groups`, and of all."""
    wanted = [group.labels for group in groups if group.labels is not None]
    if not wanted:
        return []
    parameters = {"start_ns": window.start_ns, "bin_ns": bin_ns(window, bins), "wanted": wanted}
    rows = connection.execute(_SERIES, parameters).fetchall()
    return [Bin(None if row[0] else row[1], row[2:]) for row in rows]


class _Dimension(NamedTuple):
    labels: str
    only: str = "is_last"
    measured: str = """
      start_ns, duration_ns, has_failed,
      client_network_us, proxy_us, cluster_network_us, app_us, app_queue_us FROM hops"""


_PARTS_OF_ATTEMPTS = ", ".join(
    f"CASE WHEN is_last THEN {part} END AS {part}"
    for part in ("client_network_us", "proxy_us", "cluster_network_us", "app_us", "app_queue_us")
)
_ATTEMPTS = f"""
      start_ns, attempt_ns AS duration_ns, attempt_failed AS has_failed, {_PARTS_OF_ATTEMPTS}
      FROM hops"""

_PHASES = ("head", "route", "queue", "connect", "tls", "send", "wait", "receive", "respond")
_PHASE_COLUMNS = ", ".join(f"{phase}_us AS '{phase}'" for phase in _PHASES)
_PHASES_MEASURED = f"""
      start_ns, phase_us * 1000 AS duration_ns, has_failed, NULL::BIGINT AS client_network_us,
      NULL::BIGINT AS proxy_us, NULL::BIGINT AS cluster_network_us, NULL::BIGINT AS app_us,
      NULL::BIGINT AS app_queue_us
      FROM hops UNPIVOT (phase_us FOR phase IN ({_PHASE_COLUMNS}))"""

_OPERATIONS = """
      start_ns, duration_ns, coalesce(status = 2, false) AS has_failed,
      NULL::BIGINT AS client_network_us, NULL::BIGINT AS proxy_us,
      NULL::BIGINT AS cluster_network_us, NULL::BIGINT AS app_us, NULL::BIGINT AS app_queue_us
      FROM spans"""

_DIMENSIONS = {
    By.ALL: _Dimension("{'all': 'all requests'}", f"is_last {FILTERED}"),
    By.ROUTE: _Dimension(
        "{'host': host, 'route': route, 'ingress': ingress}", f"is_last AND is_edge {FILTERED}"
    ),
    By.SERVICE: _Dimension("{'service': service}", f"is_last AND service IS NOT NULL {FILTERED}"),
    By.POD: _Dimension(
        "{'pod': pod, 'service': service, 'node': node}", f"pod IS NOT NULL {FILTERED}", _ATTEMPTS
    ),
    By.NODE: _Dimension("{'node': node}", f"node IS NOT NULL {FILTERED}", _ATTEMPTS),
    By.HOP: _Dimension(
        "{'caller': coalesce(caller, 'client'), 'service': service}",
        f"is_last AND service IS NOT NULL AND is_awaited IS NOT TRUE {FILTERED}",
    ),
    By.PHASE: _Dimension(
        "{'phase': phase}", f"is_last AND phase_us > 0 {FILTERED}", _PHASES_MEASURED
    ),
    By.OPERATION: _Dimension(
        "{'service': service, 'operation': name}",
        """start_ns >= $start_ns AND start_ns < $end_ns
           AND trace_lo % $one_of = 0
           AND scope IS DISTINCT FROM 'spanway' AND ($service IS NULL OR service = $service)""",
        _OPERATIONS,
    ),
}

_ORDERS = {
    Sort.TIME: "time_ns",
    Sort.COUNT: "count",
    Sort.ERRORS: "error_count",
    Sort.P50: "quantiles_ns[2]",
    Sort.P99: "quantiles_ns[5]",
}

_GROUPED = f"""
SELECT grouping(labels) = 1 AS is_all, labels, count(*) AS count,
  count(*) FILTER (has_failed) AS error_count,
  quantile_disc(duration_ns, [0.25, 0.5, 0.75, 0.9, 0.99, 0.999]) AS quantiles_ns,
  max(duration_ns) AS max_ns, least(sum(duration_ns), {2**63 - 1})::BIGINT AS time_ns,
  [sum(client_network_us)::BIGINT, sum(proxy_us)::BIGINT, sum(cluster_network_us)::BIGINT,
   sum(app_us)::BIGINT, sum(app_queue_us)::BIGINT] AS parts_us
FROM samples
GROUP BY GROUPING SETS ((labels), ())
"""

_SERIES = """
SELECT grouping(labels) = 1, labels, (start_ns - $start_ns) // $bin_ns AS bin, count(*),
  count(*) FILTER (has_failed), quantile_disc(duration_ns, 0.5), quantile_disc(duration_ns, 0.99)
FROM samples
GROUP BY GROUPING SETS ((labels, bin), (bin))
HAVING grouping(labels) = 1 OR list_contains($wanted, labels)
"""

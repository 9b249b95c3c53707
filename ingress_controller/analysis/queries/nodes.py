"""Nodes: what their pods answered, and the same of each service on other nodes to compare with."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from ingress_controller.analysis.measures import Window, bin_ns
from ingress_controller.analysis.queries.groups import ROWS_MAX
from ingress_controller.analysis.queries.hops import FILTERED, Filters

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


class NodeGroup(msgspec.Struct, frozen=True):
    """Attempts at the pods of a node. `parts_us` are sums by `Part` of the requests that ended
    there; `sources` counts what their split is known from: the kernel, spans of apps, phases."""

    node: str
    count: int
    error_count: int
    pod_count: int
    service_count: int
    retransmit_count: int
    quantiles_ns: Sequence[int]
    parts_us: Sequence[int]
    sources: Sequence[int]


class Cell(msgspec.Struct, frozen=True):
    """`part` of the requests of one service that a node answered, in microseconds. Of `proxy` it
    is the node of the data plane, and `service` is empty. `p99_least_us` is what the p99 is at
    least, whatever chance did: three standard deviations of how many are above it are left out."""

    part: str
    service: str
    node: str
    count: int
    p50_us: int
    p99_us: int
    p99_least_us: int


class Resent(msgspec.Struct, frozen=True):
    """Attempts at one service's pods on a node that the kernel saw; of how many of them it had to
    send something again."""

    service: str
    node: str
    count: int
    resent_count: int


class NodeBin(msgspec.Struct, frozen=True):
    """One node in one bin: attempts, and medians by part in microseconds."""

    node: str
    bin: int
    count: int
    error_count: int
    cluster_network_us: int | None
    app_us: int | None
    proxy_us: int | None


def node_groups(connection: "DuckDBPyConnection", filters: Filters) -> list[NodeGroup]:
    """The busiest nodes of the table `hops` first."""
    rows = connection.execute(_NODES, _parameters(filters) | {"limit": ROWS_MAX}).fetchall()
    return [NodeGroup(*row) for row in rows]


def cells(connection: "DuckDBPyConnection", filters: Filters) -> list[Cell]:
    """Of requests that did not fail."""
    limit = {"limit": 100 * ROWS_MAX}
    return [
        Cell(*row) for row in connection.execute(_CELLS, _parameters(filters) | limit).fetchall()
    ]


def resent(connection: "DuckDBPyConnection", filters: Filters) -> list[Resent]:
    """Of all attempts, whatever came of them."""
    limit = {"limit": 100 * ROWS_MAX}
    rows = connection.execute(_RESENT, _parameters(filters) | limit).fetchall()
    return [Resent(*row) for row in rows]


def node_bins(
    connection: "DuckDBPyConnection", window: Window, bins: int, filters: Filters
) -> list[NodeBin]:
    """Bins in which there was an attempt at a node's pods, or a request in its data plane."""
    width = {"start_ns": window.start_ns, "bin_ns": bin_ns(window, bins)}
    rows = connection.execute(_BINS, _parameters(filters) | width).fetchall()
    return [NodeBin(*row) for row in rows]


def _parameters(filters: Filters) -> dict[str, str | int | None]:
    return msgspec.structs.asdict(filters)


_NODES = f"""
SELECT node, count(*), count(*) FILTER (attempt_failed), count(DISTINCT pod),
  count(DISTINCT service), sum(retransmits)::BIGINT,
  quantile_disc(attempt_ns, [0.5, 0.9, 0.99, 0.999, 1.0]),
  [coalesce(sum(client_network_us) FILTER (is_last), 0)::BIGINT,
   coalesce(sum(proxy_us) FILTER (is_last), 0)::BIGINT,
   coalesce(sum(cluster_network_us) FILTER (is_last), 0)::BIGINT,
   coalesce(sum(app_us) FILTER (is_last), 0)::BIGINT,
   coalesce(sum(app_queue_us) FILTER (is_last), 0)::BIGINT],
  [count(*) FILTER (is_last AND source = 'kernel'), count(*) FILTER (is_last AND source = 'spans'),
   count(*) FILTER (is_last AND source = 'phases')]
FROM hops
WHERE node IS NOT NULL {FILTERED}
GROUP BY node
ORDER BY 2 DESC, 1
LIMIT $limit
"""

# Of n requests 0.01 n are above the p99, with a standard deviation of sqrt(0.0099 n). From so many
# requests on, what is above the quantile is more than 0.01 n by three of these.
_LEAST = ((0, 0.969), (900, 0.98), (3_600, 0.985), (22_500, 0.988))
_LEAST_QUANTILES = [quantile for _, quantile in _LEAST]
_LEAST_INDEX = " + ".join(f"(count(*) >= {count})::INTEGER" for count, _ in _LEAST)

# What waited for its turn at a limit, or behind others, waited for the app and not for its node.
_CELLS = f"""
WITH told AS (SELECT * FROM hops WHERE is_last AND NOT has_failed {FILTERED}),
measured AS (
  SELECT 'app' AS part, coalesce(service, '') AS service, node, app_us AS us
  FROM told WHERE node IS NOT NULL
  UNION ALL
  SELECT 'cluster-network', coalesce(service, ''), node, cluster_network_us
  FROM told WHERE node IS NOT NULL
  UNION ALL
  SELECT 'proxy', '', plane_node, proxy_us FROM told WHERE plane_node IS NOT NULL
)
SELECT part, service, node, count(*), quantile_disc(us, 0.5), quantile_disc(us, 0.99),
  quantile_disc(us, {_LEAST_QUANTILES})[{_LEAST_INDEX}]
FROM measured
GROUP BY part, service, node
ORDER BY 4 DESC, 1, 2, 3
LIMIT $limit
"""

_RESENT = f"""
SELECT coalesce(service, ''), node, count(*), count(*) FILTER (retransmits > 0)
FROM hops
WHERE node IS NOT NULL AND is_kernels {FILTERED}
GROUP BY ALL
ORDER BY 3 DESC, 1, 2
LIMIT $limit
"""

_BINS = f"""
WITH told AS (
  SELECT *, (start_ns - $start_ns) // $bin_ns AS bin FROM hops WHERE true {FILTERED}
),
measured AS (
  SELECT node, bin, attempt_failed AS has_failed, true AS is_attempt,
    CASE WHEN is_last THEN cluster_network_us END AS cluster_network_us,
    CASE WHEN is_last THEN app_us END AS app_us, NULL::BIGINT AS proxy_us
  FROM told WHERE node IS NOT NULL
  UNION ALL
  SELECT plane_node, bin, false, false, NULL, NULL, proxy_us
  FROM told WHERE is_last AND plane_node IS NOT NULL
)
SELECT node, bin, count(*) FILTER (is_attempt), count(*) FILTER (has_failed),
  quantile_disc(cluster_network_us, 0.5), quantile_disc(app_us, 0.5), quantile_disc(proxy_us, 0.5)
FROM measured
GROUP BY node, bin
ORDER BY node, bin
"""

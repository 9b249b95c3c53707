"""The table `hops`, which most questions are about.

One row for each attempt of each request that Spanway forwarded, with the request's own columns, and
one for a request without an attempt. What concerns requests counts the rows where `is_last`. Who
called is not known yet where `is_awaited`: it has a span, which has not come.
Connections that are handed on or upgraded are left out: they last as long as somebody likes.
"""

from typing import TYPE_CHECKING

import msgspec

from ingress_controller.analysis.measures import Basis, Window

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SPANS_MAX = 1_000_000
"""Looked at for one answer; of more, some traces are left out. A second of one core."""

CALLER_LATE_NS = 10 * 1_000_000_000
"""So much later than a request's end its caller's span may come: OpenTelemetry's SDKs send theirs
every 5 s (OTEL_BSP_SCHEDULE_DELAY)."""

SLACK_NS = 60 * 1_000_000_000
"""How long before and after a window spans are looked for that belong to its requests."""


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Only requests to which all of it applies; None is anything."""

    host: str | None = None
    route: str | None = None
    namespace: str | None = None
    service: str | None = None
    pod: str | None = None
    node: str | None = None


def count_spans(connection: "DuckDBPyConnection", window: Window) -> Basis:
    """What there is in a window, before it is looked at."""
    bounds = {"start_ns": window.start_ns, "end_ns": window.end_ns}
    [(count, one_of)] = connection.execute(_COUNT, bounds).fetchall()
    end_unix_ms = -(-window.end_ns // 1_000_000)  # a window is never empty, nor is its basis
    return Basis(window.start_ns // 1_000_000, end_unix_ms, count * one_of, one_of)


def look(connection: "DuckDBPyConnection", window: Window) -> Basis:
    """Makes the table `hops` of a window; it takes the place of one that was there."""
    basis = count_spans(connection, window)
    span_count = basis.span_count // basis.traces_one_of
    one_of = basis.traces_one_of * max(1, -(-span_count // SPANS_MAX))
    bounds = {
        "start_ns": window.start_ns,
        "end_ns": window.end_ns,
        "earlier_ns": window.start_ns - SLACK_NS,
        "later_ns": window.end_ns + SLACK_NS,
        "one_of": one_of,
        "late_ns": CALLER_LATE_NS,
    }
    connection.execute(_HOPS, bounds)
    return msgspec.structs.replace(basis, traces_one_of=one_of)


FILTERED = """
  AND ($host IS NULL OR host = $host)
  AND ($route IS NULL OR route = $route)
  AND ($namespace IS NULL OR namespace = $namespace)
  AND ($service IS NULL OR service = $service)
  AND ($pod IS NULL OR pod = $pod)
  AND ($node IS NULL OR node = $node)
"""
"""A condition on `hops`; its parameters are the fields of `Filters`."""

_COUNT = """
SELECT count(*), (SELECT one_of FROM thinned) FROM spans
WHERE start_ns >= $start_ns AND start_ns < $end_ns
"""

_HOPS = """
CREATE OR REPLACE TEMP TABLE hops AS
WITH
own AS NOT MATERIALIZED (
  SELECT * FROM spans
  WHERE scope = 'spanway' AND start_ns >= $start_ns AND start_ns < $later_ns
    AND trace_lo % $one_of = 0
),
servers AS (
  SELECT * FROM own
  WHERE kind = 2 AND start_ns < $end_ns AND "http.request.method" IS NOT NULL
    AND "http.response.status_code" IS DISTINCT FROM 101
),
balances AS (SELECT * FROM own WHERE kind = 1 AND starts_with(name, 'balance ')),
attempts AS (SELECT * FROM own WHERE kind = 3),
others AS (
  SELECT trace_lo, span_id, parent_id, kind, service, duration_ns FROM spans
  WHERE scope IS DISTINCT FROM 'spanway' AND start_ns < $later_ns
    AND start_ns >= $earlier_ns AND trace_lo % $one_of = 0
),
callees AS (
  SELECT trace_lo, parent_id, max(duration_ns) AS duration_ns, any_value(service) AS service
  FROM others WHERE kind = 2 AND parent_id IS NOT NULL GROUP BY ALL
),
joined AS (
  SELECT
    s.trace_hi, s.trace_lo, s.span_id, s.start_ns, s.duration_ns, s.status = 2 AS has_failed,
    coalesce(s."spanway.listener" = 'ingress', false) AS is_edge,
    s."server.address" AS host, s."http.route" AS route,
    coalesce(b."k8s.namespace.name", s."k8s.namespace.name") AS namespace,
    s."k8s.namespace.name" || '/' || s."spanway.ingress.name" AS ingress,
    b."k8s.namespace.name" || '/' || b."k8s.service.name" AS service,
    b.name AS balance,
    json_extract_string(s.resource, '$."k8s.node.name"') AS plane_node,
    caller.service AS caller, callee.service AS callee,
    s."spanway.listener" = 'service' AND s.parent_id IS NOT NULL AND caller.service IS NULL
      AND s.start_ns + s.duration_ns >= (SELECT max(start_ns + duration_ns) FROM servers) - $late_ns
      AS is_awaited,
    c."k8s.pod.name" AS pod, c."k8s.node.name" AS node,
    c.duration_ns AS attempt_ns, coalesce(c.status = 2, false) AS attempt_failed,
    coalesce(c."tcp.retransmits", 0) AS retransmits,
    coalesce(c."http.request.resend_count", 0) + 1
      >= coalesce(b."spanway.lb.attempts", 1) AS is_last,
    coalesce(b."spanway.lb.attempts", 0) = 1 AS is_only,
    c."spanway.net.source" = 'kernel' AS is_kernels,
    callee.duration_ns // 1000 AS callee_us,
    coalesce(s."spanway.phase.head_us", 0) AS head_us,
    coalesce(s."spanway.phase.route_us", 0) AS route_us,
    coalesce(s."spanway.phase.queue_us", 0) AS queue_us,
    coalesce(s."spanway.phase.connect_us", 0) AS connect_us,
    coalesce(s."spanway.phase.tls_us", 0) AS tls_us,
    coalesce(s."spanway.phase.send_us", 0) AS send_us,
    coalesce(s."spanway.phase.wait_us", 0) AS wait_us,
    coalesce(s."spanway.phase.receive_us", 0) AS receive_us,
    coalesce(s."spanway.phase.respond_us", 0) AS respond_us,
    coalesce(s."spanway.time.client_network_us", s."spanway.time.proxy_us",
      s."spanway.time.cluster_network_us", s."spanway.time.app_us",
      s."spanway.time.app_queue_us") IS NOT NULL AS is_timed,
    coalesce(s."spanway.time.client_network_us", 0) AS of_client_network_us,
    coalesce(s."spanway.time.proxy_us", 0) AS of_proxy_us,
    coalesce(s."spanway.time.cluster_network_us", 0) AS of_cluster_network_us,
    coalesce(s."spanway.time.app_us", 0) AS of_app_us,
    coalesce(s."spanway.time.app_queue_us", 0) AS of_app_queue_us
  FROM servers s
  LEFT JOIN balances b ON b.trace_lo = s.trace_lo AND b.parent_id = s.span_id
  LEFT JOIN attempts c ON c.trace_lo = b.trace_lo AND c.parent_id = b.span_id
  LEFT JOIN others caller ON caller.trace_lo = s.trace_lo AND caller.span_id = s.parent_id
  LEFT JOIN callees callee ON callee.trace_lo = c.trace_lo AND callee.parent_id = c.span_id
),
timed AS (
  SELECT *,
    CASE WHEN is_timed THEN of_client_network_us ELSE head_us + respond_us END
      AS client_network_us,
    CASE WHEN is_timed THEN of_proxy_us ELSE route_us + send_us END AS proxy_us,
    CASE WHEN is_timed THEN of_app_queue_us ELSE queue_us END AS app_queue_us,
    CASE WHEN is_timed THEN of_app_us ELSE wait_us + receive_us END AS responding_us,
    CASE WHEN is_timed THEN of_cluster_network_us ELSE connect_us + tls_us END AS connecting_us,
    -- What the app's own span does not cover of the time that it seems to take is the network's,
    -- where the kernel has not told better.
    CASE WHEN is_only AND is_kernels IS NOT TRUE AND callee_us IS NOT NULL
      THEN greatest(0, responding_us - callee_us) ELSE 0 END AS between_us
  FROM joined
)
SELECT * EXCLUDE (is_timed, of_client_network_us, of_proxy_us, of_cluster_network_us, of_app_us,
    of_app_queue_us, responding_us, connecting_us, between_us, callee_us, is_only),
  responding_us - between_us AS app_us,
  connecting_us + between_us AS cluster_network_us,
  CASE WHEN is_kernels THEN 'kernel' WHEN callee_us IS NOT NULL THEN 'spans' ELSE 'phases' END
    AS source
FROM timed
"""

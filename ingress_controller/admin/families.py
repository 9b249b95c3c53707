"""The metric families of the process: connections, TLS, export, table, objects.

Rules: one function per area; every label is of a closed set. Counters are what others count.
"""

from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)

from ingress_controller.admin.expiries import expiries
from ingress_controller.admin.readings import Readings
from ingress_controller.model.problem import Severity
from ingress_controller.serving.refusals import Reason
from ingress_controller.traces.export.losses import DropReason


def process_families(readings: Readings) -> Iterator[Metric]:
    """All of them."""
    yield InfoMetricFamily("spanway_build", "What runs.", {"version": readings.version})
    yield from _connections(readings)
    yield from _requests(readings)
    yield from _spans(readings)
    yield from _access_log(readings)
    yield from _table(readings)
    for area, address, refused in (
        ("admin", "the admin address", readings.admin_refused),
        ("api", "the address that kubectl is answered at", readings.api_refused),
    ):
        yield _counts(
            f"spanway_{area}_refused",
            f"Who was not answered at {address}, by why.",
            "reason",
            {reason: refused.get(reason, 0) for reason in Reason},
        )


def _connections(readings: Readings) -> Iterator[Metric]:
    engine = readings.engine
    yield _count("spanway_connections", "Connections accepted from clients.", engine.connections)
    yield _gauge("spanway_connections_open", "Of these, open now.", engine.connections_open)
    yield _count(
        "spanway_connections_crowded_out",
        "Connections ended while they waited for a request, for others to have room.",
        engine.connections_crowded_out,
    )
    yield _count(
        "spanway_connections_passed_through",
        "Connections handed on as they are.",
        engine.connections_passed_through,
    )
    yield _count(
        "spanway_proxy_headers_missing",
        "Connections closed because no PROXY header could be read.",
        engine.proxy_headers_missing,
    )
    yield _counts(
        "spanway_tls_handshakes",
        "TLS handshakes with clients, by how they ended.",
        "result",
        {
            "full": engine.tls_handshakes - engine.tls_resumed,
            "resumed": engine.tls_resumed,
            "failed": engine.tls_handshakes_failed,
        },
    )
    yield _counts(
        "spanway_tls_sessions",
        "TLS handshakes that were finished, by version.",
        "version",
        {"1.2": engine.tls_handshakes - engine.tls13_handshakes, "1.3": engine.tls13_handshakes},
    )


def _requests(readings: Readings) -> Iterator[Metric]:
    engine = readings.engine
    yield _gauge("spanway_requests_in_flight", "Requests served now.", engine.requests_live)
    yield _count(
        "spanway_requests_malformed",
        "Requests refused before anything in them could be trusted.",
        engine.malformed,
    )
    yield _count("spanway_requests_shed", "Requests refused by a worker at its limit.", engine.shed)
    yield _count("spanway_requests_queued", "Waits of requests for their turn.", engine.queued)
    yield _count(
        "spanway_queue_refused",
        "Of these and others, requests that their backend had no place for.",
        engine.queue_refused,
    )
    yield _count(
        "spanway_retries", "Attempts that were not the first of their request.", engine.retries
    )
    yield _count(
        "spanway_retries_denied",
        "Retries that a policy asked for and that were not made.",
        engine.retries_denied,
    )
    yield _count(
        "spanway_upstream_connections", "Connections opened to endpoints.", engine.upstream_connects
    )
    yield _count(
        "spanway_ejections", "Endpoints left out after failures in a row.", engine.ejections
    )
    yield _gauge("spanway_endpoints_ejected", "Endpoints left out now.", engine.endpoints_ejected)
    yield _count(
        "spanway_baggage_dropped", "Requests whose baggage was too long.", engine.baggage_dropped
    )


def _spans(readings: Readings) -> Iterator[Metric]:
    engine = readings.engine
    yield _count("spanway_spans", "Spans that were made.", engine.spans_recorded)
    yield _count(
        "spanway_spans_dropped",
        "Of these, lost because the engine's queue was full.",
        engine.spans_dropped,
    )
    sent = CounterMetricFamily(
        "spanway_export_spans", "Spans that an exporter delivered.", labels=["exporter"]
    )
    dropped = CounterMetricFamily(
        "spanway_export_spans_dropped",
        "Spans that an exporter lost, by why.",
        labels=["exporter", "reason"],
    )
    retries = CounterMetricFamily(
        "spanway_export_retries", "Posts that were repeated.", labels=["exporter"]
    )
    waiting = GaugeMetricFamily(
        "spanway_export_queue_bytes", "Spans that wait, in bytes.", labels=["exporter"]
    )
    spilled = GaugeMetricFamily(
        "spanway_export_spill_bytes", "Spans that wait in files, in bytes.", labels=["exporter"]
    )
    for stats in readings.exporters:
        sent.add_metric([stats.name], stats.sent_spans)
        retries.add_metric([stats.name], stats.retry_count)
        waiting.add_metric([stats.name], stats.queue_bytes)
        spilled.add_metric([stats.name], stats.spill_bytes)
        for reason in DropReason:
            dropped.add_metric([stats.name, reason], stats.dropped_spans.get(reason, 0))
    yield from (sent, dropped, retries, waiting, spilled)


def _access_log(readings: Readings) -> Iterator[Metric]:
    engine = readings.engine
    yield _count("spanway_access_log_lines", "Lines that were written.", engine.log_lines)
    yield _count(
        "spanway_access_log_lines_dropped",
        "Lines lost: too many waited, or the file took none.",
        engine.log_lines_dropped,
    )


def _table(readings: Readings) -> Iterator[Metric]:
    table = readings.outcome.table
    yield _gauge("spanway_table_generation", "Of the table in force.", table.generation)
    yield _gauge(
        "spanway_table_published_timestamp_seconds",
        "When it came into force; 0 before the first.",
        readings.published_unix_s,
    )
    yield _count("spanway_tables_published", "Tables that came into force.", readings.publish_count)
    yield _count(
        "spanway_tables_rejected",
        "Of these, the ones of which the engine refused a part.",
        readings.publish_rejected_count,
    )
    yield _gauge("spanway_table_hosts", "Hosts in it.", len(table.hosts))
    yield _gauge("spanway_table_backends", "Backends in it.", len(table.backends))
    ends = GaugeMetricFamily(
        "spanway_certificate_end_timestamp_seconds",
        "When the certificate of a host ends.",
        labels=["host", "namespace", "secret"],
    )
    for each in expiries(table):
        ends.add_metric([each.host, each.namespace, each.secret], each.unix_s)
    yield ends
    found = Counter(problem.severity for problem in readings.outcome.problems)
    problems = GaugeMetricFamily(
        "spanway_problems",
        "What is wrong with objects; /api/problems says it.",
        labels=["severity"],
    )
    for severity in Severity:
        problems.add_metric([severity], found[severity])
    yield problems
    yield _gauge(
        "spanway_ready", "1 once everything that is to be served is.", not readings.missing
    )
    yield _gauge("spanway_objects", "Kubernetes objects that are watched.", readings.objects)
    yield _count(
        "spanway_objects_refused",
        "Objects that were too large or too many to be held.",
        readings.objects_refused,
    )
    if readings.is_leader is not None:
        yield _gauge("spanway_leader", "1 if it writes to Kubernetes.", readings.is_leader)


def _count(name: str, help_: str, value: float) -> Metric:
    return CounterMetricFamily(name, help_, value)


def _gauge(name: str, help_: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_, value)


def _counts(name: str, help_: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, help_, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family

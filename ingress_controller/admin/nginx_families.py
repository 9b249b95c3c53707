"""What ingress-nginx exposes of its process and its controller, under its names.

The engine has what it exposes by route. Both are there for its dashboards; `docs/METRICS.md` says
what each means here.
Source: ingress-nginx 1.13, `internal/ingress/metric/collectors`.
"""

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    UnknownMetricFamily,
)

from ingress_controller.admin.expiries import expiries
from ingress_controller.admin.readings import Readings
from proxy.table import RouteTable

_PREFIX = "nginx_ingress_controller_"
_PROCESS = f"{_PREFIX}nginx_process_"
_OF_PROCESS = {
    "process_cpu_seconds_total": "cpu_seconds_total",
    "process_resident_memory_bytes": "resident_memory_bytes",
    "process_virtual_memory_bytes": "virtual_memory_bytes",
    "process_start_time_seconds": "oldest_start_time_seconds",
}


def nginx_families(
    readings: Readings, controller: Mapping[str, str], process: Sequence[Metric]
) -> Iterator[Metric]:
    """All of them; `process` is what prometheus_client knows of it."""
    yield from _connections(readings, controller)
    yield from _process(controller, process)
    yield from _configuration(readings, controller)
    yield _expiries(readings.outcome.table, controller["controller_class"])
    yield _orphans(readings.outcome.table, controller)


def _connections(readings: Readings, controller: Mapping[str, str]) -> Iterator[Metric]:
    engine = readings.engine
    states = {
        "active": engine.connections_open,
        "reading": 0,  # a request counts from when its head is read
        "writing": engine.requests_live,
        "waiting": max(0, engine.connections_open - engine.requests_live),
    }
    labels = [*controller, "state"]
    now = GaugeMetricFamily(f"{_PROCESS}connections", "Client connections by state.", labels=labels)
    for state, count in states.items():
        now.add_metric([*controller.values(), state], count)
    yield now
    # In OpenMetrics it would be a counter of the same name as the gauge.
    total = UnknownMetricFamily(
        f"{_PROCESS}connections_total", "Client connections so far.", labels=labels
    )
    for state in ("accepted", "handled"):
        total.add_metric([*controller.values(), state], engine.connections)
    yield total
    requests = CounterMetricFamily(f"{_PROCESS}requests", "Requests so far.", labels=[*controller])
    requests.add_metric([*controller.values()], engine.requests)
    yield requests


def _process(controller: Mapping[str, str], process: Sequence[Metric]) -> Iterator[Metric]:
    for sample in (sample for family in process for sample in family.samples):
        if name := _OF_PROCESS.get(sample.name):
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            family = kind(f"{_PROCESS}{name}", "Of the whole process.", labels=[*controller])
            family.add_metric([*controller.values()], sample.value)
            yield family


def _configuration(readings: Readings, controller: Mapping[str, str]) -> Iterator[Metric]:
    def gauge(name: str, help_: str, value: float) -> Metric:
        family = GaugeMetricFamily(_PREFIX + name, help_, labels=[*controller])
        family.add_metric([*controller.values()], value)
        return family

    def count(name: str, help_: str, value: float) -> Metric:
        # A counter of OpenMetrics would have to end in `_total`.
        family = UnknownMetricFamily(_PREFIX + name, help_, labels=[*controller])
        family.add_metric([*controller.values()], value)
        return family

    is_whole = bool(readings.publish_count) and not readings.outcome.rejected
    yield gauge("build_info", "1.", 1)
    yield gauge(
        "config_hash", "The generation of the table in force.", readings.outcome.table.generation
    )
    yield gauge(
        "config_last_reload_successful", "1 if the engine took all of the last table.", is_whole
    )
    yield gauge(
        "config_last_reload_successful_timestamp_seconds",
        "When the table came into force.",
        readings.published_unix_s,
    )
    yield count("success", "Tables that came into force.", readings.publish_count)
    yield count("errors", "Tables refused in part.", readings.publish_rejected_count)
    if readings.is_leader is not None:
        leader = GaugeMetricFamily(
            f"{_PREFIX}leader_election_status",
            "1 if it writes to Kubernetes.",
            labels=[*controller, "name"],
        )
        leader.add_metric([*controller.values(), readings.lease], readings.is_leader)
        yield leader


def _expiries(table: RouteTable, ingress_class: str) -> Metric:
    family = GaugeMetricFamily(
        f"{_PREFIX}ssl_expire_time_seconds",
        "When the certificate of a host ends, in seconds since 1970.",
        labels=["namespace", "class", "host", "secret_name"],
    )
    for each in expiries(table):
        family.add_metric([each.namespace, ingress_class, each.host, each.secret], each.unix_s)
    return family


def _orphans(table: RouteTable, controller: Mapping[str, str]) -> Metric:
    family = GaugeMetricFamily(
        f"{_PREFIX}orphan_ingress",
        "1 for an Ingress that names a Service without endpoints, or none that exists.",
        labels=[*controller, "namespace", "ingress", "type"],
    )
    found = {
        (route.namespace, route.ingress, "no-service" if backend.missing else "no-endpoint")
        for host in table.hosts.values()
        for route in host.routes
        if (backend := table.backends.get(route.backend)) is not None and not backend.endpoints
    }
    for labels in sorted(found):
        family.add_metric([*controller.values(), *labels], 1)
    return family

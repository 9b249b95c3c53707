"""What the engine counts by route, read with prometheus_client's own parsers."""

import asyncio
import re
from collections.abc import Iterator, Mapping

import msgspec
import pytest
from client import Client
from data_plane import ROUTE, DataPlane, backend, table
from message import request, response
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from upstream import Upstream, says

from proxy.table import ANY_HOST, Host, Listener, ListenerKind, Tracing, TracingPolicy

LABELS = {"namespace": "shop", "ingress": "web", "service": "api", "host": "*", "path": "/"}
NGINX = {"controller_class": "c", "controller_namespace": "ns", "controller_pod": "p"}
OTHER = dict.fromkeys(LABELS, "_other")


async def scraped(data_plane: DataPlane, *, nginx: Mapping[str, str] | None = None) -> list[Sample]:
    page = await asyncio.to_thread(data_plane.engine.metrics, nginx=nginx)
    families = list(text_string_to_metric_families(page.decode()))
    names = [family.name for family in families]
    assert len(names) == len(set(names)), "a family is there once"
    found = [sample for family in families for sample in family.samples]
    keys = [(sample.name, *sorted(sample.labels.items())) for sample in found]
    assert len(keys) == len(set(keys)), "a label set is there once"
    return found


def values(samples: list[Sample], name: str, **labels: str) -> list[float]:
    return [
        sample.value
        for sample in samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]


@pytest.fixture
def data_plane_of_one_route() -> Iterator[DataPlane]:
    """It has room for the labels of one route."""
    data_plane = DataPlane(metrics_routes_max=1)
    yield data_plane
    data_plane.close()


async def test_requests_are_counted_by_route_method_and_status(
    data_plane: DataPlane, upstream: Upstream, client: Client
) -> None:
    for _ in range(3):
        await client.ask(request("GET", "/"))
    upstream.answer = says(response(404, body=b"no"))
    await client.ask(request("POST", "/x?a=b", body=b"12345"))

    samples = await scraped(data_plane)

    name = "spanway_requests_total"
    assert values(samples, name, **LABELS, method="GET", status="200") == [3]
    assert values(samples, name, **LABELS, method="POST", status="404") == [1]
    assert values(samples, "spanway_request_duration_seconds_count", **LABELS) == [4]
    assert values(samples, "spanway_upstream_duration_seconds_count", **LABELS) == [4]
    assert values(samples, "spanway_upstream_attempts_total", **LABELS) == [4]
    assert values(samples, "spanway_response_body_bytes_total", **LABELS) == [3 * 2 + 2]
    assert sum(values(samples, "spanway_request_verdicts_total", **LABELS)) == 4
    assert values(samples, "spanway_metrics_routes") == [1]


async def test_phases_sum_to_the_duration(data_plane: DataPlane, client: Client) -> None:
    await client.ask(request("GET", "/"))

    samples = await scraped(data_plane)

    phases = values(samples, "spanway_request_phase_seconds_total", **LABELS)
    assert len(phases) == 9
    (duration,) = values(samples, "spanway_request_duration_seconds_sum", **LABELS)
    assert sum(phases) == pytest.approx(duration)
    assert duration > 0


async def test_how_long_phases_take_is_counted_of_the_requests_that_had_them(
    data_plane: DataPlane, client: Client
) -> None:
    for _ in range(3):
        await client.ask(request("GET", "/"))

    samples = await scraped(data_plane)

    name = "spanway_phase_duration_seconds"
    assert len({sample.labels["phase"] for sample in samples if sample.name == f"{name}_sum"}) == 9
    assert values(samples, f"{name}_count", phase="wait") == [3]
    assert values(samples, f"{name}_count", phase="connect") == [1], "later ones were reused"
    assert values(samples, f"{name}_count", phase="tls") == [0]
    buckets = values(samples, f"{name}_bucket", phase="wait")
    assert (len(buckets), buckets) == (10, sorted(buckets))
    (took,) = values(samples, f"{name}_sum", phase="wait")
    assert [took] == values(samples, "spanway_request_phase_seconds_total", phase="wait")


async def test_buckets_are_cumulative_and_end_with_all(
    data_plane: DataPlane, client: Client
) -> None:
    await client.ask(request("GET", "/"))

    buckets = values(await scraped(data_plane), "spanway_request_duration_seconds_bucket")

    assert buckets == sorted(buckets)
    assert buckets[-1] == 1


async def test_failures_are_counted_by_their_flag(data_plane: DataPlane) -> None:
    data_plane.serve()
    async with await data_plane.client() as client:
        await client.ask(request("GET", "/"))

    samples = await scraped(data_plane)

    failed = [sample for sample in samples if sample.name == "spanway_requests_failed_total"]
    assert [sample.labels for sample in failed] == [LABELS | {"flag": "no_endpoints"}]
    assert values(samples, "spanway_requests_total", status="503") == [1]


async def test_requests_without_a_route_have_empty_labels(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    hosts = (Host("shop.example", (ROUTE,)),)
    served = table((data_plane.ingress,), (backend(upstream),), hosts)
    async with await data_plane.client_of(served) as client:
        await client.ask(request("GET", "/", host="attacker.example"))

    (sample,) = [s for s in await scraped(data_plane) if s.name == "spanway_requests_total"]

    assert sample.labels == dict.fromkeys(LABELS, "") | {"method": "GET", "status": "404"}


async def test_a_service_listener_is_counted_by_its_service(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    listener = Listener(
        data_plane.ingress.address, ListenerKind.SERVICE, backend="shop/api:80", policy=ROUTE.policy
    )
    served = table((listener,), (backend(upstream),))
    async with await data_plane.client_of(served) as client:
        await client.ask(request("GET", "/"))

    (sample,) = [s for s in await scraped(data_plane) if s.name == "spanway_requests_total"]

    service = {"namespace": "shop", "service": "api", "ingress": "", "host": "", "path": ""}
    assert sample.labels == service | {"method": "GET", "status": "200"}


@pytest.mark.parametrize("tracing", [Tracing(TracingPolicy(0.0)), Tracing(enabled=False)])
async def test_requests_that_leave_no_span_are_counted(
    data_plane: DataPlane, upstream: Upstream, tracing: Tracing
) -> None:
    data_plane.serve(upstream, tracing=tracing)
    async with await data_plane.client() as client:
        await client.ask(request("GET", "/"))

    samples = await scraped(data_plane)

    assert values(samples, "spanway_requests_total", **LABELS) == [1]
    assert await data_plane.spans() == []


async def test_a_bucket_names_the_trace_of_a_sampled_request(
    data_plane: DataPlane, client: Client
) -> None:
    await client.ask(request("GET", "/"))

    page = await asyncio.to_thread(data_plane.engine.metrics, is_openmetrics=True, nginx=NGINX)

    families = list(openmetrics_families(page.decode() + "# EOF\n"))
    exemplars = [s.exemplar for family in families for s in family.samples if s.exemplar]
    segment = await data_plane.segment()
    assert [exemplar.labels for exemplar in exemplars] == [{"trace_id": segment.server.trace_id}]
    assert exemplars[0].value == pytest.approx(segment.server.duration_ns / 1e9, abs=2e-6)


async def test_no_trace_is_named_of_a_request_that_left_no_span(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, tracing=Tracing(TracingPolicy(0.0)))
    async with await data_plane.client() as client:
        await client.ask(request("GET", "/"))

    page = await asyncio.to_thread(data_plane.engine.metrics, is_openmetrics=True)

    assert b"trace_id" not in page


async def test_routes_beyond_the_bound_share_one_label_set(
    data_plane_of_one_route: DataPlane, upstream: Upstream
) -> None:
    data_plane = data_plane_of_one_route
    names = [f"shop-{index}.example" for index in range(5)]
    hosts = tuple(Host(name, (ROUTE,)) for name in names)
    served = table((data_plane.ingress,), (backend(upstream),), hosts)
    async with await data_plane.client_of(served) as client:
        for name in names:
            await client.ask(request("GET", "/", host=name))
        await client.ask(request("GET", "/", host="nobody.example"))

        samples = await scraped(data_plane)

    name = "spanway_requests_total"
    assert values(samples, name, **OTHER) == [4]
    assert values(samples, name, host="") == [1]
    assert sum(values(samples, name)) == 6


async def test_methods_and_statuses_beyond_the_bound_of_a_route_are_counted_by_class(
    data_plane: DataPlane, upstream: Upstream, client: Client
) -> None:
    statuses = range(400, 430)
    for status in statuses:
        upstream.answer = says(response(status, body=b"no"))
        await client.ask(request("GET", "/"))

    samples = await scraped(data_plane)

    name = "spanway_requests_total"
    assert values(samples, name, method="_OTHER", status="4xx") == [len(statuses) - 16]
    assert sum(values(samples, name)) == len(statuses)


async def test_a_changed_route_keeps_its_counts_and_a_removed_one_stays_for_a_while(
    data_plane: DataPlane, upstream: Upstream, client: Client
) -> None:
    await client.ask(request("GET", "/"))
    changed = msgspec.structs.replace(ROUTE, rule="spec.rules[7].http.paths[0]")
    served = table((data_plane.ingress,), (backend(upstream),), (Host(ANY_HOST, (changed,)),))
    assert data_plane.publish(served) == []
    await client.ask(request("GET", "/"))
    assert values(await scraped(data_plane), "spanway_requests_total", **LABELS) == [2]

    assert data_plane.publish(msgspec.structs.replace(served, hosts={})) == []
    assert (await client.ask(request("GET", "/"))).status == 404

    assert values(await scraped(data_plane), "spanway_requests_total", **LABELS) == [2]


async def test_what_ingress_nginx_counts_is_there_under_its_names(
    data_plane: DataPlane, client: Client
) -> None:
    await client.ask(request("GET", "/"))

    samples = await scraped(data_plane, nginx=NGINX)

    labels = NGINX | LABELS | {"canary": "", "method": "GET", "status": "200"}
    prefix = "nginx_ingress_controller_"
    # Their counters' names lack `_total`, which the parser adds.
    assert values(samples, f"{prefix}requests_total", **labels) == [1]
    page = await asyncio.to_thread(data_plane.engine.metrics, nginx=NGINX)
    assert f"\n{prefix}requests{{".encode() in page
    for name in ("request_duration_seconds", "response_duration_seconds"):
        buckets = [s for s in samples if s.name == f"{prefix}{name}_bucket"]
        le = {sample.labels["le"] for sample in buckets}
        assert {"0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "10.0"} <= le
        assert values(samples, f"{prefix}{name}_count", **labels) == [1]
    for name in ("request_size", "response_size", "bytes_sent"):
        assert values(samples, f"{prefix}{name}_count", **labels) == [1]
    assert values(samples, f"{prefix}response_size_sum") == [2]


async def test_values_of_labels_are_escaped(data_plane: DataPlane, upstream: Upstream) -> None:
    strange = 'a"b\\c\nd'
    route = msgspec.structs.replace(ROUTE, ingress=strange)
    served = table((data_plane.ingress,), (backend(upstream),), (Host(ANY_HOST, (route,)),))
    async with await data_plane.client_of(served) as client:
        await client.ask(request("GET", "/"))

    assert values(await scraped(data_plane), "spanway_requests_total", ingress=strange) == [1]


async def test_a_stopped_engine_still_tells_all_that_it_counted(
    data_plane: DataPlane, client: Client
) -> None:
    await client.ask(request("GET", "/"))
    await data_plane.stop()

    assert values(await scraped(data_plane), "spanway_requests_total") == [1]


async def test_every_family_says_what_it_is(data_plane: DataPlane) -> None:
    page = (await asyncio.to_thread(data_plane.engine.metrics, nginx=NGINX)).decode()

    helped = re.findall(r"^# HELP (\S+) .+$", page, flags=re.MULTILINE)
    typed = re.findall(r"^# TYPE (\S+) (?:counter|gauge|histogram)$", page, flags=re.MULTILINE)
    assert helped == typed

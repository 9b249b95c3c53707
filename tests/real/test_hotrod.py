"""The real HotROD behind Spanway: both data paths in one trace, in a real Jaeger.

Its page is asked through the Ingress; its frontend calls customer and route through service
listeners of the same Spanway, and its driver, which speaks gRPC, directly.
"""

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from scene.hotrod import Address, Addresses, Hotrod, free_address
from scene.jaeger import Jaeger, Span, Trace
from scene.objects import endpoint_slice, ingress, service, write_manifests
from scene.parts import skipped_without_part
from scene.spanway import Spanway

from ingress_controller.traces.tree import KERNEL_LAYER

HOST = "hotrod.example"
ROUTES_PER_CLICK = 10
HOPS_PER_CLICK = 1 + 1 + ROUTES_PER_CLICK
CLICK_DEADLINE_S = 30.0
SERVICES = {"spanway", "frontend", "customer", "mysql", "driver", "redis-manual", "route"}


@dataclass(frozen=True)
class Click:
    """One dispatch and its trace, when it is whole."""

    eta_ns: int
    trace: Trace


class Scene:
    """HotROD whose page and calls go through Spanway."""

    def __init__(self, spanway: Spanway, hotrod: Hotrod, jaeger: Jaeger) -> None:
        self._spanway = spanway
        self._hotrod = hotrod
        self._jaeger = jaeger

    def click(self, customer: int = 123) -> Click:
        trace_id = secrets.token_hex(16)
        answer = self._hotrod.dispatch(
            customer,
            url=f"http://{self._spanway.http}",
            headers={"Host": HOST, "traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"},
        )
        trace = self._jaeger.wait_for_trace(trace_id, until=is_whole, deadline_s=CLICK_DEADLINE_S)
        return Click(answer["ETA"], trace)


@pytest.fixture(scope="module")
def scene(jaeger: Jaeger, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("hotrod-behind-spanway")
    own, customer, route = Addresses(), free_address(), free_address()
    with skipped_without_part():
        hotrod = Hotrod(directory, own, otlp_url=jaeger.otlp_url, jaeger_url=jaeger.url)
    write_manifests(
        directory / "manifests" / "hotrod.yaml",
        [
            ingress(HOST, "frontend", namespace="hotrod"),
            *served("frontend", own.frontend),
            *served("customer", own.customer),
            *served("route", own.route),
        ],
    )
    flags: list[str | Path] = [
        "--manifests",
        directory / "manifests",
        "--otlp-endpoint",
        jaeger.otlp_url,
    ]
    for name, address in (("customer", customer), ("route", route)):
        flags += ["--service", f"hotrod/{name}:http={address}"]
    with Spanway(directory, *flags) as spanway:
        spanway.wait_until_ready()
        hotrod.start(customer=customer, route=route)
        try:
            yield Scene(spanway, hotrod, jaeger)
        finally:
            hotrod.stop()


def served(name: str, address: Address) -> list[object]:
    return [
        service(name, namespace="hotrod"),
        endpoint_slice(name, address.host, port=address.port, namespace="hotrod"),
    ]


@pytest.fixture(scope="module")
def click(scene: Scene) -> Click:
    """One click, looked at by several tests."""
    return scene.click()


def is_whole(trace: Trace) -> bool:
    """One root, and under each of the twelve hops the span of the service that was called."""
    services = {span.service for span in trace.spans}
    callees = [callee for hop in hops(trace) for callee in below(trace, hop[2])]
    return services >= SERVICES and len(trace.roots) == 1 and len(callees) == HOPS_PER_CLICK


def hops(trace: Trace) -> list[tuple[Span, Span, Span]]:
    """Spanway's three spans per crossing: SERVER, balance, attempt; those that are linked."""
    return [
        (server, balance, attempt)
        for server in trace.of("spanway")
        if server.kind == "SERVER"
        for balance in below(trace, server)
        for attempt in below(trace, balance)
    ]


def below(trace: Trace, span: Span) -> list[Span]:
    """Its children but those that divide its own time."""
    return [child for child in trace.children(span) if not is_part(child)]


def is_part(span: Span) -> bool:
    """A phase, which has a span where it took a second, or what the kernel saw."""
    is_phase = "spanway.phase" in span.attributes
    return is_phase or span.name in KERNEL_LAYER or span.name == "client.deliver"


def hops_to(trace: Trace, service_name: str) -> list[tuple[Span, Span, Span]]:
    return [hop for hop in hops(trace) if hop[1].attributes["k8s.service.name"] == service_name]


def test_one_click_is_one_trace_with_three_spans_per_hop(click: Click) -> None:
    trace = click.trace

    assert click.eta_ns > 0
    own = [span for span in trace.of("spanway") if not is_part(span)]
    assert len(own) == 3 * HOPS_PER_CLICK, str(trace)
    assert len(hops(trace)) == HOPS_PER_CLICK
    assert len(trace.spans) - 3 * HOPS_PER_CLICK >= 40, str(trace)
    assert not any(span.is_error for span in trace.of("spanway"))


def test_edge_is_the_root_and_the_frontend_is_under_its_attempt(click: Click) -> None:
    trace = click.trace
    ((server, balance, attempt),) = hops_to(trace, "frontend")

    assert list(trace.roots) == [server]
    assert server.name == "GET /"
    assert server.attributes["spanway.listener"] == "ingress"
    assert server.attributes["spanway.ingress.name"] == "web"
    assert balance.name == "balance hotrod/frontend:80"
    (callee,) = below(trace, attempt)
    assert (callee.service, callee.kind) == ("frontend", "SERVER")


@pytest.mark.parametrize(("callee_name", "count"), [("customer", 1), ("route", ROUTES_PER_CLICK)])
def test_hop_on_the_service_path_is_between_caller_and_callee(
    click: Click, callee_name: str, count: int
) -> None:
    trace = click.trace
    found = hops_to(trace, callee_name)

    assert len(found) == count, str(trace)
    for server, balance, attempt in found:
        caller = trace.parent(server)
        assert caller is not None
        assert (caller.service, caller.kind) == ("frontend", "CLIENT")
        assert server.attributes["spanway.listener"] == "service"
        assert balance.name == f"balance hotrod/{callee_name}:http"
        assert attempt.attributes["k8s.pod.name"] == f"{callee_name}-0"
        (callee,) = below(trace, attempt)
        assert (callee.service, callee.kind) == (callee_name, "SERVER")


def test_spans_of_spanway_enclose_those_that_they_led_to(click: Click) -> None:
    # Spanway runs on the same clock as its neighbours here, so callees fit inside as well.
    trace = click.trace
    for server, balance, attempt in hops(trace):
        (callee,) = below(trace, attempt)
        starts = [span.start_unix_ns for span in (server, balance, attempt, callee)]
        ends = [span.end_unix_ns for span in (callee, attempt, balance, server)]
        assert starts == sorted(starts), str(trace)
        assert ends == sorted(ends), str(trace)


def test_clicks_at_once_queue_for_the_database_and_the_trace_shows_it(scene: Scene) -> None:
    with ThreadPoolExecutor(4) as pool:
        clicks = list(pool.map(scene.click, (123, 392, 731, 567)))

    # HotROD lets one query in at a time, so each click waits for those before it.
    traces = sorted((click.trace for click in clicks), key=lambda trace: query(trace).end_unix_ns)
    queries = [query(trace) for trace in traces]
    waits_ns = [span.duration_ns for span in queries]
    assert waits_ns == sorted(waits_ns)
    assert waits_ns[-1] > 2 * waits_ns[0]
    # What the last one waited for is seen at the edge, and where: below the customer's hop.
    last = traces[-1]
    ((_, _, customer_attempt),) = hops_to(last, "customer")
    assert customer_attempt.duration_ns >= waits_ns[-1]
    assert last.roots[0].duration_ns >= customer_attempt.duration_ns
    assert last.roots[0].duration_ns > traces[0].roots[0].duration_ns


def query(trace: Trace) -> Span:
    (found,) = trace.of("mysql")
    return found

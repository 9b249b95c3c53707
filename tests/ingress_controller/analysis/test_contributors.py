"""Whose the time of one trace was: a hand-made one."""

from collections import Counter

import pytest

from ingress_controller.analysis.contributors import SCOPE, contributions
from ingress_controller.analysis.measures import Part
from ingress_controller.traces.span import Span, SpanKind
from ingress_controller.traces.tree import tree

SERVER, INTERNAL, CLIENT = SpanKind.SERVER, SpanKind.INTERNAL, SpanKind.CLIENT
BACKEND = {"k8s.namespace.name": "shop", "k8s.service.name": "api"}
ATTEMPT: dict[str, str | int] = {"k8s.pod.name": "api-0", "spanway.phase.send_us": 10}


def span(
    name: str,
    parent_id: str,
    start_us: int,
    end_us: int,
    kind: SpanKind = INTERNAL,
    attributes: dict[str, str | int] | None = None,
) -> Span:
    start_ns, end_ns = start_us * 1_000, end_us * 1_000
    found = attributes or {}
    return Span("t", name, parent_id, name, kind, "spanway", start_ns, end_ns, found, scope=SCOPE)


def told(spans: list[Span]) -> Counter[tuple[str, str, Part]]:
    """Microseconds by contributor."""
    found: Counter[tuple[str, str, Part]] = Counter()
    for of, ns in contributions(tree(spans)).by_contributor.items():
        found[of.service, of.operation, of.part] += ns // 1_000
    return found


def request(attempt: dict[str, str | int], *, network_us: int) -> list[Span]:
    """Of 200 µs, in the last 190 of which an attempt waited; `network_us` in the engine's word."""
    server = {"spanway.time.cluster_network_us": network_us}
    return [
        span("GET /", "", 0, 200, SERVER, dict(server)),
        span("balance shop/api:80", "GET /", 0, 200, attributes=dict(BACKEND)),
        span("GET", "balance shop/api:80", 0, 200, CLIENT, ATTEMPT | attempt),
    ]


def app(start_us: int, end_us: int) -> Span:
    """What an application tells of a request."""
    ns = start_us * 1_000, end_us * 1_000
    return Span("t", "app", "GET", "GET /api", SERVER, "api", *ns, {}, scope="app")


LAYER = [
    span("net.deliver", "GET", 10, 40),
    span("app.respond", "GET", 40, 180),
    span("net.return", "GET", 180, 190),
]
KERNEL: dict[str, str | int] = {"spanway.net.source": "kernel"}


def test_what_the_kernel_saw_of_an_app_without_spans_is_its_services() -> None:
    assert told([*request(KERNEL, network_us=30), *LAYER]) == {
        ("shop/api", "send", Part.PROXY): 10,
        ("shop/api", "network", Part.CLUSTER_NETWORK): 30,
        ("shop/api", "wait", Part.APP): 150,
        ("spanway", "net.return", Part.PROXY): 10,
    }


def test_what_an_app_took_before_its_own_span_began_is_not_the_networks() -> None:
    spans = [*request(KERNEL, network_us=30), *LAYER, app(140, 170)]

    assert told(spans) == {
        ("shop/api", "send", Part.PROXY): 10,
        ("shop/api", "network", Part.CLUSTER_NETWORK): 30,
        ("shop/api", "wait", Part.APP): 120,  # 40 to 140, 170 to 180, and the end
        ("api", "GET /api", Part.APP): 30,
        ("spanway", "net.return", Part.PROXY): 10,
    }


def test_without_the_kernels_word_all_that_is_beside_the_apps_span_is_the_networks() -> None:
    assert told([*request({}, network_us=0), app(140, 170)]) == {
        ("shop/api", "send", Part.CLUSTER_NETWORK): 10,
        ("shop/api", "network", Part.CLUSTER_NETWORK): 160,
        ("api", "GET /api", Part.APP): 30,
    }


@pytest.mark.parametrize("callee", [[], [app(45, 75)]], ids=["without spans", "with spans"])
def test_an_answer_that_was_lost_is_the_networks_as_the_engine_says(callee: list[Span]) -> None:
    spans = [*request(KERNEL, network_us=130), *LAYER, *callee]

    found = told(spans)

    assert found["shop/api", "network", Part.CLUSTER_NETWORK] == 130
    assert found.total() == 200


def test_a_response_that_is_under_way_to_the_client_is_its_networks() -> None:
    spans = [span("GET /", "", 0, 200, SERVER), span("client.deliver", "GET /", 20, 200)]

    assert told(spans) == {
        ("spanway", "GET /", Part.PROXY): 20,
        ("spanway", "client.deliver", Part.CLIENT_NETWORK): 180,
    }


def call(server: dict[str, str | int]) -> list[Span]:
    """An app's call of 200 µs to Spanway, whose span of it is the 100 µs in the middle."""
    ns = 0, 200_000
    return [
        Span("t", "call", "", "GET", CLIENT, "page", *ns, {}, scope="app"),
        span("GET /", "call", 50, 150, SERVER, server),
    ]


def test_of_a_call_to_spanway_the_network_has_two_round_trips_and_the_caller_the_rest() -> None:
    assert told(call({"tcp.min_rtt_us": 10, "spanway.net.wakeup_us": 5})) == {
        ("page", "GET", Part.CLUSTER_NETWORK): 20,
        ("page", "GET", Part.APP): 75,
        ("spanway", "wake-up", Part.PROXY): 5,
        ("spanway", "GET /", Part.PROXY): 100,
    }


@pytest.mark.parametrize("server", [{}, {"tcp.min_rtt_us": 10, "tcp.retransmits": 1}])
def test_a_call_is_the_networks_where_little_is_known_or_packets_were_lost(
    server: dict[str, str | int],
) -> None:
    assert told(call(server)) == {
        ("page", "GET", Part.CLUSTER_NETWORK): 100,
        ("spanway", "GET /", Part.PROXY): 100,
    }


def test_a_call_through_spanway_is_named_after_the_service_that_it_reached() -> None:
    to_api = span("balance shop/api:80", "GET /", 50, 150, attributes=dict(BACKEND))

    assert told([*call({"tcp.min_rtt_us": 10}), to_api]) == {
        ("page", "GET → shop/api", Part.CLUSTER_NETWORK): 20,
        ("page", "GET → shop/api", Part.APP): 80,
        ("spanway", "balance shop/api:80", Part.PROXY): 100,
    }


def test_the_network_of_a_service_is_one_contributor() -> None:
    # Of some attempts the kernel saw it, of others it is what lies beside the app's span.
    lost = {"spanway.time.cluster_network_us": 60}
    spans = [*request(KERNEL, network_us=0)[1:], *LAYER, app(45, 75)]
    spans.append(span("GET /", "", 0, 200, SERVER, dict(lost)))

    found = [of for of in contributions(tree(spans)).by_contributor if of.operation == "network"]

    assert [(of.service, of.measured.name) for of in found] == [("shop/api", "balance shop/api:80")]

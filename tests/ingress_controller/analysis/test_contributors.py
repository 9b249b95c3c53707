"""Whose the time of one trace was: a hand-made one, whose app sends no spans."""

from collections import Counter

from ingress_controller.analysis.contributors import SCOPE, contributions
from ingress_controller.analysis.measures import Part
from ingress_controller.traces.span import Span, SpanKind
from ingress_controller.traces.tree import tree

SERVER, INTERNAL, CLIENT = SpanKind.SERVER, SpanKind.INTERNAL, SpanKind.CLIENT
BACKEND = {"k8s.namespace.name": "shop", "k8s.service.name": "api"}
ATTEMPT = {"k8s.pod.name": "api-0", "spanway.phase.send_us": 10}


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


def test_what_the_kernel_saw_of_an_app_without_spans_is_its_services() -> None:
    found = contributions(
        tree(
            [
                span("GET /", "", 0, 200, SERVER),
                span("balance shop/api:80", "GET /", 0, 200, attributes=dict(BACKEND)),
                span("GET", "balance shop/api:80", 0, 200, CLIENT, dict(ATTEMPT)),
                span("net.deliver", "GET", 10, 40),
                span("app.respond", "GET", 40, 180),
                span("net.return", "GET", 180, 190),
            ]
        )
    ).by_contributor

    told: Counter[tuple[str, str, Part]] = Counter()
    for of, ns in found.items():
        told[of.service, of.operation, of.part] += ns // 1_000
    assert told == {
        ("shop/api", "send", Part.PROXY): 10,
        ("shop/api", "network", Part.CLUSTER_NETWORK): 30,
        ("shop/api", "wait", Part.APP): 150,
        ("spanway", "net.return", Part.PROXY): 10,
    }

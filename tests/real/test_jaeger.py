"""Spans of the real `spanway run`, as a real Jaeger has them: docs/SPANS.md, end to end."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from scene.backend import Backend
from scene.client import Traffic
from scene.jaeger import Jaeger, Span, Trace
from scene.namespace import free_port
from scene.objects import endpoint_slice, ingress, service, write_manifests
from scene.parts import skipped_without_part
from scene.spanway import Spanway

HOST = "shop.example"
NODE = "node-b"
SERVICE_NAME = "edge-of-test"
TRACESTATE = "vendor=1"


@pytest.fixture(scope="module")
def api() -> Iterator[Backend]:
    with Backend("api") as backend:
        yield backend


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory, api: Backend) -> Path:
    """`/` is routed to a backend that answers, `/refused` to a port that nobody listens on."""
    directory = tmp_path_factory.mktemp("manifests")
    write_manifests(
        directory / "shop.yaml",
        [
            ingress(HOST, "api", namespace="shop"),
            service("api", namespace="shop"),
            endpoint_slice("api", "127.0.0.1", port=api.port, namespace="shop", node=NODE),
            ingress(HOST, "refused", name="refused", namespace="shop", path="/refused"),
            service("refused", namespace="shop"),
            endpoint_slice("refused", "127.0.0.1", port=free_port(), namespace="shop"),
            ingress(HOST, "absent", name="absent", namespace="shop", path="/absent"),
        ],
    )
    return directory


@pytest.fixture(scope="module")
def spanway(
    tmp_path_factory: pytest.TempPathFactory, manifests: Path, jaeger: Jaeger
) -> Iterator[Spanway]:
    flags = ("--manifests", manifests, "--otlp-endpoint", jaeger.otlp_url)
    environment = {
        "OTEL_SERVICE_NAME": SERVICE_NAME,
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
    }
    directory = tmp_path_factory.mktemp("spanway")
    with Spanway(directory, *flags, environment=environment) as running:
        yield running.wait_until_ready()


def traced(
    spanway: Spanway, path: str, *, method: str = "GET", content: bytes | None = None
) -> str:
    """The id of the trace of one request, whose client sends no span of its own."""
    trace_id = secrets.token_hex(16)
    headers = {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01", "tracestate": TRACESTATE}
    spanway.ask(path, host=HOST, method=method, headers=headers, content=content)
    return trace_id


def six(trace: Trace) -> bool:
    """Of Spanway's own, and what the kernel saw of the attempt."""
    return len(trace.spans) == 6


def links(trace: Trace) -> tuple[Span, Span, Span]:
    """The SERVER, the balance and the CLIENT span, found by their links alone."""
    (server,) = trace.roots
    (balance,) = trace.children(server)
    (attempt,) = trace.children(balance)
    return server, balance, attempt


def test_request_is_three_spans_in_a_row_and_what_the_kernel_saw(
    spanway: Spanway, jaeger: Jaeger
) -> None:
    trace = jaeger.wait_for_trace(traced(spanway, "/items/1?secret=1"), until=six)

    server, balance, attempt = links(trace)
    assert [(span.name, span.kind) for span in (server, balance, attempt)] == [
        ("GET /", "SERVER"),
        ("balance shop/api:80", "INTERNAL"),
        ("GET", "CLIENT"),
    ]
    layer = [(span.name, span.kind) for span in trace.children(attempt)]
    names = ("net.deliver", "app.respond", "net.return")
    assert layer == [(name, "INTERNAL") for name in names]
    assert not any(span.is_error for span in trace.spans)


def test_parents_enclose_their_children_and_phases_sum_up(spanway: Spanway, jaeger: Jaeger) -> None:
    trace = jaeger.wait_for_trace(traced(spanway, "/"), until=six)

    server, balance, attempt = links(trace)
    starts = [span.start_unix_ns for span in (server, balance, attempt)]
    ends = [span.end_unix_ns for span in (attempt, balance, server)]
    assert starts == sorted(starts)
    assert ends == sorted(ends)
    assert phases_us(server) == server.duration_ns // 1000
    assert phases_us(attempt) == attempt.duration_ns // 1000


def phases_us(span: Span) -> int:
    return sum(
        int(str(value))
        for name, value in span.attributes.items()
        if name.startswith("spanway.phase.") and name.endswith("_us")
    )


def test_spans_say_what_was_asked_and_who_answered(
    spanway: Spanway, jaeger: Jaeger, api: Backend
) -> None:
    trace = jaeger.wait_for_trace(
        traced(spanway, "/items/1?secret=1", method="POST", content=b"12345"), until=six
    )

    server, balance, attempt = links(trace)
    port = int(spanway.http.rpartition(":")[2])
    has(
        server,
        {
            "http.request.method": "POST",
            "http.route": "/",
            "http.response.status_code": 200,
            "http.request.body.size": 5,
            "http.response.body.size": len("api"),
            "url.scheme": "http",
            "url.path": "/items/1",
            "server.address": HOST,
            "server.port": port,
            "client.address": "127.0.0.1",
            "network.protocol.version": "1.1",
            "k8s.namespace.name": "shop",
            "spanway.ingress.name": "web",
            "spanway.route": "spec.rules[0].http.paths[0]",
            "spanway.listener": "ingress",
            "spanway.table.generation": 1,
        },
    )
    has(
        balance,
        {
            "k8s.namespace.name": "shop",
            "k8s.service.name": "api",
            "spanway.lb.policy": "round_robin",
            "spanway.lb.endpoints_ready": 1,
            "spanway.lb.attempts": 1,
        },
    )
    has(
        attempt,
        {
            "http.request.method": "POST",
            "http.response.status_code": 200,
            "server.address": "127.0.0.1",
            "server.port": api.port,
            "network.peer.address": "127.0.0.1",
            "network.peer.port": api.port,
            "k8s.pod.name": "api-0",
            "k8s.node.name": NODE,
        },
    )
    assert "secret" not in repr(trace.spans)


def has(span: Span, wanted: dict[str, object]) -> None:
    assert {name: span.attributes.get(name) for name in wanted} == wanted


def test_resource_is_the_one_that_the_environment_names(spanway: Spanway, jaeger: Jaeger) -> None:
    trace = jaeger.wait_for_trace(traced(spanway, "/"), until=six)

    assert {span.service for span in trace.spans} == {SERVICE_NAME}
    resource = trace.spans[0].resource
    assert resource["deployment.environment.name"] == "test"
    assert resource["service.version"]
    assert resource["service.instance.id"]
    assert SERVICE_NAME in jaeger.services()


def test_trace_is_continued_and_handed_on(spanway: Spanway, jaeger: Jaeger, api: Backend) -> None:
    trace_id, client_id = secrets.token_hex(16), secrets.token_hex(8)
    headers = {"traceparent": f"00-{trace_id}-{client_id}-01", "tracestate": TRACESTATE}

    spanway.ask("/handed-on", host=HOST, headers=headers)

    server, _, attempt = links(jaeger.wait_for_trace(trace_id, until=six))
    assert server.parent_id == client_id
    (received,) = [request for request in api.received if request.path == "/handed-on"]
    assert received.fields["traceparent"] == f"00-{trace_id}-{attempt.span_id}-01"
    assert received.fields["tracestate"] == TRACESTATE


def test_trace_begins_where_the_client_has_none(
    spanway: Spanway, jaeger: Jaeger, api: Backend
) -> None:
    spanway.ask("/begun", host=HOST)

    (received,) = [request for request in api.received if request.path == "/begun"]
    _, trace_id, parent_id, flags = received.fields["traceparent"].split("-")
    assert flags == "01"
    server, _, attempt = links(jaeger.wait_for_trace(trace_id, until=six))
    assert server.parent_id == ""
    assert attempt.span_id == parent_id


def test_unsampled_trace_is_handed_on_and_not_exported(
    spanway: Spanway, jaeger: Jaeger, api: Backend
) -> None:
    trace_id = secrets.token_hex(16)
    spanway.ask(
        "/unsampled", host=HOST, headers={"traceparent": f"00-{trace_id}-00f067aa0ba902b7-00"}
    )

    later = traced(spanway, "/")

    jaeger.wait_for_trace(later, until=six)
    assert jaeger.trace(trace_id) is None
    (received,) = [request for request in api.received if request.path == "/unsampled"]
    assert received.fields["traceparent"].startswith(f"00-{trace_id}-")
    assert received.fields["traceparent"].endswith("-00")


def test_refused_connection_is_an_error_of_each_attempt(spanway: Spanway, jaeger: Jaeger) -> None:
    trace = jaeger.wait_for_trace(
        traced(spanway, "/refused"), until=lambda trace: len(trace.roots) == 1
    )

    # What failed has its phases as spans of their own, too.
    spans = [span for span in trace.spans if "spanway.phase" not in span.attributes]
    (server,) = trace.roots
    (balance,) = (span for span in trace.children(server) if span in spans)
    attempts = [span for span in trace.children(balance) if span in spans]
    assert server.attributes["http.response.status_code"] == 502
    assert server.attributes["error.type"] == "502"
    assert server.attributes["spanway.flags"] == "connect_refused"
    assert balance.attributes["error.type"] == "connect_refused"
    assert balance.attributes["spanway.lb.attempts"] == len(attempts)
    assert {attempt.attributes["error.type"] for attempt in attempts} == {"connect_refused"}
    assert all(span.is_error for span in spans), str(trace)


def test_missing_service_is_an_error_that_the_balance_span_explains(
    spanway: Spanway, jaeger: Jaeger
) -> None:
    trace = jaeger.wait_for_trace(
        traced(spanway, "/absent"), until=lambda trace: len(trace.spans) == 2
    )

    (server,) = trace.roots
    (balance,) = trace.children(server)
    assert server.attributes["http.response.status_code"] == 503
    assert server.attributes["spanway.flags"] == "no_backend"
    assert server.is_error
    assert balance.attributes["error.type"] == "no_backend"
    assert balance.is_error
    assert balance.status_message == "Service shop/absent does not exist."


def test_error_page_names_the_trace_that_jaeger_has(spanway: Spanway, jaeger: Jaeger) -> None:
    answer = spanway.ask("/refused", host=HOST)

    (line,) = [line for line in answer.text.splitlines() if line.startswith("trace-id: ")]
    assert jaeger.wait_for_trace(line.split()[1], until=lambda trace: bool(trace.roots))


def test_spans_wait_for_a_jaeger_that_is_away_and_requests_do_not(
    tmp_path: Path, manifests: Path
) -> None:
    with skipped_without_part():
        jaeger = Jaeger(tmp_path / "jaeger")
    flags = ("--manifests", manifests, "--otlp-endpoint", jaeger.otlp_url)
    with Spanway(tmp_path, *flags) as spanway:
        spanway.wait_until_ready()
        with Traffic(spanway.http, host=HOST) as traffic:
            early = traced(spanway, "/")
            traffic.wait_for_more()
            spanway.process.wait_until(lambda: spanway.export_stats()["retry_count"] > 0)
            traffic.wait_for_more()
            jaeger.start()
            try:
                jaeger.wait_for_trace(early, until=six)
                traffic.wait_for_more()
                assert spanway.export_stats()["dropped_spans"] == {}
            finally:
                jaeger.stop()
        assert traffic.failures == []

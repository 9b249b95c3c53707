"""Each way by which `spanway run` exports spans, to a real Jaeger."""

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scene.backend import Backend
from scene.jaeger import Jaeger, Trace
from scene.objects import endpoint_slice, ingress, service, write_manifests
from scene.parts import extra_python, skipped_without_part
from scene.spanway import Spanway

HOST = "shop.example"


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("manifests")
    with Backend("api") as backend:
        write_manifests(
            directory / "shop.yaml",
            [
                ingress(HOST, "api", namespace="shop"),
                service("api", namespace="shop"),
                endpoint_slice("api", "127.0.0.1", port=backend.port, namespace="shop"),
            ],
        )
        yield directory


def ask(spanway: Spanway) -> str:
    """The id of the trace of one request."""
    trace_id = secrets.token_hex(16)
    headers = {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}
    assert spanway.ask("/", host=HOST, headers=headers).status == 200
    return trace_id


def is_whole(trace: Trace) -> bool:
    return len(trace.spans) == 6


def agrees(trace: Trace) -> None:
    """With what was asked, whatever the format could carry."""
    (server,) = trace.roots
    (balance,) = trace.children(server)
    (attempt,) = trace.children(balance)
    names = [span.name.lower() for span in (server, balance, attempt)]
    assert names == ["get /", "balance shop/api:80", "get"]
    assert (server.kind, attempt.kind) == ("SERVER", "CLIENT")
    assert server.service == "spanway"
    assert str(server.attributes["http.response.status_code"]) == "200"
    assert str(server.attributes["spanway.listener"]) == "ingress"
    assert server.duration_ns >= attempt.duration_ns > 0


@pytest.mark.parametrize(
    "url",
    [
        lambda jaeger: f"{jaeger.otlp_url}?compression=gzip",
        lambda jaeger: f"{jaeger.otlp_url}?encoding=json",
        lambda jaeger: jaeger.otlp_grpc_url.replace("http:", "otlp+grpc:"),
        lambda jaeger: jaeger.otlp_grpc_url.replace("http:", "otlp+grpc:") + "?compression=gzip",
        lambda jaeger: f"zipkin+{jaeger.zipkin_url}",
    ],
    ids=["otlp-http-gzip", "otlp-http-json", "otlp-grpc", "otlp-grpc-gzip", "zipkin"],
)
def test_a_trace_arrives_whole(
    tmp_path: Path, manifests: Path, jaeger: Jaeger, url: Callable[[Jaeger], str]
) -> None:
    with Spanway(tmp_path, "--manifests", manifests, "--export", url(jaeger)) as spanway:
        trace_id = ask(spanway.wait_until_ready())
        agrees(jaeger.wait_for_trace(trace_id, until=is_whole))


def test_the_controller_traces_each_table_as_a_service_of_its_own(
    tmp_path: Path, manifests: Path, jaeger: Jaeger
) -> None:
    environment = {"OTEL_SERVICE_NAME": "traced"}
    flags = ("--manifests", manifests, "--otlp-endpoint", jaeger.otlp_url)
    with Spanway(tmp_path, *flags, environment=environment) as spanway:
        spanway.wait_until_ready()
        spanway.process.wait_until(lambda: jaeger.find_traces(service="traced-controller"))

    (trace, *_) = jaeger.find_traces(service="traced-controller")
    (reconcile,) = trace.roots
    parts = trace.children(reconcile)
    assert reconcile.name == "reconcile"
    assert [span.name for span in parts] == ["apply changes", "build", "publish"]
    assert reconcile.attributes["spanway.table.generation"] == 1
    assert parts[-1].attributes["spanway.table.generation"] == 1


@pytest.mark.parametrize(
    "url",
    [
        lambda jaeger: f"jaeger-thrift://{jaeger.thrift_udp_address}",
        lambda jaeger: f"jaeger-thrift+{jaeger.thrift_http_url}",
    ],
    ids=["udp", "http"],
)
def test_a_trace_arrives_whole_by_thrift_with_the_last_sdk_that_knows_it(
    tmp_path: Path, manifests: Path, jaeger: Jaeger, url: Callable[[Jaeger], str]
) -> None:
    with skipped_without_part():
        python = extra_python("jaeger-thrift")
    flags = ("--manifests", manifests, "--export", url(jaeger), "--export", "console")
    with Spanway(tmp_path, *flags, python=python) as spanway:
        trace_id = ask(spanway.wait_until_ready())
        agrees(jaeger.wait_for_trace(trace_id, until=is_whole))
        spanway.process.wait_until(lambda: f'"trace_id": "0x{trace_id}"' in spanway.said)


def test_more_than_a_packet_has_room_for_arrives_by_udp(
    tmp_path: Path, manifests: Path, jaeger: Jaeger
) -> None:
    """Spans of a burst are one batch of more than 65,000 bytes."""
    with skipped_without_part():
        python = extra_python("jaeger-thrift")
    flags = ("--manifests", manifests, "--export", f"jaeger-thrift://{jaeger.thrift_udp_address}")
    slow = {"OTEL_BSP_SCHEDULE_DELAY": "1000"}
    with Spanway(tmp_path, *flags, python=python, environment=slow) as spanway:
        spanway.wait_until_ready()
        traces = [ask(spanway) for _ in range(100)]
        for trace_id in traces:
            jaeger.wait_for_trace(trace_id, until=is_whole)


def test_thrift_without_its_package_is_one_sentence_at_the_start(
    tmp_path: Path, manifests: Path
) -> None:
    flags = ("--manifests", manifests, "--export", "jaeger-thrift://127.0.0.1")
    with Spanway(tmp_path, *flags) as spanway:
        assert spanway.process.wait_for_end() == 1
        assert "pip install 'spanway[jaeger-thrift]' brings it" in spanway.said
        assert "Traceback" not in spanway.said


def test_several_exporters_each_get_all_and_one_that_is_away_holds_up_none(
    tmp_path: Path, manifests: Path, jaeger: Jaeger
) -> None:
    file = tmp_path / "spans.jsonl"
    flags: list[str | Path] = ["--manifests", manifests, "--otlp-endpoint", jaeger.otlp_url]
    flags += ["--export", f"file:{file}", "--export", "otlp+grpc://127.0.0.1:1"]
    with Spanway(tmp_path, *flags) as spanway:
        trace_id = ask(spanway.wait_until_ready())
        jaeger.wait_for_trace(trace_id, until=is_whole)
        spanway.process.wait_until(lambda: file.exists() and trace_id in file.read_text())
        away = spanway.exporters_stats()[2]
    assert away["name"] == "otlp+grpc://127.0.0.1:1"
    assert away["sent_spans"] == 0
    assert all(json.loads(line)["resourceSpans"] for line in file.read_text().splitlines())

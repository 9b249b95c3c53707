"""`spanway run` on a directory of manifests: what an operator does to it and sees of it."""

import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from scene.backend import Backend
from scene.client import Traffic, ask
from scene.jaeger import Jaeger
from scene.namespace import free_port
from scene.objects import endpoint_slice, external_name, ingress, service, write_manifests
from scene.parts import skipped_without_part
from scene.process import wait_until
from scene.spanway import Spanway, command

from ingress_controller.settings import read_settings

HOST = "shop.example"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}


@pytest.fixture
def api() -> Iterator[Backend]:
    with Backend("api") as backend:
        yield backend


@pytest.fixture
def manifests(tmp_path: Path, api: Backend) -> Path:
    """A directory in which `shop.example/` is routed to `api`."""
    directory = tmp_path / "manifests"
    write_manifests(directory / "service.yaml", served("api", api))
    write_manifests(directory / "ingress.yaml", [ingress(HOST, "api")])
    return directory


@pytest.fixture
def spanway(tmp_path: Path, manifests: Path) -> Iterator[Spanway]:
    """A ready one that serves `manifests`."""
    with Spanway(tmp_path, "--manifests", manifests) as running:
        yield running.wait_until_ready()


def served(name: str, backend: Backend) -> list[object]:
    """The objects of a Service whose one endpoint is `backend`."""
    return [service(name), endpoint_slice(name, "127.0.0.1", port=backend.port)]


def test_ready_line_says_what_is_served_and_where(spanway: Spanway) -> None:
    addresses = f"http {spanway.http}, admin http://{spanway.admin}"
    assert spanway.ready_line.endswith(f"ready: {addresses}, 1 route for 1 host, 0 problems")
    assert "WARN" not in spanway.said
    assert spanway.ask(host=HOST).text == "api"


def test_changed_file_is_followed_without_a_failed_request(
    spanway: Spanway, manifests: Path
) -> None:
    with Backend("other") as other, Traffic(spanway.http, host=HOST) as traffic:
        traffic.wait_for_more()

        write_manifests(
            manifests / "service.yaml",
            [service("api"), endpoint_slice("api", "127.0.0.1", port=other.port)],
        )

        spanway.wait_for_answer(host=HOST, status=200, text="other")
        traffic.wait_for_more()
    assert traffic.failures == []
    assert set(traffic.answered_by) == {"api", "other"}


def test_broken_file_is_a_problem_and_its_last_good_version_serves(
    spanway: Spanway, manifests: Path
) -> None:
    (manifests / "ingress.yaml").write_text("kind: Ingress\nspec: [unclosed\n")

    problem = spanway.wait_for_problem("It is not YAML")

    assert (problem["kind"], problem["name"]) == ("File", "ingress.yaml")
    assert problem["field"].startswith("line ")
    assert "last good version keeps serving" in problem["text"]
    assert spanway.ask(host=HOST).text == "api"


def test_malformed_object_is_a_problem_that_names_its_field(
    spanway: Spanway, manifests: Path
) -> None:
    broken = ingress("other.example", "api", name="broken")
    broken["spec"]["rules"][0]["http"]["paths"][0]["pathType"] = 7
    write_manifests(manifests / "broken.yaml", [broken])

    problem = spanway.wait_for_problem("")

    assert (problem["kind"], problem["name"]) == ("Ingress", "broken")
    assert problem["field"] == "spec.rules[0].http.paths[0].pathType"
    assert spanway.ask(host=HOST).text == "api"


def test_unknown_service_is_a_problem_and_503_until_it_comes(
    spanway: Spanway, manifests: Path, api: Backend
) -> None:
    write_manifests(manifests / "more.yaml", [ingress("more.example", "later", name="more")])
    problem = spanway.wait_for_problem("Service default/later does not exist")
    assert problem["field"] == "spec.rules[0].http.paths[0].backend.service.name"
    assert spanway.ask(host="more.example").status == 503
    assert spanway.ask(host=HOST).text == "api"

    write_manifests(manifests / "later.yaml", served("later", api))

    spanway.wait_for_answer(host="more.example", status=200)
    assert spanway.problems() == []


def test_unknown_port_is_a_problem_that_says_which_there_are(
    spanway: Spanway, manifests: Path
) -> None:
    write_manifests(
        manifests / "more.yaml", [ingress("more.example", "api", name="more", port="grpc")]
    )

    problem = spanway.wait_for_problem('no TCP port named "grpc"')

    assert problem["field"] == "spec.rules[0].http.paths[0].backend.service.port.name"
    assert "It has 80 (http)" in problem["text"]
    assert spanway.ask(host="more.example").status == 503


def test_host_and_path_of_two_ingresses_is_a_problem_of_the_second(
    spanway: Spanway, manifests: Path
) -> None:
    write_manifests(manifests / "second.yaml", [ingress(HOST, "api", name="zz-second")])

    problem = spanway.wait_for_problem("already routed")

    assert (problem["name"], problem["field"]) == (
        "zz-second",
        "spec.rules[0].http.paths[0].path",
    )
    assert "Ingress default/web" in problem["text"]
    assert spanway.ask(host=HOST).text == "api"


def test_removed_file_ends_its_routes(spanway: Spanway, manifests: Path) -> None:
    (manifests / "ingress.yaml").unlink()

    answer = spanway.wait_for_answer(host=HOST, status=404)

    assert "trace-id: " in answer.text


def test_external_name_is_resolved(spanway: Spanway, manifests: Path, api: Backend) -> None:
    write_manifests(
        manifests / "external.yaml",
        [
            external_name("outside", "localhost", api.port),
            ingress("outside.example", "outside", name="outside"),
        ],
    )

    assert spanway.wait_for_answer(host="outside.example", status=200).text == "api"


def test_external_name_without_an_address_is_a_problem(spanway: Spanway, manifests: Path) -> None:
    write_manifests(
        manifests / "external.yaml",
        [
            external_name("outside", "no-such-name.invalid", 80),
            ingress("outside.example", "outside", name="outside"),
        ],
    )

    problem = spanway.wait_for_problem("no-such-name.invalid")

    assert (problem["kind"], problem["field"]) == ("Service", "spec.externalName")
    assert spanway.ask(host="outside.example").status == 503


def test_service_flag_serves_a_service_at_an_address_of_its_own(
    tmp_path: Path, manifests: Path
) -> None:
    address = f"127.0.0.1:{free_port()}"
    flag = f"default/api:80={address}"
    with Spanway(tmp_path, "--manifests", manifests, "--service", flag) as spanway:
        spanway.wait_until_ready()
        assert f"service {address}" in spanway.ready_line

        assert ask(address, "/any/path", host="whatever").text == "api"


def test_listen_annotation_comes_and_goes_with_its_service(
    spanway: Spanway, manifests: Path, api: Backend
) -> None:
    address = f"127.0.0.1:{free_port()}"
    annotations = {"spanway.io/listen": f"http={address}"}
    slices = endpoint_slice("api", "127.0.0.1", port=api.port)

    write_manifests(manifests / "service.yaml", [service("api", annotations=annotations), slices])
    assert wait_until(lambda: answers(address), "it listens", deadline_s=10)

    write_manifests(manifests / "service.yaml", [service("api"), slices])
    assert wait_until(lambda: not answers(address), "it listens no more", deadline_s=10)
    assert spanway.ask(host=HOST).text == "api"


def answers(address: str) -> bool:
    try:
        return ask(address, host="any").status == 200
    except OSError:
        return False


def test_second_spanway_does_not_share_the_address_of_the_first(
    spanway: Spanway, manifests: Path
) -> None:
    admin = f"127.0.0.1:{free_port()}"

    ended = command("run", "--manifests", manifests, "--http", spanway.http, "--admin", admin)

    assert ended.code == 1
    assert f"{spanway.http}" in ended.errors
    assert spanway.ask(host=HOST).text == "api"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--no-such-flag"], "--no-such-flag is unknown"),
        (["--workers", "none"], '--workers: "none" is not a whole number from 1 to 256'),
        (["--http", "localhost:80"], "is not an IP address, write 127.0.0.1:80"),
        (["--manifests", "/no/such/directory"], '"/no/such/directory" is not there'),
        (["--kubeconfig", "/no/such/file"], '"/no/such/file" is not a file'),
        (["--sample-ratio", "2"], "is not a number from 0 to 1"),
        (["--service", "api=127.0.0.1:1"], "is not NS/NAME:PORT=ADDR:PORT"),
        ([], "give --manifests DIR or --kubeconfig FILE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_unusable_flag_is_exit_2_and_one_sentence(
    tmp_path: Path, flags: list[str], sentence: str
) -> None:
    has_source = not flags or flags[0] in ("--manifests", "--kubeconfig")
    source = [] if has_source else ["--manifests", str(tmp_path)]

    ended = command("run", *flags, *source)

    assert ended.code == 2
    assert ended.errors.startswith("spanway: ")
    assert sentence in ended.errors
    assert len(ended.errors.splitlines()) == 1
    assert ended.output == ""


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_signal_during_the_start_ends_it_cleanly(
    tmp_path: Path, manifests: Path, signal_number: signal.Signals
) -> None:
    with Spanway(tmp_path, "--manifests", manifests) as spanway:
        # Python's own start is over; what is imported from now on takes most of the time.
        spanway.process.wait_until(lambda: "msgspec" in spanway.process.mapped_files())

        assert spanway.stop(signal_number) == 0

        assert spanway.said == ""


def test_request_in_flight_is_finished_before_the_end(spanway: Spanway, api: Backend) -> None:
    with ThreadPoolExecutor(2) as pool:
        with api.held():
            asking = pool.submit(spanway.ask, host=HOST)
            wait_until(lambda: api.received, "the request is at the backend", deadline_s=10)

            stopping = pool.submit(spanway.stop)
            status, text = wait_until(
                lambda: answer if (answer := spanway.readiness)[0] != 200 else None,
                "it is not ready any more",
                deadline_s=10,
            )

        assert (status, text) == (503, "waiting for nothing more: it is stopping\n")
        assert asking.result().text == "api"
        assert stopping.result() == 0


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_cleanly(spanway: Spanway, signal_number: signal.Signals) -> None:
    assert spanway.stop(signal_number) == 0

    assert f"Stopping signal={signal_number.name}" in spanway.said
    assert "Traceback" not in spanway.said


def test_second_signal_ends_it_although_a_request_is_in_flight(
    spanway: Spanway, api: Backend
) -> None:
    with ThreadPoolExecutor(2) as pool:
        with api.held():
            asking = pool.submit(spanway.ask, host=HOST)
            wait_until(lambda: api.received, "the request is at the backend", deadline_s=10)
            stopping = pool.submit(spanway.stop)
            wait_until(lambda: "Stopping" in spanway.said, "it is stopping", deadline_s=10)

            assert spanway.stop(signal.SIGINT) == 1

        assert stopping.result() == 1
        assert isinstance(asking.exception(), ConnectionError)


def test_last_spans_are_exported_before_the_end(
    tmp_path: Path, manifests: Path, jaeger: Jaeger
) -> None:
    flags = ("--manifests", manifests, "--otlp-endpoint", jaeger.otlp_url)
    with Spanway(tmp_path, *flags) as spanway:
        spanway.wait_until_ready()
        spanway.ask(host=HOST, headers=TRACEPARENT)

        assert spanway.stop() == 0

    trace = jaeger.trace(TRACE_ID)
    assert trace is not None
    assert len(trace.spans) == 6, str(trace)


def test_spans_that_wait_for_a_tracing_backend_are_delivered_before_the_end(
    tmp_path: Path, manifests: Path
) -> None:
    with skipped_without_part():
        jaeger = Jaeger(tmp_path / "jaeger")
    flags = ("--manifests", manifests, "--otlp-endpoint", jaeger.otlp_url)
    with Spanway(tmp_path, *flags) as spanway:
        spanway.wait_until_ready()
        spanway.ask(host=HOST, headers=TRACEPARENT)
        spanway.process.wait_until(lambda: spanway.export_stats()["retry_count"] >= 2)
        jaeger.start()
        try:
            assert spanway.stop() == 0

            trace = jaeger.trace(TRACE_ID)
        finally:
            jaeger.stop()
    assert trace is not None
    assert len(trace.spans) == 6, str(trace)


def test_spans_that_are_lost_at_the_end_are_counted_in_the_log(
    tmp_path: Path, manifests: Path
) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    with Spanway(tmp_path, "--manifests", manifests, "--otlp-endpoint", nowhere) as spanway:
        spanway.wait_until_ready()
        spanway.ask(host=HOST, headers=TRACEPARENT)

        assert spanway.stop() == 0

        lost = [line for line in spanway.said.splitlines() if "SpansLost" in line]
        assert all("no answer within" in line for line in lost), spanway.said
        # The request's, and those of the controller's own work.
        assert sum(int(count) for count in re.findall(r"spans=(\d+)", "".join(lost))) >= 3


VARIABLES = [
    ("--http", "127.0.0.1:18080"),
    ("--http", "127.0.0.1:18080,[::1]:18080"),
    ("--admin", "127.0.0.1:19901"),
    ("--workers", "3"),
    ("--service", "shop/api:80=127.0.0.1:18081,shop/db:http=127.0.0.1:18082"),
    ("--ingress-class", "other"),
    ("--otlp-endpoint", "http://127.0.0.1:14318"),
    ("--sample-ratio", "0.25"),
    ("--publish-address", "192.0.2.1,lb.example"),
    ("--lease-namespace", "ingress"),
]
CLUSTER_VARIABLES = [
    ("--context", "dev"),
    ("--watch-namespace", "a,b"),
    ("--publish-service", "ingress/spanway"),
]


@pytest.mark.parametrize(("flag", "value"), VARIABLES)
def test_variable_is_the_same_as_its_flag(tmp_path: Path, flag: str, value: str) -> None:
    source = ["run", "--manifests", str(tmp_path)]
    flags = [word for part in value.split(",") for word in (flag, part)]

    by_flag = read_settings([*source, *flags], {})
    by_variable = read_settings(source, {variable_of(flag): value})

    assert by_flag == by_variable != read_settings(source, {})


@pytest.mark.parametrize(("flag", "value"), CLUSTER_VARIABLES)
def test_variable_for_a_cluster_is_the_same_as_its_flag(
    tmp_path: Path, flag: str, value: str
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.touch()
    source = ["run", "--kubeconfig", str(kubeconfig)]
    flags = [word for part in value.split(",") for word in (flag, part)]

    by_flag = read_settings([*source, *flags], {})
    by_variable = read_settings(
        ["run"], {"SPANWAY_KUBECONFIG": str(kubeconfig), variable_of(flag): value}
    )

    assert by_flag == by_variable != read_settings(source, {})


def test_switch_may_be_a_variable(tmp_path: Path) -> None:
    by_flag = read_settings(["run", "--manifests", str(tmp_path), "--forwarded-header"], {})
    environment = {"SPANWAY_MANIFESTS": str(tmp_path), "SPANWAY_FORWARDED_HEADER": "true"}

    assert by_flag == read_settings(["run"], environment)


def variable_of(flag: str) -> str:
    return "SPANWAY_" + flag.removeprefix("--").replace("-", "_").upper()


def test_variables_alone_start_it(tmp_path: Path, manifests: Path, api: Backend) -> None:
    service_address = f"127.0.0.1:{free_port()}"
    environment = {
        "SPANWAY_MANIFESTS": str(manifests),
        "SPANWAY_SERVICE": f"default/api:http={service_address}",
        "SPANWAY_FORWARDED_HEADER": "true",
    }
    with Spanway(tmp_path, environment=environment) as spanway:
        spanway.wait_until_ready()

        spanway.ask(host=HOST)

        assert "forwarded" in api.received[0].fields
        assert ask(service_address, host="any").text == "api"

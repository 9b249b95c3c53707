"""Sampling by the word of a real Jaeger, which serves its strategies file at /sampling."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from scene.backend import Backend
from scene.jaeger import Jaeger
from scene.objects import endpoint_slice, ingress, service, write_manifests
from scene.parts import skipped_without_part
from scene.process import wait_until
from scene.spanway import Spanway

HOST = "shop.example"
SERVICE_NAME = "edge-of-test"
DEADLINE_S = 20.0

STRATEGIES = {
    "service_strategies": [
        {
            "service": SERVICE_NAME,
            "type": "probabilistic",
            "param": 0.0,
            "operation_strategies": [
                {"operation": "GET /kept", "type": "probabilistic", "param": 1.0}
            ],
        },
        {"service": "limited", "type": "ratelimiting", "param": 5},
        {"service": "half", "type": "probabilistic", "param": 0.5},
    ],
    "default_strategy": {"type": "probabilistic", "param": 1.0},
}


@pytest.fixture(scope="module")
def sampler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    """A Jaeger with strategies."""
    directory = tmp_path_factory.mktemp("jaeger")
    strategies = directory / "strategies.json"
    strategies.write_text(json.dumps(STRATEGIES))
    with skipped_without_part():
        server = Jaeger(directory, strategies=strategies)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("manifests")
    with Backend("api") as api:
        write_manifests(
            directory / "shop.yaml",
            [
                ingress(HOST, "api", namespace="shop"),
                ingress(HOST, "api", name="kept", namespace="shop", path="/kept"),
                service("api", namespace="shop"),
                endpoint_slice("api", "127.0.0.1", port=api.port, namespace="shop"),
            ],
        )
        yield directory


def policy(running: Spanway) -> dict[str, object]:
    return running.admin_answer("/api/routes")["tracing"]["policy"]  # type: ignore[no-any-return]


def wait_for_policy(running: Spanway) -> dict[str, object]:
    return wait_until(
        lambda: policy(running) if policy(running)["is_remote"] else None,
        lambda: f"Jaeger's word is in force\n{running.tail()}",
        deadline_s=DEADLINE_S,
    )


@pytest.mark.parametrize(
    ("name", "ratio", "traces_per_s_max"),
    [("half", 0.5, 0.0), ("limited", 1.0, 5.0), ("somebody", 1.0, 0.0)],
)
def test_what_jaeger_says_of_the_service_is_in_force(
    name: str,
    ratio: float,
    traces_per_s_max: float,
    sampler: Jaeger,
    manifests: Path,
    tmp_path: Path,
) -> None:
    flags = ("--manifests", manifests, "--sampling-remote", sampler.sampling_url)
    environment = {"OTEL_SERVICE_NAME": name}
    with Spanway(tmp_path, *flags, environment=environment) as running:
        running.wait_until_ready()
        found = wait_for_policy(running)

    assert (found["ratio"], found["traces_per_s_max"]) == (ratio, traces_per_s_max)


def test_an_operation_has_its_own_share_and_jaeger_gets_its_traces(
    sampler: Jaeger, manifests: Path, tmp_path: Path
) -> None:
    argument = f"endpoint={sampler.sampling_url},pollingIntervalMs=1000,initialSamplingRate=1"
    environment = {
        "OTEL_SERVICE_NAME": SERVICE_NAME,
        "OTEL_TRACES_SAMPLER": "parentbased_jaeger_remote",
        "OTEL_TRACES_SAMPLER_ARG": argument,
    }
    flags = ("--manifests", manifests, "--otlp-endpoint", sampler.otlp_url)
    with Spanway(tmp_path, *flags, environment=environment) as running:
        running.wait_until_ready()
        wait_for_policy(running)
        for path in ("/other", "/kept", "/other", "/kept/too"):
            running.ask(path, host=HOST)
    wait_until(
        lambda: len(sampler.find_traces(service=SERVICE_NAME)) == 2,
        lambda: f"two are kept, not {sampler.find_traces(service=SERVICE_NAME)}",
        deadline_s=DEADLINE_S,
    )
    roots = [trace.roots[0] for trace in sampler.find_traces(service=SERVICE_NAME)]

    assert {root.attributes["url.path"] for root in roots} == {"/kept", "/kept/too"}
    assert {root.attributes["spanway.sampled.by"] for root in roots} == {"remote"}

"""The real parts as fixtures, one of each for all tests of a run.

A machine without a part skips the tests that need it and says why. Continuous integration has all
parts, so a missing one fails there.
"""

import os
import secrets
from collections.abc import Iterator

import pytest
from scene.hotrod import Addresses, Hotrod
from scene.jaeger import Jaeger
from scene.kubernetes import Kubernetes
from scene.namespace import why_no_pod_addresses
from scene.parts import PartMissingError, skipped_without_part


@pytest.fixture(scope="session", autouse=True)
def own_environment() -> None:
    """What the shell sets for Spanway and for tracing in general is not for these tests."""
    for name in list(os.environ):
        if name.startswith(("SPANWAY_", "OTEL_")):
            del os.environ[name]


@pytest.fixture(scope="session")
def pod_addresses() -> None:
    """Each address of 192.0.2.0/24 can be listened on."""
    with skipped_without_part():
        if reason := why_no_pod_addresses():
            raise PartMissingError(reason)


@pytest.fixture(scope="session")
def kubernetes(
    pod_addresses: None,  # noqa: ARG001, its effect is what is needed
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Kubernetes]:
    """A running cluster with an administrator's kubeconfig. Tests share it: own namespaces."""
    with skipped_without_part():
        cluster = Kubernetes(tmp_path_factory.mktemp("kubernetes"))
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def namespace(kubernetes: Kubernetes) -> str:
    """A new namespace's name."""
    name = f"test-{secrets.token_hex(4)}"
    kubernetes.kubectl("create", "namespace", name)
    return name


@pytest.fixture(scope="session")
def jaeger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    """A running Jaeger. Tests share it: find traces by id."""
    with skipped_without_part():
        server = Jaeger(tmp_path_factory.mktemp("jaeger"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def hotrod(jaeger: Jaeger, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hotrod]:
    """A running HotROD whose frontend calls its services directly."""
    with skipped_without_part():
        app = Hotrod(
            tmp_path_factory.mktemp("hotrod"),
            Addresses(),
            otlp_url=jaeger.otlp_url,
            jaeger_url=jaeger.url,
        )
    app.start()
    yield app
    app.stop()

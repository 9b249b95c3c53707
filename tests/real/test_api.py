"""The API is what `/api/openapi.json` says: schemathesis asks what that allows, and more."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from scene.backend import Backend
from scene.objects import endpoint_slice, ingress, service, write_manifests
from scene.spanway import Spanway
from schemathesis import Case

from ingress_controller.admin.analysis import REPORTS

EXAMPLES = 40
"""Of each operation; they take some seconds in all."""

PATHS = [
    *(f"/api/analysis/{name}" for name in REPORTS),
    "/api/live",
    "/api/traces",
    "/api/traces/{id}",
    "/api/values",
    "/api/routes",
    "/api/problems",
    "/api/explain",
    "/api/stats",
    "/api/config",
]


@pytest.fixture(scope="module")
def spanway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spanway]:
    directory = tmp_path_factory.mktemp("api")
    with Backend("api") as api:
        objects = [
            service("api"),
            endpoint_slice("api", "127.0.0.1", port=api.port),
            ingress("shop.example", "api"),
        ]
        write_manifests(directory / "manifests/shop.yaml", objects)
        with Spanway(directory, "--manifests", directory / "manifests") as running:
            yield running.wait_until_ready()


@pytest.fixture(scope="module")
def schema(spanway: Spanway) -> Any:
    return schemathesis.openapi.from_url(f"http://{spanway.admin}/api/openapi.json")


def test_every_path_is_tried(schema: Any) -> None:
    assert sorted(schema) == sorted(PATHS)


@pytest.mark.parametrize("path", PATHS)
def test_answers_are_as_the_document_says(schema: Any, path: str) -> None:
    operation = schema[path]["GET"]

    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def try_one(case: Case[Any]) -> None:
        if (case.query or {}).get("watch") == "1":
            return  # it has no end; tests/ingress_controller/admin/test_live.py reads it
        case.call_and_validate(timeout=20)

    try_one()

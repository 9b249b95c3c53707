from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from k8s_objects import build, endpoint_slice, ingress, path, service

from ingress_controller.admin.server import AdminServer, application
from ingress_controller.reconcile import Outcome


class FakeState:
    """Fakes the running process: what the server shows."""

    version = "1.2.3"

    def __init__(self) -> None:
        objects = [ingress(path("/"), path("/x", "nope")), service(), endpoint_slice("api", "::1")]
        built = build(objects)
        self.outcome = Outcome(built.table, built.problems, built.ours)
        self.missing: tuple[str, ...] = ()
        self.stats: Mapping[str, Any] = {"engine": {"requests": 7}}


async def asked(state: FakeState, url: str) -> tuple[int, Any]:
    async with TestClient(TestServer(application(state))) as client:
        answer = await client.get(url)
        is_json = answer.content_type == "application/json"
        return answer.status, await (answer.json() if is_json else answer.text())


async def test_readyz_says_what_is_missing() -> None:
    state = FakeState()
    assert await asked(state, "/readyz") == (200, "ok\n")

    state.missing = ("services of https://api", "the first table")
    assert await asked(state, "/readyz") == (
        503,
        "waiting for services of https://api\nwaiting for the first table\n",
    )
    assert await asked(state, "/livez") == (200, "ok\n")


async def test_routes_shows_hosts_routes_and_endpoints() -> None:
    status, shown = await asked(FakeState(), "/api/routes")

    assert status == 200
    assert shown["generation"] == 1
    assert shown["hosts"][0]["host"] == "shop.example"
    assert [route["path"] for route in shown["hosts"][0]["routes"]] == ["/x", "/"]
    backends = {backend["key"]: backend for backend in shown["backends"]}
    assert backends["shop/api:80"]["endpoints"][0]["address"] == "::1"
    assert backends["shop/nope:80"]["missing"] == "Service shop/nope does not exist."


async def test_problems_name_object_and_field() -> None:
    _, shown = await asked(FakeState(), "/api/problems")

    assert shown == {
        "count": 1,
        "problems": [
            {
                "severity": "error",
                "kind": "Ingress",
                "namespace": "shop",
                "name": "web",
                "field": "spec.rules[0].http.paths[1].backend.service.name",
                "text": "Service shop/nope does not exist. Create it, or correct the name.",
            }
        ],
    }


@pytest.mark.parametrize("url", ["/", "/api/stats"])
async def test_each_page_of_the_index_answers(url: str) -> None:
    assert (await asked(FakeState(), url))[0] == 200


async def test_port_0_becomes_the_port_that_the_kernel_chose() -> None:
    server = AdminServer(FakeState())

    address = await server.start("127.0.0.1:0")

    assert address.startswith("127.0.0.1:")
    assert not address.endswith(":0")
    await server.stop()

import json
from typing import Any

import pem
import pytest
from admin_state import FakeState
from aiohttp.test_utils import TestClient, TestServer
from k8s_objects import ingress, path, secret, service

from ingress_controller.admin.server import AdminServer, application
from ingress_controller.credentials import AdminAccess


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


async def test_what_is_not_there_is_an_error_like_others() -> None:
    async with TestClient(TestServer(application(FakeState()))) as client:
        nowhere = await client.get("/api/trace")
        wrong_method = await client.post("/api/live")

        assert (nowhere.status, await nowhere.json()) == (
            404,
            {"error": "/api/trace is not here: / lists what Spanway 1.2.3 has."},
        )
        assert (wrong_method.status, await wrong_method.json()) == (
            405,
            {"error": "/api/live takes GET, HEAD."},
        )
        assert wrong_method.headers["Allow"] == "GET, HEAD"


async def test_routes_shows_hosts_routes_and_endpoints() -> None:
    status, shown = await asked(FakeState(), "/api/routes")

    assert status == 200
    assert shown["generation"] == 1
    assert shown["hosts"][0]["host"] == "shop.example"
    assert [route["path"] for route in shown["hosts"][0]["routes"]] == ["/x", "/"]
    backends = {backend["key"]: backend for backend in shown["backends"]}
    assert backends["shop/api:80"]["endpoints"][0]["address"] == "::1"
    assert backends["shop/nope:80"]["missing"] == "Service shop/nope does not exist."


async def test_routes_shows_policies_and_tls_but_nothing_secret() -> None:
    chain, private_key = pem.pair("shop.example")
    annotations = {
        "spanway.io/read-timeout": "5s",
        "spanway.io/request-headers-set": "Authorization: hunter2",
        "spanway.io/client-certificates": "optional",
        "spanway.io/client-ca-secret": "cert",
    }
    state = FakeState(
        ingress(path("/"), annotations=annotations, tls=[{"secretName": "cert"}]),
        secret((chain, private_key), ca=chain),
        service(annotations={"spanway.io/upstream-tls": "true"}),
    )

    _, shown = await asked(state, "/api/routes")

    policy = shown["policies"]["shop/web"]
    assert policy["read_timeout_ms"] == 5_000
    assert policy["request_headers"]["set"] == ["Authorization"]
    assert shown["hosts"][0]["tls"]["client_ca"] == "given"
    assert shown["certificates"] == ["shop/cert"]
    for url in ("/api/routes", "/api/problems", "/api/stats"):
        text = json.dumps(await asked(state, url))
        assert not any(held in text for held in ("hunter2", "BEGIN", "PRIVATE"))


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


async def test_explain_names_route_reasons_and_what_would_be_next() -> None:
    status, shown = await asked(FakeState(), "/api/explain?url=http://shop.example:8080/x?q=1")

    assert status == 200
    assert (shown["host"], shown["path"]) == ("shop.example", "/x")
    assert shown["route"] == {
        "host": "shop.example",
        "kind": "prefix",
        "path": "/",
        "ingress": "shop/web",
        "rule": "spec.rules[0].http.paths[0]",
        "backend": "shop/api:80",
    }
    assert shown["why"][0].startswith("shop.example is named by this rule")
    assert [other["path"] for other in shown["others"]] == ["/x"]
    assert shown["problems"] == []  # what is wrong with the other rule is not about this URL


async def test_explain_of_what_no_rule_matches_says_404() -> None:
    _, shown = await asked(FakeState(), "/api/explain?url=other.example")

    assert (shown["route"], shown["status"]) == (None, 404)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "url: write up to 8192 characters, as http://shop.example/cart."),
        ("?url=/cart", 'url: "/cart" has no host; write http://shop.example/cart.'),
        ("?uri=x", 'uri: is unknown; there is "url".'),
    ],
)
async def test_explain_says_what_is_wrong_with_its_parameter(query: str, message: str) -> None:
    assert await asked(FakeState(), f"/api/explain{query}") == (400, {"error": message})


@pytest.mark.parametrize(
    "url", ["/", "/api/live", "/api/stats", "/api/config", "/api/openapi.json", "/api/session"]
)
async def test_each_page_of_the_index_answers(url: str) -> None:
    assert (await asked(FakeState(), url))[0] == 200


async def test_port_0_becomes_the_port_that_the_kernel_chose() -> None:
    server = AdminServer(FakeState(), AdminAccess())

    address = await server.start("127.0.0.1:0")

    assert address.startswith("127.0.0.1:")
    assert not address.endswith(":0")
    await server.stop()

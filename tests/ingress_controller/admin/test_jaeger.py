"""Jaeger's query APIs over a real store; tests/real/test_jaeger_api.py compares with Jaeger."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from sample_spans import START_UNIX_NS, TRACE_ID, request

from ingress_controller.admin import jaeger
from ingress_controller.admin.jaeger import JaegerApi
from ingress_controller.peers.stores import Stores
from ingress_controller.traces.store.limits import StoreLimits
from ingress_controller.traces.store.store import Store

Client = TestClient[web.Request, web.Application]
US = START_UNIX_NS // 1_000
TIMES = {"start": str(US - 1_000), "end": str(US + 1_000)}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    store = Store(None, StoreLimits(age_s_max=1e9))
    sent = request(2)
    [resource] = sent.resource_spans
    called = sent.resource_spans.add()
    called.CopyFrom(resource)
    called.resource.attributes[0].value.string_value = "api"
    for caller, callee in zip(
        resource.scope_spans[0].spans, called.scope_spans[0].spans, strict=True
    ):
        callee.parent_span_id, callee.span_id = caller.span_id, caller.span_id[::-1]
    await store.add(sent.SerializeToString())
    app = web.Application()
    JaegerApi(Stores(store)).add_to(app)
    async with TestClient(TestServer(app)) as client:
        yield client


async def asked(client: Client, path: str, **query: str) -> tuple[int, Any]:
    async with client.get(f"/jaeger{path}", params=query) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"service": "shop"}, 1),
        ({"service": "nobody"}, 0),
        ({"service": "shop", "operation": "GET /"}, 1),
        ({"service": "shop", "tags": json.dumps({"error": "true"})}, 1),
        ({"service": "shop", "tags": json.dumps({"error": "false"})}, 0),
        ({"service": "shop", "tags": json.dumps({"http.response.status_code": "503"})}, 1),
        ({"service": "shop", "tags": json.dumps({"tls.resumed": "true", "ratio": "0.5"})}, 1),
        ({"service": "shop", "tags": json.dumps({"ratio": "0.6"})}, 0),
        ({"service": "shop", "tags": json.dumps({"it's/~\"": "x"})}, 0),
        ({"service": "shop", "minDuration": "2ms", "maxDuration": "2ms"}, 1),
        ({"service": "shop", "minDuration": "3ms"}, 0),
    ],
    ids=str,
)
async def test_traces_are_found_by_jaegers_parameters(
    client: Client, query: Mapping[str, str], count: int
) -> None:
    status, found = await asked(client, "/api/traces", **TIMES, **query)

    assert (status, len(found["data"])) == (200, count)


async def test_the_newer_api_finds_the_same(client: Client) -> None:
    query = {
        "query.service_name": "shop",
        "query.start_time_min": "2023-11-14T22:00:00Z",
        "query.start_time_max": "2023-11-14T23:00:00Z",
        "query.num_traces": "20",
    }

    _, found = await asked(client, "/api/v3/traces", **query)
    _, one = await asked(client, f"/api/v3/traces/{TRACE_ID.hex()}")

    assert found == one
    groups = one["result"]["resourceSpans"]
    assert [len(group["scopeSpans"][0]["spans"]) for group in groups] == [2, 2]
    status, answer = await asked(client, "/api/v3/traces", **query | {"query.service_name": "x"})
    assert (status, answer) == (404, {"error": {"httpCode": 404, "message": "No traces found"}})


async def test_which_service_calls_which_is_counted(client: Client) -> None:
    query = {"endTs": str(US // 1_000 + 1), "lookback": "1000"}

    assert (await asked(client, "/api/dependencies", **query))[1]["data"] == [
        {"parent": "shop", "child": "api", "callCount": 2}
    ]


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        ("/api/traces", {}, 'service: "" is missing; write one.'),
        ("/api/traces", {"service": "a", "tags": "x"}, 'tags: "x" is no JSON of texts; write'),
        ("/api/traces", {"service": "a", "start": "now"}, 'start: "now" is no time since 1970.'),
        ("/api/traces", {"service": "a", "limit": "0"}, "is not a whole number from 1 to 1000."),
        ("/api/traces/xyz", {}, 'traceID: "xyz" is no trace id; write 32 hex digits.'),
        ("/api/operations", {}, 'service: "" is missing; write one.'),
        (
            "/api/traces",
            {"service": "a", "tags": json.dumps({f"t{n}": "" for n in range(17)})},
            'tags: "t0" and so on are too many; give at most 16.',
        ),
    ],
)
async def test_a_wrong_parameter_is_answered_as_jaeger_does(
    client: Client, path: str, query: Mapping[str, str], message: str
) -> None:
    status, answer = await asked(client, path, **query)

    assert (status, answer["data"], answer["errors"][0]["code"]) == (400, None, 400)
    assert message in answer["errors"][0]["msg"]


async def test_traces_by_their_ids_are_bounded_together(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaeger, "SPANS_MAX", 3)
    both = [("traceID", TRACE_ID.hex()), ("traceID", TRACE_ID.hex())]
    async with client.get("/jaeger/api/traces", params=both) as answer:
        status, said = answer.status, await answer.json()

    assert status == 400
    assert "and the others have 3 spans or more; ask for fewer traces" in said["errors"][0]["msg"]

"""`/api/traces` over a real store."""

from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from sample_spans import START_UNIX_NS, TRACE_ID, attribute, request

from ingress_controller.admin.traces import TracesApi
from ingress_controller.traces.store.store import Store

Client = TestClient[web.Request, web.Application]
TIMES = {"from": str(START_UNIX_NS // 10**9), "to": str(START_UNIX_NS // 10**9 + 10)}
HOSTILE = "'; DROP VIEW spans; --<script>alert(1)</script>"


async def asked(client: Client, path: str, **query: str) -> tuple[int, Any]:
    async with client.get(path, params=query) as answer:
        return answer.status, await answer.json()


async def test_search_tells_where_a_trace_went_and_how_it_ended(
    store: Store, client: Client
) -> None:
    await store.add(request(3).SerializeToString())

    status, found = await asked(client, "/api/traces", **TIMES)

    assert status == 200
    assert found == {
        "traces": [
            {
                "trace_id": TRACE_ID.hex(),
                "name": "GET /",
                "service": "shop",
                "start_unix_us": START_UNIX_NS // 1_000,
                "duration_us": 2_000,
                "span_count": 3,
                "services": ["shop"],
                "is_failed": True,
                "method": "GET",
                "host": "",
                "route": "",
                "status": 503,
                "flags": "",
                "verdict": "",
            }
        ],
        "is_cut": False,
        "from_unix_us": int(TIMES["from"]) * 10**6,
        "to_unix_us": int(TIMES["to"]) * 10**6,
        "peers": [],
    }


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"service": "shop", "status": "5xx", "method": "GET", "error": "true"}, 2),
        ({"service": "shop/api"}, 1),
        ({"service": "api", "method": "GET"}, 1),  # of different spans of one trace
        ({"status": "404"}, 0),
        ({"min_duration": "2ms", "max_duration": "2ms"}, 2),
        ({"min_duration": "2.001ms"}, 0),
        ({"error": "false"}, 0),
        ({"limit": "1"}, 1),
        ({"text": HOSTILE}, 0),
        ({"host": HOSTILE, "service": HOSTILE}, 0),
    ],
    ids=str,
)
async def test_all_conditions_must_hold_for_a_trace(
    store: Store, client: Client, query: Mapping[str, str], count: int
) -> None:
    sent = request(2)
    one, other = sent.resource_spans[0].scope_spans[0].spans
    other.trace_id = TRACE_ID[::-1]
    balance = sent.resource_spans[0].scope_spans[0].spans.add()
    balance.CopyFrom(one)
    balance.span_id = bytes([7] * 8)
    del balance.attributes[:]
    balance.attributes.append(attribute("k8s.service.name", string_value="api"))
    balance.attributes.append(attribute("k8s.namespace.name", string_value="shop"))
    await store.add(sent.SerializeToString())

    status, found = await asked(client, "/api/traces", **TIMES, **query)

    assert (status, len(found["traces"])) == (200, count)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            {"servce": "a"},
            'servce: "a" cannot be asked for: there is no such parameter; write "service".',
        ),
        ({"status": "600"}, 'status: "600" is no status; write 503 or 5xx.'),
        ({"error": "yes"}, 'error: "yes" is neither true nor false.'),
        ({"limit": "1001"}, 'limit: "1001" is not a whole number from 1 to 1000.'),
        ({"min_duration": "1x"}, 'min_duration: "1x" is no duration; write 500ms, 2s or 1m.'),
        ({"text": "x" * 513}, "and so on is too long; give at most 512 characters."),
    ],
    ids=str,
)
async def test_a_wrong_parameter_is_named_with_what_to_write(
    client: Client, query: Mapping[str, str], message: str
) -> None:
    status, answer = await asked(client, "/api/traces", **query)

    assert status == 400
    assert answer["error"].endswith(message)


async def test_a_trace_is_shown_whole(store: Store, client: Client) -> None:
    await store.add(request(1).SerializeToString())

    status, shown = await asked(client, f"/api/traces/{TRACE_ID.hex()}")

    assert status == 200
    assert shown == {
        "trace_id": TRACE_ID.hex(),
        "start_unix_us": START_UNIX_NS // 1_000,
        "duration_ns": 2_000_000,
        "services": ["shop"],
        "is_cut": False,
        "resources": [{"service.name": "shop"}],
        "spans": [
            {
                "span_id": "0000000004050607",
                "parent_id": "0706050403020100",
                "name": "GET /",
                "kind": "server",
                "service": "shop",
                "scope": "spanway",
                "resource": 0,
                "offset_ns": 0,
                "duration_ns": 2_000_000,
                "status": "error",
                "status_message": "no endpoints",
                "attributes": {
                    "http.request.method": "GET",
                    "http.response.status_code": 503,
                    "tls.resumed": True,
                    "ratio": 0.5,
                    "texts": ["a", "b"],
                },
                "events": [{"offset_ns": 0, "name": "noted", "attributes": {"why": "because"}}],
                "links": [[TRACE_ID[::-1].hex(), "0001020304050607"]],
            }
        ],
        "peers": [],
    }


async def test_a_trace_that_is_not_here_is_said_to_be_so(client: Client) -> None:
    status, answer = await asked(client, "/api/traces/abc")
    assert status == 404
    assert answer["error"].startswith(f"No span of trace {'abc'.zfill(32)} is here")

    status, answer = await asked(client, "/api/traces/xyz")
    assert (status, answer["error"]) == (400, 'id: "xyz" is no trace id; write 32 hex digits.')


async def test_values_are_what_a_search_can_ask_for(store: Store, client: Client) -> None:
    await store.add(request(2, service=HOSTILE).SerializeToString())
    balanced = request(1, service="shop", first=2)
    [span] = balanced.resource_spans[0].scope_spans[0].spans
    span.attributes.append(attribute("k8s.namespace.name", string_value="shop"))
    span.attributes.append(attribute("k8s.service.name", string_value="api"))
    await store.add(balanced.SerializeToString())

    services = await asked(client, "/api/values", of="service", **TIMES)
    nodes = await asked(client, "/api/values", of="node", **TIMES)
    status, answer = await asked(client, "/api/values", of="password")

    assert services == (
        200,
        {"of": "service", "values": [HOSTILE, "shop", "shop/api"], "peers": []},
    )
    assert nodes == (200, {"of": "node", "values": [], "peers": []})
    assert status == 400
    assert answer["error"].startswith('of: "password" is none of service, operation')


@pytest.mark.parametrize("path", ["/api/traces", "/api/traces/abc", "/api/values"])
async def test_without_a_store_it_is_said_how_to_have_one(path: str) -> None:
    app = web.Application()
    TracesApi(None).add_to(app)
    async with TestClient(TestServer(app)) as client:
        status, answer = await asked(client, path)

    assert (status, answer["error"]) == (
        404,
        "There is no trace store here; start Spanway without --store off.",
    )

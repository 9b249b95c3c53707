"""`/api/analysis/…` over a real store."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from recorded import MS, START_NS, Recording, otlp

from ingress_controller.admin.analysis import REPORTS, AnalysisApi, read
from ingress_controller.admin.parameters import ParameterError
from ingress_controller.arguments import REPORTS as COMMANDS
from ingress_controller.peers.stores import Stores
from ingress_controller.traces.store.limits import StoreLimits
from ingress_controller.traces.store.store import Store

Client = TestClient[web.Request, web.Application]
TIMES = {"from": str(START_NS // MS), "to": str(START_NS // MS + 60_000)}


@pytest.fixture
async def store() -> Store:
    recording = Recording()
    for number in range(60):
        recording.request(
            number * 1_000, app_ms=10 + number, told_ms=9, trace_id=f"{number + 1:032x}"
        )
    store = Store(None, StoreLimits(age_s_max=1e9))
    await store.add(otlp(recording.spans))
    return store


@pytest.fixture
async def client(store: Store) -> AsyncIterator[Client]:
    app = web.Application()
    AnalysisApi(Stores(store)).add_to(app)
    async with TestClient(TestServer(app)) as client:
        yield client


async def asked(client: Client, report: str, **query: str) -> tuple[int, Any]:
    async with client.get(f"/api/analysis/{report}", params=query) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize("report", ["latency", "nodes", "graph", "compare"])
async def test_a_window_of_less_than_a_millisecond_is_one(client: Client, report: str) -> None:
    assert (await asked(client, report, since="1us"))[0] == 200


async def test_latency_is_answered_by_what_is_asked_for(client: Client) -> None:
    status, found = await asked(client, "latency", by="pod", bins="2", **TIMES)

    assert status == 200
    [row] = found["rows"]
    assert (row["name"], row["count"]) == ("api-0 shop/api node-a", 60)
    assert row["series"]["count"] == [30, 30]
    assert row["spread"]["p50_us"] == 39_000
    assert found["basis"] == {
        "start_unix_ms": START_NS // MS,
        "end_unix_ms": START_NS // MS + 60_000,
        "span_count": 240,
        "traces_one_of": 1,
    }


async def test_the_other_reports_are_answered(client: Client) -> None:
    status, nodes = await asked(client, "nodes", service="shop/api", **TIMES)
    assert (status, nodes["rows"][0]["name"]) == (200, "node-a")

    status, found = await asked(client, "bottlenecks", **TIMES)
    assert (status, found["requests"][0]["operation"]) == (200, "shop.example/")

    status, found = await asked(client, "graph", **TIMES)
    assert (status, found["arrows"][0]["source"]) == (200, "client")

    half = {"from": str(START_NS // MS + 30_000), "to": TIMES["to"]}
    status, found = await asked(client, "compare", **half)
    assert (status, found["of"], found["rows"][0]["change"]) == (200, "windows", "slower")
    assert found["earlier"]["start_unix_ms"] == START_NS // MS

    status, found = await asked(client, "compare", before="1", after="3c")
    assert (status, found["of"], found["change_us"]) == (200, "traces", 59_000)

    status, found = await asked(client, "path", trace="3c")
    assert (status, found["duration_us"]) == (200, 70_000)
    assert found["parts"][0]["operation"] == "network"


def test_the_command_knows_every_report() -> None:
    assert tuple(REPORTS) == COMMANDS


@pytest.mark.parametrize(
    ("report", "name", "value", "message"),
    [
        ("latency", "by", "color", 'by: "color" is none of all, route, service, pod, node, hop'),
        ("latency", "sort", "age", 'sort: "age" is none of time, count, errors, p50, p99.'),
        ("latency", "bins", "241", 'bins: "241" is not a whole number from 0 to 240.'),
        ("latency", "limit", "0", 'limit: "0" is not a whole number from 1 to 1000.'),
        ("nodes", "by", "pod", 'by: "pod" cannot be asked for: there is no such parameter; '),
        ("nodes", "since", "long", 'since: "long" is no duration; write 500ms, 2s or 1m.'),
        ("bottlenecks", "limit", "21", "is not a whole number from 1 to 20."),
        ("compare", "earlier", "1y", 'earlier: "1y" is no duration'),
        ("compare", "before", "a", 'after: "" is no trace id; write 32 hex digits.'),
        ("path", "trace", "0x1g", 'trace: "0x1g" is no trace id; write 32 hex digits.'),
        ("path", "trace", "f" * 33, "is no trace id"),
    ],
)
def test_wrong_parameter_is_named_with_its_value_and_the_fix(
    report: str, name: str, value: str, message: str
) -> None:
    with pytest.raises(ParameterError) as raised:
        read(report, [(name, value)])
    assert message in str(raised.value)


async def test_wrong_question_is_400_and_what_is_not_here_404(client: Client) -> None:
    status, answer = await asked(client, "latency", by="x")
    assert (status, answer["parameter"], answer["value"]) == (400, "by", "x")

    status, answer = await asked(client, "path", trace="ff")
    assert status == 404
    assert answer["error"].startswith(f"No span of trace {255:032x} is here")

    status, answer = await asked(client, "weather")
    assert status == 404
    assert answer["error"] == (
        'There is no report "weather"; there are latency, nodes, bottlenecks, compare, graph, path.'
    )


@pytest.mark.parametrize("report", [name for name in REPORTS if name != "path"])
async def test_a_window_of_a_nanosecond_is_answered(client: Client, report: str) -> None:
    status, _ = await asked(client, report, to=TIMES["to"], since="1ns")
    assert status == 200


async def test_without_a_store_it_is_said_what_to_do() -> None:
    app = web.Application()
    AnalysisApi(None).add_to(app)
    async with TestClient(TestServer(app)) as client:
        status, answer = await asked(client, "nodes")
    assert status == 404
    assert "--store off" in answer["error"]


async def test_text_of_a_user_is_no_sql(client: Client) -> None:
    hostile = "'; DROP VIEW spans; --"
    for report in ("latency", "nodes", "graph"):
        status, _ = await asked(client, report, host=hostile, pod=hostile, **TIMES)
        assert status == 200
    status, found = await asked(client, "latency", **TIMES)
    assert (status, found["all"]["count"]) == (200, 60)

"""`nodeperformances` over a real store."""

import json
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from recorded import MS, START_NS, Recording, otlp

from ingress_controller.aggregated.node_performances import NodePerformances
from ingress_controller.aggregated.status_error import StatusError
from ingress_controller.peers.stores import Stores
from ingress_controller.traces.store.limits import StoreLimits
from ingress_controller.traces.store.store import Store

TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}


@pytest.fixture
async def performances() -> NodePerformances:
    """Three nodes, of which the last one's app takes five times as long."""
    recording = Recording()
    for number in range(90):
        node = "abc"[number % 3]
        recording.request(
            number * 500,
            app_ms=50 if node == "c" else 10,
            pod=f"api-{node}",
            node=f"node-{node}",
            trace_id=f"{number + 1:032x}",
        )
    store = Store(None, StoreLimits(age_s_max=1e9))
    await store.add(otlp(recording.spans))
    return NodePerformances(Stores(store), "spanway-1", clock=lambda: START_NS + 60_000 * MS)


async def answered(performances: NodePerformances, query: str = "", **headers: str) -> Any:
    found = await performances.list(make_mocked_request("GET", f"/{query}", headers), "")
    assert found.body is not None
    return json.loads(found.body)  # type: ignore[arg-type]


async def test_slow_node_is_an_outlier_and_says_why(performances: NodePerformances) -> None:
    found = await answered(performances)

    status = {item["metadata"]["name"]: item["status"] for item in found["items"]}
    assert found["kind"] == "NodePerformanceList"
    assert [name for name, of in status.items() if of["isOutlier"]] == ["node-c"]
    assert status["node-c"]["findings"][0].startswith("On node-c apps take 50 ms for shop/api")
    assert status["node-c"]["appMilliseconds"] == {"p50": 50, "othersP50": 10}
    assert status["node-a"]["requests"] == 30
    assert status["node-a"]["instance"] == "spanway-1"
    assert "findings" not in status["node-a"]


async def test_table_has_the_node_beside_the_others(performances: NodePerformances) -> None:
    found = await answered(performances, Accept=TABLE["Accept"])

    names = [column["name"] for column in found["columnDefinitions"]]
    rows = [dict(zip(names, row["cells"], strict=True)) for row in found["rows"]]
    shown = {row["Name"]: (row["Outlier"], row["App (Others)"]) for row in rows}
    assert shown["node-c"] == ("app", "50ms (10ms)")
    assert shown["node-a"][0] == "no"


async def test_one_node_is_found_by_its_name_and_an_unknown_one_is_not(
    performances: NodePerformances,
) -> None:
    found = await performances.get(make_mocked_request("GET", "/"), "", "node-c")
    with pytest.raises(StatusError, match=r'"node-x" not found: in the last 15 minutes no'):
        await performances.get(make_mocked_request("GET", "/"), "", "node-x")

    assert found.body is not None
    assert json.loads(found.body)["metadata"]["name"] == "node-c"  # type: ignore[arg-type]


@pytest.mark.parametrize("selector", ["labelSelector=a%3Db", "fieldSelector=status.pods%3D1"])
async def test_nodes_are_not_selected(performances: NodePerformances, selector: str) -> None:
    with pytest.raises(StatusError, match="name one, or none"):
        await answered(performances, f"?{selector}")

"""The report about nodes, of real requests: one of three nodes is slow."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest
from scene.backend import Backend, Received
from scene.client import ask
from scene.objects import endpoint_slice, ingress, service, write_manifests
from scene.process import wait_until
from scene.spanway import Spanway, command

HOST = "shop.example"
REQUESTS = 90
THINK_S = 0.03
SPANS_DEADLINE_S = 10.0


class Thinking(Backend):
    """A backend that takes its time."""

    def __init__(self, name: str, think_s: float) -> None:
        self._think_s = think_s
        super().__init__(name)

    def answer(self, request: Received) -> bytes:
        time.sleep(self._think_s)
        return super().answer(request)


@pytest.fixture(scope="module")
def spanway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spanway]:
    """After requests that were spread over the nodes, with their spans in its store."""
    directory = tmp_path_factory.mktemp("slow-node")
    with ExitStack() as stack:
        objects: list[object] = [service("api"), ingress(HOST, "api")]
        for node in ("node-a", "node-b", "node-c"):
            think_s = THINK_S if node == "node-b" else THINK_S / 10
            backend = stack.enter_context(Thinking(node, think_s))
            slice_name = f"api-{node}"
            objects.append(
                endpoint_slice("api", "127.0.0.1", port=backend.port, name=slice_name, node=node)
            )
        write_manifests(directory / "manifests" / "shop.yaml", objects)
        running = stack.enter_context(Spanway(directory, "--manifests", directory / "manifests"))
        running.wait_until_ready()
        for _ in range(REQUESTS):
            assert ask(running.http, host=HOST).status == 200
        wait_until(
            lambda: sum(row["count"] for row in report(running)["rows"]) == REQUESTS,
            f"spans of {REQUESTS} requests",
            deadline_s=SPANS_DEADLINE_S,
        )
        yield running


def report(spanway: Spanway) -> Any:
    ended = command("report", "nodes", "--json", "--admin", spanway.admin)
    assert ended.code == 0, ended.errors
    return msgspec.json.decode(ended.output)


def test_the_slow_node_is_named_and_that_its_apps_are_slow(spanway: Spanway) -> None:
    found = report(spanway)

    assert [(one["node"], one["part"]) for one in found["findings"]] == [("node-b", "app")]
    [evidence] = found["findings"][0]["evidence"]
    assert evidence["value_us"] >= THINK_S * 1e6
    assert evidence["others_count"] == 2
    assert {row["name"] for row in found["rows"] if row["is_outlier"]} == {"node-b"}


def test_the_terminal_says_so(spanway: Spanway) -> None:
    ended = command("report", "nodes", "--admin", spanway.admin)

    assert "node-b ← outlier" in ended.output
    assert "On node-b apps take " in ended.output

"""Reports in a terminal: every line fits, and nothing of a stranger's gets through."""

import pytest
from recorded import MS, START_NS, WINDOW, Recording

from ingress_controller.analysis.bottlenecks import bottlenecks
from ingress_controller.analysis.compare import compare, compare_traces
from ingress_controller.analysis.graph import graph
from ingress_controller.analysis.latency import latency
from ingress_controller.analysis.measures import Window
from ingress_controller.analysis.nodes import nodes
from ingress_controller.analysis.path import path
from ingress_controller.analysis.queries.groups import By, Question
from ingress_controller.analysis.queries.hops import Filters
from ingress_controller.report.text import (
    bottlenecks_text,
    compared_text,
    graph_text,
    latency_text,
    nodes_text,
    path_text,
)

HOSTILE = "\x1b[31m\u202e" + "x" * 300


@pytest.fixture(scope="module")
def recording() -> Recording:
    """A shop with a slow node, a slow minute and a stranger."""
    made = Recording()
    for number in range(300):
        node = "abc"[number % 3]
        app_ms = 30 if node == "b" else 10 + (number > 200) * 20 + (number > 295) * 500
        made.request(
            number * 200, app_ms=app_ms, told_ms=app_ms - 1, node=f"node-{node}", pod=f"api-{node}"
        )
    made.request(100, host=HOSTILE, pod=HOSTILE, node=HOSTILE, service=HOSTILE, failed=True)
    return made


def texts(recording: Recording, width: int) -> dict[str, str]:
    with recording.connection() as connection:
        half = Window(START_NS, START_NS + 30_000 * MS)
        return {
            **{
                f"latency by {by}": latency_text(
                    latency(connection, WINDOW, Question(by=by)), width
                )
                for by in By
            },
            "nodes": nodes_text(nodes(connection, WINDOW, Filters(), 0), width),
            "bottlenecks": bottlenecks_text(bottlenecks(connection, WINDOW, Filters(), 5), width),
            "compare": compared_text(
                compare(connection, half, half.earlier(-30_000 * MS), Question()), width
            ),
            "graph": graph_text(graph(connection, WINDOW, Filters()), width),
            "traces": compared_text(
                compare_traces(recording.spans[:4], recording.spans[-3:]), width
            ),
            "path": path_text(path(recording.spans[:4]), width) if recording.spans else "none",
        }


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_longer_than_the_terminal_and_none_is_a_strangers(
    recording: Recording, width: int
) -> None:
    for name, text in texts(recording, width).items():
        assert max(map(len, text.splitlines())) <= width, f"{name}\n{text}"
        assert text.replace("\n", "").isprintable(), f"{name}\n{text}"


def test_name_of_an_outlier_is_a_strangers_in_sentences_too() -> None:
    made = Recording()
    for number in range(300):
        node = ("node-a", "node-b", HOSTILE)[number % 3]
        app_ms = 30 if node is HOSTILE else 10
        made.request(number * 200, app_ms=app_ms, told_ms=app_ms - 1, node=node)
    with made.connection() as connection:
        text = nodes_text(nodes(connection, WINDOW, Filters(), 0), 120)

    assert "On \\x1b[31m" in text
    assert text.replace("\n", "").isprintable()


def test_each_report_says_what_it_is_about(recording: Recording) -> None:
    said = texts(recording, 80)
    assert "shop.example / shop/web" in said["latency by route"]
    assert "Time of all 301: app " in said["latency by route"]
    assert "node-b ← outlier" in said["nodes"]
    assert "On node-b apps take 29 ms for shop/api where on 2 other nodes it is" in said["nodes"]
    assert "api GET /api takes" in said["bottlenecks"].replace("\n", " ")
    assert "slower ▲" in said["compare"]
    assert "client → edge" in said["graph"]
    assert "10ms before" in said["traces"] or "11ms before" in said["traces"]
    assert "11ms in all." in said["path"]
    for name in ("latency by route", "nodes", "bottlenecks", "compare", "graph"):
        assert said[name].endswith("1203 spans of 60s\n") or "spans of" in said[name]


def test_an_empty_store_is_said_to_be_empty() -> None:
    said = texts(Recording(), 80)

    for name, text in said.items():
        assert text, name
    assert "No endpoint on a known node had a request" in said["nodes"]
    assert "No node is an outlier" not in said["nodes"]
    assert "There are too few requests of any kind to tell." in said["bottlenecks"]

"""Which node is slow: the rule on numbers, and the whole on recorded requests."""

import random

import pytest
from recorded import WINDOW, Recording

from ingress_controller.analysis.measures import Part
from ingress_controller.analysis.nodes import Nodes, nodes, outliers
from ingress_controller.analysis.packet_loss import losses
from ingress_controller.analysis.queries.hops import Filters
from ingress_controller.analysis.queries.nodes import Cell, Resent


def cell(
    node: str, p50_us: int, *, service: str = "api", part: str = "app", count: int = 1_000,
    p99_us: int = 0,
) -> Cell:  # fmt: skip
    p99_us = p99_us or p50_us
    return Cell(part, service, node, count, p50_us, p99_us, p99_us)


def outlying(*cells: Cell) -> list[tuple[str, str]]:
    return [(finding.node, finding.part) for finding in outliers(cells)]


def test_a_node_that_takes_longer_than_the_others_is_an_outlier() -> None:
    found = outliers([cell("a", 10_000), cell("b", 11_000), cell("c", 40_000)])

    assert [(one.node, one.part) for one in found] == [("c", Part.APP)]
    assert found[0].text == (
        "On c apps take 40 ms for api where on 2 other nodes it is 10.5 ms (p50, 1000 requests)."
    )


def test_of_two_nodes_the_slow_one_is_known_by_the_other() -> None:
    assert outlying(cell("a", 10_000), cell("b", 20_000)) == [("b", "app")]


def test_a_node_alone_has_nothing_to_be_compared_with() -> None:
    assert outlying(cell("a", 10_000_000)) == []


@pytest.mark.parametrize(
    "slow",
    [
        cell("c", 14_900),  # less than half as much again
        cell("c", 40_000, count=19),  # too few
    ],
)
def test_a_node_is_no_outlier_by_little(slow: Cell) -> None:
    assert outlying(cell("a", 10_000), cell("b", 10_000), slow) == []


def test_less_than_half_a_millisecond_more_is_noise() -> None:
    assert outlying(cell("a", 100), cell("b", 100), cell("c", 599)) == []


def test_a_fleet_that_differs_widely_has_no_outlier_by_its_usual_width() -> None:
    fleet = [cell(str(number), number * 10_000) for number in range(1, 8)]
    assert outlying(*fleet) == []


def test_a_node_that_serves_what_is_slow_everywhere_is_no_outlier() -> None:
    light = [cell(node, 1_000, service="light") for node in "abc"]
    heavy = [cell(node, 900_000, service="heavy") for node in "c"]
    assert outlying(*light, *heavy) == []


def test_one_slow_service_of_several_on_a_node_is_its_pods_affair() -> None:
    cells = [cell(node, 1_000, service=name) for node in "ab" for name in ("x", "y", "z")]
    cells += [cell("c", 9_000, service="x"), *(cell("c", 1_000, service=name) for name in "yz")]
    assert outlying(*cells) == []


def test_a_network_that_loses_packets_shows_in_the_p99() -> None:
    fleet = [cell(node, 300, part="cluster-network", p99_us=900) for node in "abc"]
    lossy = cell("d", 300, part="cluster-network", p99_us=204_000)

    [found] = outliers([*fleet, lossy])

    assert found.text == (
        "On d the network to its pods takes 204 ms for api where on 3 other nodes it is 0.9 ms"
        " (p99, 1000 requests)."
    )
    assert [(one.quantile, one.value_us, one.fleet_us) for one in found.evidence] == [
        ("p99", 204_000, 900)
    ]


@pytest.mark.parametrize(("slow_count", "is_outlier"), [(4, False), (20, True)])
def test_a_p99_that_a_few_slow_requests_make_says_nothing(
    slow_count: int, *, is_outlier: bool
) -> None:
    # 4 of 350 are above the p99 of what all nodes have in common, give or take 2.
    recording = Recording()
    for node in ("node-a", "node-b"):
        for number in range(350):
            is_slow = node == "node-b" and number < slow_count
            network_ms = 3 if is_slow else 0.2
            recording.request(150 * number, network_ms=network_ms, pod=f"on-{node}", node=node)

    findings = report(recording).findings

    assert [one.node for one in findings] == (["node-b"] if is_outlier else [])


def test_the_p99_of_few_requests_says_nothing() -> None:
    fleet = [cell(node, 300, p99_us=900, count=199) for node in "abc"]
    assert outlying(*fleet, cell("d", 300, p99_us=204_000, count=199)) == []


def lossy(*counted: tuple[str, int, int], service: str = "api") -> list[str]:
    """Nodes that stand out of `(node, attempts, of these sent again)`."""
    return list(losses(Resent(service, *one) for one in counted))


def test_a_network_that_loses_packets_is_known_by_what_is_sent_again() -> None:
    found = losses(
        Resent(service, node, 100, 12 if node == "c" else 0)
        for service in ("api", "cart")
        for node in "abc"
    )

    assert list(found) == ["c"]
    assert found["c"].text == (
        "The network to c loses packets: for 24 of 200 attempts at its pods something had to be"
        " sent again, on 2 other nodes for 0 of 400."
    )


def test_a_few_packets_that_are_sent_again_are_chance() -> None:
    assert lossy(("a", 100, 0), ("b", 100, 0), ("c", 100, 4)) == []
    assert lossy(("a", 10_000, 0), ("b", 10_000, 0), ("c", 10_000, 99)) == []


def test_a_network_that_loses_packets_everywhere_has_no_node_that_stands_out() -> None:
    assert lossy(("a", 100, 9), ("b", 100, 11), ("c", 100, 30)) == []


def test_a_service_on_one_node_only_says_nothing_of_that_nodes_network() -> None:
    assert lossy(("c", 100, 50)) == []


def report(recording: Recording, bins: int = 0) -> Nodes:
    with recording.connection() as connection:
        return nodes(connection, WINDOW, Filters(), bins)


def test_slow_node_and_slow_network_are_told_apart() -> None:
    chance = random.Random(1)
    recording = Recording()
    for number in range(300):
        service = chance.choice(["api", "cart"])
        node = f"node-{'abcd'[number % 4]}"
        recording.request(
            chance.uniform(0, 50_000),
            service=service,
            pod=f"{service}-{node}",
            node=node,
            app_ms=chance.uniform(9, 11) * (4 if node == "node-b" else 1),
            connect_ms=20 if node == "node-c" else 0.2,
        )

    found = report(recording)

    assert [(one.node, one.part) for one in found.findings] == [
        ("node-b", Part.APP),
        ("node-c", Part.CLUSTER_NETWORK),
    ]
    rows = {row.name: row for row in found.rows}
    assert {name for name, row in rows.items() if row.is_outlier} == {"node-b", "node-c"}
    assert rows["node-c"].p50_us[Part.CLUSTER_NETWORK] == 20_000
    assert rows["node-c"].fleet_p50_us[Part.CLUSTER_NETWORK] == 200
    assert rows["node-b"].sources == {"kernel": 0, "spans": 0, "phases": 75}
    assert rows["node-a"].pod_count == 2


def test_a_slow_node_and_one_behind_a_lossy_path_are_told_apart() -> None:
    recording = Recording()
    for number in range(300):
        node = f"node-{'abc'[number % 3]}"
        is_resent = node == "node-c" and number % 5 == 0
        recording.request(
            150 * number,
            node=node,
            app_ms=40 if node == "node-b" else 10,
            network_ms=210 if is_resent else 0.2,
            retransmits=int(is_resent),
            kernel=True,
        )

    found = report(recording)

    assert [(one.node, one.part) for one in found.findings] == [
        ("node-c", Part.CLUSTER_NETWORK),
        ("node-b", Part.APP),
    ]
    assert found.findings[0].loss is not None
    assert (found.findings[0].loss.resent_count, found.findings[0].evidence) == (20, ())


def test_the_proxys_time_is_that_of_the_node_of_the_data_plane() -> None:
    recording = Recording()
    for number in range(30):
        recording.request(number, proxy_ms=3)

    found = report(recording, bins=2)

    pods, plane = found.rows
    assert (pods.name, plane.name) == ("node-a", "node-edge")
    assert Part.PROXY not in pods.p50_us
    assert plane.p50_us == {Part.PROXY: 3_000}
    assert (plane.count, plane.shares) == (0, None)
    assert plane.series is not None
    assert plane.series.proxy_us == (3_000, None)


def test_series_are_medians_of_each_bin() -> None:
    recording = Recording()
    for at_ms, app_ms in ((0, 10), (1, 20), (2, 30), (50_000, 7)):
        recording.request(at_ms, app_ms=app_ms, failed=app_ms == 7)

    row = report(recording, bins=3).rows[0]

    assert row.series is not None
    assert row.series.count == (3, 0, 1)
    assert row.series.error_count == (0, 0, 1)
    assert row.series.app_us == (20_000, None, 7_000)


def test_failed_attempts_are_counted_where_they_failed() -> None:
    recording = Recording()
    recording.request(0, node="node-a", retried=("api-1", "node-b"))

    rows = {row.name: row for row in report(recording).rows}
    assert rows["node-b"].error_share == 1
    assert rows["node-a"].error_share == 0


def test_without_requests_there_are_no_nodes() -> None:
    found = report(Recording(), bins=4)
    assert (found.rows, found.findings) == ((), ())
    assert found.bins is not None

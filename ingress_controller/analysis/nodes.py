"""Which node is slow: each against the others, like with like.

Rule. A service's requests on a node are compared with the same service's on the other nodes, part
by part (`app`, `cluster-network`; `proxy` by the node of the data plane), by their median and their
p99, of which only what is no chance counts: of 300 requests it is made by three. They stand out if
they take more than `RATIO_MIN` times the median of the other nodes, and longer by at least
`EXCESS_US_MIN` and by `DEVIATIONS_MIN` scaled median absolute deviations of the other nodes. A node
is an outlier where most of what it serves – by requests that can be compared – stands out in one
part: one slow service on it is that service's affair, or its pod's. One whose network loses packets
is one, too (`packet_loss`).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

import msgspec

from ingress_controller.analysis.measures import (
    NS_PER_US,
    Basis,
    Bins,
    Part,
    Shares,
    Spread,
    Window,
    bins,
    shares,
)
from ingress_controller.analysis.packet_loss import RULE as LOSS_RULE
from ingress_controller.analysis.packet_loss import Loss, losses
from ingress_controller.analysis.queries.hops import Filters, look
from ingress_controller.analysis.queries.nodes import (
    Cell,
    NodeBin,
    NodeGroup,
    cells,
    node_bins,
    node_groups,
    resent,
)
from ingress_controller.peers.peer import Answer
from ingress_controller.plural import counted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

COUNT_MIN = 20
"""Requests of a service on a node, below which they are not compared; of a p99 ten times that."""

RATIO_MIN = 1.5
EXCESS_US_MIN = 500
"""Less is in the noise of a cluster's network, and nobody waits for it."""

DEVIATIONS_MIN = 3.0
"""With `MAD_SCALE`, three standard deviations where values are normally distributed."""

MAD_SCALE = 1.4826
"""Source: Rousseeuw and Croux, Alternatives to the Median Absolute Deviation, 1993."""

RULE = (
    "A service's requests on a node are compared with its requests on the other nodes. They stand"
    f" out if there are at least {COUNT_MIN} (for the p99: {10 * COUNT_MIN}, and three standard"
    " deviations more slow ones than one in a hundred) and they take more"
    f" than {RATIO_MIN:g} times the median of the other nodes, and longer by {EXCESS_US_MIN} µs and"
    f" {DEVIATIONS_MIN:g} scaled median absolute deviations. A node is an outlier where more than"
    f" half of its requests that can be compared stand out in one part. {LOSS_RULE}"
)


class Evidence(msgspec.Struct, frozen=True):
    """One service on one node in one part; `fleet_us` is the median of the `others_count` other
    nodes. `service` is empty for the proxy's own time."""

    service: str
    quantile: str
    count: int
    value_us: int
    fleet_us: int
    others_count: int


class Finding(msgspec.Struct, frozen=True):
    """Why a node is an outlier: `text` says it in words, `evidence` are the times, the largest
    first, and `loss` is there if its network loses packets."""

    node: str
    part: Part
    text: str
    evidence: tuple[Evidence, ...] = ()
    loss: Loss | None = None


class NodeSeries(msgspec.Struct, frozen=True):
    """A value for each bin; medians of requests, None where there were none."""

    count: tuple[int, ...]
    error_count: tuple[int, ...]
    cluster_network_us: tuple[int | None, ...]
    app_us: tuple[int | None, ...]
    proxy_us: tuple[int | None, ...]


class NodeRow(msgspec.Struct, frozen=True):
    """One node. `spread` is of attempts at its pods; `*_p50_us` are medians over the services,
    weighted by requests, and `fleet_*` the same services' on other nodes; `sources` says of how
    many requests network and app were told apart by the kernel, by the app's spans, or by phases
    alone."""

    name: str
    is_outlier: bool
    count: int
    rate_per_s: float
    error_count: int
    error_share: float
    pod_count: int
    service_count: int
    retransmit_count: int
    spread: Spread
    shares: Shares | None
    p50_us: Mapping[Part, int]
    fleet_p50_us: Mapping[Part, int]
    sources: Mapping[str, int]
    series: NodeSeries | None = None


class Nodes(Answer, frozen=True):
    """`rows` by requests, the busiest first."""

    basis: Basis
    rule: str
    findings: tuple[Finding, ...]
    rows: tuple[NodeRow, ...]
    bins: Bins | None = None


def nodes(
    connection: "DuckDBPyConnection", window: Window, filters: Filters, bin_count: int
) -> Nodes:
    """Asks and answers; for a thread. Without bins there are no series."""
    basis = look(connection, window)
    of_bins = node_bins(connection, window, bin_count, filters) if bin_count else []
    found = node_groups(connection, filters)
    of_cells = cells(connection, filters)
    findings = with_losses(outliers(of_cells), losses(resent(connection, filters)))
    outlying = {finding.node for finding in findings}
    own_us, fleet_us = _typical(of_cells)
    # A node may have a data plane and none of the pods.
    others = {cell.node for cell in of_cells} - {group.node for group in found}
    found = [*found, *map(_without_pods, sorted(others))]
    rows = tuple(
        _row(
            group,
            basis,
            is_outlier=group.node in outlying,
            p50_us=(own_us[group.node], fleet_us[group.node]),
            series=_series(group.node, bin_count, of_bins) if bin_count else None,
        )
        for group in found
    )
    return Nodes(basis, RULE, findings, rows, bins(basis, bin_count))


def outliers(of_cells: Iterable[Cell]) -> tuple[Finding, ...]:
    """By the rule; those with the largest excess first."""
    alike: defaultdict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in of_cells:
        if cell.count >= COUNT_MIN:
            alike[cell.part, cell.service].append(cell)
    compared: defaultdict[tuple[str, str], int] = defaultdict(int)
    standing_out: defaultdict[tuple[str, str], list[Evidence]] = defaultdict(list)
    for (part, _), group in alike.items():
        for cell in group:
            others = [other for other in group if other.node != cell.node]
            if others:
                compared[cell.node, part] += cell.count
                standing_out[cell.node, part] += _evidence(cell, others)
    findings = []
    for (node, part), evidence in standing_out.items():
        if 2 * sum(one.count for one in evidence) > compared[node, part]:
            evidence.sort(key=_excess_us, reverse=True)
            findings.append(
                Finding(node, Part(part), _sentence(node, Part(part), evidence), tuple(evidence))
            )
    return tuple(sorted(findings, key=lambda one: -_excess_us(one.evidence[0])))


def with_losses(slow: Iterable[Finding], lossy: Mapping[str, Loss]) -> tuple[Finding, ...]:
    """These findings and, for each node once, that its network loses packets: that first."""
    times = {(one.node, one.part): one for one in slow}
    found = []
    for node, loss in lossy.items():
        known = times.pop((node, Part.CLUSTER_NETWORK), None)
        text = f"{loss.text} {known.text}" if known else loss.text
        evidence = known.evidence if known else ()
        found.append(Finding(node, Part.CLUSTER_NETWORK, text, evidence, loss))
    return (*found, *times.values())


def _evidence(cell: Cell, others: Sequence[Cell]) -> list[Evidence]:
    """At most one: the median's, else the p99's."""
    quantiles = [("p50", cell.p50_us, cell.p50_us, [other.p50_us for other in others])]
    many = [other.p99_us for other in others if other.count >= 10 * COUNT_MIN]
    if many and cell.count >= 10 * COUNT_MIN:
        quantiles.append(("p99", cell.p99_us, cell.p99_least_us, many))
    for quantile, value_us, least_us, of_others_us in quantiles:
        fleet_us = median(of_others_us)
        spread_us = MAD_SCALE * median(abs(other_us - fleet_us) for other_us in of_others_us)
        excess_us = least_us - fleet_us
        if (
            least_us > RATIO_MIN * fleet_us
            and excess_us >= EXCESS_US_MIN
            and excess_us >= DEVIATIONS_MIN * spread_us
        ):
            found = Evidence(
                cell.service, quantile, cell.count, value_us, round(fleet_us), len(of_others_us)
            )
            return [found]
    return []


def _excess_us(evidence: Evidence) -> int:
    return evidence.value_us - evidence.fleet_us


_WORDS = {
    Part.APP: "apps take",
    Part.CLUSTER_NETWORK: "the network to its pods takes",
    Part.PROXY: "Spanway itself takes",
}


def _sentence(node: str, part: Part, evidence: Sequence[Evidence]) -> str:
    largest = evidence[0]
    others = (
        "the other node" if largest.others_count == 1 else f"{largest.others_count} other nodes"
    )
    of_service = f" for {largest.service}" if largest.service else ""
    more = f"; also {counted(len(evidence) - 1, 'other service')}" if len(evidence) > 1 else ""
    return (
        f"On {node} {_WORDS[part]} {_ms(largest.value_us)} ms{of_service} where on {others} it is"
        f" {_ms(largest.fleet_us)} ms ({largest.quantile}, {largest.count} requests{more})."
    )


def _ms(us: int) -> str:
    return f"{us / 1000:.3g}" if us < 100_000 else f"{us / 1000:,.0f}"  # noqa: PLR2004 - digits


def _typical(
    of_cells: Iterable[Cell],
) -> tuple[Mapping[str, dict[Part, int]], Mapping[str, dict[Part, int]]]:
    """Medians by node and part: own, and those of the same services on other nodes."""
    by_node: defaultdict[tuple[str, str], list[Cell]] = defaultdict(list)
    alike: defaultdict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in of_cells:
        by_node[cell.node, cell.part].append(cell)
        alike[cell.part, cell.service].append(cell)
    own: defaultdict[str, dict[Part, int]] = defaultdict(dict)
    fleet: defaultdict[str, dict[Part, int]] = defaultdict(dict)
    for (node, part), group in by_node.items():
        own[node][Part(part)] = _weighted((cell.p50_us, cell.count) for cell in group)
        compared = []
        for cell in group:
            others_us = [one.p50_us for one in alike[part, cell.service] if one.node != node]
            if others_us:
                compared.append((median(others_us), cell.count))
        if compared:
            fleet[node][Part(part)] = _weighted(compared)
    return own, fleet


def _weighted(values: Iterable[tuple[float, int]]) -> int:
    weighted = list(values)
    return round(sum(us * count for us, count in weighted) / sum(count for _, count in weighted))


def _row(
    group: NodeGroup,
    basis: Basis,
    *,
    is_outlier: bool,
    p50_us: tuple[Mapping[Part, int], Mapping[Part, int]],
    series: NodeSeries | None,
) -> NodeRow:
    scale = basis.traces_one_of
    kernel, spans, phases = group.sources
    return NodeRow(
        name=group.node,
        is_outlier=is_outlier,
        count=group.count * scale,
        rate_per_s=group.count * scale / basis.duration_s,
        error_count=group.error_count * scale,
        error_share=group.error_count / max(group.count, 1),
        pod_count=group.pod_count,
        service_count=group.service_count,
        retransmit_count=group.retransmit_count * scale,
        spread=Spread(*(ns // NS_PER_US for ns in group.quantiles_ns)),
        shares=shares(group.parts_us),
        p50_us=p50_us[0],
        fleet_p50_us=p50_us[1],
        sources={"kernel": kernel * scale, "spans": spans * scale, "phases": phases * scale},
        series=series,
    )


def _without_pods(node: str) -> NodeGroup:
    return NodeGroup(node, 0, 0, 0, 0, 0, (0,) * 5, (0,) * 5, (0,) * 3)


def _series(node: str, count: int, points: Iterable[NodeBin]) -> NodeSeries:
    by_bin = {point.bin: point for point in points if point.node == node}
    found = [by_bin.get(index) for index in range(count)]
    return NodeSeries(
        tuple(point.count if point else 0 for point in found),
        tuple(point.error_count if point else 0 for point in found),
        tuple(point.cluster_network_us if point else None for point in found),
        tuple(point.app_us if point else None for point in found),
        tuple(point.proxy_us if point else None for point in found),
    )

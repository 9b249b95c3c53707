"""The kind NodePerformance: a node as the report of nodes has it, as an object.

Rules: pure. What was not measured is left out.
"""

from functools import partial
from typing import NamedTuple

from ingress_controller.aggregated.kinds import Column, Kind, Shown
from ingress_controller.analysis.measures import Part
from ingress_controller.analysis.nodes import Finding, NodeRow
from ingress_controller.readable import duration

WINDOW_S = 900.0  # until now, and what the report looks at where nothing is said


class Node(NamedTuple):
    """One node of the report, with what makes it an outlier."""

    row: NodeRow
    findings: tuple[Finding, ...]


_PARTS = {Part.APP: "app", Part.CLUSTER_NETWORK: "network", Part.PROXY: "proxy"}


def _ms(us: int | None) -> float | str:
    return us / 1_000 if us is not None else ""


def _own_p50(part: Part, node: Node) -> float | str:
    return _ms(node.row.p50_us.get(part))


def _others_p50(part: Part, node: Node) -> float | str:
    return _ms(node.row.fleet_p50_us.get(part))


def _beside_others(part: Part, node: Node) -> str:
    """The node's, and in brackets that of the same services on other nodes."""
    own_us, others_us = (of.get(part) for of in (node.row.p50_us, node.row.fleet_p50_us))
    if own_us is None:
        return ""
    return duration(own_us) + (f" ({duration(others_us)})" if others_us is not None else "")


_FIELDS: tuple[Shown[Node], ...] = (
    Shown(
        "status.isOutlier",
        "boolean",
        "Whether it is slower than the other nodes, by the rule of the report.",
        lambda node: node.row.is_outlier,
    ),
    Shown(
        "status.findings",
        "array",
        "Why it is an outlier, in words.",
        lambda node: tuple(finding.text for finding in node.findings),
    ),
    Shown("status.requests", "integer", "That its pods answered.", lambda node: node.row.count),
    Shown(
        "status.requestsPerSecond",
        "number",
        "The same.",
        lambda node: round(node.row.rate_per_s, 3),
    ),
    Shown("status.errors", "integer", "Of these.", lambda node: node.row.error_count),
    Shown(
        "status.retransmits",
        "integer",
        "On their connections.",
        lambda node: node.row.retransmit_count,
    ),
    Shown("status.pods", "integer", "That answered.", lambda node: node.row.pod_count),
    Shown(
        "status.services", "integer", "That these belong to.", lambda node: node.row.service_count
    ),
    Shown(
        "status.p50Milliseconds",
        "number",
        "Half of the attempts took at most so long.",
        lambda node: _ms(node.row.spread.p50_us),
    ),
    Shown(
        "status.p99Milliseconds",
        "number",
        "99 of 100 attempts did.",
        lambda node: _ms(node.row.spread.p99_us),
    ),
    *(
        Shown(
            f"status.{name}Milliseconds.p50",
            "number",
            "The median of its services.",
            partial(_own_p50, part),
        )
        for part, name in _PARTS.items()
    ),
    *(
        Shown(
            f"status.{name}Milliseconds.othersP50",
            "number",
            "That of the same services on other nodes.",
            partial(_others_p50, part),
        )
        for part, name in _PARTS.items()
    ),
    Shown(
        "status.windowSeconds",
        "number",
        "The time that was looked at, until now.",
        lambda _: WINDOW_S,
    ),
)

_COLUMNS: tuple[Column[Node], ...] = (
    Column("Name", "Of the node.", lambda node: node.row.name, format="name"),
    Column(
        "Outlier",
        "Slower than the others in what.",
        lambda node: ",".join(dict.fromkeys(f.part for f in node.findings)) or "no",
    ),
    Column("Requests", "In the last 15 minutes.", lambda node: node.row.count, "integer"),
    Column("Errors", "Of these.", lambda node: node.row.error_count, "integer"),
    Column("P99", "Of attempts at its pods.", lambda node: duration(node.row.spread.p99_us)),
    *(
        Column(
            f"{name.title()} (Others)",
            "Median of its services, and of the same on other nodes.",
            partial(_beside_others, part),
        )
        for part, name in _PARTS.items()
    ),
    Column("Pods", "That answered.", lambda node: node.row.pod_count, "integer", priority=1),
    Column(
        "Retransmits", "Segments.", lambda node: node.row.retransmit_count, "integer", priority=1
    ),
    Column(
        "Why",
        "The largest finding.",
        lambda node: node.findings[0].text if node.findings else "",
        priority=1,
    ),
)

NODE_PERFORMANCE: Kind[Node] = Kind(
    name="NodePerformance",
    plural="nodeperformances",
    singular="nodeperformance",
    short_names=("nodeperf",),
    is_namespaced=False,
    verbs=("get", "list"),
    text="How fast a node answers, against the others: what the report of nodes says of the last 15"
    " minutes.",
    metadata_text="Its name is that of the node.",
    sections={
        "status": "What was measured.",
        "status.appMilliseconds": "What the apps took.",
        "status.networkMilliseconds": "What the cluster's network to its pods took.",
        "status.proxyMilliseconds": "What Spanway on this node took.",
    },
    fields=_FIELDS,
    columns=_COLUMNS,
    metadata=lambda node: {"name": node.row.name, "uid": node.row.name},
)

"""Who calls whom, how often, and whose the time is on the way: client, edge, services, pods.

Rules. A service is called by its Kubernetes name where Spanway forwards to it, since that is known
of services without spans, too; spans of its pods are counted to it by the name that most of them
send. Calls in which Spanway has no part are known from spans of caller and callee alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from ingress_controller.analysis.measures import NS_PER_US, Basis, Shares, Window, shares
from ingress_controller.analysis.queries.arrows import (
    Alias,
    Called,
    Forwarded,
    Served,
    aliases,
    called,
    forwarded,
    served,
)
from ingress_controller.analysis.queries.hops import Filters, look
from ingress_controller.peers.peer import Answer

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

CLIENT = "client"
EDGE = "edge"


class Kind(StrEnum):
    """What a place on the map is; `app` is a service that is known from its spans only."""

    CLIENT = "client"
    EDGE = "edge"
    SERVICE = "service"
    APP = "app"
    POD = "pod"


class Place(msgspec.Struct, frozen=True):
    """`id` is what arrows name; `node` is that of a pod."""

    id: str
    kind: Kind
    name: str
    node: str = ""


class Arrow(msgspec.Struct, frozen=True):
    """Requests from `source` to `target`, both ids. `shares` says whose their time was; `via` is
    `spanway` where it forwarded them."""

    source: str
    target: str
    via: str
    count: int
    rate_per_s: float
    error_count: int
    error_share: float
    p50_us: int
    p99_us: int
    time_us: int
    shares: Shares | None


class Graph(Answer, frozen=True):
    """Arrows by requests, the busiest first."""

    basis: Basis
    places: tuple[Place, ...]
    arrows: tuple[Arrow, ...]


def graph(connection: "DuckDBPyConnection", window: Window, filters: Filters) -> Graph:
    """Asks and answers; for a thread. With filters, only what Spanway forwards."""
    basis = look(connection, window)
    is_whole = filters == Filters()
    return graph_of(
        basis,
        forwarded(connection, filters),
        served(connection, filters),
        (
            aliases(connection),
            called(connection, window, one_of=basis.traces_one_of) if is_whole else (),
        ),
    )


def graph_of(
    basis: Basis,
    through: Sequence[Forwarded],
    pods: Sequence[Served],
    told: tuple[Iterable[Alias], Sequence[Called]],
) -> Graph:
    """The report, of the answers; `told` is what spans of applications say."""
    names = _names(told[0])
    places: dict[str, Place] = {}

    def place(kind: Kind, name: str, node: str = "") -> str:
        of = f"{kind}:{name}" if name not in (CLIENT, EDGE) else name
        places.setdefault(of, Place(of, kind, name, node))
        return of

    def app(name: str) -> str:
        return place(Kind.SERVICE, names[name]) if name in names else place(Kind.APP, name)

    merged: dict[tuple[str, str, str], list[_Measured]] = {}
    for one in through:
        caller = app(one.caller) if one.caller else place(Kind.CLIENT, CLIENT)
        measured = _Measured(one.count, one.error_count, one.quantiles_ns, one.parts_us)
        if one.is_edge:
            edge = place(Kind.EDGE, EDGE)
            merged.setdefault((caller, edge, "spanway"), []).append(measured)
            caller = edge
        if one.service:
            target = place(Kind.SERVICE, one.service)
            merged.setdefault((caller, target, "spanway"), []).append(measured)
    for pod in pods:
        target = place(Kind.POD, pod.pod, pod.node or "")
        source = place(Kind.SERVICE, pod.service) if pod.service else place(Kind.EDGE, EDGE)
        measured = _Measured(pod.count, pod.error_count, pod.quantiles_ns, pod.parts_us)
        merged.setdefault((source, target, ""), []).append(measured)
    for call in told[1]:
        parts_us = (0, 0, call.network_us, call.callee_us, 0)
        measured = _Measured(call.count, call.error_count, call.quantiles_ns, parts_us)
        source, target = app(call.caller), app(call.callee)
        if source != target:
            merged.setdefault((source, target, ""), []).append(measured)
    arrows = [_arrow(ends, found, basis) for ends, found in merged.items()]
    arrows.sort(key=lambda arrow: (-arrow.count, arrow.source, arrow.target))
    return Graph(basis, tuple(places.values()), tuple(arrows))


class _Measured(msgspec.Struct, frozen=True):
    count: int
    error_count: int
    quantiles_ns: Sequence[int]
    parts_us: Sequence[int]


def _arrow(ends: tuple[str, str, str], found: Sequence[_Measured], basis: Basis) -> Arrow:
    """Of several measurements the quantiles are those of the largest: they cannot be added."""
    largest = max(found, key=lambda one: one.count)
    count = sum(one.count for one in found)
    error_count = sum(one.error_count for one in found)
    parts_us = [sum(of_part) for of_part in zip(*(one.parts_us for one in found), strict=True)]
    return Arrow(
        *ends,
        count * basis.traces_one_of,
        count * basis.traces_one_of / basis.duration_s,
        error_count * basis.traces_one_of,
        error_count / max(count, 1),
        largest.quantiles_ns[0] // NS_PER_US,
        largest.quantiles_ns[1] // NS_PER_US,
        sum(parts_us) * basis.traces_one_of,
        shares(parts_us),
    )


def _names(found: Iterable[Alias]) -> Mapping[str, str]:
    """The Service of each name in spans: the one to whose pods most such spans belong."""
    names: dict[str, str] = {}
    for alias in sorted(found, key=lambda alias: -alias.count):
        names.setdefault(alias.callee, alias.service)
    return names

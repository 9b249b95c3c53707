"""How long requests took, by what they have in common; and whose the time was."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from ingress_controller.analysis.measures import (
    NS_PER_US,
    Basis,
    Bins,
    Series,
    Shares,
    Spread,
    Window,
    bins,
    name_of,
    series,
    shares,
)
from ingress_controller.analysis.queries.groups import Bin, By, Group, Question, groups, series_of
from ingress_controller.analysis.queries.hops import look
from ingress_controller.peers.peer import Answer

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


class LatencyRow(msgspec.Struct, frozen=True):
    """One group. `time_us` is the sum over its requests, `shares` whose it was; None where spans do
    not tell."""

    name: str
    labels: Mapping[str, str]
    count: int
    rate_per_s: float
    error_count: int
    error_share: float
    time_us: int
    spread: Spread
    shares: Shares | None = None
    series: Series | None = None


class Latency(Answer, frozen=True):
    """`rows` in the order that was asked for, of `group_count` groups. `all` is None if there was
    no request; of phases and operations it is of all of them, one after the other."""

    basis: Basis
    by: By
    group_count: int
    all: LatencyRow | None
    rows: tuple[LatencyRow, ...]
    bins: Bins | None = None


def latency(connection: "DuckDBPyConnection", window: Window, question: Question) -> Latency:
    """Asks and answers; for a thread."""
    basis = look(connection, window)
    found, group_count = groups(connection, window, question, basis.traces_one_of)
    points = series_of(connection, window, question.bins, found) if question.bins else []
    return latency_of(basis, question, (found, group_count), points)


def latency_of(
    basis: Basis,
    question: Question,
    found: tuple[Sequence[Group], int],
    points: Sequence[Bin],
) -> Latency:
    """The report, of the answers: groups and how many there are, and their bins."""
    scale = basis.traces_one_of
    rows = []
    for group in found[0]:
        own = [point.row for point in points if point.labels == group.labels]
        of_bins = series(question.bins, own, scale=scale) if question.bins else None
        rows.append(_row(group, basis, scale, of_bins))
    is_empty = not found[0] or not found[0][0].count
    return Latency(
        basis,
        question.by,
        found[1],
        None if is_empty else rows[0],
        tuple(rows[1:]),
        bins(basis, question.bins),
    )


def _row(group: Group, basis: Basis, scale: int, of_bins: Series | None) -> LatencyRow:
    labels = {name: value for name, value in (group.labels or {}).items() if value}
    return LatencyRow(
        name="all" if group.labels is None else name_of(labels),
        labels=labels,
        count=group.count * scale,
        rate_per_s=group.count * scale / basis.duration_s,
        error_count=group.error_count * scale,
        error_share=group.error_count / max(group.count, 1),
        time_us=(group.time_ns or 0) * scale // NS_PER_US,
        spread=spread(group),
        shares=shares(group.parts_us),
        series=of_bins,
    )


def spread(group: Group) -> Spread:
    """In microseconds; of no requests all are 0."""
    p50_ns, p90_ns, p99_ns, p999_ns = (
        (group.quantiles_ns[index] for index in (1, 3, 4, 5)) if group.quantiles_ns else (0,) * 4
    )
    return Spread(
        p50_ns // NS_PER_US,
        p90_ns // NS_PER_US,
        p99_ns // NS_PER_US,
        p999_ns // NS_PER_US,
        (group.max_ns or 0) // NS_PER_US,
    )

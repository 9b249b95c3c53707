"""What got slower: between two windows, and between two traces.

Rule. The medians of a group differ if their notches do not overlap: the median ± twice the
interquartile range by the root of the number of requests. With 1.57, as in the source, one of 50
groups that did not change would seem to have; with 2 it is one of some 300 (simulated, from 20 to
500 requests of either side). With fewer than `COUNT_MIN` requests on a side nothing is claimed.
Source: McGill, Tukey and Larsen, Variations of Box Plots, 1978.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from math import sqrt
from typing import TYPE_CHECKING

import msgspec

from ingress_controller.analysis.contributors import Contributor, contributions
from ingress_controller.analysis.latency import spread
from ingress_controller.analysis.measures import NS_PER_US, Basis, Part, Spread, Window, name_of
from ingress_controller.analysis.queries.groups import ROWS_MAX, Group, Question, groups
from ingress_controller.analysis.queries.hops import look
from ingress_controller.peers.peer import Answer
from ingress_controller.traces.span import Span
from ingress_controller.traces.tree import tree

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

COUNT_MIN = 20
"""Requests on each side."""

NOTCH = 2.0
CHANGE_SHARE_MIN = 0.05
"""Of the earlier median: with many requests less is certain, too, but nobody's concern."""

RULE = (
    "A group is slower or faster if its medians differ by more than"
    f" {CHANGE_SHARE_MIN:.0%} and by more than chance allows: their notches, the median ±"
    f" {NOTCH:g} × interquartile range / √requests, do not overlap. With fewer than {COUNT_MIN}"
    " requests in one of the windows it is too few to tell."
)


class Change(StrEnum):
    """What is said of a group."""

    SLOWER = "slower"
    FASTER = "faster"
    SAME = "same"
    TOO_FEW = "too few"
    NEW = "new"
    GONE = "gone"


class Side(msgspec.Struct, frozen=True):
    """A group in one of the windows."""

    count: int
    rate_per_s: float
    error_share: float
    spread: Spread


class Changed(msgspec.Struct, frozen=True):
    """One group; `p50_change_us` and `p99_change_us` are now less earlier."""

    name: str
    labels: Mapping[str, str]
    change: Change
    earlier: Side | None
    now: Side | None
    p50_change_us: int | None
    p99_change_us: int | None


class Comparison(Answer, frozen=True, tag_field="of", tag="windows"):
    """`rows` by what they cost: the change of the median times the requests now, slower ones
    first."""

    rule: str
    earlier: Basis
    now: Basis
    rows: tuple[Changed, ...]


class TraceChange(msgspec.Struct, frozen=True):
    """A contributor's time on the critical paths of two traces; `*_span_count` are its spans."""

    service: str
    operation: str
    part: Part
    before_us: int
    after_us: int
    change_us: int


class TraceComparison(Answer, frozen=True, tag_field="of", tag="traces"):
    """Two traces; what changed of all contributors sums to the change of the duration."""

    before_us: int
    after_us: int
    change_us: int
    before_span_count: int
    after_span_count: int
    rows: tuple[TraceChange, ...]


def compare(
    connection: "DuckDBPyConnection", earlier: Window, now: Window, question: Question
) -> Comparison:
    """Asks and answers; for a thread."""
    every = msgspec.structs.replace(question, limit=ROWS_MAX)
    sides = []
    for window in (earlier, now):
        basis = look(connection, window)
        sides.append((basis, groups(connection, window, every, basis.traces_one_of)[0]))
    return comparison(*sides[0], *sides[1], limit=question.limit)


def comparison(
    before: Basis,
    groups_before: Sequence[Group],
    after: Basis,
    groups_after: Sequence[Group],
    *,
    limit: int,
) -> Comparison:
    """The report, of the answers."""
    by_name = [
        {name_of(group.labels): group for group in found if group.labels is not None}
        for found in (groups_before, groups_after)
    ]
    rows = [
        _changed(by_name[0].get(name), by_name[1].get(name), before, after)
        for name in dict.fromkeys([*by_name[1], *by_name[0]])
    ]
    rows.sort(key=_cost, reverse=True)
    return Comparison(RULE, before, after, tuple(rows[:limit]))


def compare_traces(before: Sequence[Span], after: Sequence[Span]) -> TraceComparison:
    """By contributor, the largest change first."""
    paths = [contributions(tree(spans)) for spans in (before, after)]
    before_us, after_us = (of.path.duration_ns // NS_PER_US for of in paths)
    rows = []
    for contributor in paths[0].by_contributor | paths[1].by_contributor:
        rows.append(_trace_change(contributor, *(of.by_contributor[contributor] for of in paths)))
    rows.sort(key=lambda row: (-abs(row.change_us), row.service, row.operation))
    return TraceComparison(
        before_us, after_us, after_us - before_us, len(before), len(after), tuple(rows)
    )


def _trace_change(of: Contributor, before_ns: int, after_ns: int) -> TraceChange:
    before_us, after_us = before_ns // NS_PER_US, after_ns // NS_PER_US
    change_us = after_us - before_us
    return TraceChange(of.service, of.operation, of.part, before_us, after_us, change_us)


def change(before: Group | None, after: Group | None) -> Change:
    """By the rule."""
    if before is None or after is None:
        return Change.NEW if before is None else Change.GONE
    if min(before.count, after.count) < COUNT_MIN:
        return Change.TOO_FEW
    p50_ns = [group.quantiles_ns[1] for group in (before, after)]
    differs_ns = abs(p50_ns[1] - p50_ns[0])
    if differs_ns <= _notch_ns(before) + _notch_ns(after):
        return Change.SAME
    if differs_ns <= CHANGE_SHARE_MIN * p50_ns[0]:
        return Change.SAME
    return Change.SLOWER if p50_ns[1] > p50_ns[0] else Change.FASTER


def _notch_ns(group: Group) -> float:
    return NOTCH * (group.quantiles_ns[2] - group.quantiles_ns[0]) / sqrt(group.count)


def _changed(
    before: Group | None, after: Group | None, basis_before: Basis, basis_after: Basis
) -> Changed:
    known = after or before
    assert known is not None, "a name is of one of the two"
    labels = {name: value for name, value in (known.labels or {}).items() if value}
    sides = _side(before, basis_before), _side(after, basis_after)
    p50_us = p99_us = None
    if sides[0] and sides[1]:
        p50_us = sides[1].spread.p50_us - sides[0].spread.p50_us
        p99_us = sides[1].spread.p99_us - sides[0].spread.p99_us
    return Changed(name_of(labels), labels, change(before, after), *sides, p50_us, p99_us)


def _side(group: Group | None, basis: Basis) -> Side | None:
    if group is None:
        return None
    count = group.count * basis.traces_one_of
    return Side(
        count, count / basis.duration_s, group.error_count / max(group.count, 1), spread(group)
    )


def _cost(row: Changed) -> tuple[int, int]:
    """What is certain first, then by how much time it costs."""
    is_certain = row.change in (Change.SLOWER, Change.FASTER)
    count = row.now.count if row.now else 0
    return (1 if is_certain else 0) * (1 if row.change is Change.SLOWER else -1), (
        row.p50_change_us or 0
    ) * count

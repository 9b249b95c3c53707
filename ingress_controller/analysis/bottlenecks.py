"""What makes the slowest requests slow, and whether it is because many come together.

Rule. Of each kind of request the slowest hundredth (at least 5 traces) is compared with those
around the median: how long each contributor works on the critical path, on average. What it works
longer in slow ones is its excess; excesses sum to how much longer slow ones take. A contributor
*grows with concurrency* where its spans take longer the more of them are in flight when one begins:
a queue, a lock, a pool, a machine that is full. Who takes a good part of a usual request is a
*contender*, and looked at in the same way: it may be what comes next.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ingress_controller.analysis.contributors import Contributor, Measured, contributions
from ingress_controller.analysis.measures import NS_PER_US, Basis, Part, Window
from ingress_controller.analysis.queries.hops import Filters, count_spans
from ingress_controller.analysis.queries.slowest import (
    ENTRIES_MIN,
    MOMENT_SPANS,
    SLOW_MIN,
    ChosenTrace,
    Concurrency,
    EntryGroup,
    Flight,
    chosen_traces,
    concurrency,
    entry_groups,
)
from ingress_controller.peers.peer import Answer
from ingress_controller.traces.drawing import duration_text
from ingress_controller.traces.tree import tree

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

CONTRIBUTORS_MAX = 10
"""Of one kind of request; the rest is one sum."""

EXCESS_SHARE_MIN = 0.02
"""Of the whole excess, below which a contributor is not looked at for concurrency."""

CONTENDER_SHARE_MIN = 0.05
"""Of a usual request, from which on a contributor is shown, whatever slow ones wait for."""

FLIGHT_COUNT_MIN = 5
"""Spans at a level of concurrency, below which its median says nothing."""

GROWTH_RATIO_MIN = 1.5
CORRELATION_MIN = 0.4
"""Between how long a span takes and how many are in flight: above, one explains the other."""

RULE = (
    "Of each kind of request with at least"
    f" {ENTRIES_MIN} traces the slowest hundredth (at least {SLOW_MIN}) is compared with those"
    " around the median: what a contributor works longer on the critical path of slow ones is its"
    " excess. It grows with concurrency if its spans take at least"
    f" {GROWTH_RATIO_MIN:g} times as long with the most in flight as with the fewest, and how long"
    " they take correlates with how many are in flight, among"
    f" {MOMENT_SPANS} that begin one after the other, by at least {CORRELATION_MIN:g}."
    f" Whatever else takes {CONTENDER_SHARE_MIN:.0%} of a usual request is a contender."
)


class Level(msgspec.Struct, frozen=True):
    """Spans that began while so many of them, themselves included, were in flight."""

    in_flight_min: int
    in_flight_max: int
    count: int
    p50_us: int


class Growth(msgspec.Struct, frozen=True):
    """How long an operation's spans take by how many are in flight. `per_request_us` is what each
    more adds, by linear regression."""

    service: str
    operation: str
    grows: bool
    count: int
    correlation: float | None
    per_request_us: int | None
    levels: tuple[Level, ...]


class Bottleneck(msgspec.Struct, frozen=True):
    """One contributor: its mean time on the critical path of usual and of slow requests.

    `excess_share` is its part of the whole excess; they sum to 1 over all contributors, and may be
    negative. `text` says it in words.
    """

    service: str
    operation: str
    part: Part
    usual_us: int
    slow_us: int
    excess_us: int
    excess_share: float
    text: str
    growth: Growth | None = None


class Slowness(msgspec.Struct, frozen=True):
    """One kind of request. `usual_us` and `slow_us` are means of the traces that were looked at;
    `others_excess_us` is what is not `bottlenecks`. `contenders` by their usual time."""

    service: str
    operation: str
    count: int
    p50_us: int
    p99_us: int
    usual_count: int
    slow_count: int
    usual_us: int
    slow_us: int
    others_excess_us: int
    bottlenecks: tuple[Bottleneck, ...]
    contenders: tuple[Bottleneck, ...]
    slow_trace_ids: tuple[str, ...]


class Bottlenecks(Answer, frozen=True):
    """`requests` by the time that they took in all, the most first."""

    basis: Basis
    rule: str
    requests: tuple[Slowness, ...]


class Excess(NamedTuple):
    """A contributor's mean time on the critical paths of usual and of slow traces."""

    contributor: Contributor
    usual_ns: float
    slow_ns: float

    @property
    def excess_ns(self) -> float:
        return self.slow_ns - self.usual_ns


class Looked(NamedTuple):
    """What came of the traces of one kind of request; `excesses` the largest first."""

    usual_count: int
    slow_count: int
    excesses: tuple[Excess, ...]
    slow_trace_ids: tuple[str, ...]

    @property
    def usual_ns(self) -> float:
        return sum(one.usual_ns for one in self.excesses)

    @property
    def slow_ns(self) -> float:
        return sum(one.slow_ns for one in self.excesses)

    @property
    def excess_ns(self) -> float:
        return self.slow_ns - self.usual_ns


def bottlenecks(
    connection: "DuckDBPyConnection", window: Window, filters: Filters, limit: int
) -> Bottlenecks:
    """Asks and answers; for a thread. `limit` is of kinds of requests."""
    basis = count_spans(connection, window)
    groups = entry_groups(connection, window, filters, limit)
    traces = chosen_traces(connection, window, groups)
    looked = [
        looked_at([trace for trace in traces if trace.entry == (group.service, group.operation)])
        for group in groups
    ]
    measured = {
        one.contributor.measured
        for found in looked
        for one in (*worth_measuring(found), *contenders(found))
    }
    growths = {of: growth(of, concurrency(connection, window, of)) for of in sorted(measured)}
    requests = map(lambda group, found: slowness(group, found, growths), groups, looked)
    return Bottlenecks(basis, RULE, tuple(requests))


def looked_at(traces: Iterable[ChosenTrace]) -> Looked:
    """Of the traces of one kind of request. One that is slow and near the median is slow."""
    sums_ns: dict[bool, Counter[Contributor]] = {False: Counter(), True: Counter()}
    counts = {False: 0, True: 0}
    slow: list[tuple[int, str]] = []
    for trace in traces:
        found = contributions(tree(trace.spans))
        sums_ns[trace.is_slow].update(found.by_contributor)
        counts[trace.is_slow] += 1
        if trace.is_slow and trace.spans:
            slow.append((-found.path.duration_ns, trace.spans[0].trace_id))
    excesses = [
        Excess(
            contributor,
            sums_ns[False][contributor] / max(counts[False], 1),
            sums_ns[True][contributor] / max(counts[True], 1),
        )
        for contributor in sums_ns[False] | sums_ns[True]
    ]
    excesses.sort(key=lambda one: (-one.excess_ns, one.contributor))
    ids = tuple(trace_id for _, trace_id in sorted(slow)[:SLOW_MIN])
    return Looked(counts[False], counts[True], tuple(excesses), ids)


def worth_measuring(found: Looked) -> tuple[Excess, ...]:
    """Those that make a difference."""
    least_ns = max(1.0, EXCESS_SHARE_MIN * found.excess_ns)
    return tuple(one for one in found.excesses[:CONTRIBUTORS_MAX] if one.excess_ns >= least_ns)


def contenders(found: Looked) -> tuple[Excess, ...]:
    """Those that take a good part of usual requests, but for what makes slow ones slow."""
    making_slow = set(worth_measuring(found))
    least_ns = max(1.0, CONTENDER_SHARE_MIN * found.usual_ns)
    others = [one for one in found.excesses if one.usual_ns >= least_ns and one not in making_slow]
    return tuple(sorted(others, key=lambda one: (-one.usual_ns, one.contributor)))


def growth(of: Measured, counted: Concurrency) -> Growth:
    """By the rule."""
    telling = [flight for flight in counted.flights if flight.count >= FLIGHT_COUNT_MIN]
    grows = (
        len(telling) > 1
        and telling[-1].p50_ns >= GROWTH_RATIO_MIN * telling[0].p50_ns
        and (counted.correlation or 0) >= CORRELATION_MIN
    )
    return Growth(
        of.service,
        of.name,
        grows,
        counted.count,
        counted.correlation,
        None if counted.slope_ns is None else round(counted.slope_ns / NS_PER_US),
        tuple(map(_level, counted.flights)),
    )


def slowness(group: EntryGroup, found: Looked, growths: Mapping[Measured, Growth]) -> Slowness:
    """The report of one kind of request."""
    shown = tuple(
        _bottleneck(one, found, growths[one.contributor.measured], _makes_slow)
        for one in worth_measuring(found)
    )
    beside = tuple(
        _bottleneck(one, found, growths[one.contributor.measured], _takes)
        for one in contenders(found)
    )
    return Slowness(
        group.service,
        group.operation,
        group.count,
        group.p50_ns // NS_PER_US,
        group.p99_ns // NS_PER_US,
        found.usual_count,
        found.slow_count,
        round(found.usual_ns / NS_PER_US),
        round(found.slow_ns / NS_PER_US),
        round(found.excess_ns / NS_PER_US) - sum(one.excess_us for one in shown),
        shown,
        beside,
        found.slow_trace_ids,
    )


def _level(flight: Flight) -> Level:
    p50_us = flight.p50_ns // NS_PER_US
    return Level(flight.in_flight_min, flight.in_flight_max, flight.count, p50_us)


def _bottleneck(
    one: Excess, found: Looked, grown: Growth, say: Callable[[Excess, Looked, Growth], str]
) -> Bottleneck:
    of = one.contributor
    return Bottleneck(
        of.service,
        of.operation,
        of.part,
        round(one.usual_ns / NS_PER_US),
        round(one.slow_ns / NS_PER_US),
        round(one.excess_ns / NS_PER_US),
        one.excess_ns / found.excess_ns if found.excess_ns else 0.0,
        say(one, found, grown),
        grown,
    )


_OWN_WAITS = {
    "wake-up": "So long it lay in the kernel until a worker, busy or without a CPU, read it.",
    "net.return": "So long its answer lay in the kernel until a worker, busy or without a CPU, read"
    " it.",
}
"""What the names mean: not everybody who is told of them has read docs/SPANS.md."""


def _makes_slow(one: Excess, found: Looked, grown: Growth) -> str:
    # Others may take less time in slow ones.
    share = min(1.0, one.excess_ns / found.excess_ns)
    text = (
        f"{one.contributor.service} {one.contributor.operation} takes {_time(one.slow_ns)} of a"
        f" slow request where it takes {_time(one.usual_ns)} of a usual one: {share:.0%} of what"
        " makes it slow."
    )
    is_own = one.contributor.part is Part.PROXY
    meaning = _OWN_WAITS.get(one.contributor.operation, "") if is_own else ""
    return " ".join(filter(None, (text, meaning, _growing(grown) if grown.grows else "")))


def _takes(one: Excess, _: Looked, grown: Growth) -> str:
    text = (
        f"{one.contributor.service} {one.contributor.operation} takes {_time(one.usual_ns)} of a"
        f" usual request, {_time(one.slow_ns)} of a slow one."
    )
    return f"{text} {_growing(grown)}".strip()


def _growing(grown: Growth) -> str:
    """A sentence, or nothing where too few were in flight together to tell."""
    if grown.levels and grown.levels[-1].in_flight_max == 1:
        return "No two were ever in flight at once."
    telling = [level for level in grown.levels if level.count >= FLIGHT_COUNT_MIN]
    if len(telling) < 2:  # noqa: PLR2004 - two to compare
        return ""
    first, last = telling[0], telling[-1]
    times = (
        f"{_time(first.p50_us * NS_PER_US)} with {_span(first)} in flight,"
        f" {_time(last.p50_us * NS_PER_US)} with {_span(last)}"
    )
    if not grown.grows and last.p50_us >= GROWTH_RATIO_MIN * first.p50_us:
        return f"It was slower when more were in flight, but not because of them: {times}."
    if not grown.grows:
        return f"It does not grow with concurrency: {times}."
    more = _time((grown.per_request_us or 0) * NS_PER_US)
    return f"It grows with concurrency: {times}; each more adds {more}."


def _span(level: Level) -> str:
    low, high = level.in_flight_min, level.in_flight_max
    return str(low) if low == high else f"{low} to {high}"


def _time(ns: float) -> str:
    return duration_text(round(ns))

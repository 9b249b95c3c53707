"""What the longest root of a trace waited for, moment by moment: its critical path.

Rules: pure; nothing about the spans is believed. Steps follow on one another without a gap from
the root's start to its end, so that what is summed over them sums to the root's duration.

Clocks of two hosts differ. The span of a called service (SERVER below CLIENT) lies within its
caller's; where it does not although it would fit, it is moved, with all that is below it, by as
little as makes it fit. What still sticks out of its parent – work that nobody waited for – is cut
off there. A CONSUMER is never waited for.
Source: the moves are those of Jaeger's clock skew adjuster, but by the least, not to the middle.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from ingress_controller.traces.span import Span, SpanKind
from ingress_controller.traces.tree import Tree, is_phase


@dataclass(frozen=True, slots=True)
class Step:
    """From `start_unix_ns` to `end_unix_ns`, by the root's clock, that span worked and no other
    that was waited for."""

    span: Span
    start_unix_ns: int
    end_unix_ns: int

    @property
    def duration_ns(self) -> int:
        return self.end_unix_ns - self.start_unix_ns


@dataclass(frozen=True, slots=True)
class CriticalPath:
    """`steps` in order of time; none without spans.

    `moved_ns` is by how much the spans of called services were moved, by id of the span that was
    called; `cut_span_ids` stick out of their parents, and only what is inside counts.
    """

    steps: tuple[Step, ...]
    moved_ns: Mapping[str, int]
    cut_span_ids: frozenset[str]

    @property
    def duration_ns(self) -> int:
        return sum(step.duration_ns for step in self.steps)

    def working_ns(self) -> Counter[str]:
        """Nanoseconds by span id; spans that delayed nothing are absent."""
        working: Counter[str] = Counter()
        for step in self.steps:
            working[step.span.span_id] += step.duration_ns
        return working


def critical_path(of: Tree) -> CriticalPath:
    """Each moment belongs to the deepest span of the child that ended last, which is the one that
    its parent waited for; before that child started, to the one that ended last before it."""
    placed = _placed(of)
    if not placed.roots:
        return CriticalPath((), {}, frozenset())
    root = max(placed.roots, key=lambda index: of.branches[index].span.duration_ns)
    steps = []
    waiting = [(root, *placed.bounds_ns[root])]
    while waiting:
        index, start_ns, cursor_ns = waiting.pop()
        span = of.branches[index].span
        for child in sorted(placed.children[index], key=lambda child: -placed.bounds_ns[child][1]):
            child_start_ns = max(start_ns, placed.bounds_ns[child][0])
            child_end_ns = min(cursor_ns, placed.bounds_ns[child][1])
            if child_start_ns < child_end_ns:
                if child_end_ns < cursor_ns:
                    steps.append(Step(span, child_end_ns, cursor_ns))
                waiting.append((child, child_start_ns, child_end_ns))
                cursor_ns = child_start_ns
        if start_ns < cursor_ns:
            steps.append(Step(span, start_ns, cursor_ns))
    steps.sort(key=lambda step: step.start_unix_ns)
    return CriticalPath(tuple(steps), placed.moved_ns, frozenset(placed.cut_span_ids))


@dataclass(slots=True)
class _Placed:
    """By index of branch: start and end by the root's clock, and the children that work."""

    bounds_ns: list[tuple[int, int]]
    children: list[list[int]]
    roots: list[int]
    moved_ns: dict[str, int]
    cut_span_ids: set[str]


def _placed(of: Tree) -> _Placed:
    placed = _Placed([], [[] for _ in of.branches], [], {}, set())
    shifts_ns: list[int] = []
    for index, branch in enumerate(of.branches):
        span, parent = branch.span, branch.parent_index
        shift_ns = 0
        if parent is None:
            placed.roots.append(index)
        else:
            within_ns, of_parent_ns = placed.bounds_ns[parent], shifts_ns[parent]
            shift_ns = of_parent_ns
            if span.kind is SpanKind.SERVER and of.branches[parent].span.kind is SpanKind.CLIENT:
                shift_ns = _shift_ns(span, within_ns, of_parent_ns)
        bounds_ns = span.start_unix_ns + shift_ns, span.start_unix_ns + span.duration_ns + shift_ns
        shifts_ns.append(shift_ns)
        placed.bounds_ns.append(bounds_ns)
        if parent is None:
            continue
        if shift_ns not in (0, of_parent_ns):
            placed.moved_ns[span.span_id] = shift_ns
        if not is_phase(span) and span.kind is not SpanKind.CONSUMER:
            placed.children[parent].append(index)
            if bounds_ns[0] < within_ns[0] or within_ns[1] < bounds_ns[1]:
                placed.cut_span_ids.add(span.span_id)
    return placed


def _shift_ns(span: Span, within_ns: tuple[int, int], of_parent_ns: int) -> int:
    """By how much the span of a called service is moved: not at all where it fits, else as its
    parent, else by the least that makes it fit; one that is longer than its parent, as that."""
    early_ns = within_ns[0] - span.start_unix_ns
    late_ns = within_ns[1] - span.start_unix_ns - span.duration_ns
    if early_ns > late_ns:
        return of_parent_ns
    for shift_ns in (0, of_parent_ns):
        if early_ns <= shift_ns <= late_ns:
            return shift_ns
    return early_ns if early_ns > 0 else late_ns

"""The spans of one trace as a tree.

Rules: pure; no I/O. Nothing about the spans is believed: parents may be missing, be repeated, lie
on another clock, or go round in a circle. Trees are walked without recursion, so depth is no
danger.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from ingress_controller.traces.span import Span

APP_RESPOND = "app.respond"
KERNEL_LAYER = frozenset({"net.deliver", APP_RESPOND, "net.return"})
"""What the kernel saw of an attempt: spans of Spanway below its CLIENT spans."""

PHASE = "spanway.phase"
"""Spans with this attribute show again what their parent says of its time: they are no work."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A span at its place; `parent_index` is its parent's in `Tree.branches`.

    `early_ns` is by how much it starts before its parent, else 0. No span can start before what
    caused it, so that much at least do the two clocks differ.
    """

    span: Span
    depth: int
    parent_index: int | None
    child_count: int
    early_ns: int


@dataclass(frozen=True, slots=True)
class Tree:
    """One trace: `branches` with parents before children, siblings by their start.

    Every span occurs once. There are several branches of depth 0 where parents are missing.
    """

    branches: tuple[Branch, ...]

    @property
    def start_unix_ns(self) -> int:
        return min((branch.span.start_unix_ns for branch in self.branches), default=0)

    @property
    def end_unix_ns(self) -> int:
        return max((branch.span.end_unix_ns for branch in self.branches), default=0)

    @property
    def duration_ns(self) -> int:
        return max(0, self.end_unix_ns - self.start_unix_ns)


def tree(spans: Iterable[Span]) -> Tree:
    """Arranges the spans of one trace.

    A span whose parent is missing is a root. A circle of parents is cut above its span that
    starts first. Of spans with the same id (a batch sent twice) the first counts. `app.respond` is
    left out where the callee's own spans tell of that time.
    """
    by_id: dict[str, Span] = {}
    for span in spans:
        by_id.setdefault(span.span_id, span)
    told = {span.parent_id for span in by_id.values() if not is_own_detail(span)}
    for span in tuple(by_id.values()):
        if span.name == APP_RESPOND and span.parent_id in told:
            del by_id[span.span_id]
    in_order = sorted(by_id.values(), key=lambda span: (span.start_unix_ns, span.span_id))
    children: defaultdict[str, list[Span]] = defaultdict(list)
    for span in in_order:
        children[span.parent_id].append(span)

    branches: list[Branch] = []
    placed: set[str] = set()
    roots = [span for span in in_order if span.parent_id not in by_id]
    for root in (*roots, *in_order):  # after the roots, only spans of circles are left
        waiting: list[tuple[Span, int | None]] = [(root, None)]
        while waiting:
            span, parent_index = waiting.pop()
            if span.span_id in placed:
                continue
            placed.add(span.span_id)
            below = [child for child in children[span.span_id] if child.span_id not in placed]
            waiting += [(child, len(branches)) for child in reversed(below)]
            depth = early_ns = 0
            if parent_index is not None:
                parent = branches[parent_index]
                depth = parent.depth + 1
                early_ns = max(0, parent.span.start_unix_ns - span.start_unix_ns)
            branches.append(Branch(span, depth, parent_index, len(below), early_ns))
    return Tree(tuple(branches))


def is_phase(span: Span) -> bool:
    """Whether it only shows a part of its parent's time."""
    return PHASE in span.attributes


def is_own_detail(span: Span) -> bool:
    """Whether Spanway tells it of an attempt, and not whom it called."""
    return span.name in KERNEL_LAYER or is_phase(span)

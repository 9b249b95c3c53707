"""The spans of one trace as a tree, and which span was working at each moment.

Rules: pure; no I/O. Nothing about the spans is believed: parents may be missing, be repeated, lie
on another clock, or go round in a circle. Trees are walked without recursion, so depth is no
danger.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from ingress_controller.traces.span import Span

KERNEL_LAYER = frozenset({"net.deliver", "app.respond", "net.return"})
"""What the kernel saw of an attempt: spans of Spanway below its CLIENT spans."""


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
    starts first. Of spans with the same id (a batch sent twice) the first counts. What the kernel
    saw of an attempt is left out where the callee's spans tell of the same time.
    """
    by_id: dict[str, Span] = {}
    for span in spans:
        by_id.setdefault(span.span_id, span)
    told = {span.parent_id for span in by_id.values() if span.name not in KERNEL_LAYER}
    for span in tuple(by_id.values()):
        if span.name in KERNEL_LAYER and span.parent_id in told:
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


def working_ns(of: Tree) -> Counter[str]:
    """Nanoseconds by span id in which the longest root waited for that span and no other.

    They sum to that root's duration: each moment belongs to the deepest span of the child that
    ended last, which is the one that its parent waited for (the critical path). Spans that
    delayed nothing, because a sibling in parallel took longer, are absent.
    """
    children: defaultdict[int | None, list[Span]] = defaultdict(list)
    index_of = {branch.span.span_id: index for index, branch in enumerate(of.branches)}
    for branch in of.branches:
        children[branch.parent_index].append(branch.span)
    working: Counter[str] = Counter()
    if not children:
        return working
    root = max(children[None], key=lambda span: span.duration_ns)
    waiting = [(root, root.start_unix_ns, root.start_unix_ns + root.duration_ns)]
    while waiting:
        span, start_ns, cursor_ns = waiting.pop()
        below = children[index_of[span.span_id]]
        for child in sorted(below, key=lambda child: child.end_unix_ns, reverse=True):
            child_start_ns = max(start_ns, child.start_unix_ns)
            child_end_ns = min(cursor_ns, child.end_unix_ns)
            if child_start_ns < child_end_ns:
                working[span.span_id] += cursor_ns - child_end_ns
                waiting.append((child, child_start_ns, child_end_ns))
                cursor_ns = child_start_ns
        working[span.span_id] += cursor_ns - start_ns
    return working

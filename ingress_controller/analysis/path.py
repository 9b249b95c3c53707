"""What one trace waited for: its critical path, and whose each part of it was."""

from collections.abc import Mapping, Sequence

import msgspec

from ingress_controller.analysis.contributors import contributions
from ingress_controller.analysis.measures import NS_PER_US, Part
from ingress_controller.peers.peer import Answer
from ingress_controller.traces.span import Span
from ingress_controller.traces.tree import tree


class PathStep(msgspec.Struct, frozen=True):
    """For so long that span worked, and no other that was waited for. `offset_ns` is from the
    start of the trace's first span."""

    span_id: str
    offset_ns: int
    duration_ns: int


class PathPart(msgspec.Struct, frozen=True):
    """A contributor's time on the path."""

    service: str
    operation: str
    part: Part
    time_us: int
    share: float


class Path(Answer, frozen=True):
    """`steps` in order of time, without a gap; `parts` the largest first.

    `moved_ns` says by how much spans of called services – with all below – were moved, by span id,
    since they lie outside their callers' on another clock; `cut_span_ids` stick out of their
    parents, and only what is inside counts.
    """

    trace_id: str
    duration_us: int
    steps: tuple[PathStep, ...]
    parts: tuple[PathPart, ...]
    moved_ns: Mapping[str, int]
    cut_span_ids: tuple[str, ...]


def path(spans: Sequence[Span]) -> Path:
    """Of the spans of one trace, of which there must be some."""
    arranged = tree(spans)
    found = contributions(arranged)
    total_ns = max(1, found.path.duration_ns)
    parts = [
        PathPart(of.service, of.operation, of.part, ns // NS_PER_US, ns / total_ns)
        for of, ns in sorted(found.by_contributor.items(), key=lambda item: (-item[1], item[0]))
    ]
    steps = tuple(
        PathStep(step.span.span_id, step.start_unix_ns - arranged.start_unix_ns, step.duration_ns)
        for step in found.path.steps
    )
    return Path(
        spans[0].trace_id,
        found.path.duration_ns // NS_PER_US,
        steps,
        tuple(parts),
        found.path.moved_ns,
        tuple(sorted(found.path.cut_span_ids)),
    )

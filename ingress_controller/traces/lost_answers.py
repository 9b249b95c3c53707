"""What Spanway blames on the network although no span of its own shows it: answers that were lost.

Rules: pure; no I/O. An answer that is sent again looks, from outside, like an app that takes long;
the engine tells by other losses of the path, in `spanway.time.cluster_network_us` (docs/SPANS.md).
"""

from collections import Counter
from collections.abc import Mapping

from ingress_controller.traces.span import Span, SpanKind
from ingress_controller.traces.tree import Tree

NS_PER_US = 1_000
NET_DELIVER = "net.deliver"


def is_observed(attempt: Span) -> bool:
    """Whether the kernel was asked what it saw of it."""
    return attempt.attributes.get("spanway.net.source") == "kernel"


def connecting_ns(attempt: Span) -> int:
    """How long an attempt took until it had a connection."""
    return _ns(attempt, "spanway.phase.connect_us") + _ns(attempt, "spanway.phase.tls_us")


def lost_ns(of: Tree) -> Mapping[int, int]:
    """By index of an attempt that the kernel saw: nanoseconds that were the network's beyond
    connecting and `net.deliver`."""
    requests: dict[int, int] = {}
    shown_ns: Counter[int] = Counter()
    for index, branch in enumerate(of.branches):
        if branch.span.kind is SpanKind.CLIENT and is_observed(branch.span):
            request = _above(of, _above(of, index))
            if request is not None:
                requests[index] = request
                shown_ns[request] += connecting_ns(branch.span)
        elif branch.span.name == NET_DELIVER and branch.parent_index in requests:
            shown_ns[requests[branch.parent_index]] += branch.span.duration_ns
    return {
        index: max(0, _ns(of.branches[request].span, _TIME) - shown_ns[request])
        for index, request in requests.items()
    }


_TIME = "spanway.time.cluster_network_us"


def _above(of: Tree, index: int | None) -> int | None:
    return None if index is None else of.branches[index].parent_index


def _ns(span: Span, name: str) -> int:
    value = span.attributes.get(name, 0)
    return value * NS_PER_US if isinstance(value, int) else 0

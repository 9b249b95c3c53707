"""Whose the time of a call is that its callee's span does not cover: what Spanway knows of it.

Rules: pure; no I/O. Whoever has spans alone can only call it the network's. Where the kernel was
asked, a call of Spanway's has its spans (`tree.KERNEL_LAYER`), and two more things are known:

- An answer that is sent again looks, from outside, like an app that takes long; the engine tells by
  other losses of the path, in `spanway.time.cluster_network_us` (docs/SPANS.md).
- Of a call to Spanway itself the round trip is known (`tcp.min_rtt_us` of its SERVER span), and
  that nothing was lost. What the caller took beyond that, it took before it had sent the request
  or after it had the answer: for a free connection, for its turn on a busy event loop.
"""

from collections import Counter
from collections.abc import Mapping

from ingress_controller.traces.span import Span, SpanKind
from ingress_controller.traces.tree import Tree

NS_PER_US = 1_000
NET_DELIVER = "net.deliver"


TRIPS = 2
"""A new connection's, and the request's with its answer."""


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


def call_to_spanway(server: Span, ns: int) -> tuple[int, int]:
    """Of `ns` that an app's call took beside Spanway's SERVER span: what was the network's, and
    Spanway's own before it read the request. The rest is the caller's."""
    if "tcp.min_rtt_us" not in server.attributes or "tcp.retransmits" in server.attributes:
        return ns, 0
    proxy_ns = min(ns, _ns(server, "spanway.net.wakeup_us"))
    return min(ns - proxy_ns, TRIPS * _ns(server, "tcp.min_rtt_us")), proxy_ns


_TIME = "spanway.time.cluster_network_us"


def _above(of: Tree, index: int | None) -> int | None:
    return None if index is None else of.branches[index].parent_index


def _ns(span: Span, name: str) -> int:
    value = span.attributes.get(name, 0)
    return value * NS_PER_US if isinstance(value, int) else 0

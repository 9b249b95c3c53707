"""Says in one sentence where the time of a trace went.

Rules: pure; no I/O. A service has what its spans worked, and what lies between the spans of two
services is the network's (with connecting, and with waiting to be accepted).
"""

from collections import Counter

from ingress_controller.traces.critical_path import critical_path
from ingress_controller.traces.drawing import duration_text
from ingress_controller.traces.span import Span, SpanKind
from ingress_controller.traces.tree import Branch, Tree, is_phase

SPANWAY = "spanway"
"""The service name of our own spans."""

NETWORK = "network and connecting"

OTHERS_MAX = 4
"""So many contributors are named after the largest; the rest is one sum."""


def where(of: Tree) -> str:
    """For example `recommend spent 212 ms of 268 ms; Spanway itself 0.4 ms; …`.

    The numbers sum to the longest root's duration. Spanway is always named, and the network where
    some callee's span shows what was not the network.
    """
    spent = spent_ns(of)
    if not spent:
        return "No span came."
    spent.setdefault(SPANWAY, 0)
    (largest, largest_ns), *others = spent.most_common()
    named = [other for other in others if other[0] in {SPANWAY, NETWORK}]
    named += [other for other in others if other not in named][: OTHERS_MAX - len(named)]
    parts = [f"{_title(largest)} spent {_of(largest_ns, spent.total())}"]
    parts += [f"{_title(name)} {duration_text(ns)}" for name, ns in others if (name, ns) in named]
    rest_ns = sum(ns for name, ns in others if (name, ns) not in named)
    if rest_ns:
        parts.append(f"others {duration_text(rest_ns)}")
    return "; ".join(parts)


def spent_ns(of: Tree) -> Counter[str]:
    """Nanoseconds by contributor: a service, `NETWORK`, or an address that sent no spans."""
    working = critical_path(of).working_ns()
    told = {branch.parent_index for branch in of.branches if not is_phase(branch.span)}
    spent: Counter[str] = Counter()
    for index, branch in enumerate(of.branches):
        if branch.span.span_id in working:
            spent[_contributor(of, branch, is_told=index in told)] += working[branch.span.span_id]
    return spent


def _contributor(of: Tree, branch: Branch, *, is_told: bool) -> str:
    if branch.span.name in {"net.deliver", "client.deliver"}:
        return NETWORK
    if branch.span.name == "app.respond" and branch.parent_index is not None:
        return _untold(of.branches[branch.parent_index].span)
    if branch.span.kind is not SpanKind.CLIENT:
        return branch.span.service or "a service without a name"
    if is_told:
        return NETWORK
    return _untold(branch.span)


def _untold(call: Span) -> str:
    return f"{call.peer} (which sent no spans)" if call.peer else call.service


def _title(contributor: str) -> str:
    return "Spanway itself" if contributor == SPANWAY else contributor


def _of(part_ns: int, total_ns: int) -> str:
    return f"{duration_text(part_ns)} of {duration_text(total_ns)}"

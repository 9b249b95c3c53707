"""Says in one sentence where the time of a trace went.

Rules: pure; no I/O. A service has what its spans worked. What lies between the spans of two
services is the network's (with connecting, and with waiting to be accepted), unless the kernel was
asked: then only what it saw there is, and the rest is the callee's, which had the request.
"""

from collections import Counter

from ingress_controller.traces.between import (
    NET_DELIVER,
    call_to_spanway,
    connecting_ns,
    is_observed,
    lost_ns,
)
from ingress_controller.traces.critical_path import critical_path
from ingress_controller.traces.drawing import duration_text
from ingress_controller.traces.span import Span, SpanKind
from ingress_controller.traces.tree import APP_RESPOND, Tree, is_own_detail

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
    callees = {
        branch.parent_index: branch.span for branch in of.branches if not is_own_detail(branch.span)
    }
    lost = lost_ns(of)
    spent: Counter[str] = Counter()
    for index, branch in enumerate(of.branches):
        span = branch.span
        if not (ns := working[span.span_id]):
            continue
        if span.name in {NET_DELIVER, "client.deliver"}:
            spent[NETWORK] += ns
        elif span.name == APP_RESPOND and branch.parent_index is not None:
            network_ns = min(ns, lost.get(branch.parent_index, 0))
            spent[NETWORK] += network_ns
            spent[_untold(of.branches[branch.parent_index].span)] += ns - network_ns
        elif span.kind is not SpanKind.CLIENT:
            spent[_service(span)] += ns
        elif (callee := callees.get(index)) is None:
            network_ns = min(ns, connecting_ns(span)) if is_observed(span) else 0
            spent[NETWORK] += network_ns
            spent[_untold(span)] += ns - network_ns
        elif is_observed(span):
            network_ns = min(ns, connecting_ns(span) + lost.get(index, 0))
            spent[NETWORK] += network_ns
            spent[_service(callee)] += ns - network_ns
        else:
            network_ns, proxy_ns = call_to_spanway(callee, ns)
            spent[NETWORK] += network_ns
            spent[SPANWAY] += proxy_ns
            spent[_service(span)] += ns - network_ns - proxy_ns
    return +spent


def _service(span: Span) -> str:
    return span.service or "a service without a name"


def _untold(call: Span) -> str:
    return f"{call.peer} (which sent no spans)" if call.peer else call.service


def _title(contributor: str) -> str:
    return "Spanway itself" if contributor == SPANWAY else contributor


def _of(part_ns: int, total_ns: int) -> str:
    return f"{duration_text(part_ns)} of {duration_text(total_ns)}"

"""Who made a trace take as long as it took: its critical path, nanosecond by nanosecond.

Rules: pure. What a span worked itself is its service's; of Spanway's own spans the phases and times
that they carry say whose it was. Where a service sends no spans, its Service is named instead.
"""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from ingress_controller.analysis.measures import NS_PER_US, Part
from ingress_controller.traces.critical_path import CriticalPath, critical_path
from ingress_controller.traces.span import Span, SpanKind
from ingress_controller.traces.tree import KERNEL_LAYER, Branch, Tree, is_phase

SCOPE = "spanway"
"""The instrumentation scope of our own spans."""


class Contributor(NamedTuple):
    """`service` is whose time it is, `operation` what it did. `measured` are service and name of
    the spans in which this time shows."""

    service: str
    operation: str
    part: Part
    measured: tuple[str, str]


class Contributions(NamedTuple):
    """Nanoseconds by contributor; they sum to the path's duration."""

    path: CriticalPath
    by_contributor: Counter[Contributor]


def contributions(of: Tree) -> Contributions:
    """Of one trace."""
    path = critical_path(of)
    working_ns = path.working_ns()
    told = {branch.parent_index for branch in of.branches if not _is_own_detail(branch.span)}
    found: Counter[Contributor] = Counter()
    for index, branch in enumerate(of.branches):
        span = branch.span
        if ns := working_ns.pop(span.span_id, 0):
            parent = _above(of, branch)
            if parent is not None and _is_own_detail(span):
                parent = _above(of, parent)  # the Service is on the span above the attempt
            for contributor, part_ns in _divided(
                span, ns, parent.span if parent else None, is_told=index in told
            ):
                found[contributor] += part_ns
    return Contributions(path, +found)


def _above(of: Tree, branch: Branch) -> Branch | None:
    return None if branch.parent_index is None else of.branches[branch.parent_index]


def _is_own_detail(span: Span) -> bool:
    """Whether it tells more of our own span, and not of who was called."""
    return is_phase(span) or (span.scope == SCOPE and span.name in KERNEL_LAYER)


def _divided(
    span: Span, ns: int, parent: Span | None, *, is_told: bool
) -> Iterator[tuple[Contributor, int]]:
    if span.scope != SCOPE:
        # What a call took beyond the callee's spans is between the two.
        is_between = span.kind is SpanKind.CLIENT and is_told
        part = Part.CLUSTER_NETWORK if is_between else Part.APP
        yield Contributor(span.service, span.name, part, (span.service, span.name)), ns
    elif span.kind is SpanKind.SERVER:
        client_ns = min(ns, _us(span, "spanway.time.client_network_us"))
        yield _own(span, "client", Part.CLIENT_NETWORK), client_ns
        yield _own(span, span.name, Part.PROXY), ns - client_ns
    elif span.name.startswith("balance "):
        queue_ns = min(ns, _us(span, "spanway.lb.queue_us"))
        measured = span.service, span.name
        yield Contributor(_backend(span), "queue", Part.APP_QUEUE, measured), queue_ns
        yield _own(span, span.name, Part.PROXY), ns - queue_ns
    elif span.kind is SpanKind.CLIENT:
        yield from _attempt(span, ns, parent, is_told=is_told)
    else:
        yield from _kernels(span, ns, parent)


def _attempt(
    span: Span, ns: int, balance: Span | None, *, is_told: bool
) -> Iterator[tuple[Contributor, int]]:
    """Connecting and sending come first; the rest is the network's where the callee tells what it
    worked, else the app's."""
    service = _backend(balance) if balance is not None else span.peer
    measured = (balance or span).service, (balance or span).name
    for phase, part in (
        ("connect", Part.CLUSTER_NETWORK),
        ("tls", Part.CLUSTER_NETWORK),
        ("send", Part.CLUSTER_NETWORK if is_told else Part.PROXY),
        ("receive", Part.CLUSTER_NETWORK if is_told else Part.APP),
    ):
        phase_ns = min(ns, _us(span, f"spanway.phase.{phase}_us"))
        yield Contributor(service, phase, part, measured), phase_ns
        ns -= phase_ns
    if is_told:
        yield Contributor(service, "network", Part.CLUSTER_NETWORK, measured), ns
    else:
        yield Contributor(service, "wait", Part.APP, measured), ns


def _kernels(span: Span, ns: int, balance: Span | None) -> Iterator[tuple[Contributor, int]]:
    """What the kernel saw of an attempt whose callee sends no spans."""
    measured = span.service, span.name
    called = _backend(balance) if balance is not None else ""
    match span.name:
        case "net.deliver":
            yield Contributor(called, "network", Part.CLUSTER_NETWORK, measured), ns
        case "app.respond":
            yield Contributor(called, "wait", Part.APP, measured), ns
        case _:
            yield _own(span, span.name, Part.PROXY), ns


def _own(span: Span, operation: str, part: Part) -> Contributor:
    return Contributor(span.service, operation, part, (span.service, span.name))


def _backend(balance: Span) -> str:
    """`namespace/service`, as in the name of the span."""
    known = balance.attributes.get
    service = f"{known('k8s.namespace.name', '')}/{known('k8s.service.name', '')}".strip("/")
    return service or balance.name.removeprefix("balance ")


def _us(span: Span, name: str) -> int:
    value = span.attributes.get(name, 0)
    return value * NS_PER_US if isinstance(value, int) else 0

"""Who made a trace take as long as it took: its critical path, nanosecond by nanosecond.

Rules: pure. What a span worked itself is its service's; of Spanway's own spans the phases and times
that they carry say whose it was. Where a service sends no spans, its Service is named instead.

What lies between a call and the callee's span is the network's as far as anybody can tell who has
spans alone: a request may lie on the callee's node for long before a busy app takes it. Where the
kernel was asked its word counts: the network has `net.deliver`, and what lies beside it is the
app's `wait`, as if it had sent no spans for that time. Of a call to Spanway the network has two
round trips, and the caller the rest.
"""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from ingress_controller.analysis.measures import NS_PER_US, Part
from ingress_controller.traces.between import call_to_spanway, is_observed, lost_ns
from ingress_controller.traces.critical_path import CriticalPath, critical_path
from ingress_controller.traces.span import Span, SpanKind
from ingress_controller.traces.tree import KERNEL_LAYER, Branch, Tree, is_own_detail

SCOPE = "spanway"
"""The instrumentation scope of our own spans."""


class Measured(NamedTuple):
    """Spans that are alike: their service and name, and whom they call, if they are an app's calls:
    an HTTP client's are all named after their method. Empty and 0 are anybody."""

    service: str
    name: str
    address: str = ""
    port: int = 0


class Contributor(NamedTuple):
    """`service` is whose time it is, `operation` what it did. `measured` are the spans in which
    this time shows."""

    service: str
    operation: str
    part: Part
    measured: Measured


class Contributions(NamedTuple):
    """Nanoseconds by contributor; they sum to the path's duration."""

    path: CriticalPath
    by_contributor: Counter[Contributor]


class _Called(NamedTuple):
    """What is known of a call beside its own span: the span above an attempt, which names the
    Service; the callee's span, if it has told, and the Service that Spanway chose as a callee; how
    long the answer was lost."""

    balance: Span | None
    callee: Span | None
    through: str
    lost_ns: int

    @property
    def is_told(self) -> bool:
        return self.callee is not None

    @property
    def service(self) -> str:
        return _backend(self.balance) if self.balance is not None else ""

    def measured(self, attempt: Span) -> Measured:
        of = self.balance or attempt
        return Measured(of.service, of.name)


def contributions(of: Tree) -> Contributions:
    """Of one trace."""
    path = critical_path(of)
    working_ns = path.working_ns()
    callees: dict[int | None, Span] = {}
    through: dict[int | None, str] = {}
    for branch in of.branches:
        if not _is_own_detail(branch.span):
            callees[branch.parent_index] = branch.span
        if _is_balance(branch.span) and (above := _above(of, branch)):
            through[above.parent_index] = _backend(branch.span)
    lost = lost_ns(of)
    found: Counter[Contributor] = Counter()
    for index, branch in enumerate(of.branches):
        span = branch.span
        if ns := working_ns.pop(span.span_id, 0):
            attempt_index = index
            if _is_own_detail(span) and branch.parent_index is not None:
                attempt_index = branch.parent_index
            balance = _above(of, of.branches[attempt_index])
            called = _Called(
                balance.span if balance else None,
                callees.get(attempt_index),
                through.get(attempt_index, ""),
                lost.get(attempt_index, 0),
            )
            for contributor, part_ns in _divided(span, ns, called):
                found[contributor] += part_ns
    return Contributions(path, +found)


def _above(of: Tree, branch: Branch) -> Branch | None:
    return None if branch.parent_index is None else of.branches[branch.parent_index]


def _is_own_detail(span: Span) -> bool:
    """Whether it tells more of our own span, and not of who was called."""
    return span.scope == SCOPE and is_own_detail(span)


def _is_balance(span: Span) -> bool:
    return span.scope == SCOPE and span.name.startswith("balance ")


def _divided(span: Span, ns: int, called: _Called) -> Iterator[tuple[Contributor, int]]:
    if span.scope != SCOPE:
        yield from _apps(span, ns, called)
    elif span.kind is SpanKind.SERVER:
        client_ns = min(ns, _us(span, "spanway.time.client_network_us"))
        yield _own(span, "client", Part.CLIENT_NETWORK), client_ns
        yield _own(span, span.name, Part.PROXY), ns - client_ns
    elif _is_balance(span):
        queue_ns = min(ns, _us(span, "spanway.lb.queue_us"))
        measured = Measured(span.service, span.name)
        yield Contributor(_backend(span), "queue", Part.APP_QUEUE, measured), queue_ns
        yield _own(span, span.name, Part.PROXY), ns - queue_ns
    elif span.kind is SpanKind.CLIENT:
        yield from _attempt(span, ns, called)
    elif span.name in KERNEL_LAYER:
        yield from _kernels(span, ns, called)
    else:
        is_clients = span.name == "client.deliver"
        yield _own(span, span.name, Part.CLIENT_NETWORK if is_clients else Part.PROXY), ns


def _apps(span: Span, ns: int, called: _Called) -> Iterator[tuple[Contributor, int]]:
    """An application's own time; a call's is partly others'."""
    if span.kind is not SpanKind.CLIENT:
        yield _own(span, span.name, Part.APP), ns
        return
    network_ns = proxy_ns = 0
    if called.callee is not None:
        network_ns, proxy_ns = call_to_spanway(called.callee, ns)
        yield _own(called.callee, "wake-up", Part.PROXY), proxy_ns
    measured = _calls(span)
    target = called.through or ":".join(filter(None, (measured.address, str(measured.port or ""))))
    operation = f"{span.name} → {target}" if target else span.name
    network = Contributor(span.service, operation, Part.CLUSTER_NETWORK, measured)
    yield network, network_ns
    yield network._replace(part=Part.APP), ns - network_ns - proxy_ns


def _calls(span: Span) -> Measured:
    """An app's calls to whom this one is to."""
    address, port = (span.attributes.get(f"server.{of}") for of in ("address", "port"))
    return Measured(
        span.service, span.name, str(address or ""), port if isinstance(port, int) else 0
    )


def _attempt(span: Span, ns: int, called: _Called) -> Iterator[tuple[Contributor, int]]:
    """Connecting and sending come first; of the rest see the rules above."""
    service = called.service or span.peer
    measured = called.measured(span)
    is_by_spans = called.is_told and not is_observed(span)
    for phase, part in (
        ("connect", Part.CLUSTER_NETWORK),
        ("tls", Part.CLUSTER_NETWORK),
        ("send", Part.CLUSTER_NETWORK if is_by_spans else Part.PROXY),
        ("receive", Part.CLUSTER_NETWORK if is_by_spans else Part.APP),
    ):
        phase_ns = min(ns, _us(span, f"spanway.phase.{phase}_us"))
        yield Contributor(service, phase, part, measured), phase_ns
        ns -= phase_ns
    network_ns = ns if is_by_spans else min(ns, called.lost_ns) if called.is_told else 0
    yield Contributor(service, "network", Part.CLUSTER_NETWORK, measured), network_ns
    yield Contributor(service, "wait", Part.APP, measured), ns - network_ns


def _kernels(span: Span, ns: int, called: _Called) -> Iterator[tuple[Contributor, int]]:
    """What the kernel saw of an attempt."""
    measured = called.measured(span)
    match span.name:
        case "net.deliver":
            network_ns = ns
        case "app.respond":
            network_ns = min(ns, called.lost_ns)
            yield Contributor(called.service, "wait", Part.APP, measured), ns - network_ns
        case _:
            network_ns = 0
            yield _own(span, span.name, Part.PROXY), ns
    yield Contributor(called.service, "network", Part.CLUSTER_NETWORK, measured), network_ns


def _own(span: Span, operation: str, part: Part) -> Contributor:
    return Contributor(span.service, operation, part, Measured(span.service, span.name))


def _backend(balance: Span) -> str:
    """`namespace/service`, as in the name of the span."""
    known = balance.attributes.get
    service = f"{known('k8s.namespace.name', '')}/{known('k8s.service.name', '')}".strip("/")
    return service or balance.name.removeprefix("balance ")


def _us(span: Span, name: str) -> int:
    value = span.attributes.get(name, 0)
    return value * NS_PER_US if isinstance(value, int) else 0

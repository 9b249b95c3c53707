"""An engine with what it serves: the table is said in one call, the spans are taken at the end."""

import asyncio
import socket
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from client import Client
from message import DEADLINE_S
from upstream import Upstream

from ingress_controller.traces.span import Span, SpanKind, decode
from ingress_controller.traces.tree import KERNEL_LAYER
from proxy.engine import Engine
from proxy.spans import QUEUE_BYTES_MAX
from proxy.table import (
    ANY_HOST,
    Backend,
    Endpoint,
    Host,
    Listener,
    ListenerKind,
    PathKind,
    Rejected,
    Route,
    RoutePolicy,
    RouteTable,
    Tracing,
    difference,
)

STOP_DEADLINE_S = 3 * DEADLINE_S
"""Longer than a test waits: what ends within a test did not end because of this."""

ROUTE = Route(
    kind=PathKind.PREFIX,
    path="/",
    backend="shop/api:80",
    namespace="shop",
    ingress="web",
    rule="spec.rules[0].http.paths[0]",
    policy="shop/web",
)
"""Everything goes to the one backend of `DataPlane.serve`."""


def backend(*endpoints: Upstream | Endpoint, **changes: Any) -> Backend:
    """`shop/api:80` on these endpoints."""
    resolved = tuple(e.endpoint if isinstance(e, Upstream) else e for e in endpoints)
    shop = Backend(namespace="shop", service="api", port="80", endpoints=resolved)
    return msgspec.structs.replace(shop, **changes)


def table(
    listeners: tuple[Listener, ...],
    backends: tuple[Backend, ...],
    hosts: tuple[Host, ...] = (Host(ANY_HOST, (ROUTE,)),),
    tracing: Tracing = Tracing(),  # noqa: B008, it is frozen
    policies: Mapping[str, RoutePolicy] | None = None,
) -> RouteTable:
    """Args: policies: what `ROUTE` names, unless it is said here."""
    return RouteTable(
        listeners=listeners,
        hosts={host.name: host for host in hosts},
        backends={each.key: each for each in backends},
        policies={ROUTE.policy: RoutePolicy()} if policies is None else policies,
        tracing=tracing,
    )


class FreePort:
    """A loopback port that is nobody's until it is closed: bound, but not listened on.

    The engine may listen on it all the same, since both sides set SO_REUSEADDR.
    """

    def __init__(self, address: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.socket(family)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((address, 0))
        self.port: int = self._socket.getsockname()[1]
        self.address = f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"

    def close(self) -> None:
        self._socket.close()


@dataclass(frozen=True)
class Segment:
    """The spans of one request."""

    server: Span
    balance: Span | None
    attempts: tuple[Span, ...]
    phases: tuple[Span, ...] = ()
    kernel_layer: tuple[Span, ...] = ()
    """What the kernel saw of the attempts, in their order."""
    delivery: tuple[Span, ...] = ()
    """… and of the response's way to the client, where it was long."""

    @property
    def spans(self) -> tuple[Span, ...]:
        balance = [self.balance] if self.balance else []
        kernel = (*self.kernel_layer, *self.delivery)
        return (self.server, *balance, *self.attempts, *kernel, *self.phases)

    @property
    def flag(self) -> str | None:
        flag = self.server.attributes.get("spanway.flags")
        return None if flag is None else str(flag)


class DataPlane:
    """One engine, its ingress listener, and the table that it serves now."""

    def __init__(
        self, *, workers: int = 1, span_queue_bytes: int = QUEUE_BYTES_MAX, **options: Any
    ) -> None:
        self.engine = Engine(
            workers=workers,
            resource={"service.name": "spanway"},
            span_queue_bytes=span_queue_bytes,
            **options,
        )
        self.table = RouteTable()
        self._ports: list[FreePort] = []
        self.ingress = Listener(self.free_port().address, ListenerKind.INGRESS)

    def free_port(self, address: str = "127.0.0.1") -> FreePort:
        port = FreePort(address)
        self._ports.append(port)
        return port

    def serve(
        self,
        *endpoints: Upstream | Endpoint,
        tracing: Tracing = Tracing(),  # noqa: B008, it is frozen
        policy: RoutePolicy = RoutePolicy(),  # noqa: B008, it is frozen
        **changes: Any,
    ) -> None:
        """Puts a table in force that sends every request to one backend on these endpoints.

        Args: changes: fields of the backend.
        """
        served = msgspec.structs.replace(
            table((self.ingress,), (backend(*endpoints, **changes),)),
            tracing=tracing,
            policies={ROUTE.policy: policy},
        )
        assert self.publish(served) == []

    def publish(self, wanted: RouteTable) -> list[Rejected]:
        """Publishes `wanted` as the next generation. What was rejected counts as not published
        only if it was the table."""
        wanted = msgspec.structs.replace(wanted, generation=self.table.generation + 1)
        rejected = self.engine.publish(difference(self.table, wanted))
        if not any(each.kind == "table" for each in rejected):
            self.table = wanted
        return rejected

    def rejected(self, policy: RoutePolicy) -> Rejected:
        """What the engine says about a policy that it does not take."""
        wanted = msgspec.structs.replace(self.table, policies={"shop/wrong": policy})
        (rejected,) = self.publish(wanted)
        assert (rejected.kind, rejected.subject) == ("policy", "shop/wrong")
        return rejected

    async def client(self, **how: Any) -> Client:
        return await Client.connect(self.ingress.address, **how)

    async def client_of(self, wanted: RouteTable) -> Client:
        """Connected to the data plane once it serves `wanted`."""
        assert self.publish(wanted) == []
        return await self.client()

    async def turn(self) -> None:
        """Returns when the worker has done whatever it could when this was called: it has accepted,
        read and answered a connection since. Leaves no span."""
        async with await self.client() as client:
            await client.send(b"\0")
            await client.rest()

    async def stop(self, deadline_s: float = STOP_DEADLINE_S, idle_s: float = 0.0) -> None:
        await asyncio.to_thread(self.engine.stop, deadline_s=deadline_s, idle_s=idle_s)

    async def spans(self) -> list[Span]:
        """Every span since the last call. Stops the engine, which seals the last batch."""
        await self.stop()
        return [span for batch in self.engine.take_spans() for span in decode(batch.otlp)]

    async def segments(self) -> list[Segment]:
        """The spans by request, in the order in which the requests began."""
        return sorted(segments(await self.spans()), key=lambda each: each.server.start_unix_ns)

    async def segment(self) -> Segment:
        """The spans of the only request."""
        (segment,) = await self.segments()
        return segment

    def close(self) -> None:
        self.engine.stop(deadline_s=0)
        for port in self._ports:
            port.close()


def segments(spans: list[Span]) -> list[Segment]:
    """Sorts the spans by request and checks that each one has its place."""
    children: dict[str, list[Span]] = defaultdict(list)
    phases: dict[str, list[Span]] = defaultdict(list)
    for span in spans:
        below = phases if "spanway.phase" in span.attributes else children
        below[span.parent_id].append(span)
    found = []
    for server in (span for span in spans if span.kind is SpanKind.SERVER):
        below = [span for span in children[server.span_id] if span.name != "client.deliver"]
        delivery = tuple(span for span in children[server.span_id] if span not in below)
        assert [span.kind for span in below] in ([], [SpanKind.INTERNAL]), below
        balance = below[0] if below else None
        attempts = tuple(children[balance.span_id]) if balance else ()
        layer = tuple(span for attempt in attempts for span in children[attempt.span_id])
        assert {span.name for span in layer} <= KERNEL_LAYER, layer
        above = (server, *([balance] if balance else []), *attempts)
        of_these = tuple(phase for span in above for phase in phases[span.span_id])
        found.append(Segment(server, balance, attempts, of_these, layer, delivery))
    assert sum(len(segment.spans) for segment in found) == len(spans), "a span has no place"
    return found

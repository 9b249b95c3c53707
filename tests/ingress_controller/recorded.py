"""Spans as Spanway and applications record them, asked about as the store lets."""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from duckdb import DuckDBPyConnection
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from ingress_controller.analysis.measures import Window
from ingress_controller.traces.span import AttributeValue, Span, SpanKind, SpanStatus
from ingress_controller.traces.store.store import Store

MS = 1_000_000
START_NS = 1_700_000_000_000_000_000
WINDOW = Window(START_NS, START_NS + 60_000 * MS)

SERVER, INTERNAL, CLIENT = SpanKind.SERVER, SpanKind.INTERNAL, SpanKind.CLIENT


@dataclass
class Recording:
    """What was recorded; each method adds the spans of one thing that happened."""

    spans: list[Span] = field(default_factory=list)
    _ids: "count[int]" = field(default_factory=lambda: count(1))

    def trace_id(self) -> str:
        return f"{next(self._ids):032x}"

    def span(
        self,
        trace_id: str,
        parent: Span | None,
        service: str,
        name: str,
        ms: tuple[float, float],
        *,
        kind: SpanKind = INTERNAL,
        failed: bool = False,
        scope: str = "app",
        **attributes: AttributeValue,
    ) -> Span:
        """From and to milliseconds after the window's start; `__` in names is a dot."""
        made = Span(
            trace_id,
            f"{next(self._ids):016x}",
            parent.span_id if parent else "",
            name,
            kind,
            service,
            START_NS + round(ms[0] * MS),
            START_NS + round(ms[1] * MS),
            {key.replace("__", "."): value for key, value in attributes.items()},
            status=SpanStatus.ERROR if failed else SpanStatus.UNSET,
            scope=scope,
            resource={"k8s.node.name": "node-edge"} if scope == "spanway" else {},
        )
        self.spans.append(made)
        return made

    def request(
        self,
        at_ms: float,
        *,
        app_ms: float = 10,
        connect_ms: float = 0,
        network_ms: float = 0,
        proxy_ms: float = 1,
        told_ms: float | None = None,
        service: str = "api",
        pod: str = "api-0",
        node: str = "node-a",
        host: str = "shop.example",
        route: str | None = "/",
        failed: bool = False,
        caller: Span | None = None,
        trace_id: str | None = None,
        retried: tuple[str, str] | None = None,
        kernel: bool = False,
        retransmits: int = 0,
    ) -> Span:
        """A request to `service`; returns its last attempt.

        `network_ms` is in the kernel's word, `told_ms` how long the app's own span says, in the
        middle of what the app took. With `retried`, pod and node of an attempt before, which failed
        at once.
        """
        trace_id = caller.trace_id if caller else trace_id or self.trace_id()
        total_ms = proxy_ms + connect_ms + network_ms + app_ms
        end_ms = at_ms + total_ms
        proxy_us, connect_us = round(proxy_ms * 1000), round(connect_ms * 1000)
        app_us, network_us = round(app_ms * 1000), round(network_ms * 1000)
        server = self.span(
            trace_id,
            caller,
            "spanway",
            f"GET {route or ''}".strip(),
            (at_ms, end_ms),
            kind=SERVER,
            scope="spanway",
            failed=failed,
            **{
                "http.request.method": "GET",
                "http.response.status_code": 503 if failed else 200,
                "server.address": host,
                "k8s.namespace.name": "shop",
                "spanway.listener": "ingress" if route else "service",
                "spanway.phase.route_us": proxy_us,
                "spanway.phase.connect_us": connect_us,
                "spanway.phase.wait_us": app_us + network_us,
                "spanway.time.proxy_us": proxy_us,
                "spanway.time.cluster_network_us": connect_us + network_us,
                "spanway.time.app_us": app_us,
            }
            | ({"http.route": route, "spanway.ingress.name": "web"} if route else {}),
        )
        balance = self.span(
            trace_id,
            server,
            "spanway",
            f"balance shop/{service}:http",
            (at_ms + proxy_ms, end_ms),
            scope="spanway",
            failed=failed,
            **{
                "k8s.namespace.name": "shop",
                "k8s.service.name": service,
                "spanway.lb.attempts": 2 if retried else 1,
            },
        )

        def attempt(pod: str, node: str, ms: tuple[float, float], *, resent: bool) -> Span:
            first_failed = retried is not None and not resent
            attributes: dict[str, AttributeValue] = {
                "http.request.method": "GET",
                "k8s.pod.name": pod,
                "k8s.node.name": node,
                "spanway.phase.connect_us": connect_us,
                "spanway.phase.wait_us": app_us + network_us,
            }
            if resent:
                attributes["http.request.resend_count"] = 1
            if kernel:
                attributes["spanway.net.source"] = "kernel"
            if retransmits:
                attributes["tcp.retransmits"] = retransmits
            return self.span(
                trace_id,
                balance,
                "spanway",
                "GET",
                ms,
                kind=CLIENT,
                scope="spanway",
                failed=failed or first_failed,
                **attributes,
            )

        begin_ms = at_ms + proxy_ms
        if retried:
            attempt(*retried, (begin_ms, begin_ms), resent=False)
        last = attempt(pod, node, (begin_ms, end_ms), resent=retried is not None)
        if kernel:
            arrived_ms = end_ms - app_ms
            for name, ms in (
                ("net.deliver", (arrived_ms - network_ms, arrived_ms)),
                ("app.respond", (arrived_ms, end_ms)),
            ):
                self.span(trace_id, last, "spanway", name, ms, scope="spanway")
        if told_ms is not None:
            begin_ms = end_ms - told_ms - (app_ms - told_ms) / 2
            bounds = begin_ms, begin_ms + told_ms
            self.span(trace_id, last, service, f"GET /{service}", bounds, kind=SERVER)
        return last

    @contextmanager
    def connection(self) -> Iterator[DuckDBPyConnection]:
        """As reports get it from the store."""
        store = Store(None)
        store._add(otlp(self.spans))
        with store.connection() as connection:
            yield connection


def otlp(spans: Iterable[Span]) -> bytes:
    """An export request of them."""
    request = ExportTraceServiceRequest()
    for span in spans:
        group = request.resource_spans.add()
        resource = {"service.name": span.service, **span.resource}
        group.resource.attributes.extend(itertools.starmap(_pair, resource.items()))
        scoped = group.scope_spans.add()
        scoped.scope.name = span.scope
        scoped.spans.add(
            trace_id=bytes.fromhex(span.trace_id),
            span_id=bytes.fromhex(span.span_id),
            parent_span_id=bytes.fromhex(span.parent_id),
            name=span.name,
            kind=int(span.kind),
            start_time_unix_nano=span.start_unix_ns,
            end_time_unix_nano=span.end_unix_ns,
            attributes=itertools.starmap(_pair, span.attributes.items()),
            status=Status(code=int(span.status)),
        )
    return request.SerializeToString()


def _pair(key: str, value: AttributeValue) -> KeyValue:
    of = AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=str(value))
    return KeyValue(key=key, value=of)

"""A real Jaeger with its store in memory, and its traces as values."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlencode

import yaml

from scene.http import HttpError, Json, is_answering, request
from scene.namespace import free_port
from scene.parts import built_part
from scene.process import Process, wait_until

Attribute = str | int | float | bool | None
Kind = Literal["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"]

KINDS: Sequence[Kind] = get_args(Kind)
"""By their numbers in OTLP."""
STATUS_CODE_ERROR = 2

START_DEADLINE_S = 30.0
TRACE_DEADLINE_S = 15.0
"""Exporters wait for up to 5 s before they send (OTEL_BSP_SCHEDULE_DELAY)."""
NOT_FOUND = 404
TRACES_MAX = 1000


@dataclass(frozen=True)
class Span:
    """One span as Jaeger has it. Ids are lowercase hex; a root's `parent_id` is empty."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: Kind
    service: str
    start_unix_ns: int
    end_unix_ns: int
    attributes: Mapping[str, Attribute]
    resource: Mapping[str, Attribute]
    is_error: bool
    status_message: str = ""

    @property
    def duration_ns(self) -> int:
        return self.end_unix_ns - self.start_unix_ns


@dataclass(frozen=True)
class Trace:
    """The spans of one trace, by start time."""

    trace_id: str
    spans: Sequence[Span]

    @property
    def roots(self) -> Sequence[Span]:
        """The spans whose parent is not in the trace."""
        ids = {span.span_id for span in self.spans}
        return [span for span in self.spans if span.parent_id not in ids]

    def children(self, parent: Span) -> Sequence[Span]:
        return [span for span in self.spans if span.parent_id == parent.span_id]

    def parent(self, child: Span) -> Span | None:
        return next((span for span in self.spans if span.span_id == child.parent_id), None)

    def of(self, service: str) -> Sequence[Span]:
        return [span for span in self.spans if span.service == service]

    def __str__(self) -> str:
        """A tree with times, for the message of a failed assertion."""
        lines = [f"trace {self.trace_id}, {len(self.spans)} spans"]

        def draw(span: Span, depth: int) -> None:
            milliseconds = span.duration_ns / 1e6
            label = f"{span.service}: {span.name} ({span.kind})"
            lines.append(f"{milliseconds:10.3f} ms {'  ' * depth}{label}")
            for child in self.children(span):
                draw(child, depth + 1)

        for root in self.roots:
            draw(root, 0)
        return "\n".join(lines)


class Jaeger:
    """One Jaeger, all in one process. `otlp_url` and `otlp_grpc_url` take spans, as do the ones for
    Thrift and Zipkin; `url` answers.

    `url` is its query API: the Go module that it is built from has no web page.
    """

    def __init__(
        self, directory: Path, *, address: str = "127.0.0.1", strategies: Path | None = None
    ) -> None:
        """Starts nothing yet. `strategies` is a file of sampling strategies, for `sampling_url`.

        Raises:
            PartMissingError: it is not built.
        """
        self._program = built_part("jaeger") / "jaeger"
        self.directory = directory
        self._address = address
        self.otlp_url = f"http://{self._free_address()}"
        self.otlp_grpc_url = f"http://{self._free_address()}"
        self.thrift_udp_address = self._free_address()
        self.thrift_http_url = f"http://{self._free_address()}"
        self.zipkin_url = f"http://{self._free_address()}"
        self.url = f"http://{self._free_address()}"
        self.sampling_url = f"http://{self._free_address()}"
        self._strategies = strategies
        self._process: Process | None = None

    def start(self) -> None:
        """Returns when it takes spans and answers queries."""
        self.directory.mkdir(parents=True, exist_ok=True)
        config = self.directory / "jaeger.yaml"
        config.write_text(yaml.safe_dump(self._config()))
        process = Process([self._program, f"--config={config}"], log=self.directory / "jaeger.log")
        self._process = process
        try:
            process.wait_until(
                lambda: is_answering(f"{self.url}/api/v3/services") and self._takes_spans(),
                deadline_s=START_DEADLINE_S,
            )
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Its traces are lost: they were in memory."""
        if self._process is not None:
            self._process.stop()

    def send_otlp(self, *spans: Json, service: str) -> None:
        """Sends spans, in the JSON form of OTLP, as `service` would.

        Raises:
            HttpError: it refused them.
        """
        name = {"key": "service.name", "value": {"stringValue": service}}
        group = {"resource": {"attributes": [name]}, "scopeSpans": [{"spans": spans}]}
        request("POST", f"{self.otlp_url}/v1/traces", {"resourceSpans": [group]})

    def trace(self, trace_id: str) -> Trace | None:
        """What it has of a trace now, unadjusted; None where it has no span of it."""
        answer = self._query(f"/api/v3/traces/{trace_id}", raw_traces="true")
        return next(iter(answer), None)

    def wait_for_trace(
        self, trace_id: str, *, until: Callable[[Trace], bool], deadline_s: float = TRACE_DEADLINE_S
    ) -> Trace:
        """The trace, as soon as `until` accepts it: exporters of several processes take turns.

        Raises:
            SceneError: it never did; the message draws what is there.
        """
        last: Trace | None = None

        def accepted() -> Trace | None:
            nonlocal last
            last = self.trace(trace_id)
            return last if last is not None and until(last) else None

        return wait_until(
            accepted, lambda: f"{trace_id} is whole; it is {last}", deadline_s=deadline_s
        )

    def find_traces(self, *, service: str, operation: str | None = None) -> Sequence[Trace]:
        """The traces of the last hour with a span of `service`, and of `operation` if given."""
        now = datetime.now(UTC)
        query = {
            "query.service_name": service,
            "query.start_time_min": _rfc3339(now - timedelta(hours=1)),
            "query.start_time_max": _rfc3339(now + timedelta(minutes=1)),
            "query.num_traces": str(TRACES_MAX),
            "query.raw_traces": "true",
        }
        if operation is not None:
            query["query.operation_name"] = operation
        return self._query("/api/v3/traces", **query)

    def services(self) -> set[str]:
        return set(request("GET", f"{self.url}/api/v3/services")["services"] or ())

    def _query(self, path: str, **query: str) -> Sequence[Trace]:
        try:
            answer = request("GET", f"{self.url}{path}?{urlencode(query)}")
        except HttpError as err:
            if err.status == NOT_FOUND:
                return []
            raise
        return _traces(answer["result"]["resourceSpans"])

    def _takes_spans(self) -> bool:
        try:
            request("POST", f"{self.otlp_url}/v1/traces", {"resourceSpans": []})
        except HttpError:
            return False
        return True

    def _free_address(self) -> str:
        return f"{self._address}:{free_port(self._address)}"

    def _config(self) -> Json:
        """The one that is built in, without what listens on ports that the tests do not use.

        No batch processor: a span is found as soon as it has arrived.
        """

        def listen(url: str) -> Json:
            return {"endpoint": url.removeprefix("http://")}

        protocols = {"http": listen(self.otlp_url), "grpc": listen(self.otlp_grpc_url)}
        thrift = {
            "thrift_compact": {"endpoint": self.thrift_udp_address},
            "thrift_http": listen(self.thrift_http_url),
        }
        receivers = {
            "otlp": {"protocols": protocols},
            "jaeger": {"protocols": thrift},
            "zipkin": listen(self.zipkin_url),
        }
        query = {
            "storage": {"traces": "memory"},
            # Else its own spans are among ours, and it waits for 10 s at its end to send the last.
            "enable_tracing": False,
            "http": listen(self.url),
            "grpc": {"endpoint": self._free_address()},
        }
        sampling: Json = {}
        if self._strategies is not None:
            sampling["remote_sampling"] = {
                "file": {"path": str(self._strategies)},
                "http": listen(self.sampling_url),
                "grpc": {"endpoint": self._free_address()},
            }
        return {
            "service": {
                "extensions": ["jaeger_storage", "jaeger_query", *sampling],
                "pipelines": {
                    "traces": {
                        "receivers": list(receivers),
                        "exporters": ["jaeger_storage_exporter"],
                    }
                },
                "telemetry": {"metrics": {"level": "none"}},
            },
            "extensions": {
                "jaeger_query": query,
                "jaeger_storage": {"backends": {"memory": {"memory": {"max_traces": 100_000}}}},
                **sampling,
            },
            "receivers": receivers,
            "exporters": {"jaeger_storage_exporter": {"trace_storage": "memory"}},
        }


def _traces(resource_spans: Json) -> Sequence[Trace]:
    """OTLP's JSON form, in which several traces may be mixed, as traces in the order of start."""
    spans = [
        _span(span, _attributes(group["resource"]))
        for group in resource_spans
        for scope in group["scopeSpans"]
        for span in scope["spans"]
    ]
    by_trace: dict[str, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: span.start_unix_ns):
        by_trace[span.trace_id].append(span)
    return [Trace(trace_id, members) for trace_id, members in by_trace.items()]


def _span(span: Json, resource: Mapping[str, Attribute]) -> Span:
    return Span(
        trace_id=span["traceId"],
        span_id=span["spanId"],
        parent_id=span.get("parentSpanId", ""),
        name=span["name"],
        kind=KINDS[span.get("kind", 0)],
        service=str(resource.get("service.name", "")),
        start_unix_ns=int(span["startTimeUnixNano"]),
        end_unix_ns=int(span["endTimeUnixNano"]),
        attributes=_attributes(span),
        resource=resource,
        is_error=span.get("status", {}).get("code") == STATUS_CODE_ERROR,
        status_message=span.get("status", {}).get("message", ""),
    )


def _attributes(owner: Json) -> dict[str, Attribute]:
    return {pair["key"]: _value(pair["value"]) for pair in owner.get("attributes", ())}


def _value(value: Json) -> Attribute:
    """An attribute's value; lists and maps, which no span of ours has, as their JSON text."""
    match value:
        case {"intValue": number}:
            return int(number)
        case {"stringValue": single} | {"boolValue": single} | {"doubleValue": single}:
            return single  # type: ignore[no-any-return]
        case _:
            return str(value)


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")

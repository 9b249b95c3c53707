"""The engine's Python face: a table goes in, requests are moved, spans come out.

No Python runs per request. Every method may be called from any thread.
"""

import socket
from collections.abc import Mapping

import msgspec

from proxy._engine import Engine as _Engine
from proxy.access_log import AccessLog
from proxy.live import Live, Query
from proxy.metrics import METRICS_ROUTES_MAX
from proxy.spans import BATCH_BYTES_MAX, QUEUE_BYTES_MAX, SpanBatch
from proxy.table import PathKind, Rejected, Update

CONNECTIONS_PER_WORKER_MAX = 16_384  # nginx worker_connections as ingress-nginx sets it
REQUESTS_LIVE_PER_WORKER_MAX = 16_384
"""As many as connections; a request holds from 16 KiB to about 300 KiB."""


class Match(msgspec.Struct, frozen=True):
    """The route that answers a request, by the published table."""

    host: str
    kind: PathKind
    path: str
    backend: str
    namespace: str
    ingress: str
    rule: str


class EndpointHealth(msgspec.Struct, frozen=True):
    """What is measured of an endpoint that has failed since its last success.

    `endpoint` is address and port; `ejected_ms` is how long it is still left out, 0 if it is not.
    """

    backend: str
    endpoint: str
    is_ejected: bool
    errors_consecutive: int
    ejected_ms: int


class Stats(msgspec.Struct, frozen=True):
    """Counts since the start, summed over the workers; `*_open`, `*_live` and
    `endpoints_ejected` are of now."""

    connections: int
    connections_open: int
    connections_crowded_out: int
    tls_handshakes: int
    tls_resumed: int
    tls13_handshakes: int
    tls_handshakes_failed: int
    connections_passed_through: int
    requests: int
    requests_live: int
    malformed: int
    proxy_headers_missing: int
    responses_none: int
    responses_1xx: int
    responses_2xx: int
    responses_3xx: int
    responses_4xx: int
    responses_5xx: int
    attempts: int
    retries: int
    retries_denied: int
    queued: int
    queue_refused: int
    shed: int
    upstream_connects: int
    ejections: int
    endpoints_ejected: int
    baggage_dropped: int
    traces_over_rate: int
    tail_kept: int
    tail_over_rate: int
    spans_recorded: int
    spans_dropped: int
    log_lines: int
    log_lines_dropped: int


class Engine:
    """A running data plane. It listens on nothing until a table with listeners is published."""

    def __init__(  # noqa: PLR0913 - all but two have defaults
        self,
        *,
        workers: int,
        resource: Mapping[str, str],
        span_queue_bytes: int = QUEUE_BYTES_MAX,
        requests_live_max: int = REQUESTS_LIVE_PER_WORKER_MAX,
        connections_max: int = CONNECTIONS_PER_WORKER_MAX,
        metrics_routes_max: int = METRICS_ROUTES_MAX,
        access_log: AccessLog | None = None,
    ) -> None:
        """Starts the worker threads.

        Args:
            workers: event loops, each on a thread of its own; one per core is right.
            resource: the OpenTelemetry resource of every span, `service.name` among it.
            span_queue_bytes: memory for spans that wait to be taken; what does not fit is dropped
                and counted.
            requests_live_max: requests that one worker serves at once, the bound of its memory;
                more get a 503 and are counted (`shed`).
            connections_max: connections from clients that one worker has at once. Then those that
                have waited for a request, or for the end of its head, the longest give way.
            metrics_routes_max: routes with labels of their own in `metrics`.
            access_log: where a line is written for each request; None for nowhere.
        Raises:
            OSError: the kernel gave no thread or file descriptor, or the access log cannot be
                opened.
        """
        self._engine = _Engine(
            workers,
            list(resource.items()),
            span_queue_bytes,
            requests_live_max,
            connections_max,
            metrics_routes_max,
            None if access_log is None else (access_log.path, access_log.format),
        )

    def publish(self, update: Update) -> list[Rejected]:
        """Puts an update in force and returns what of it could not be.

        A single `Rejected` of kind `table` means that nothing was changed; any other one that all
        but its subject was. Requests under way keep the table that they began with. Blocks for
        the milliseconds that building takes.
        """
        return msgspec.json.decode(self._engine.publish(update.encode()), type=list[Rejected])

    def explain(self, host: str, path: str) -> Match | None:
        """The route that would answer `path`, without query, on `host`, without port."""
        found = self._engine.explain(host, path)
        return None if found is None else msgspec.json.decode(found, type=Match)

    def stats(self) -> Stats:
        """The counters now."""
        return msgspec.json.decode(self._engine.stats(), type=Stats)

    def reopen_access_log(self) -> None:
        """Opens the file's name anew, after somebody renamed it. Lines go on in the old one if it
        cannot be opened."""
        self._engine.reopen_access_log()

    def metrics(
        self, *, is_openmetrics: bool = False, nginx: Mapping[str, str] | None = None
    ) -> bytes:
        """What was counted by route, in Prometheus' text format 0.0.4 or OpenMetrics 1.0.

        The latter has exemplars, and no `# EOF`. With `nginx`, labels that each of its samples
        gets, also what ingress-nginx counts by route. Blocks for as long as writing takes.
        """
        return self._engine.metrics(is_openmetrics, None if nginx is None else list(nginx.items()))

    def health(self) -> list[EndpointHealth]:
        """The endpoints that have failed since their last success, in no order."""
        return msgspec.json.decode(self._engine.health(), type=list[EndpointHealth])

    def live(self, query: Query = Query()) -> Live:  # noqa: B008, it is frozen
        """The live requests that `query` is about.

        Raises:
            ValueError: as below.
        """
        return msgspec.json.decode(self.live_json(query), type=Live)

    def live_json(self, query: Query) -> bytes:
        """The same, as a `Live` in JSON.

        Blocks until every worker has answered between its requests: milliseconds at 100,000.

        Raises:
            ValueError: the query is over a bound; the message says which.
        """
        return self._engine.live(msgspec.json.encode(query))

    def spans_fd(self) -> int:
        """A file descriptor that is readable while batches wait; owned by the engine."""
        return self._engine.spans_fd()

    def take_spans(self) -> list[SpanBatch]:
        """Removes and returns all waiting spans, oldest first, in batches; never blocks."""
        taken = self._engine.take_spans(BATCH_BYTES_MAX)
        return [SpanBatch(otlp, count) for otlp, count in taken]

    def adopt(self, address: str, listening: socket.socket) -> None:
        """Takes a listening socket of another process, for the table that is published next.

        An address that this table wants is not bound then; a socket that it does not want is
        closed. With fewer workers than sockets of an address some accept on several, with more
        further sockets are opened.

        Raises:
            ValueError: the socket is not bound to `address`.
        """
        self._engine.adopt(address, listening.detach())

    def listening(self) -> list[tuple[str, socket.socket]]:
        """A duplicate of each listening socket with its address; the caller closes them."""
        return [
            (address, socket.socket(fileno=descriptor))
            for address, descriptor in self._engine.listening()
        ]

    def stop(self, *, deadline_s: float, idle_s: float = 0.0) -> None:
        """Stops accepting, serves what was accepted, cuts what is left after `deadline_s`. Blocks.

        A connection without a request may bring one within `idle_s`, then it is closed; every
        answer says that its connection is. Connections that wait to be accepted are. Afterwards
        the last spans can be taken. Calling it again does nothing.
        """
        self._engine.stop(deadline_s, idle_s)

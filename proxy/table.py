"""The RouteTable and its wire form: the contract between the control plane and the engine.

A RouteTable is one immutable snapshot of everything the engine needs to move requests. It knows
nothing of Kubernetes beyond names that end up in spans. What crosses to the engine is an `Update`:
what changed since the table with generation `base`; the first one is an update of the empty table.

Rules: this file does no I/O and holds no logic but what differs between two tables, and what a
table becomes by that.
The Rust side is `crates/engine/src/table/wire.rs`; `tests/vectors/routing.json` drives both.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TypeVar

import msgspec

from proxy.shared_map import SharedMap

_T = TypeVar("_T")

SAMPLING_RULES_MAX = 64  # of one policy; the engine's own bound, limits.rs
RATE_PER_S_MAX = 1e6  # traces or spans in a second that a policy may name; limits.rs

ANY_HOST = ""
"""The host name of routes that apply to every host (an Ingress rule without `host`)."""


class PathKind(StrEnum):
    """How `PathMatch.value` is compared with a request's normalised path."""

    EXACT = "exact"
    PREFIX = "prefix"  # element by element, not character by character: /a matches /a/b, not /ab


class Balance(StrEnum):
    """How one of the ready endpoints of a backend is picked."""

    ROUND_ROBIN = "round_robin"  # by weight
    LEAST_REQUEST = "least_request"  # the less busy of two random choices, by weight
    EWMA = "ewma"  # the one of two with the lower moving average of latency, times its load
    HASH = "hash"  # the same key goes to the same endpoint, by weight (`HashKey`)


class HashOn(StrEnum):
    """What of a request `Balance.HASH` hashes; without it the client's address."""

    IP = "ip"
    HEADER = "header"
    COOKIE = "cookie"


class Prefer(StrEnum):
    """Which endpoints come first; the others are used when none of these can be."""

    ANY = "any"
    ZONE = "zone"  # those of the engine's own zone (`RouteTable.locality`)
    NODE = "node"  # those of its own node, then of its zone


class Protocol(StrEnum):
    """What a backend's endpoints speak; with `Backend.tls` it is offered by ALPN."""

    HTTP1 = "http1"
    H2 = "h2"  # without TLS by prior knowledge (h2c)
    AUTO = "auto"  # with TLS: what ALPN settles on, h2 first; without: HTTP/1.1


class ProxyProtocol(StrEnum):
    """The PROXY protocol header at the start of a connection. Source: HAProxy's specification."""

    OFF = "off"
    V1 = "v1"
    V2 = "v2"


class ClientCertificates(StrEnum):
    """Whether a TLS client has to show a certificate."""

    OFF = "off"
    OPTIONAL = "optional"  # without one the request goes on; a wrong one ends the handshake
    REQUIRED = "required"


class TlsVersion(StrEnum):
    """A TLS version, as a floor."""

    TLS12 = "1.2"
    TLS13 = "1.3"


class RetryOn(StrEnum):
    """What makes an attempt worth repeating, where that is safe."""

    CONNECT = "connect"  # no connection was made; safe for every request
    CLOSED = "closed"  # the connection was lost before a byte of the response
    TIMEOUT = "timeout"  # the per-try or read timeout, before a byte of the response
    STATUS_502 = "502"
    STATUS_503 = "503"
    STATUS_504 = "504"


class ListenerKind(StrEnum):
    """What a listener's requests are matched against."""

    INGRESS = "ingress"  # hosts and paths of this table
    SERVICE = "service"  # always the listener's own backend


class Propagator(StrEnum):
    """A format of trace context, by its name in `OTEL_PROPAGATORS`; `datadog` has none there."""

    TRACECONTEXT = "tracecontext"  # W3C traceparent and tracestate
    B3 = "b3"  # one header; reads both encodings
    B3MULTI = "b3multi"  # X-B3-*; reads both encodings
    JAEGER = "jaeger"  # uber-trace-id
    OTTRACE = "ottrace"  # ot-tracer-*
    XRAY = "xray"  # X-Amzn-Trace-Id
    DATADOG = "datadog"  # x-datadog-*


class TrustContext(StrEnum):
    """Whose trace context is continued.

    Of others a new trace begins, whose SERVER span links to theirs; their trace context in any
    format and their baggage end there.
    """

    ALL = "all"
    TRUSTED_PROXIES = "trusted_proxies"  # that of peers in `Listener.trusted_proxies`
    NONE = "none"


class TrustedField(StrEnum):
    """In which field of a request trusted proxies say who asks.

    No other one is read: a proxy that does not know it passes on what a stranger wrote. How the
    client asked (scheme, host, port) is in the same element of Forwarded, and for the others in
    X-Forwarded-Proto, X-Forwarded-Host and X-Forwarded-Port.
    """

    X_FORWARDED_FOR = "x_forwarded_for"
    FORWARDED = "forwarded"
    X_REAL_IP = "x_real_ip"


class ServerTiming(StrEnum):
    """What a client is told of its trace by the head of a response."""

    OFF = "off"
    TRACE = "trace"  # its ids: `traceresponse`, and `Server-Timing: trace;desc=...`
    TIMING = "timing"  # and how long each part of the way took: edge, balance, connect, net, app


class _Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Base of every value in the table: trees, so reference counts alone free them."""


class Endpoint(_Value, frozen=True):
    """One ready address of a backend.

    `address` is an IP literal (or, for an ExternalName Service, what DNS said); `pod`, `node` and
    `zone` are empty where unknown.
    """

    address: str
    port: int
    pod: str = ""
    node: str = ""
    zone: str = ""
    weight: int = 1  # 0 to 1000; 0 gets requests only when no other endpoint can


class Affinity(_Value, frozen=True):
    """Cookie affinity: a client stays with the endpoint that its first response came from.

    The cookie holds a hash of the backend's key and the endpoint's address, the same for every
    replica and after a restart. It names no address, but who guesses one can check it. An endpoint
    that is gone or ejected lets the client move, and the cookie is set anew; one of weight 0 keeps
    the clients that it has.
    """

    cookie: str = "spanway-affinity"
    max_age_s: int = 0  # 0: until the browser is closed
    path: str = "/"
    is_secure: bool = False  # only sent back over TLS; always so on TLS listeners


class HashKey(_Value, frozen=True):
    """What `Balance.HASH` hashes: `name` is the header's or cookie's name."""

    on: HashOn = HashOn.IP
    name: str = ""


class Health(_Value, frozen=True):
    """Passive health: an endpoint that fails in a row is left out for a while.

    Failures are failed connections, lost or late responses, and 502, 503 and 504. Each ejection of
    the same endpoint lasts longer: `ejection_ms` times their number, up to `ejection_max_ms`. One
    success makes it well again. While more than `ejected_percent_max` are ejected, all are used
    (panic): the few that are well could not carry the load of all.
    Source: Envoy, outlier detection (5 errors, 30 s, 300 s, but 10 %).
    """

    errors_consecutive: int = 5  # 0: never eject
    ejection_ms: int = 30_000
    ejection_max_ms: int = 300_000
    ejected_percent_max: int = 50


class BackendLimits(_Value, frozen=True):
    """Bounds of one backend, per data plane; 0 is no bound.

    A request above `requests_max` waits in a queue of at most `queue_max`, first come first
    served over all workers, for at most `queue_timeout_ms` (an hour if that is 0); what does not
    fit gets a 503 (`queue_full`, `queue_timeout`). An endpoint that has `connections_max` is passed
    over as one that cannot serve; when all have, that is a 503 (`connections_full`).
    """

    requests_max: int = 0
    connections_max: int = 0  # to one endpoint
    queue_max: int = 0  # up to 1,000,000; 0: nobody waits
    queue_timeout_ms: int = 5_000


class UpstreamTls(_Value, frozen=True):
    """TLS to a backend's endpoints.

    `server_name` is sent as SNI and verified; empty: the name of the Service
    (`service.namespace.svc`). `ca` are PEM certificates, empty for the system's.
    `certificate` is the key of the client certificate among the table's, empty for none.
    """

    verify: bool = True
    server_name: str = ""
    ca: str = ""
    certificate: str = ""


class Backend(_Value, frozen=True):
    """One port of one Service and its ready endpoints.

    `port` is what the Ingress named: a number as text or a port name. `changed_unix_ms` is when
    the set of endpoints last changed, in UTC milliseconds: spans carry it, because that is what
    explains the failures of a rollout. `missing` says in words why there can be no endpoint
    (for example that the Service does not exist); requests then get a 503, and the
    words are in the `balance` span.
    """

    namespace: str
    service: str
    port: str
    endpoints: tuple[Endpoint, ...] = ()
    changed_unix_ms: int = 0
    balance: Balance = Balance.ROUND_ROBIN
    hash_key: HashKey = HashKey()
    affinity: Affinity | None = None
    prefer: Prefer = Prefer.ANY
    health: Health = Health()
    slow_start_ms: int = 0  # a new endpoint's share grows from a tenth over this time
    limits: BackendLimits = BackendLimits()
    protocol: Protocol = Protocol.HTTP1
    tls: UpstreamTls | None = None
    proxy_protocol: ProxyProtocol = ProxyProtocol.OFF
    connect_timeout_ms: int = 5_000  # envoy: 5 s; nginx: 60 s, too long to find a dead endpoint
    missing: str = ""

    @property
    def key(self) -> str:
        """`namespace/service:port`, unique in a table."""
        return f"{self.namespace}/{self.service}:{self.port}"


class Retry(_Value, frozen=True):
    """When an attempt is repeated, at another endpoint where there is one.

    Never after a byte of the response was sent, and never unless a repetition is safe: the
    request's method is idempotent and it has no body that was begun, or it never reached an
    endpoint. The last attempt's response is passed on, whatever its status.
    `budget_percent` bounds the retries of a backend by its requests over the last ten seconds
    (and three a second besides), so that a failing backend is not buried under them.
    """

    attempts: int = 3  # with the first; ingress-nginx proxy-next-upstream-tries: 3
    on: tuple[RetryOn, ...] = (RetryOn.CONNECT, RetryOn.CLOSED)
    per_try_timeout_ms: int = 0  # to the connection, and without a body to the first response byte
    budget_percent: int = 20  # linkerd and envoy: 20 %


class HeaderEdits(_Value, frozen=True):
    """What is changed of a head's fields: first removed, then set (replaced), then added.

    Pairs of name and value; those that the engine writes (X-Forwarded-For and so on) can be changed
    too. A value may hold `$client_ip`, `$host`, `$request_id`, `$scheme` and `$trace_id` (also in
    braces: `${host}`), and `$$` for a dollar. Refused are names that frame the message or belong to
    the connection (Content-Length, Transfer-Encoding, Connection, Keep-Alive, Proxy-Connection, TE,
    Trailer, Upgrade, Expect, HTTP2-Settings), Proxy, and writing Traceparent or Tracestate. Host
    can be set on requests, without variables: the endpoint is told it instead of the client's.

    What is removed from a request or set in it no client can say: not with `_` for `-` either, and
    a trailer with it is a 400.
    """

    remove: tuple[str, ...] = ()
    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()


class Rewrite(_Value, frozen=True):
    """Another path for the endpoint: the first match of `pattern` in the normal form is replaced.

    `pattern` is a regular expression of Rust's `regex` (linear time) and need not match all of the
    path: `^` and `$` are its ends. `replacement` names groups as `$1`, `$name` or in braces; `$$`
    is a dollar; `?` and `#` are refused. The query stays. Empty segments (`//`) do not count for
    it, as for routes. The result is held to what a client's path is: one with `..` is a 400
    (`bad_request`), one that is no path a 500 (`bad_rewrite`). A path without a match stays.
    """

    pattern: str
    replacement: str


class Redirect(_Value, frozen=True):
    """An answer without a backend.

    `location` begins with a path (it is then completed with the request's scheme and host), or with
    `http://`, `https://` or `$scheme://` and a host. It may hold `$scheme`, `$host` (without port),
    `$path`, `$query` (with its `?`; nothing where there is none) and `$$`.
    """

    location: str
    status: int = 308  # 301, 302, 303, 307 or 308


class PhaseSpans(StrEnum):
    """Which recorded requests have their phases as spans of their own, besides as attributes.

    One that the signed or trusted word of a person has forced always has.
    """

    NEVER = "never"
    SLOW = "slow"  # those that failed, and those slower than 99 of 100 of their route
    ALWAYS = "always"


class SamplingRule(_Value, frozen=True):
    """A share of its own for some traces; a condition that is empty is met by all.

    `header` is the name of a field that the request has, with `value` unless any will do. `route`
    is the path of the route, as in the attribute `http.route`. The rest is as in `TracingPolicy`.
    """

    ratio: float
    header: str = ""
    value: str = ""
    method: str = ""
    route: str = ""
    traces_per_s_min: float = 0.0


class TracingPolicy(_Value, frozen=True):
    """Which requests are recorded, and how closely. Rates are those of one data plane.

    What decides, in this order: the signed or trusted word of a person (`Tracing.debug_key`); the
    parent's flag, if `is_parent_based`; else the first of the `rules` that matches, or `ratio`
    where none does. A ratio is of all traces, by the random bits of the trace, so that every data
    plane keeps the same ones; `traces_per_s_min` keeps so many of those that it rejects, and
    `traces_per_s_max` bounds what it keeps. 0 is no bound.

    With `tail_spans_per_s` a request that was not sampled is recorded all the same if it failed or
    was slower than 99 of 100 of its route; no more spans than that.
    Source: OpenTelemetry, ParentBased, "TraceState: Probability Sampling"; Jaeger, "Sampling".
    """

    ratio: float = 1.0
    is_parent_based: bool = True
    rules: tuple[SamplingRule, ...] = ()
    traces_per_s_min: float = 0.0
    traces_per_s_max: float = 0.0
    tail_spans_per_s: float = 0.0
    phase_spans: PhaseSpans = PhaseSpans.SLOW
    is_remote: bool = False  # a remote sampler says so; spans then name it


class RoutePolicy(_Value, frozen=True):
    """How the requests of some routes are treated. Times and sizes of 0 are no bound.

    A client may be waited for, all in all, as long as `client_timeout_ms` and what its bytes take
    at `client_bytes_per_s_min`; that holds in no tunnel, and not for what is sent once the response
    has begun, or in a stream to an endpoint of HTTP/2 (gRPC), where a client may wait for its app.

    `allow` and `deny` are networks (CIDR) or addresses of clients; deny wins, and what is not
    allowed is denied where `allow` has any. They are asked first, then the head's size,
    `https_only`, `redirect`, the body's size, `rewrite`. `response_headers` apply to all final
    responses, also to those that the engine makes itself. A route whose policy is rejected, and
    that had none before, answers 503 (`bad_policy`): it might have kept somebody out.
    """

    read_timeout_ms: int = 60_000  # nginx proxy_read_timeout: 60 s, between two reads
    send_timeout_ms: int = 60_000  # nginx proxy_send_timeout: 60 s, between two writes
    request_timeout_ms: int = 0  # first byte of the request to last of the response
    client_timeout_ms: int = 60_000  # nginx client_body_timeout, send_timeout: 60 s
    client_bytes_per_s_min: int = 240  # beyond client_timeout_ms; Kestrel: 240
    tunnel_timeout_ms: int = 3_600_000  # silence in both directions of an upgraded connection
    retry: Retry = Retry()
    request_body_bytes_max: int = 0  # above it: 413
    request_head_bytes_max: int = 0  # above it: 431; 0: the engine's bound
    request_headers: HeaderEdits = HeaderEdits()
    response_headers: HeaderEdits = HeaderEdits()
    rewrite: Rewrite | None = None
    redirect: Redirect | None = None
    https_only: bool = False  # plain HTTP is redirected: 308, to the host without its port
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    server_timing: ServerTiming | None = None  # None: `Tracing.server_timing`
    inject: tuple[Propagator, ...] | None = None  # None: `Listener.inject`
    tracing: TracingPolicy | None = None  # None: the table's


class Route(_Value, frozen=True):
    """One path of one host, and the backend that answers it.

    `ingress` and `rule` say where it comes from, for spans and for people: the Ingress's name in
    `namespace` and the field path in it, for example `spec.rules[0].http.paths[1]`. `policy` is a
    key of the table's policies; empty for the defaults.
    """

    kind: PathKind
    path: str
    backend: str
    namespace: str
    ingress: str
    rule: str
    policy: str = ""


class Certificate(_Value, frozen=True):
    """A certificate chain, leaf first, and its private key, both PEM. The key is never shown.

    One that has expired is served: clients say so better than a missing one would.
    """

    chain: str
    private_key: str

    def __repr__(self) -> str:
        return "Certificate(...)"


class HostTls(_Value, frozen=True):
    """How TLS ends for a host, or where it goes on.

    The name that a client asks for (SNI) chooses the host as in routing. `certificate` is a key of
    the table's certificates; empty, or one that was never usable: the listener's. `client_ca` are
    PEM certificates that client certificates are verified against; who was verified is told to the
    endpoint (`ssl-client-verify`, `ssl-client-subject-dn`, `ssl-client-issuer-dn`, and
    `Client-Cert` of RFC 9440), and whoever claims it is not believed. A request for a host with
    other terms than those of its connection gets a 421, and so does one without TLS where a
    certificate is required, unless `RoutePolicy.https_only` redirects it. A resumed session (up to
    12 hours) is what was verified when it began.

    With `passthrough`, a backend's key, the connection is handed over as it is and nothing else
    applies.
    """

    certificate: str = ""
    version_min: TlsVersion = TlsVersion.TLS12
    client_certificates: ClientCertificates = ClientCertificates.OFF
    client_ca: str = ""
    passthrough: str = ""


class Host(_Value, frozen=True):
    """All routes of one host name: exact (`shop.example`), wildcard (`*.shop.example`), any.

    A wildcard stands for exactly one label. A request is matched against the exact host, then the
    wildcard, then `ANY_HOST`; in each, an exact path beats a prefix and a longer prefix a shorter
    one. No two routes of one host have the same kind and path.
    """

    name: str
    routes: tuple[Route, ...]
    tls: HostTls | None = None  # None: the listener's certificate


class Listener(_Value, frozen=True):
    """One address that the engine accepts connections on: `127.0.0.1:8080` or `[::]:80`.

    `backend` is set exactly for service listeners, and `policy` only counts there. `forwarded` adds
    the RFC 7239 header beside the X-Forwarded-* ones. With `tls` connections begin with a
    handshake, which has `head_timeout_ms`; `certificate` is the key of the one for hosts that have
    none, and without it names that no host has a certificate for are refused. From a peer in
    `trusted_proxies` (CIDR) `trusted_field` is believed and continued, and with `proxy_protocol`
    connections from these, or from everybody where there are none, begin with its header.

    The first format of `extract` that a request has, and that is valid, says which trace it belongs
    to. Endpoints are told in all of `inject`: the client's headers of these formats are replaced,
    and those of other formats pass as they came.
    """

    address: str
    kind: ListenerKind
    backend: str = ""
    forwarded: bool = False
    policy: str = ""
    tls: bool = False
    certificate: str = ""
    proxy_protocol: bool = False
    trusted_proxies: tuple[str, ...] = ()
    trusted_field: TrustedField = TrustedField.X_FORWARDED_FOR
    extract: tuple[Propagator, ...] = (Propagator.TRACECONTEXT,)
    inject: tuple[Propagator, ...] = (Propagator.TRACECONTEXT,)
    trust_context: TrustContext = TrustContext.ALL
    head_timeout_ms: int = 60_000  # nginx client_header_timeout: 60 s
    idle_timeout_ms: int = 75_000  # nginx keepalive_timeout: 75 s


class Locality(_Value, frozen=True):
    """Where the engine runs, for `Prefer`; empty where unknown."""

    zone: str = ""
    node: str = ""


class SpanDetail(_Value, frozen=True):
    """What spans say beyond what they always say.

    The values of these header fields are recorded, on the SERVER span: those of the request as it
    came, those of the response as the endpoint sent it. `query_keys` are the keys of the query
    whose values are; the others become `REDACTED`, and None leaves the query out altogether. At
    most 16 names each, and none that holds a secret (Authorization, Cookie, X-API-Key and so on).
    """

    request_headers: tuple[str, ...] = ()
    response_headers: tuple[str, ...] = ()
    query_keys: tuple[str, ...] | None = None


class KernelTimestamps(StrEnum):
    """Of which requests the kernel is asked what it saw, on HTTP/1 connections."""

    OFF = "off"
    SAMPLED = "sampled"
    ALL = "all"


class Tracing(_Value, frozen=True):
    """What is recorded. `policy` is that of all routes that have none of their own.

    `random_flag` says of the ids of traces that begin here that they are random, as they are (W3C
    Trace Context level 2); OpenTelemetry for Go takes no such traceparent before its 1.42.

    Who knows `debug_key` can sign the header X-Spanway-Debug, which forces a request to be
    recorded: `{expiry}.{HMAC-SHA256 of it in hex}`, the expiry in seconds since 1970 and at most a
    week ahead. A trusted proxy's is believed without. Empty: nobody's is. The key is never shown.
    """

    policy: TracingPolicy = TracingPolicy()
    enabled: bool = True  # False: no span is made and no trace context is injected
    random_flag: bool = True  # `spanway run`: off unless asked
    server_timing: ServerTiming = ServerTiming.OFF  # of requests without a policy of their own, too
    debug_key: str = ""
    detail: SpanDetail = SpanDetail()
    kernel_timestamps: KernelTimestamps = KernelTimestamps.SAMPLED

    def __repr__(self) -> str:
        shown = (self.policy, self.enabled, self.random_flag, self.server_timing)
        return f"Tracing{(*shown, self.detail, self.kernel_timestamps)!r}"


class RouteTable(_Value, frozen=True):
    """A complete snapshot. `generation` grows by one with each published table; 0 is empty."""

    generation: int = 0
    listeners: tuple[Listener, ...] = ()
    hosts: Mapping[str, Host] = {}
    backends: Mapping[str, Backend] = {}
    policies: Mapping[str, RoutePolicy] = {}
    certificates: Mapping[str, Certificate] = {}
    tracing: Tracing = Tracing()
    locality: Locality = Locality()

    @property
    def route_count(self) -> int:
        """Routes of all hosts."""
        return sum(len(host.routes) for host in self.hosts.values())


class Update(_Value, frozen=True):
    """What changes from the table with generation `base` to the one with `generation`.

    Listeners, tracing and locality are few and travel whole; the rest travels by key. Policies and
    certificates have no name of their own, so they travel as pairs.
    """

    base: int
    generation: int
    listeners: tuple[Listener, ...]
    tracing: Tracing
    locality: Locality = Locality()
    hosts_upsert: tuple[Host, ...] = ()
    hosts_remove: tuple[str, ...] = ()
    backends_upsert: tuple[Backend, ...] = ()
    backends_remove: tuple[str, ...] = ()
    policies_upsert: tuple[tuple[str, RoutePolicy], ...] = ()
    policies_remove: tuple[str, ...] = ()
    certificates_upsert: tuple[tuple[str, Certificate], ...] = ()
    certificates_remove: tuple[str, ...] = ()
    published_by: str = ""  # `traceparent` of the span that publishes it, if that is traced

    def encode(self) -> bytes:
        """The wire form: one JSON object in UTF-8 with every field present."""
        return msgspec.json.encode(self)


class Rejected(_Value, frozen=True):
    """One thing of an update that the engine could not do.

    `subject` is a listener's address, a host's name or a key; `message` says what is wrong with it
    in one sentence.
    """

    kind: str  # "listener" | "host" | "backend" | "policy" | "certificate" | "tracing" | "table"
    subject: str
    message: str


def difference(old: RouteTable, new: RouteTable) -> Update:
    """The update that turns `old` into `new`, each part in order of its keys."""
    hosts_upsert, hosts_remove = _changes(old.hosts, new.hosts)
    backends_upsert, backends_remove = _changes(old.backends, new.backends)
    policies_upsert, policies_remove = _changes(old.policies, new.policies)
    certificates_upsert, certificates_remove = _changes(old.certificates, new.certificates)
    return Update(
        base=old.generation,
        generation=new.generation,
        listeners=new.listeners,
        tracing=new.tracing,
        locality=new.locality,
        hosts_upsert=tuple(host for _, host in hosts_upsert),
        hosts_remove=hosts_remove,
        backends_upsert=tuple(backend for _, backend in backends_upsert),
        backends_remove=backends_remove,
        policies_upsert=policies_upsert,
        policies_remove=policies_remove,
        certificates_upsert=certificates_upsert,
        certificates_remove=certificates_remove,
    )


def applied(table: RouteTable, update: Update) -> RouteTable:
    """The table after `update`, in the time that the update takes; `table` stays as it is.

    `applied(old, difference(old, new)) == new`.
    """
    assert update.base == table.generation, "an update is of the table that it was made for"
    hosts = ((host.name, host) for host in update.hosts_upsert)
    backends = ((backend.key, backend) for backend in update.backends_upsert)
    return RouteTable(
        update.generation,
        update.listeners,
        _changed(table.hosts, hosts, update.hosts_remove),
        _changed(table.backends, backends, update.backends_remove),
        _changed(table.policies, update.policies_upsert, update.policies_remove),
        _changed(table.certificates, update.certificates_upsert, update.certificates_remove),
        tracing=update.tracing,
        locality=update.locality,
    )


def _changes(
    old: Mapping[str, _T], new: Mapping[str, _T]
) -> tuple[tuple[tuple[str, _T], ...], tuple[str, ...]]:
    upsert = tuple((key, new[key]) for key in sorted(new) if old.get(key) != new[key])
    remove = tuple(key for key in sorted(old) if key not in new)
    return upsert, remove


def _changed(
    old: Mapping[str, _T], upsert: Iterable[tuple[str, _T]], remove: Iterable[str]
) -> Mapping[str, _T]:
    shared = old if isinstance(old, SharedMap) else SharedMap(old)
    return shared.changed(upsert, remove)

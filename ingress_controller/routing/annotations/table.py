"""Every annotation `spanway.io/*`, declared once: its place, grammar, field, default and example.

Rules: this table is the only list. Reading (`reading.py`), the Problems about it and the document
docs/ANNOTATIONS.md (`page.py`) come from it; a default is that of the field it sets, and a test
holds them together.
"""

from enum import StrEnum

from ingress_controller.propagators import propagators
from ingress_controller.routing.annotations import grammar
from ingress_controller.routing.annotations.annotation import Annotation, Scope, Strict
from ingress_controller.routing.annotations.grammar import Grammar
from proxy.table import (
    Balance,
    ClientCertificates,
    Prefer,
    Propagator,
    Protocol,
    ProxyProtocol,
    RetryOn,
    ServerTiming,
    TlsVersion,
    UpstreamTls,
)

NOBODY = ("255.255.255.255/32",)
"""An `allow` list that no client is in: the address cannot be a source. RFC 919, 7."""

EVERYBODY = ("0.0.0.0/0", "::/0")
"""A `deny` list that every client is in."""

REQUEST_HEAD_BYTES_MAX = 64 * 1024  # the engine's own bound, limits.rs

_SWITCH = Grammar("`true` or `false`", grammar.switch)
_DURATION = Grammar("a duration (`500ms`, `5s`, `1m30s`, `0` for no bound)", grammar.duration_ms)
_POSITIVE = Grammar("a duration (`500ms`, `5s`, `1m30s`)", grammar.positive_duration_ms)
_SECONDS = Grammar("a duration in whole seconds", grammar.duration_s)
_SIZE = Grammar("a size (`8k`, `1m`, `1Mi`, bytes; `0` for no bound)", grammar.size_bytes)
_COUNT = Grammar("a whole number, `0` for no bound", grammar.whole(0, grammar.COUNT_MAX))
_PERCENT = Grammar("a whole number from 0 to 100", grammar.whole(0, 100))
_NETWORKS = Grammar("addresses and networks (CIDR)", grammar.networks)
_NAMES = Grammar("header names", grammar.header_names)
_ANY_SECRET = Grammar("`NAME` or `NAMESPACE/NAME`", grammar.secret_name)
_OWN_SECRET = Grammar("`NAME`, in the same namespace", grammar.own_secret_name)


_LINES = "lines of `Name: value`"


def _choice(kind: type[StrEnum]) -> Grammar:
    members = ", ".join(f"`{member.value.replace('_', '-')}`" for member in kind)
    return Grammar(members, grammar.one_of(kind))


_ROUTES = (
    Annotation(
        "read-timeout",
        Scope.ROUTE,
        "read_timeout_ms",
        _POSITIVE,
        "How long the endpoint may be silent while it is waited for; then 504.",
        "30s",
        default="60s",
    ),
    Annotation(
        "send-timeout",
        Scope.ROUTE,
        "send_timeout_ms",
        _POSITIVE,
        "How long the endpoint may take nothing of a request; then 504.",
        "30s",
        default="60s",
    ),
    Annotation(
        "request-timeout",
        Scope.ROUTE,
        "request_timeout_ms",
        _DURATION,
        "From the first byte of a request to the last of its response.",
        "5m",
        default="0",
    ),
    Annotation(
        "client-timeout",
        Scope.ROUTE,
        "client_timeout_ms",
        _POSITIVE,
        "How long the client may be silent while the rest of its request is waited for (408), or"
        " take nothing of the response.",
        "5m",
        default="60s",
    ),
    Annotation(
        "client-rate-min",
        Scope.ROUTE,
        "client_bytes_per_s_min",
        _SIZE,
        "Bytes a second that the client has to send and take on average, once it was waited for"
        " longer than `client-timeout` in all. Not of tunnels, and not of what it sends when the"
        " response has begun or, as gRPC does, in a stream to an endpoint of HTTP/2.",
        "1k",
        default="240",
    ),
    Annotation(
        "tunnel-timeout",
        Scope.ROUTE,
        "tunnel_timeout_ms",
        _POSITIVE,
        "How long both sides of an upgraded connection (WebSocket) may be silent.",
        "10m",
        default="1h",
    ),
    Annotation(
        "retry-attempts",
        Scope.ROUTE,
        "retry.attempts",
        Grammar("a whole number from 1 to 10", grammar.whole(1, 10)),
        "Tries of one request, with the first; `1` never repeats.",
        "2",
        default="3",
    ),
    Annotation(
        "retry-on",
        Scope.ROUTE,
        "retry.on",
        Grammar(
            "some of " + ", ".join(f"`{member}`" for member in RetryOn) + ", or `off`",
            grammar.some_of(RetryOn),
        ),
        "What is worth another try, where a repetition is safe.",
        "connect, closed, 503",
        default="connect, closed",
    ),
    Annotation(
        "retry-timeout",
        Scope.ROUTE,
        "retry.per_try_timeout_ms",
        _DURATION,
        "How long each try may take to the first byte of its response.",
        "2s",
        default="0",
    ),
    Annotation(
        "retry-budget",
        Scope.ROUTE,
        "retry.budget_percent",
        _PERCENT,
        "Retries as a share of the backend's requests, so that it is not buried under them.",
        "10",
        default="20",
    ),
    Annotation(
        "request-body-max",
        Scope.ROUTE,
        "request_body_bytes_max",
        _SIZE,
        "The largest body of a request; above it 413.",
        "8m",
        default="0",
    ),
    Annotation(
        "request-head-max",
        Scope.ROUTE,
        "request_head_bytes_max",
        Grammar("a size from `1k` to `64k`", grammar.size_within(1_024, REQUEST_HEAD_BYTES_MAX)),
        "The largest head (request line and headers) of a request; above it 431. Without: 64k.",
        "16k",
    ),
    Annotation(
        "request-headers-remove",
        Scope.ROUTE,
        "request_headers.remove",
        _NAMES,
        "Headers that the endpoint does not get.",
        "X-Debug, X-Internal",
    ),
    Annotation(
        "request-headers-set",
        Scope.ROUTE,
        "request_headers.set",
        Grammar(_LINES, grammar.request_headers_set),
        "Headers that the endpoint gets, instead of those of the same name; with `Host` it is told"
        " another one than the client's. Values may hold `$client_ip`, `$host`, `$request_id`,"
        " `$scheme`, `$trace_id`, and `$$` for a dollar.",
        "X-Tenant: shop",
    ),
    Annotation(
        "request-headers-add",
        Scope.ROUTE,
        "request_headers.add",
        Grammar(_LINES, grammar.request_headers_add),
        "Headers that the endpoint gets beside those of the same name.",
        "X-Via: spanway",
    ),
    Annotation(
        "response-headers-remove",
        Scope.ROUTE,
        "response_headers.remove",
        _NAMES,
        "Headers of the response that the client does not get.",
        "X-Powered-By",
    ),
    Annotation(
        "response-headers-set",
        Scope.ROUTE,
        "response_headers.set",
        Grammar(_LINES, grammar.response_headers_set),
        "Headers that the client gets, instead of those of the same name.",
        "Strict-Transport-Security: max-age=31536000",
    ),
    Annotation(
        "response-headers-add",
        Scope.ROUTE,
        "response_headers.add",
        Grammar(_LINES, grammar.response_headers_add),
        "Headers that the client gets beside those of the same name.",
        "Vary: Accept",
    ),
    Annotation(
        "rewrite",
        Scope.ROUTE,
        "rewrite",
        Grammar("`PATTERN => REPLACEMENT`", grammar.rewrite),
        "What the endpoint gets for the part of the path that the regular expression matches;"
        " `$1` or `${name}` stand for its groups.",
        "^/api/(.*)$ => /v2/$1",
    ),
    Annotation(
        "redirect",
        Scope.ROUTE,
        "redirect",
        Grammar("`STATUS URL`, or `URL` for 308", grammar.redirect),
        "Answer with a redirect, without an endpoint; `$scheme`, `$host`, `$path` and `$query`"
        " stand for those of the request.",
        "301 https://shop.example$path",
    ),
    Annotation(
        "https-only",
        Scope.ROUTE,
        "https_only",
        _SWITCH,
        "Redirect plain HTTP to HTTPS (308). Without: `true` for hosts in `spec.tls` while there"
        " is an HTTPS listener, as ingress-nginx does.",
        "true",
        strict=Strict(True, "plain HTTP is redirected"),
    ),
    Annotation(
        "allow",
        Scope.ROUTE,
        "allow",
        _NETWORKS,
        "The only client addresses that are served; others get 403.",
        "10.0.0.0/8, 2001:db8::/32",
        strict=Strict(NOBODY, "nobody is let in"),
    ),
    Annotation(
        "deny",
        Scope.ROUTE,
        "deny",
        _NETWORKS,
        "Client addresses that get 403, also where they are allowed.",
        "192.0.2.0/24",
        strict=Strict(EVERYBODY, "nobody is let in"),
    ),
    Annotation(
        "server-timing",
        Scope.ROUTE,
        "server_timing",
        _choice(ServerTiming),
        "What clients are told of their trace, in Server-Timing and traceresponse: its ids, or how"
        " long each part of the way took, too. Without: as the TracingPolicy says, else"
        " `--server-timing`.",
        "timing",
    ),
    Annotation(
        "inject",
        Scope.ROUTE,
        "inject",
        Grammar("`none`, or some of " + ", ".join(f"`{each}`" for each in Propagator), propagators),
        "Formats of trace context that the endpoint is told in. Without: as the TracingPolicy says,"
        " else `--inject`.",
        "tracecontext, b3",
    ),
)

_TRACING = (
    Annotation(
        "tracing-policy",
        Scope.TRACING,
        "policy",
        Grammar("`NAME`, in the same namespace", grammar.object_name),
        "The TracingPolicy that says which requests are recorded, how closely, and who is told.",
        "quiet",
    ),
    Annotation(
        "sample-ratio",
        Scope.TRACING,
        "ratio",
        Grammar("a number from 0 to 1", grammar.ratio),
        "Share of new traces that are recorded.",
        "0.1",
    ),
    Annotation(
        "sample-rate-limit",
        Scope.TRACING,
        "traces_per_s_max",
        Grammar("a number, `0` for no bound", grammar.rate),
        "New traces that are recorded in a second, at most.",
        "50",
    ),
)

_HOSTS = (
    Annotation(
        "tls-min-version",
        Scope.HOST,
        "version_min",
        _choice(TlsVersion),
        "The oldest TLS version that clients may speak.",
        "1.3",
        default="1.2",
        strict=Strict(TlsVersion.TLS13, "only TLS 1.3 is spoken"),
    ),
    Annotation(
        "client-certificates",
        Scope.HOST,
        "client_certificates",
        _choice(ClientCertificates),
        "Whether clients show a certificate (mTLS); with `optional` they may. Needs"
        " client-ca-secret; if that is not usable, the hosts answer 403.",
        "required",
        default="off",
        strict=Strict(ClientCertificates.REQUIRED, "a certificate is required"),
    ),
    Annotation(
        "client-ca-secret",
        Scope.HOST,
        "client_ca",
        _ANY_SECRET,
        "The Secret whose `ca.crt` client certificates are verified against: of type"
        ' kubernetes.io/tls, or with the label `spanway.io/ca: "true"`.',
        "clients-ca",
        needs="client-certificates",
    ),
    Annotation(
        "tls-passthrough",
        Scope.HOST,
        "passthrough",
        _SWITCH,
        'Hand connections over as they are, by SNI, to the backend of path "/"; nothing else'
        " applies to them.",
        "true",
        default="false",
    ),
)

_BACKENDS = (
    Annotation(
        "balance",
        Scope.BACKEND,
        "template.balance",
        _choice(Balance),
        "How one of the ready endpoints is picked.",
        "least-request",
        default="round-robin",
    ),
    Annotation(
        "hash-on",
        Scope.BACKEND,
        "template.hash_key",
        Grammar("`ip`, `header NAME` or `cookie NAME`", grammar.hash_on),
        "What `balance: hash` goes by.",
        "header X-User",
        default="ip",
        needs="balance",
    ),
    Annotation(
        "affinity-cookie",
        Scope.BACKEND,
        "template.affinity",
        Grammar("the name of a cookie", grammar.affinity),
        "Keep a client at the endpoint of its first response, by this cookie.",
        "spanway-affinity",
    ),
    Annotation(
        "affinity-max-age",
        Scope.BACKEND,
        "template.affinity.max_age_s",
        _SECONDS,
        "How long the cookie lives; `0` until the browser is closed.",
        "1h",
        default="0",
        needs="affinity-cookie",
    ),
    Annotation(
        "affinity-path",
        Scope.BACKEND,
        "template.affinity.path",
        Grammar("a path", grammar.cookie_path),
        "The path that the cookie is for.",
        "/cart",
        default="/",
        needs="affinity-cookie",
    ),
    Annotation(
        "affinity-secure",
        Scope.BACKEND,
        "template.affinity.is_secure",
        _SWITCH,
        "Send the cookie over TLS only; always so on HTTPS listeners.",
        "true",
        default="false",
        needs="affinity-cookie",
    ),
    Annotation(
        "prefer",
        Scope.BACKEND,
        "template.prefer",
        _choice(Prefer),
        "Endpoints of the proxy's own zone or node first (`--zone`, `--node`). Without:"
        " `spec.trafficDistribution` of the Service.",
        "zone",
        default="any",
    ),
    Annotation(
        "weights",
        Scope.BACKEND,
        "weights",
        Grammar("`zone=NAME:N`, `node=NAME:N`, `pod=NAME:N` with N up to 1000", grammar.weights),
        "Shares of the endpoints; others have 1, and a pod's wins over its node's over its zone's.",
        "zone=eu-1a:3, node=n1:1, pod=api-0:5",
    ),
    Annotation(
        "health-errors",
        Scope.BACKEND,
        "template.health.errors_consecutive",
        Grammar("a whole number, `0` for never", grammar.whole(0, grammar.COUNT_MAX)),
        "After so many failures in a row an endpoint is left out for a while.",
        "3",
        default="5",
    ),
    Annotation(
        "health-ejection",
        Scope.BACKEND,
        "template.health.ejection_ms",
        _POSITIVE,
        "For how long, times the number of its ejections.",
        "10s",
        default="30s",
    ),
    Annotation(
        "health-ejection-max",
        Scope.BACKEND,
        "template.health.ejection_max_ms",
        _POSITIVE,
        "The longest that it is left out.",
        "1m",
        default="5m",
    ),
    Annotation(
        "health-ejected-percent",
        Scope.BACKEND,
        "template.health.ejected_percent_max",
        _PERCENT,
        "The largest share of the endpoints that is left out.",
        "30",
        default="50",
    ),
    Annotation(
        "slow-start",
        Scope.BACKEND,
        "template.slow_start_ms",
        _DURATION,
        "How long the share of a new endpoint grows.",
        "30s",
        default="0",
    ),
    Annotation(
        "requests-max",
        Scope.BACKEND,
        "template.limits.requests_max",
        _COUNT,
        "Requests at once, per data plane; others wait in a queue, or get 503.",
        "200",
        default="0",
    ),
    Annotation(
        "connections-max",
        Scope.BACKEND,
        "template.limits.connections_max",
        _COUNT,
        "Connections to one endpoint, per data plane.",
        "100",
        default="0",
    ),
    Annotation(
        "queue-max",
        Scope.BACKEND,
        "template.limits.queue_max",
        Grammar("a whole number", grammar.whole(0, grammar.COUNT_MAX)),
        "Requests that may wait when `requests-max` is reached.",
        "50",
        default="0",
    ),
    Annotation(
        "queue-timeout",
        Scope.BACKEND,
        "template.limits.queue_timeout_ms",
        _POSITIVE,
        "How long each of them may wait.",
        "1s",
        default="5s",
    ),
    Annotation(
        "protocol",
        Scope.BACKEND,
        "template.protocol",
        _choice(Protocol),
        "What the endpoints speak; `h2` without TLS is h2c. Without: the port's `appProtocol`.",
        "h2",
        default="http1",
    ),
    Annotation(
        "upstream-tls",
        Scope.BACKEND,
        "template.tls",
        Grammar("`true` or `false`", grammar.upstream_tls),
        "TLS to the endpoints. Without: by the port's `appProtocol`.",
        "true",
        default="false",
        strict=Strict(UpstreamTls(), "TLS is spoken"),
    ),
    Annotation(
        "upstream-tls-verify",
        Scope.BACKEND,
        "template.tls.verify",
        _SWITCH,
        "Verify the endpoints' certificates.",
        "false",
        default="true",
        needs="upstream-tls",
    ),
    Annotation(
        "upstream-tls-server-name",
        Scope.BACKEND,
        "template.tls.server_name",
        Grammar("a DNS name", grammar.dns_name),
        "The name that is sent (SNI) and verified. Without: `NAME.NAMESPACE.svc` of the Service.",
        "api.internal.example",
        needs="upstream-tls",
    ),
    Annotation(
        "upstream-tls-ca-secret",
        Scope.BACKEND,
        "ca",
        _ANY_SECRET,
        "The Secret whose `ca.crt` the endpoints' certificates are verified against. Without: the"
        " system's.",
        "api-ca",
        needs="upstream-tls",
    ),
    Annotation(
        "upstream-tls-secret",
        Scope.BACKEND,
        "certificate",
        _OWN_SECRET,
        "The kubernetes.io/tls Secret whose certificate is shown to the endpoints.",
        "spanway-client",
        needs="upstream-tls",
    ),
    Annotation(
        "proxy-protocol",
        Scope.BACKEND,
        "template.proxy_protocol",
        _choice(ProxyProtocol),
        "Begin connections to the endpoints with the PROXY protocol's header.",
        "v2",
        default="off",
    ),
    Annotation(
        "connect-timeout",
        Scope.BACKEND,
        "template.connect_timeout_ms",
        _POSITIVE,
        "How long a connection to an endpoint may take.",
        "1s",
        default="5s",
    ),
)

_LISTENERS = (
    Annotation(
        "listen",
        Scope.LISTENER,
        "",
        Grammar("`PORT=ADDR:PORT`, several separated by commas", str),
        "Local addresses that serve ports of this Service; from a directory of manifests only.",
        "80=127.0.0.1:18080",
    ),
)

ANNOTATIONS = (*_ROUTES, *_TRACING, *_HOSTS, *_BACKENDS, *_LISTENERS)
"""All of them, in the order in which they are applied and documented."""

BY_NAME = {annotation.full_name: annotation for annotation in ANNOTATIONS}

"""The RouteTable and its wire form: the contract between the control plane and the engine.

A RouteTable is one immutable snapshot of everything the engine needs to move requests. It knows
nothing of Kubernetes beyond names that end up in spans. What crosses to the engine is an `Update`:
what changed since the table with generation `base`; the first one is an update of the empty table.

Rules: this file does no I/O and holds no logic but "what differs between two tables".
The Rust side is `crates/engine/src/table/wire.rs`; `tests/vectors/routing.json` drives both.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

import msgspec

_T = TypeVar("_T")

ANY_HOST = ""
"""The host name of routes that apply to every host (an Ingress rule without `host`)."""


class PathKind(StrEnum):
    """How `PathMatch.value` is compared with a request's normalised path."""

    EXACT = "exact"
    PREFIX = "prefix"  # element by element, not character by character: /a matches /a/b, not /ab


class Balance(StrEnum):
    """How one of the ready endpoints of a backend is picked."""

    ROUND_ROBIN = "round_robin"
    LEAST_REQUEST = "least_request"  # the less busy of two random choices


class ListenerKind(StrEnum):
    """What a listener's requests are matched against."""

    INGRESS = "ingress"  # hosts and paths of this table
    SERVICE = "service"  # always the listener's own backend


class _Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every value in the table."""


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
    connect_timeout_ms: int = 5_000  # envoy: 5 s; nginx: 60 s, too long to find a dead endpoint
    response_timeout_ms: int = 60_000  # nginx proxy_read_timeout: 60 s, between two reads
    missing: str = ""

    @property
    def key(self) -> str:
        """`namespace/service:port`, unique in a table."""
        return f"{self.namespace}/{self.service}:{self.port}"


class Route(_Value, frozen=True):
    """One path of one host, and the backend that answers it.

    `ingress` and `rule` say where it comes from, for spans and for people: the Ingress's name in
    `namespace` and the field path in it, for example `spec.rules[0].http.paths[1]`.
    """

    kind: PathKind
    path: str
    backend: str
    namespace: str
    ingress: str
    rule: str


class Host(_Value, frozen=True):
    """All routes of one host name: exact (`shop.example`), wildcard (`*.shop.example`), any.

    A wildcard stands for exactly one label. A request is matched against the exact host, then the
    wildcard, then `ANY_HOST`; in each, an exact path beats a prefix and a longer prefix a shorter
    one. No two routes of one host have the same kind and path.
    """

    name: str
    routes: tuple[Route, ...]


class Listener(_Value, frozen=True):
    """One address that the engine accepts connections on: `127.0.0.1:8080` or `[::]:80`.

    `backend` is set exactly for service listeners. `forwarded` adds the RFC 7239 header beside
    the X-Forwarded-* ones.
    """

    address: str
    kind: ListenerKind
    backend: str = ""
    forwarded: bool = False


class Tracing(_Value, frozen=True):
    """What is recorded. `sample_ratio` in [0, 1] decides for requests without a parent.

    Source: OpenTelemetry, ParentBased(root=TraceIdRatioBased).
    """

    sample_ratio: float = 1.0
    enabled: bool = True  # False: no span is made and no trace context is injected


class RouteTable(_Value, frozen=True):
    """A complete snapshot. `generation` grows by one with each published table; 0 is empty."""

    generation: int = 0
    listeners: tuple[Listener, ...] = ()
    hosts: Mapping[str, Host] = {}
    backends: Mapping[str, Backend] = {}
    tracing: Tracing = Tracing()

    @property
    def route_count(self) -> int:
        """Routes of all hosts."""
        return sum(len(host.routes) for host in self.hosts.values())


class Update(_Value, frozen=True):
    """What changes from the table with generation `base` to the one with `generation`.

    Listeners and tracing are few and travel whole; hosts and backends travel by key.
    """

    base: int
    generation: int
    listeners: tuple[Listener, ...]
    tracing: Tracing
    hosts_upsert: tuple[Host, ...] = ()
    hosts_remove: tuple[str, ...] = ()
    backends_upsert: tuple[Backend, ...] = ()
    backends_remove: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """The wire form: one JSON object in UTF-8 with every field present."""
        return msgspec.json.encode(self)


class Rejected(_Value, frozen=True):
    """One thing of an update that the engine could not do.

    `subject` is a listener's address, a host's name or a backend's key; `message` says what is
    wrong with it in one sentence.
    """

    kind: str  # "listener" | "host" | "backend" | "table"
    subject: str
    message: str


def difference(old: RouteTable, new: RouteTable) -> Update:
    """The update that turns `old` into `new`."""
    hosts_upsert, hosts_remove = _changes(old.hosts, new.hosts)
    backends_upsert, backends_remove = _changes(old.backends, new.backends)
    return Update(
        base=old.generation,
        generation=new.generation,
        listeners=new.listeners,
        tracing=new.tracing,
        hosts_upsert=hosts_upsert,
        hosts_remove=hosts_remove,
        backends_upsert=backends_upsert,
        backends_remove=backends_remove,
    )


def _changes(
    old: Mapping[str, _T], new: Mapping[str, _T]
) -> tuple[tuple[_T, ...], tuple[str, ...]]:
    upsert = tuple(value for key, value in new.items() if old.get(key) != value)
    remove = tuple(key for key in old if key not in new)
    return upsert, remove

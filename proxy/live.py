"""Live requests: what can be asked about them, and the answer.

Rules: names in JSON are those of the fields here, and of `crates/engine/src/live/`. Text is at most
512 bytes, and what is not UTF-8 in it is replaced; nobody has checked it, so whoever shows it
escapes it. Query strings and header fields are not in it.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated

import msgspec

ROWS_MAX = 10_000
"""Of one answer; the engine refuses a query for more."""

GROUPS_MAX = 100
"""Of each kind in one answer: those with the most requests."""

CONDITIONS_MAX = 32
"""Of one query; the engine refuses one with more."""

Number = Annotated[int, msgspec.Meta(ge=0, lt=1 << 57)]
"""Of an answer: as nanoseconds four years, as microseconds since 1970 the year 6537. Those of 64
replicas can be added up in 64 bits."""


class Phase(StrEnum):
    """What a live request waits for, in the order in which it comes to them."""

    HEAD = "head"
    ROUTE = "route"
    QUEUE = "queue"
    CONNECT = "connect"
    SEND = "send"
    WAIT = "wait"
    STREAM = "stream"
    RESPOND = "respond"


class Kind(StrEnum):
    """A request; one whose connection was upgraded (WebSocket); a connection that is handed on."""

    REQUEST = "request"
    UPGRADE = "upgrade"
    CONNECTION = "connection"


class Field(StrEnum):
    """What a condition can be about; the values are those of `Row`, if nothing else is said."""

    ID = "id"
    TRACE_ID = "trace_id"
    NAMESPACE = "namespace"
    KIND = "kind"
    PHASE = "phase"
    METHOD = "method"
    HOST = "host"
    ROUTE = "route"
    INGRESS = "ingress"
    SERVICE = "service"
    """With or without its port."""
    ENDPOINT = "endpoint"
    POD = "pod"
    NODE = "node"
    CLIENT = "client"
    """An IP address, without the port."""


class Sort(StrEnum):
    """By what rows are ordered, the largest first."""

    AGE = "age"
    PHASE_AGE = "phase_age"
    RECEIVED = "received"
    SENT = "sent"


class Condition(msgspec.Struct, frozen=True):
    """The field has this value; if `negated`, it has another one."""

    field: Field
    value: str
    negated: bool = False


class Place(msgspec.Struct, frozen=True):
    """A row's place in the order of age."""

    start_ns: int
    id: str


class Query(msgspec.Struct, frozen=True):
    """Which live requests. All conditions must hold; rows above `limit` are only counted.

    `after` leaves out what an answer by age has up to this place. `instance` is who answers, as
    each row is to say where several do.
    """

    conditions: tuple[Condition, ...] = ()
    age_min_us: int = 0
    sort: Sort = Sort.AGE
    ascending: bool = False
    limit: int = 100
    after: Place | None = None
    instance: str = ""


class Row(msgspec.Struct, frozen=True):
    """One live request. What is not known, or not yet, is empty or 0.

    Attributes:
        id: 16 hex digits, which name it in this engine; that of its SERVER span.
        trace_id: 32 hex digits; empty where nothing is traced, or before the head is complete.
        namespace: of the Ingress, else of the Service.
        path: in normal form, without query.
        route: the host of the rule, `*` for any, and its path.
        ingress: `namespace/name`; `rule` is the field in it.
        service: `namespace/name:port`.
        endpoint: of the last attempt; so are pod, node and zone.
        phases_us: how long it was in each phase so far, their sum being its age. What earlier
            attempts took counts as `route`.
        start_ns: since the engine's start, by a clock that is not set.
        received_bytes: of the body from the client; `sent_bytes` to it.
        status: of the response, once it is on its way.
        client: address and port; the latter is 0 where trusted proxies do not tell it.
        listener: `ingress` or `service`.
        generation: of the table that it is served by.
        instance: who told it: what the query said.
    """

    id: str
    trace_id: str
    kind: Kind
    namespace: str
    method: str
    host: str
    path: str
    route: str
    ingress: str
    rule: str
    service: str
    endpoint: str
    pod: str
    node: str
    zone: str
    phase: Phase
    phase_age_us: Number
    phases_us: Mapping[Phase, Number]
    age_us: Number
    start_unix_us: Number
    start_ns: Number
    received_bytes: Number
    sent_bytes: Number
    status: Number
    attempts: Number
    client: str
    scheme: str
    protocol: str
    listener: str
    generation: Number
    instance: str = ""


class Group(msgspec.Struct, frozen=True):
    """What of the requests that the query is about has something in common.

    `name` is empty for those that have none: no route matched, no endpoint is picked yet.
    """

    name: str
    count: Number
    age_max_us: Number
    phases: Mapping[Phase, Number]


class Live(msgspec.Struct, frozen=True):
    """The answer: counts of all that the query is about, and `limit` rows of it.

    Of routes, services and nodes those with the most requests are told, at most 100 each. Not one
    moment's picture: each worker looks at its requests one after the other, within milliseconds.
    """

    live: Number
    """All, whatever the query is about."""
    matched: Number
    phases: Mapping[Phase, Number]
    routes: tuple[Group, ...]
    services: tuple[Group, ...]
    nodes: tuple[Group, ...]
    requests: tuple[Row, ...]
    workers_silent: Number
    """How many workers did not answer in time: theirs is missing."""
    kept_from_us: Number = 0
    """Of a moment in the past that is before everything that is kept: where that begins, in
    microseconds since 1970. Else 0; the engine tells of now."""


def ordered(rows: Iterable[Row], query: Query) -> list[Row]:
    """As the engine orders them."""

    def key(row: Row) -> tuple[int, str]:
        match query.sort:
            case Sort.AGE:
                return row.age_us, row.id
            case Sort.PHASE_AGE:
                return row.phase_age_us, row.id
            case Sort.RECEIVED:
                return row.received_bytes, row.id
            case Sort.SENT:
                return row.sent_bytes, row.id

    return sorted(rows, key=key, reverse=not query.ascending)

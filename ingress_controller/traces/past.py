"""Which requests were inside at a moment, by the spans that they left and what is inside still.

Rules: pure, but for the question to the store. A request that is over is told of by its SERVER
span and those below it; where in it the moment lies, by the phases' lengths in their order. Of
several attempts the one that ran at that moment is told, and what earlier ones took is `route`, as
the engine tells it. The answer has the form of the engine's.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from proxy.live import (
    GROUPS_MAX,
    ROWS_MAX,
    Condition,
    Field,
    Group,
    Kind,
    Live,
    Phase,
    Query,
    Row,
    ordered,
)

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

LOOKBACK_S_MAX = 86_400.0
"""A request that began longer before the moment is not looked for."""

_SWITCHING_PROTOCOLS = 101

Spans = Mapping[str, Any]
"""A span's columns by their names."""


class PastRequest(NamedTuple):
    """What is known of one that is over: its SERVER span, the `balance` span, the attempts."""

    server: Spans
    balance: Spans | None
    attempts: Sequence[Spans]


def requests_at(connection: "DuckDBPyConnection", at_ns: int) -> list[PastRequest]:
    """Those that were inside at `at_ns` (UTC) and are over, the oldest `ROWS_MAX` of them."""
    earliest_ns = max(0, at_ns - int(LOOKBACK_S_MAX * 1e9))
    servers = _rows(connection, _SERVERS, {"at": at_ns, "earliest": earliest_ns})
    if not servers:
        return []
    los = [server["trace_lo"] for server in servers]
    latest_ns = max(map(_end_ns, servers))
    parameters = {"earliest": servers[0]["start_ns"], "latest": latest_ns, "los": los}
    children: defaultdict[tuple[int, int, int], list[Spans]] = defaultdict(list)
    for span in _rows(connection, _BELOW, parameters):
        children[span["trace_hi"], span["trace_lo"], span["parent_id"]].append(span)
    return [_request(server, children) for server in servers]


def live_at(query: Query, at_ns: int, over: Iterable[PastRequest], now: Live) -> Live:
    """The answer to `query` for the moment `at_ns`; `now` is the engine's, of all requests."""
    at_us = at_ns // 1_000
    rows = {row.id: row for row in (_at(row, at_us) for row in now.requests) if row is not None}
    rows |= {row.id: row for row in (_row(request, at_ns, query.instance) for request in over)}
    matched = [row for row in rows.values() if _matches(row, query)]
    return Live(
        live=len(rows),
        matched=len(matched),
        phases=Counter(row.phase for row in matched),
        routes=_groups((row.route, row) for row in matched),
        services=_groups((row.service, row) for row in matched),
        nodes=_groups((row.node, row) for row in matched),
        requests=tuple(ordered(matched, query)[: query.limit]),
        workers_silent=now.workers_silent,
    )


def _request(server: Spans, children: Mapping[tuple[int, int, int], list[Spans]]) -> PastRequest:
    trace = (server["trace_hi"], server["trace_lo"])
    below = children.get((*trace, server["span_id"]), [])
    balance = next((span for span in below if span["name"].startswith("balance ")), None)
    parent = server if balance is None else balance
    attempts = children.get((*trace, parent["span_id"]), [])
    return PastRequest(server, balance, [span for span in attempts if span["kind"] == _CLIENT])


class _Part(NamedTuple):
    phase: Phase
    start_ns: int
    end_ns: int


def _parts(request: PastRequest, attempt: Spans) -> Iterator[_Part]:
    """What is not `route`, in the order of time; of `attempt` alone, if it is not empty."""
    server, balance, attempts = request
    start_ns = server["start_ns"]
    end_ns = start_ns + server["duration_ns"]
    yield _Part(Phase.HEAD, start_ns, start_ns + _us(server, "head") * 1_000)
    queue_ns = (balance or {}).get("spanway.lb.queue_us") or 0
    if balance is not None and queue_ns:
        until_ns = attempts[0]["start_ns"] if attempts else _end_ns(balance)
        yield _Part(Phase.QUEUE, until_ns - queue_ns * 1_000, until_ns)
    if attempt:
        lengths = [(phase, _us(attempt, name) * 1_000) for phase, name in _OF_ATTEMPT]
        ends = accumulate((length for _, length in lengths), initial=attempt["start_ns"])
        for (phase, length), begin_ns in zip(lengths, ends, strict=False):
            yield _Part(phase, begin_ns, begin_ns + length)
    respond_ns = _us(server, "respond") * 1_000
    yield _Part(Phase.RESPOND, end_ns - respond_ns, end_ns)


def _row(request: PastRequest, at_ns: int, instance: str) -> Row:
    server, balance, attempts = request
    begun = [attempt for attempt in attempts if attempt["start_ns"] <= at_ns]
    attempt = begun[-1] if begun else {}
    phases_us: Counter[Phase] = Counter()
    current, since_ns = Phase.ROUTE, server["start_ns"]
    for part in _parts(request, attempt):
        if part.start_ns > at_ns or part.start_ns == part.end_ns:
            continue
        phases_us[part.phase] += (min(part.end_ns, at_ns) - part.start_ns) // 1_000
        is_in = part.end_ns > at_ns
        current, since_ns = (part.phase, part.start_ns) if is_in else (Phase.ROUTE, part.end_ns)
    age_us = (at_ns - server["start_ns"]) // 1_000
    phases_us[Phase.ROUTE] = max(0, age_us - phases_us.total())
    namespace = server["k8s.namespace.name"] or ""
    ingress = server["spanway.ingress.name"] or ""
    is_connection = server["http.request.method"] is None
    service = (balance or {}).get("name", "").removeprefix("balance ")
    return Row(
        id=f"{server['span_id']:016x}",
        trace_id=f"{server['trace_hi']:016x}{server['trace_lo']:016x}",
        kind=_kind(server, is_connection=is_connection),
        namespace=namespace,
        method=server["http.request.method"] or "",
        host=server["server.address"] or "",
        path=server["url.path"] or "",
        route=f"{server['server.address'] or '*'}{server['http.route']}"
        if server["http.route"]
        else "",
        ingress=f"{namespace}/{ingress}" if ingress else "",
        rule=server["spanway.route"] or "",
        service=service,
        endpoint=_address(attempt, "network.peer"),
        pod=attempt.get("k8s.pod.name") or "",
        node=attempt.get("k8s.node.name") or "",
        zone=attempt.get("cloud.availability_zone") or "",
        phase=current,
        phase_age_us=(at_ns - since_ns) // 1_000,
        phases_us={phase: us for phase, us in phases_us.items() if us},
        age_us=age_us,
        start_unix_us=server["start_ns"] // 1_000,
        start_ns=0,
        received_bytes=0,
        sent_bytes=0,
        status=0,
        attempts=len(begun),
        client=_address(server, "client"),
        scheme=server["url.scheme"] or "",
        protocol=f"HTTP/{version}" if (version := server["network.protocol.version"]) else "",
        listener=server["spanway.listener"] or "",
        generation=server["spanway.table.generation"] or 0,
        instance=instance,
    )


def _kind(server: Spans, *, is_connection: bool) -> Kind:
    if is_connection:
        return Kind.CONNECTION
    is_upgrade = server["http.response.status_code"] == _SWITCHING_PROTOCOLS
    return Kind.UPGRADE if is_upgrade else Kind.REQUEST


def _at(row: Row, at_us: int) -> Row | None:
    """A request that is inside still, at an earlier moment; None if it had not begun."""
    age_us = at_us - row.start_unix_us
    if age_us < 0:
        return None
    left_us, phases_us, current = age_us, {}, row.phase
    for phase in Phase:
        spent_us = min(left_us, row.phases_us.get(phase, 0))
        if spent_us:
            phases_us[phase], current = spent_us, phase
            left_us -= spent_us
    phase_age_us = phases_us.get(current, 0)
    return msgspec.structs.replace(
        row, age_us=age_us, phase=current, phase_age_us=phase_age_us, phases_us=phases_us
    )


def _matches(row: Row, query: Query) -> bool:
    return row.age_us >= query.age_min_us and all(_holds(row, one) for one in query.conditions)


def _holds(row: Row, condition: Condition) -> bool:
    value = str(getattr(row, condition.field))
    match condition.field:
        case Field.SERVICE:
            is_it = condition.value in (value, value.rpartition(":")[0])
        case Field.CLIENT:
            is_it = condition.value in (value, value.rpartition(":")[0].strip("[]"))
        case _:
            is_it = condition.value == value
    return is_it != condition.negated


def _groups(named: Iterable[tuple[str, Row]]) -> tuple[Group, ...]:
    members: defaultdict[str, list[Row]] = defaultdict(list)
    for name, row in named:
        members[name].append(row)
    groups = [
        Group(name, len(rows), max(row.age_us for row in rows), Counter(row.phase for row in rows))
        for name, rows in members.items()
    ]
    groups.sort(key=lambda group: (-group.count, group.name))
    return tuple(groups[:GROUPS_MAX])


def _address(span: Spans, name: str) -> str:
    address, port = span.get(f"{name}.address") or "", span.get(f"{name}.port") or 0
    if not address:
        return ""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _us(span: Spans, phase: str) -> int:
    return int(span[f"spanway.phase.{phase}_us"] or 0)


def _end_ns(span: Spans) -> int:
    return int(span["start_ns"] + span["duration_ns"])


def _rows(
    connection: "DuckDBPyConnection", statement: str, parameters: Mapping[str, Any]
) -> list[Spans]:
    found = connection.execute(statement, parameters)
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


_CLIENT = 3
_OF_ATTEMPT = (
    (Phase.CONNECT, "connect"),
    (Phase.CONNECT, "tls"),
    (Phase.SEND, "send"),
    (Phase.WAIT, "wait"),
    (Phase.STREAM, "receive"),
)

_SERVERS = f"""
SELECT * EXCLUDE (attributes, events, links, resource) FROM spans
WHERE scope = 'spanway' AND kind = 2 AND start_ns BETWEEN $earliest AND $at
  AND start_ns + duration_ns > $at
ORDER BY start_ns LIMIT {ROWS_MAX}
"""
_BELOW = """
SELECT * EXCLUDE (attributes, events, links, resource) FROM spans
WHERE scope = 'spanway' AND kind <> 2 AND start_ns BETWEEN $earliest AND $latest
  AND parent_id IS NOT NULL AND trace_lo IN (SELECT unnest($los::UBIGINT[]))
ORDER BY start_ns
"""

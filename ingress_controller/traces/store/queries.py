"""Questions to the store: which traces were there, and all spans of one.

Rules: pure functions of a connection. What a person asks for is a parameter of a statement, never a
part of it; every answer is bounded. Columns are those of `crates/columns/src/schema.rs`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import msgspec

from ingress_controller import shallow_json
from ingress_controller.traces.span import AttributeValue, Span, SpanEvent, SpanKind, SpanStatus

if TYPE_CHECKING:  # some 60 ms and 40 MB, which who has no store does without
    from duckdb import DuckDBPyConnection

TRACES_MAX = 1_000
"""Of one answer. Jaeger's page asks for 20 and lets choose up to 1,500."""

PARTS_MAX = 10_000
"""Traces that fit in part, of one replica's answer to another: some 400 KB."""

SPANS_MAX = 100_000
"""Of one trace; more are left out, the last ones. Jaeger's page becomes slow at 50,000."""

ATTRIBUTES_MAX = 16
"""Of one search: each is looked for by itself, and 100 of them took a core ten seconds. Who debugs
writes one to three."""

VALUES_MAX = 10_000
"""Of services or the like in one answer: more are no list for a person."""

HOPS_MAX = 8
"""Slow hops of a trace that are looked at for its verdict: those that are slower by most."""

NESTING_MAX = 32
"""Lists and maps in each other, of an attribute; deeper ones are empty. `crates/columns`: 16."""

QUESTION_MEMORY_BYTES = 512 * 1024 * 1024
"""For one question; DuckDB's own default is 80 % of the machine."""


_T = TypeVar("_T")


class QuestionTooLargeError(Exception):
    """It was given up: it took `question_s`, or `QUESTION_MEMORY_BYTES` did not suffice."""

    def __init__(self, question_s: float) -> None:
        super().__init__(f"the answer takes longer than {question_s:g} s, or too much memory")


class TooMuchToHandOverError(Exception):
    """Spans for another replica; the message is for that."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__(f"it has more than {bytes_max >> 20} MiB of spans for this")


class HandedUnreadableError(Exception):
    """No question can be put to what other replicas have handed over: the columns are of other
    types, or the file is damaged."""


class Field(StrEnum):
    """What a search can compare with a value; the values here are the columns' names."""

    OPERATION = "name"
    NAMESPACE = "k8s.namespace.name"
    INGRESS = "spanway.ingress.name"
    METHOD = "http.request.method"
    HOST = "server.address"
    ROUTE = "http.route"
    NODE = "k8s.node.name"
    POD = "k8s.pod.name"
    FLAG = "spanway.flags"
    VERDICT = "spanway.verdict"
    ERROR_TYPE = "error.type"


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """Traces with a span for each of these conditions, not necessarily the same; None is anything.

    Times are UTC nanoseconds: when such a span started, both ends included. `service` made the
    span, or is a Service that Spanway balances, `name` or `namespace/name`. `status` is the least
    and the most. `text` occurs in a span's name, path or host. `is_failed` is about the trace: it
    has, or has not, a span with an error. `attributes` are of a span or of who made it, by name and
    value, numbers as text. Durations are of the trace's longest span.
    """

    start_ns: int
    end_ns: int
    service: str | None = None
    fields: Mapping[Field, str] = {}
    attributes: Annotated[Mapping[str, str], msgspec.Meta(max_length=ATTRIBUTES_MAX)] = {}
    status: tuple[int, int] | None = None
    text: str | None = None
    duration_ns_min: int | None = None
    duration_ns_max: int | None = None
    is_failed: bool | None = None
    limit: int = 20


class TraceSummary(msgspec.Struct, frozen=True):
    """One trace, as far as its spans are here.

    `name` and `service` are those of its first span; method, host, route, status and flags those of
    the first span that says them, the edge's; empty or 0 where none does. `verdict` is that of the
    hop that knows best. Times are UTC.
    """

    trace_id: str
    name: str
    service: str
    start_unix_us: int
    duration_us: int
    span_count: int
    services: tuple[str, ...]
    is_failed: bool
    method: str
    host: str
    route: str
    status: int
    flags: str
    verdict: str


class Match(NamedTuple):
    """A trace that fits, and the start of one of its spans that do. Of a part of one that fits in
    part, `held` has a bit for each condition that holds."""

    trace_hi: int
    trace_lo: int
    start_ns: int
    held: int = 0


def matches(connection: "DuckDBPyConnection", wanted: Search, start_ns: int) -> list[Match]:
    """The newest traces that fit and began at `start_ns` or later, at most `wanted.limit`."""
    columns = [column[0] for column in connection.execute(_COLUMNS).description]
    conditions, excluded, parameters = _conditions(wanted, columns)
    # What is formatted here is text of this file alone.
    first, *others = map(_spans_where, conditions or [("true",)])
    joins = [f"SEMI JOIN ({spans}) USING (trace_hi, trace_lo)" for spans in others]
    statement = _FOUND.format(first=first, joins=" ".join([*joins, *_anti_joins(excluded)]))
    times = {"start_ns": start_ns, "end_ns": wanted.end_ns, "limit": wanted.limit}
    return [Match(*row) for row in connection.execute(statement, parameters | times).fetchall()]


def condition_count(wanted: Search) -> int:
    """How many bits `Match.held` has."""
    return len(_conditions(wanted, ())[0])


def parts(connection: "DuckDBPyConnection", wanted: Search, start_ns: int) -> list[Match]:
    """The newest traces for which some conditions hold here and others do not, at most `PARTS_MAX`:
    where the others hold may be another replica."""
    columns = [column[0] for column in connection.execute(_COLUMNS).description]
    conditions, excluded, parameters = _conditions(wanted, columns)
    if len(conditions) < 2:  # noqa: PLR2004 - one holds or does not
        return []
    held = (
        f"SELECT *, {1 << n}::BIGINT AS bit FROM ({_spans_where(forms)})"
        for n, forms in enumerate(conditions)
    )
    joins = " ".join(_anti_joins(excluded))
    statement = _PARTS.format(held=" UNION ALL ".join(held), joins=joins)
    bounds = {"start_ns": start_ns, "end_ns": wanted.end_ns}
    others = {"all": (1 << len(conditions)) - 1, "limit": PARTS_MAX}
    return [
        Match(*row)
        for row in connection.execute(statement, parameters | bounds | others).fetchall()
    ]


def summaries(
    connection: "DuckDBPyConnection",
    wanted: Search,
    found: Sequence[Match],
    times: tuple[int, int],
) -> list[TraceSummary]:
    """Of these traces, by what of them began between the two times; the newest first, and without
    those that do not fit when all of their spans are looked at."""
    los = [match.trace_lo for match in found]
    parameters: dict[str, Any] = {"los": los, "start_ns": times[0], "end_ns": times[1]}
    if wanted.duration_ns_max is not None:
        parameters["duration_max"] = wanted.duration_ns_max
    statement = _SUMMARIES.format(having=" AND ".join(["true", *_of_traces(wanted)]))
    rows = connection.execute(statement, parameters).fetchall()
    ids = {match[:2] for match in found}
    return [_summary(*row) for row in rows if row[:2] in ids]


def spans_of(connection: "DuckDBPyConnection", trace_id: str) -> list[Span]:
    """All spans of a trace in the order of their start; `trace_id` is 32 hex digits."""
    halves = {"hi": int(trace_id[:16], 16), "lo": int(trace_id[16:], 16), "limit": SPANS_MAX}
    found = connection.execute(_TRACE, halves)
    names = [column[0] for column in found.description]
    spans = [_span(dict(zip(names, row, strict=True))) for row in found.fetchall()]
    # It may have come twice, beyond what `proxy.columns` remembers.
    return list({(span.span_id, span.kind): span for span in spans}.values())


def values(
    connection: "DuckDBPyConnection", field: Field | None, start_ns: int, end_ns: int
) -> list[tuple[str, int]]:
    """What there is of a field, None for `Search.service`, and how many spans say it; those with
    the most first."""
    columns = ["service", _BALANCED] if field is None else [f'"{field}"']
    counted = " UNION ALL ".join(_COUNTED.format(column=column) for column in columns)
    found = connection.execute(_VALUES.format(counted=counted), {"start": start_ns, "end": end_ns})
    return [(str(value), count) for value, count in found.fetchall()]


def services(connection: "DuckDBPyConnection") -> list[str]:
    """Who made spans, by name."""
    found = connection.execute(
        f"SELECT DISTINCT service FROM spans ORDER BY ALL LIMIT {VALUES_MAX}"
    ).fetchall()
    return [name for (name,) in found]


def operations(connection: "DuckDBPyConnection", service: str) -> list[tuple[str, SpanKind]]:
    """The names of a service's spans, with their kinds."""
    found = connection.execute(
        "SELECT DISTINCT name, kind FROM spans WHERE service = $service"
        f" ORDER BY ALL LIMIT {VALUES_MAX}",
        {"service": service},
    ).fetchall()
    return [(name, _KINDS.get(kind, SpanKind.UNSPECIFIED)) for name, kind in found]


def calls(
    connection: "DuckDBPyConnection", start_ns: int, end_ns: int
) -> list[tuple[str, str, int]]:
    """Which service called which, how often: a span whose parent is another service's."""
    return connection.execute(_CALLS, {"start_ns": start_ns, "end_ns": end_ns}).fetchall()


def _conditions(
    wanted: Search, columns: Sequence[str]
) -> tuple[list[tuple[str, ...]], list[str], dict[str, Any]]:
    """Those of which each must hold for a span, in one of its forms; those that may hold for none;
    the parameters of all. A form is about one column where that can be: DuckDB then asks a file's
    statistics and dictionaries first, and is done with most of it."""
    conditions: list[tuple[str, ...]] = []
    excluded: list[str] = []
    parameters: dict[str, Any] = {}

    def add(*forms: str, **given: Any) -> None:
        conditions.append(forms)
        parameters.update(given)

    if wanted.service is not None:
        namespace, _, name = wanted.service.rpartition("/")
        balanced = '"k8s.service.name" = $service_name'
        if namespace:
            balanced += ' AND "k8s.namespace.name" = $service_namespace'
            parameters["service_namespace"] = namespace
        add("service = $service", balanced, service=wanted.service, service_name=name)
    for field, value in wanted.fields.items():
        add(f'"{field}" = ${field.name.lower()}', **{field.name.lower(): value})
    for index, (name, value) in enumerate(wanted.attributes.items()):
        key, path = f"value_{index}", f"path_{index}"
        if name in columns:  # so it is text of ours
            add(f'"{name}"::VARCHAR = ${key}', **{key: value})
            continue
        forms = (f"json_extract_string({one}, ${path}) = ${key}" for one in _JSONS)
        pointer = name.replace("~", "~0").replace("/", "~1")
        add(*forms, **{key: value, path: f"/{pointer}"})
    if wanted.status is not None:
        least, most = wanted.status
        status = '"http.response.status_code" BETWEEN $status_min AND $status_max'
        add(status, status_min=least, status_max=most)
    if wanted.text is not None:
        add(*(f"contains({column}, $text)" for column in _TEXTS), text=wanted.text)
    if wanted.duration_ns_min is not None:
        add("duration_ns >= $duration_min", duration_min=wanted.duration_ns_min)
    if wanted.duration_ns_max is not None:
        excluded.append("duration_ns > $duration_max")
        parameters["duration_max"] = wanted.duration_ns_max
    if wanted.is_failed is not None:
        conditions += [("status = 2",)] if wanted.is_failed else []
        excluded += [] if wanted.is_failed else ["status = 2"]
    return conditions, excluded, parameters


def _spans_where(forms: Sequence[str]) -> str:
    """Spans for which a condition holds, in any of its forms."""
    return " UNION ALL ".join(_WHERE.format(condition=form) for form in forms)


def _anti_joins(excluded: Iterable[str]) -> list[str]:
    return [f"ANTI JOIN ({_spans_where([one])}) USING (trace_hi, trace_lo)" for one in excluded]


def _of_traces(wanted: Search) -> list[str]:
    """The same as `excluded`, where all spans of a trace are looked at."""
    rules = []
    if wanted.duration_ns_max is not None:
        rules.append("max(duration_ns) <= $duration_max")
    if wanted.is_failed is False:
        rules.append("NOT bool_or(status = 2)")
    return rules


def _summary(trace_hi: int, trace_lo: int, *rest: Any) -> TraceSummary:
    *known, hops = rest
    columns = zip(TraceSummary.__struct_fields__[1:], known, strict=True)
    fields = dict(columns) | {"services": tuple(sorted(known[5]))}
    fields["verdict"] = _verdict(fields["verdict"], hops or ())
    return TraceSummary(trace_id=_hex(trace_hi, trace_lo), **fields)


def _verdict(edge: str, hops: Sequence[Mapping[str, Any]]) -> str:
    """To a hop the app is all that is behind its endpoint; one that began later and was slower than
    usual by more than half of that knows better: its network, or another app. As on the page."""
    slow = sorted(hops, key=lambda hop: hop["start_ns"])
    told = edge
    while told == "app" and slow:
        hop, *later = slow
        told = hop["verdict"]
        inner = [one for one in later if one["excess_us"] > hop["excess_us"] / 2]
        if not inner:
            break
        largest = max(inner, key=lambda one: one["excess_us"])
        slow = later[later.index(largest) :]
    return told


_JSONS = ("attributes", "resource")
_COLUMNS = "SELECT * FROM spans LIMIT 0"
_TEXTS = ("name", '"url.path"', '"server.address"')
_WHERE = """
SELECT trace_hi, trace_lo, start_ns FROM spans
WHERE start_ns BETWEEN $start_ns AND $end_ns AND {condition}
"""
_FOUND = """
SELECT trace_hi, trace_lo, max(start_ns)
FROM ({first}) {joins}
GROUP BY ALL
ORDER BY max(start_ns) DESC
LIMIT $limit
"""

_PARTS = """
SELECT trace_hi, trace_lo, max(start_ns), bit_or(bit)
FROM ({held}) {joins}
GROUP BY trace_hi, trace_lo
HAVING bit_or(bit) < $all
ORDER BY max(start_ns) DESC
LIMIT $limit
"""

_BALANCED = """ "k8s.namespace.name" || '/' || "k8s.service.name" """
_COUNTED = """
SELECT {column} AS value, count(*) AS span_count FROM spans
WHERE start_ns BETWEEN $start AND $end GROUP BY ALL
"""
_VALUES = f"""
SELECT value, sum(span_count)::BIGINT FROM ({{counted}})
WHERE value IS NOT NULL GROUP BY value ORDER BY sum(span_count) DESC, value LIMIT {VALUES_MAX}
"""

_FIRST = "arg_min({0}, (start_ns, -duration_ns)) FILTER ({0} IS NOT NULL)"
_SUMMARIES = f"""
SELECT trace_hi, trace_lo, {_FIRST.format("name")}, {_FIRST.format("service")},
  min(start_ns) // 1000, (max(start_ns + duration_ns) - min(start_ns)) // 1000,
  count(DISTINCT (span_id, kind)),
  list(DISTINCT service), bool_or(status = 2),
  coalesce({_FIRST.format('"http.request.method"')}, ''),
  coalesce({_FIRST.format('"server.address"')}, ''),
  coalesce({_FIRST.format('"http.route"')}, ''),
  coalesce({_FIRST.format('"http.response.status_code"')}, 0),
  coalesce({_FIRST.format('"spanway.flags"')}, ''),
  coalesce({_FIRST.format('"spanway.verdict"')}, ''),
  max_by(
    struct_pack(
      start_ns := start_ns, verdict := "spanway.verdict", excess_us := "spanway.verdict.excess_us"
    ),
    "spanway.verdict.excess_us", {HOPS_MAX}
  ) FILTER ("spanway.verdict" IS NOT NULL)
FROM spans
WHERE start_ns BETWEEN $start_ns AND $end_ns AND trace_lo IN (SELECT unnest($los::UBIGINT[]))
GROUP BY ALL
HAVING {{having}}
ORDER BY min(start_ns) DESC
"""

_TRACE = """
SELECT * FROM spans WHERE trace_hi = $hi AND trace_lo = $lo
ORDER BY start_ns, duration_ns DESC LIMIT $limit
"""

_CALLS = f"""
SELECT caller.service, callee.service, count(*) * (SELECT one_of FROM thinned)
FROM spans AS callee JOIN spans AS caller ON callee.parent_id = caller.span_id
  AND callee.trace_hi = caller.trace_hi AND callee.trace_lo = caller.trace_lo
WHERE callee.start_ns BETWEEN $start_ns AND $end_ns AND caller.service <> callee.service
GROUP BY ALL ORDER BY ALL LIMIT {VALUES_MAX}
"""

_KINDS = {int(kind): kind for kind in SpanKind}
_STATUSES = {int(status): status for status in SpanStatus}
_OWN = frozenset(
    {"trace_hi", "trace_lo", "span_id", "parent_id", "start_ns", "duration_ns", "kind", "status"}
    | {"name", "service", "instance", "scope", "status_message", "trace_state", "resource"}
    | {"attributes", "events", "links"}
)


def _span(row: dict[str, Any]) -> Span:
    return Span(
        trace_id=_hex(row["trace_hi"], row["trace_lo"]),
        span_id=f"{row['span_id']:016x}",
        parent_id=f"{row['parent_id']:016x}" if row["parent_id"] is not None else "",
        name=row["name"],
        kind=_KINDS.get(row["kind"], SpanKind.UNSPECIFIED),
        service=row["service"],
        start_unix_ns=row["start_ns"],
        end_unix_ns=row["start_ns"] + row["duration_ns"],
        attributes=dict(_attributes(row)),
        status=_STATUSES.get(row["status"], SpanStatus.UNSET),
        status_message=row["status_message"] or "",
        links=tuple((link.trace_id, link.span_id) for link in _list(row["links"], _Link)),
        trace_state=row["trace_state"] or "",
        events=tuple(map(_event, _list(row["events"], _Event))),
        resource=dict(_resource(row)),
        scope=row["scope"] or "",
    )


def _attributes(row: dict[str, Any]) -> Iterator[tuple[str, AttributeValue]]:
    for name, value in row.items():
        if value is not None and name not in _OWN:
            yield name, value
    yield from _object(row["attributes"])


def _resource(row: dict[str, Any]) -> Iterator[tuple[str, AttributeValue]]:
    for name, column in (("service.name", "service"), ("service.instance.id", "instance")):
        if row[column]:
            yield name, row[column]
    yield from _object(row["resource"])


class _Event(msgspec.Struct):
    unix_ns: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    name: str
    attributes: dict[str, Any]


class _Link(msgspec.Struct):
    trace_id: str
    span_id: str


def _event(event: _Event) -> SpanEvent:
    attributes = {name: _frozen(value) for name, value in event.attributes.items()}
    return SpanEvent(event.unix_ns, event.name, attributes)


def _list(text: str | None, kind: type[_T]) -> list[_T]:
    """Of JSON that may be cut off, where a span has more than is kept."""
    try:
        return shallow_json.read(text or "[]", list[kind])  # type: ignore[valid-type]
    except msgspec.DecodeError:
        return []


def _object(text: str | None) -> Iterator[tuple[str, AttributeValue]]:
    """What `text` says by name: nothing where it is no JSON, as another replica may say."""
    try:
        said = shallow_json.read(text or "{}", dict[str, Any])
    except msgspec.DecodeError:
        return
    for name, value in said.items():
        yield name, _frozen(value)


def _frozen(value: Any, levels: int = NESTING_MAX) -> AttributeValue:
    """Lists as tuples, maps as pairs of key and value, as `decode` has them."""
    match value:
        case list() | dict() if not levels:
            return ""
        case list():
            return tuple(_frozen(entry, levels - 1) for entry in value)
        case dict():
            return tuple((key, _frozen(entry, levels - 1)) for key, entry in value.items())
        case None:
            return ""
        case _:
            plain: AttributeValue = value
            return plain


def _hex(trace_hi: int, trace_lo: int) -> str:
    return f"{trace_hi:016x}{trace_lo:016x}"

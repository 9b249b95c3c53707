"""Every field of a Request, in one table: where it is, what it says, what it is selected by.

Of it are made the object, what `kubectl explain` says, and the names of field selectors.
Rules: pure. What is not known, or not yet, is left out. Times of objects are in milliseconds, which
people read and scripts compare.
"""

import difflib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from ingress_controller.aggregated.status_error import GROUP, VERSION, bad_request
from ingress_controller.readable import cut, duration, printable
from proxy.live import CONDITIONS_MAX, Condition, Field, Kind, Phase, Row

KIND = "Request"
API_VERSION = f"{GROUP}/{VERSION}"
REQUEST_CHARACTERS_MAX = 48  # of a host and path in the table; the object has all

_PHASES = ", ".join(Phase)


def _ms(us: int) -> float:
    return us / 1_000


def _in_phase(phase: Phase, row: Row) -> float | str:
    return _ms(row.phases_us[phase]) if phase in row.phases_us else ""


class Shown(NamedTuple):
    """A field: `section.name`, its type in JSON, what it says; `of` a live request.

    Empty text is left out. `field` is what a field selector of that name asks for, if there is one.
    """

    path: str
    type: str
    text: str
    of: Callable[[Row], Any]
    field: Field | None = None


FIELDS = (
    Shown(
        "spec.kind",
        "string",
        "request; upgrade (a WebSocket, for example); connection (handed on as it is).",
        lambda row: row.kind,
        Field.KIND,
    ),
    Shown("spec.method", "string", "Of HTTP.", lambda row: row.method, Field.METHOD),
    Shown("spec.scheme", "string", "http or https, at the client.", lambda row: row.scheme),
    Shown("spec.host", "string", "What the client asked for.", lambda row: row.host, Field.HOST),
    Shown("spec.path", "string", "In normal form, without its query.", lambda row: row.path),
    Shown("spec.protocol", "string", "Of the client's connection.", lambda row: row.protocol),
    Shown(
        "spec.client",
        "string",
        "Its address and port; the field selector takes the address.",
        lambda row: row.client,
        Field.CLIENT,
    ),
    Shown(
        "spec.route",
        "string",
        "The host of the rule that matched, * for any, and its path.",
        lambda row: row.route,
        Field.ROUTE,
    ),
    Shown(
        "spec.ingress",
        "string",
        "Namespace and name of the Ingress.",
        lambda row: row.ingress,
        Field.INGRESS,
    ),
    Shown("spec.rule", "string", "The field of the Ingress.", lambda row: row.rule),
    Shown(
        "spec.service",
        "string",
        "Namespace, name and port; the field selector takes it also without the port.",
        lambda row: row.service,
        Field.SERVICE,
    ),
    Shown(
        "spec.endpoint",
        "string",
        "Where the last attempt went; so did pod, node and zone.",
        lambda row: row.endpoint,
        Field.ENDPOINT,
    ),
    Shown("spec.pod", "string", "Of the endpoint.", lambda row: row.pod, Field.POD),
    Shown("spec.node", "string", "Of the endpoint.", lambda row: row.node, Field.NODE),
    Shown("spec.zone", "string", "Of the endpoint.", lambda row: row.zone),
    Shown(
        "status.phase",
        "string",
        f"What it waits for now: {_PHASES}.",
        lambda row: row.phase,
        Field.PHASE,
    ),
    Shown("status.ageMilliseconds", "number", "Since its start.", lambda row: _ms(row.age_us)),
    Shown(
        "status.phaseAgeMilliseconds",
        "number",
        "Since this phase began.",
        lambda row: _ms(row.phase_age_us),
    ),
    *(
        Shown(
            f"status.phasesMilliseconds.{phase}",
            "number",
            "In this phase so far.",
            partial(_in_phase, phase),
        )
        for phase in Phase
    ),
    Shown(
        "status.statusCode",
        "integer",
        "Of the response, once it is on its way.",
        lambda row: row.status or "",
    ),
    Shown(
        "status.receivedBytes",
        "integer",
        "Of the body, from the client.",
        lambda row: row.received_bytes,
    ),
    Shown("status.sentBytes", "integer", "Of the body, to it.", lambda row: row.sent_bytes),
    Shown("status.attempts", "integer", "At endpoints.", lambda row: row.attempts),
    Shown(
        "status.traceID",
        "string",
        "Of the trace that it belongs to.",
        lambda row: row.trace_id,
        Field.TRACE_ID,
    ),
    Shown(
        "status.tableGeneration",
        "integer",
        "Of the table of routes that serves it.",
        lambda row: row.generation,
    ),
)

SECTIONS = {
    "spec": "What was asked for, and who answers.",
    "status": "How far it has come.",
    "status.phasesMilliseconds": "How long it was in each phase; they sum to its age.",
}
"""What stands over fields that belong together."""

INSTANCE = Shown(
    "status.instance", "string", "The Spanway that it is in: a pod's name.", lambda _: ""
)

SELECTORS: dict[str, Field] = {
    "metadata.name": Field.ID,
    "metadata.namespace": Field.NAMESPACE,
    **{shown.path: shown.field for shown in FIELDS if shown.field is not None},
}
"""What field selectors know."""

_CLOSED = {Field.PHASE: Phase, Field.KIND: Kind}
_TERM = re.compile(r"([^=!\\]+)(!=|==|=)(.*)", re.DOTALL)


class Column(NamedTuple):
    """One of the table that kubectl prints; `priority` 1 is for `-o wide`."""

    name: str
    text: str
    of: Callable[[Row], Any]
    type: str = "string"
    format: str = ""
    priority: int = 0


COLUMNS = (
    Column("Name", "Names the request, and its SERVER span.", lambda row: row.id, format="name"),
    Column("Phase", f"What it waits for: {_PHASES}.", lambda row: row.phase),
    Column("Age", "Since its start.", lambda row: duration(row.age_us)),
    Column("Method", "Of HTTP, or what it is instead.", lambda row: row.method or row.kind),
    Column(
        "Request", "Host and path.", lambda row: cut(row.host + row.path, REQUEST_CHARACTERS_MAX)
    ),
    Column("Service", "Name and port.", lambda row: row.service.removeprefix(f"{row.namespace}/")),
    Column("Node", "Of the endpoint.", lambda row: row.node),
    Column("Pod", "The endpoint.", lambda row: row.pod),
    Column("Route", "Host and path of the rule.", lambda row: row.route, priority=1),
    Column("Client", "Its address and port.", lambda row: row.client, priority=1),
    Column("Status", "Of the response.", lambda row: row.status or "", priority=1),
    Column("Attempts", "At endpoints.", lambda row: row.attempts, "integer", priority=1),
    Column("Trace", "The trace's id.", lambda row: row.trace_id, priority=1),
    Column("Instance", INSTANCE.text, INSTANCE.of, priority=1),
)


def cells(row: Row, instance: str) -> list[Any]:
    """One for each of `COLUMNS`."""
    return [*(_cell(column.of(row)) for column in COLUMNS[:-1]), instance]


def metadata(row: Row, version: str) -> dict[str, Any]:
    """Of the object; without a namespace while it is not known."""
    started = datetime.fromtimestamp(row.start_unix_us // 1_000_000, UTC)
    named = {
        "name": row.id,
        "uid": row.id,
        "resourceVersion": version,
        "creationTimestamp": started.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return named | ({"namespace": row.namespace} if row.namespace else {})


def request_object(row: Row, version: str, instance: str) -> dict[str, Any]:
    """The object. `version` is the answer's, since a live request has none of its own."""
    made: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": metadata(row, version),
    }
    for shown in FIELDS:
        value = shown.of(row)
        if value != "":
            _put(made, shown.path, value)
    _put(made, INSTANCE.path, instance)
    return made


def conditions(selector: str) -> tuple[Condition, ...]:
    """What a field selector asks for.

    Raises:
        StatusError: it cannot be read, or selects by what there is not.
    Source: k8s.io/apimachinery, fields.ParseSelector.
    """
    if not re.fullmatch(r"(?:\\[\\,=]|[^\\])*", selector):
        raise bad_request(
            f'fieldSelector: "{selector[:64]}" has a "\\" before no "\\", "," or "=".'
        )
    found = tuple(_condition(term) for term in re.findall(r"(?:\\.|[^\\,])+", selector))
    if len(found) > CONDITIONS_MAX - 2:  # one each for a namespace and a name in the path
        raise bad_request(f"fieldSelector: more than {CONDITIONS_MAX - 2} conditions; give fewer.")
    return found


def _condition(term: str) -> Condition:
    parts = _TERM.fullmatch(term)
    if parts is None:
        raise bad_request(
            f'fieldSelector: "{term[:64]}" is not FIELD=VALUE or FIELD!=VALUE,'
            " for example status.phase=wait."
        )
    name, sign, escaped = parts[1], parts[2], parts[3]
    field = SELECTORS.get(name)
    if field is None:
        close = difflib.get_close_matches(name, SELECTORS, n=1)
        meant = f'write "{close[0]}"' if close else f"there are {', '.join(SELECTORS)}"
        raise bad_request(f'fieldSelector: "{name[:64]}" is no field to select by; {meant}.')
    value = re.sub(r"\\(.)", r"\1", escaped)
    kinds = _CLOSED.get(field)
    if kinds is not None and value not in list(kinds):
        raise bad_request(f'fieldSelector: {name}: "{value[:64]}" is none of {", ".join(kinds)}.')
    return Condition(field, value, negated=sign == "!=")


def _put(made: dict[str, Any], path: str, value: Any) -> None:
    *outer, name = path.split(".")
    for section in outer:
        made = made.setdefault(section, {})
    made[name] = value


def _cell(value: Any) -> Any:
    return (printable(value) or "-") if isinstance(value, str) else value

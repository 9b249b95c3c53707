"""The kind Request: a live request as an object, and what it is selected by.

Rules: pure. What is not known, or not yet, is left out. Times of objects are in milliseconds, which
people read and scripts compare.
"""

import difflib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ingress_controller.aggregated.kinds import Column, Kind, Shown
from ingress_controller.aggregated.status_error import bad_request
from ingress_controller.readable import cut, duration
from proxy.live import CONDITIONS_MAX, Condition, Field, Phase, Row
from proxy.live import Kind as LiveKind

REQUEST_CHARACTERS_MAX = 48  # of a host and path in the table; the object has all

_PHASES = ", ".join(Phase)


def _ms(us: int) -> float:
    return us / 1_000


def _in_phase(phase: Phase, row: Row) -> float | str:
    return _ms(row.phases_us[phase]) if phase in row.phases_us else ""


_FIELDS: tuple[Shown[Row], ...] = (
    Shown(
        "spec.kind",
        "string",
        "request; upgrade (a WebSocket, for example); connection (handed on as it is).",
        lambda row: row.kind,
    ),
    Shown("spec.method", "string", "Of HTTP.", lambda row: row.method),
    Shown("spec.scheme", "string", "http or https, at the client.", lambda row: row.scheme),
    Shown("spec.host", "string", "What the client asked for.", lambda row: row.host),
    Shown("spec.path", "string", "In normal form, without its query.", lambda row: row.path),
    Shown("spec.protocol", "string", "Of the client's connection.", lambda row: row.protocol),
    Shown(
        "spec.client",
        "string",
        "Its address and port; the field selector takes the address.",
        lambda row: row.client,
    ),
    Shown(
        "spec.route",
        "string",
        "The host of the rule that matched, * for any, and its path.",
        lambda row: row.route,
    ),
    Shown(
        "spec.ingress",
        "string",
        "Namespace and name of the Ingress.",
        lambda row: row.ingress,
    ),
    Shown("spec.rule", "string", "The field of the Ingress.", lambda row: row.rule),
    Shown(
        "spec.service",
        "string",
        "Namespace, name and port; the field selector takes it also without the port.",
        lambda row: row.service,
    ),
    Shown(
        "spec.endpoint",
        "string",
        "Where the last attempt went; so did pod, node and zone.",
        lambda row: row.endpoint,
    ),
    Shown("spec.pod", "string", "Of the endpoint.", lambda row: row.pod),
    Shown("spec.node", "string", "Of the endpoint.", lambda row: row.node),
    Shown("spec.zone", "string", "Of the endpoint.", lambda row: row.zone),
    Shown(
        "status.phase",
        "string",
        f"What it waits for now: {_PHASES}.",
        lambda row: row.phase,
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
    ),
    Shown(
        "status.tableGeneration",
        "integer",
        "Of the table of routes that serves it.",
        lambda row: row.generation,
    ),
)

_COLUMNS: tuple[Column[Row], ...] = (
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
)


def _metadata(row: Row) -> dict[str, Any]:
    """Without a namespace while it is not known."""
    started = datetime.fromtimestamp(row.start_unix_us // 1_000_000, UTC)
    named = {
        "name": row.id,
        "uid": row.id,
        "creationTimestamp": started.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return named | ({"namespace": row.namespace} if row.namespace else {})


REQUEST: Kind[Row] = Kind(
    name="Request",
    plural="requests",
    singular="request",
    short_names=("req",),
    is_namespaced=True,
    verbs=("get", "list", "watch"),
    text="A request that is inside Spanway now. When it is over it is gone from here, and its trace"
    " says the rest.",
    metadata_text="Its name is the id of its SERVER span; its namespace is that of the Ingress,"
    " else of the Service; it was created when its first byte came.",
    sections={
        "spec": "What was asked for, and who answers.",
        "status": "How far it has come.",
        "status.phasesMilliseconds": "How long it was in each phase; they sum to its age.",
    },
    fields=_FIELDS,
    columns=_COLUMNS,
    metadata=_metadata,
    instance=lambda row: row.instance,
)


SELECTORS: Mapping[str, Field] = {
    "metadata.name": Field.ID,
    "metadata.namespace": Field.NAMESPACE,
    "spec.kind": Field.KIND,
    "spec.method": Field.METHOD,
    "spec.host": Field.HOST,
    "spec.client": Field.CLIENT,
    "spec.route": Field.ROUTE,
    "spec.ingress": Field.INGRESS,
    "spec.service": Field.SERVICE,
    "spec.endpoint": Field.ENDPOINT,
    "spec.pod": Field.POD,
    "spec.node": Field.NODE,
    "status.phase": Field.PHASE,
    "status.traceID": Field.TRACE_ID,
}
"""What field selectors know."""

_CLOSED = {Field.PHASE: Phase, Field.KIND: LiveKind}
_TERM = re.compile(r"([^=!\\]+)(!=|==|=)(.*)", re.DOTALL)


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

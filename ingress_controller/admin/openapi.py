"""`/api/openapi.json`: what may be asked of the admin server, and what comes back, for machines.

Rules: what an answer looks like is made from its type where it has one. Probes, `/metrics` and the
page are not in it: others say what they are.
Source: OpenAPI Specification 3.1.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import msgspec

from ingress_controller.admin.analysis import KINDS_MAX, REPORTS
from ingress_controller.admin.live import INTERVAL_S_MAX, INTERVAL_S_MIN, LIMIT_MAX
from ingress_controller.admin.problems import ShownExplanation, ShownProblems
from ingress_controller.admin.traces import COLUMNS, Found, ShownTrace, Values
from ingress_controller.analysis.measures import BINS_MAX
from ingress_controller.analysis.queries.groups import By
from ingress_controller.analysis.queries.groups import Sort as GroupSort
from ingress_controller.peers.live import SharedLive
from ingress_controller.traces.store.queries import TRACES_MAX
from proxy.live import Field, Kind, Phase, Sort

_JSON = "application/json"
_ERROR = {"$ref": "#/components/schemas/Error"}


@cache
def document(version: str) -> dict[str, Any]:
    """The whole of it; `version` is Spanway's."""
    reports = [report.answer for report in REPORTS.values()]
    answers = (SharedLive, ShownExplanation, ShownProblems, Found, ShownTrace, Values, *reports)
    schemas, components = msgspec.json.schema_components(
        answers, ref_template="#/components/schemas/{name}"
    )
    live, explanation, problems, found, trace, values, *analyses = schemas
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Spanway",
            "version": version,
            "description": "What a running Spanway shows of itself. Nothing can be changed by it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{}, {"token": []}, {"certificate": []}],
        "paths": {
            "/api/live": _get(
                "The requests that are inside now, or were at a moment.",
                live,
                _LIVE,
                errors=(400, 404, 503),
            ),
            "/api/traces": _get(
                "The newest traces that fit.", found, _SEARCH, errors=(400, 404, 503)
            ),
            "/api/traces/{id}": _get(
                "One trace, as far as its spans are here.",
                trace,
                [_parameter("id", _TRACE_ID, place="path"), _PEERS],
                errors=(400, 404, 503),
            ),
            "/api/values": _get(
                "What spans say, to search for.",
                values,
                [_parameter("of", {"enum": COLUMNS}, is_required=True), *_WINDOW, _PEERS],
                errors=(400, 404, 503),
            ),
            **{
                f"/api/analysis/{name}": _get(
                    report.summary,
                    schema,
                    [*_of_analysis(report.parameters), _PEERS],
                    errors=(400, 404, 503),
                )
                for (name, report), schema in zip(REPORTS.items(), analyses, strict=True)
            },
            "/api/routes": _get("The table in force.", _object(*_TABLE)),
            "/api/problems": _get("What is wrong with objects, and what to do.", problems),
            "/api/explain": _get(
                "Which route answers a URL, and why.",
                explanation,
                [_parameter("url", {"type": "string", "pattern": _URL}, is_required=True)],
                errors=(400,),
            ),
            "/api/stats": _get("Counters since the start.", _object("engine", "exporters")),
            "/api/config": _get("The settings in force.", _object("version", "groups")),
        },
        "components": {
            "schemas": {
                **components,
                "Error": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {"error": {"type": "string"}},
                },
            },
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "certificate": {"type": "mutualTLS"},
            },
        },
    }


_URL = r"^(https?://)?[a-z0-9.-]{1,200}(/[A-Za-z0-9/._-]{0,200})?$"
"""What of all URLs is surely one; more are taken."""

_TABLE = ("generation", "tracing", "listeners", "hosts", "policies", "backends", "certificates")


def _get(
    summary: str,
    schema: dict[str, Any],
    parameters: Sequence[dict[str, Any]] = (),
    *,
    errors: Iterable[int] = (),
) -> dict[str, Any]:
    responses = {"200": {"description": summary, "content": {_JSON: {"schema": schema}}}}
    for status in (401, 403, 503, *errors):
        responses[str(status)] = {
            "description": "A sentence that says what to do instead.",
            "content": {_JSON: {"schema": _ERROR}},
        }
    return {"get": {"summary": summary, "parameters": list(parameters), "responses": responses}}


def _parameter(
    name: str, schema: dict[str, Any], *, is_required: bool = False, place: str = "query"
) -> dict[str, Any]:
    is_required = is_required or place == "path"
    return {"name": name, "in": place, "required": is_required, "schema": schema}


def _of_analysis(names: Iterable[str]) -> list[dict[str, Any]]:
    return [
        _parameter(name, _ANALYSIS.get(name, _TEXT), is_required=name == "trace")
        for name in names
        if name not in _DEPENDENT
    ]


def _object(*required: str) -> dict[str, Any]:
    return {"type": "object", "required": list(required)}


def _either(kind: Iterable[str]) -> dict[str, Any]:
    """One of a closed set, or any other with `!` before it."""
    return {"enum": [text for value in kind for text in (str(value), f"!{value}")]}


_CLOSED = {Field.PHASE: _either(Phase), Field.KIND: _either(Kind)}
_TEXT = {"type": "string", "maxLength": 512}
_DURATION = {"type": "string", "pattern": r"^[0-9]{1,3}(us|ms|s|m|h)?$"}
_WINDOW = [_parameter("since", _DURATION)]
_PEERS = _parameter("peers", {"enum": ["true", "false"]})
_SEARCH = [
    *(_parameter(name, _TEXT) for name in (*COLUMNS, "text")),
    _parameter("status", {"type": "string", "pattern": "^[1-5](xx|[0-9][0-9])$"}),
    *(_parameter(name, _DURATION) for name in ("min_duration", "max_duration")),
    _parameter("attribute", {"type": "string", "pattern": "^[a-z.]{1,20}=[a-z0-9]{1,20}$"}),
    _parameter("error", {"enum": ["true", "false"]}),
    _parameter("limit", {"type": "integer", "minimum": 1, "maximum": TRACES_MAX}),
    *_WINDOW,
    _PEERS,
]
_TRACE_ID = {"type": "string", "pattern": "^[0-9a-f]{31}[1-9a-f]$"}  # not all may be 0
_DEPENDENT = ("from", "to", "before", "after")
"""Parameters that go only with others, which the document cannot say; docs/ANALYSIS.md does."""

_ANALYSIS: dict[str, dict[str, Any]] = {
    "by": {"enum": list(map(str, By))},
    "sort": {"enum": list(map(str, GroupSort))},
    "limit": {"type": "integer", "minimum": 1, "maximum": KINDS_MAX},
    "bins": {"type": "integer", "minimum": 0, "maximum": BINS_MAX},
    "since": _DURATION,
    "earlier": _DURATION,
    "trace": _TRACE_ID,
}
"""By name; other parameters are texts that must be equal."""

_LIVE = [
    *(_parameter(field, _CLOSED.get(field, _TEXT)) for field in Field),
    _parameter("age_min", _DURATION),
    _parameter("sort", {"enum": list(map(str, Sort))}),
    _parameter("order", {"enum": ["asc", "desc"]}),
    _parameter("limit", {"type": "integer", "minimum": 0, "maximum": LIMIT_MAX}),
    _parameter("at", {"type": "string", "pattern": "^1[67][0-8][0-9]{7}$"}),
    _parameter("watch", {"enum": ["0", "1"]}),
    _PEERS,
    _parameter(
        "interval", {"type": "number", "minimum": INTERVAL_S_MIN, "maximum": INTERVAL_S_MAX}
    ),
]

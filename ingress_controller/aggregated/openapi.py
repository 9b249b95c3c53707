"""What objects look like: OpenAPI of both versions. `kubectl explain` needs it.

Rules: pure.
Source: Kubernetes, "OpenAPI"; kubectl's templates of `explain`, for what of it they look at.
"""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any

from ingress_controller.aggregated.discovery import Documents, document
from ingress_controller.aggregated.kinds import API_VERSION, INSTANCE, ROOT, Kind
from ingress_controller.aggregated.status_error import VERSION

_FORMATS = {"integer": "int64", "number": "double"}


class _OpenApi(IntEnum):
    V2 = 2
    V3 = 3


def openapi(kinds: Sequence[Kind[Any]]) -> Documents:
    """The descriptions of `kinds`."""
    about = {"title": "Spanway", "version": VERSION}
    schemas = {_schema_name(kind): _schema(kind) for kind in kinds}
    second = document(
        {
            "swagger": "2.0",
            "info": about,
            "paths": dict(_paths(kinds, _OpenApi.V2)),
            "definitions": schemas,
        }
    )
    third = document(
        {
            "openapi": "3.0.0",
            "info": about,
            "paths": dict(_paths(kinds, _OpenApi.V3)),
            "components": {"schemas": schemas},
        }
    )
    path, content = f"/openapi/v3{ROOT}", third.etag.strip('"')
    root = document(
        {"paths": {ROOT.removeprefix("/"): {"serverRelativeURL": f"{path}?hash={content}"}}}
    )
    return {
        "/openapi/v2": lambda _: second,
        "/openapi/v3": lambda _: root,
        path: lambda _: third,
    }


def _schema_name(kind: Kind[Any]) -> str:
    return f"io.spanway.live.{VERSION}.{kind.name}"


def _schema(kind: Kind[Any]) -> dict[str, Any]:
    """Of an object; the same in both versions."""
    schema: dict[str, Any] = {
        "type": "object",
        "description": kind.text,
        "x-kubernetes-group-version-kind": [kind.reference],
        "properties": {
            "apiVersion": {"type": "string", "description": API_VERSION},
            "kind": {"type": "string", "description": kind.name},
            "metadata": {"type": "object", "description": kind.metadata_text},
        },
    }
    for path, text in kind.sections.items():
        _put(schema, path, {"type": "object", "description": text, "properties": {}})
    for shown in (*kind.fields, INSTANCE):
        form: dict[str, Any] = {"type": shown.type, "description": shown.text}
        if shown.type in _FORMATS:
            form["format"] = _FORMATS[shown.type]
        if shown.type == "array":
            form["items"] = {"type": "string"}
        _put(schema, shown.path, form)
    return schema


def _put(schema: dict[str, Any], path: str, value: dict[str, Any]) -> None:
    *outer, name = path.split(".")
    for section in outer:
        schema = schema["properties"][section]
    schema["properties"][name] = value


def _paths(kinds: Sequence[Kind[Any]], version: _OpenApi) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each path with the one thing that can be done there."""
    for kind in kinds:
        scope = f"{ROOT}/namespaces/{{namespace}}" if kind.is_namespaced else ROOT
        yield f"{ROOT}/{kind.plural}", _path(kind, "list", (), version)
        names = ("namespace",) if kind.is_namespaced else ()
        if names:
            yield f"{scope}/{kind.plural}", _path(kind, "list", names, version)
        yield f"{scope}/{kind.plural}/{{name}}", _path(kind, "get", (*names, "name"), version)


def _path(
    kind: Kind[Any], action: str, parameters: Sequence[str], version: _OpenApi
) -> dict[str, Any]:
    return {
        "parameters": [_parameter(name, version) for name in parameters],
        "get": {
            "operationId": f"{action}{kind.name}{''.join(map(str.title, parameters))}",
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": kind.reference,
            "responses": {"200": _response(kind, action, version)},
        },
    }


def _parameter(name: str, version: _OpenApi) -> dict[str, Any]:
    parameter = {"name": name, "in": "path", "required": True}
    text = {"type": "string"}
    return parameter | (text if version is _OpenApi.V2 else {"schema": text})


def _response(kind: Kind[Any], action: str, version: _OpenApi) -> dict[str, Any]:
    where = "definitions" if version is _OpenApi.V2 else "components/schemas"
    schema: dict[str, Any] = {"$ref": f"#/{where}/{_schema_name(kind)}"}
    if action == "list":
        schema = {"type": "object", "properties": {"items": {"type": "array", "items": schema}}}
    if version is _OpenApi.V2:
        return {"description": "OK", "schema": schema}
    return {"description": "OK", "content": {"application/json": {"schema": schema}}}

"""What this API says of itself: discovery, old and aggregated, and OpenAPI of both versions.

Rules: pure; all of it is known when the module is loaded. kubectl needs discovery for every
command, and OpenAPI for `kubectl explain`.
Source: Kubernetes, "Kubernetes API discovery", "OpenAPI"; apidiscovery.k8s.io/v2.
"""

import hashlib
from typing import Any, NamedTuple

import msgspec

from ingress_controller.aggregated.forms import media_types
from ingress_controller.aggregated.request_fields import (
    API_VERSION,
    FIELDS,
    INSTANCE,
    KIND,
    SECTIONS,
)
from ingress_controller.aggregated.requests import RESOURCE
from ingress_controller.aggregated.status_error import GROUP, VERSION

SINGULAR = "request"
SHORT_NAMES = ("req",)
VERBS = ("get", "list", "watch")
ROOT = f"/apis/{API_VERSION}"

_DISCOVERY = ("apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList")
_FORMATS = {"integer": "int64", "number": "double"}
_KIND_OF = {"group": GROUP, "version": VERSION, "kind": KIND}
_SCHEMA = f"io.spanway.live.{VERSION}.{KIND}"


class Document(NamedTuple):
    """An answer that is always the same; `etag` is of its content."""

    body: bytes
    content_type: str
    etag: str


def groups(accept: str) -> Document:
    """`/apis`: in the aggregated form if that is asked for."""
    group, version, kind = _DISCOVERY
    for name, parameters in media_types(accept):
        wanted = (parameters.get("g"), parameters.get("v"), parameters.get("as"))
        if name == "application/json" and wanted == _DISCOVERY:
            form = f"application/json;g={group};v={version};as={kind}"
            return AGGREGATED._replace(content_type=form)
    return GROUPS


def _document(content: Any) -> Document:
    body = msgspec.json.encode(content)
    return Document(body, "application/json", f'"{hashlib.sha256(body).hexdigest()}"')


_version = {"groupVersion": API_VERSION, "version": VERSION}
_group = {"name": GROUP, "versions": [_version], "preferredVersion": _version}

GROUPS = _document({"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group]})
GROUP_DOCUMENT = _document({"kind": "APIGroup", "apiVersion": "v1", **_group})
RESOURCES = _document(
    {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": API_VERSION,
        "resources": [
            {
                "name": RESOURCE,
                "singularName": SINGULAR,
                "namespaced": True,
                "kind": KIND,
                "verbs": VERBS,
                "shortNames": SHORT_NAMES,
            }
        ],
    }
)
AGGREGATED = _document(
    {
        "kind": _DISCOVERY[2],
        "apiVersion": f"{_DISCOVERY[0]}/{_DISCOVERY[1]}",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": GROUP},
                "versions": [
                    {
                        "version": VERSION,
                        "freshness": "Current",
                        "resources": [
                            {
                                "resource": RESOURCE,
                                "responseKind": _KIND_OF,
                                "scope": "Namespaced",
                                "singularResource": SINGULAR,
                                "verbs": VERBS,
                                "shortNames": SHORT_NAMES,
                            }
                        ],
                    }
                ],
            }
        ],
    }
)


def _schema() -> dict[str, Any]:
    """Of the object; both versions of OpenAPI read it."""
    schema: dict[str, Any] = {
        "type": "object",
        "description": "A request that is inside Spanway now. When it is over it is gone from here,"
        " and its trace says the rest.",
        "x-kubernetes-group-version-kind": [_KIND_OF],
        "properties": {
            "apiVersion": {"type": "string", "description": API_VERSION},
            "kind": {"type": "string", "description": KIND},
            "metadata": {
                "type": "object",
                "description": "Its name is the id of its SERVER span; its namespace is that of the"
                " Ingress, else of the Service; it was created when its first byte came.",
            },
        },
    }
    for path, text in SECTIONS.items():
        _put(schema, path, {"type": "object", "description": text, "properties": {}})
    for shown in (*FIELDS, INSTANCE):
        form = {"format": _FORMATS[shown.type]} if shown.type in _FORMATS else {}
        _put(schema, shown.path, {"type": shown.type, "description": shown.text, **form})
    return schema


def _put(schema: dict[str, Any], path: str, value: dict[str, Any]) -> None:
    *outer, name = path.split(".")
    for section in outer:
        schema = schema["properties"][section]
    schema["properties"][name] = value


def _paths(version: int) -> dict[str, Any]:
    """The paths of the resource, each with the one thing that can be done there."""
    of = {
        f"{ROOT}/{RESOURCE}": "list",
        f"{ROOT}/namespaces/{{namespace}}/{RESOURCE}": "list",
        f"{ROOT}/namespaces/{{namespace}}/{RESOURCE}/{{name}}": "get",
    }
    return {
        path: {
            "parameters": [
                _parameter(name, version) for name in ("namespace", "name") if f"{{{name}}}" in path
            ],
            "get": {
                "operationId": f"{action}Spanway{'Namespaced' if '{' in path else ''}Request",
                "x-kubernetes-action": action,
                "x-kubernetes-group-version-kind": _KIND_OF,
                "responses": {"200": _response(action, version)},
            },
        }
        for path, action in of.items()
    }


def _parameter(name: str, version: int) -> dict[str, Any]:
    parameter = {"name": name, "in": "path", "required": True}
    text = {"type": "string"}
    return parameter | (text if version == 2 else {"schema": text})  # noqa: PLR2004 - of OpenAPI


def _response(action: str, version: int) -> dict[str, Any]:
    where = "definitions" if version == 2 else "components/schemas"  # noqa: PLR2004
    schema: dict[str, Any] = {"$ref": f"#/{where}/{_SCHEMA}"}
    if action == "list":
        schema = {"type": "object", "properties": {"items": {"type": "array", "items": schema}}}
    if version == 2:  # noqa: PLR2004
        return {"description": "OK", "schema": schema}
    return {"description": "OK", "content": {"application/json": {"schema": schema}}}


_about = {"title": "Spanway live requests", "version": VERSION}

OPENAPI_V2 = _document(
    {
        "swagger": "2.0",
        "info": _about,
        "paths": _paths(2),
        "definitions": {_SCHEMA: _schema()},
    }
)
OPENAPI_V3 = _document(
    {
        "openapi": "3.0.0",
        "info": _about,
        "paths": _paths(3),
        "components": {"schemas": {_SCHEMA: _schema()}},
    }
)
OPENAPI_V3_ROOT = _document(
    {
        "paths": {
            ROOT.removeprefix("/"): {
                "serverRelativeURL": f"/openapi/v3{ROOT}?hash={OPENAPI_V3.etag.strip(chr(34))}"
            }
        }
    }
)

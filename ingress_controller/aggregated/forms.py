"""In which form an answer is wanted: whole objects, their metadata, or a table that is ready to
print.

Rules: JSON only. The first form of the Accept field that is known here is taken.
Source: Kubernetes API concepts, "Receiving resources as Tables" and "Resource version semantics".
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Generic, TypeVar

import msgspec
from aiohttp import web

from ingress_controller.aggregated.kinds import API_VERSION, Kind
from ingress_controller.aggregated.status_error import StatusError, bad_request
from ingress_controller.peers.peer import Peer, warnings

T = TypeVar("T")

_META = "meta.k8s.io"
_META_VERSION = f"{_META}/v1"
_JSON = ("application/json", "application/*", "*/*")


class Form(StrEnum):
    """The values are what `as=` says."""

    OBJECT = ""
    TABLE = "Table"
    METADATA = "PartialObjectMetadata"


class Included(StrEnum):
    """What of an object is in its row of a table; the values are those of `includeObject`."""

    NONE = "None"
    METADATA = "Metadata"
    OBJECT = "Object"


def media_types(accept: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The types of an Accept field in its order, each with its parameters; quality is not looked
    at, since no client of Kubernetes sends it."""
    for media in accept.split(","):
        name, *parameters = (part.strip() for part in media.split(";"))
        pairs = (parameter.partition("=") for parameter in parameters)
        yield name, {key: value for key, _, value in pairs}


def wanted_form(accept: str) -> Form:
    """The form to answer in.

    Raises:
        StatusError: none of them is spoken here.
    """
    for name, parameters in media_types(accept or "*/*"):
        if name not in _JSON:
            continue
        form = parameters.get("as", "").removesuffix("List")
        if not form:
            return Form.OBJECT
        if form in list(Form) and (parameters.get("g"), parameters.get("v")) == (_META, "v1"):
            return Form(form)
    raise StatusError(
        406, "NotAcceptable", f'Accept: "{accept[:64]}" is not spoken; ask for application/json'
    )


def writer(kind: Kind[T], request: web.Request, instance: str) -> "Writer[T]":
    """What writes the answer as the request wants it.

    Raises:
        StatusError: it wants what is not spoken here.
    """
    included = request.query.get("includeObject") or Included.METADATA
    if included not in list(Included):
        raise bad_request(f'includeObject: "{included[:64]}" is none of {", ".join(Included)}.')
    return Writer(
        kind, wanted_form(request.headers.get("Accept", "")), Included(included), instance
    )


def json_response(content: Mapping[str, Any], peers: Iterable[Peer] = ()) -> web.Response:
    """The answer over HTTP; of other replicas that did not answer kubectl warns."""
    response = web.Response(body=msgspec.json.encode(content), content_type="application/json")
    for warning in warnings(peers):
        response.headers.add("Warning", warning)
    return response


class Writer(Generic[T]):
    """Makes answers of things of one kind in one form. `version` of an answer is its
    resourceVersion."""

    def __init__(self, kind: Kind[T], form: Form, included: Included, instance: str) -> None:
        self._kind = kind
        self._form = form
        self._included = included
        self._instance = instance

    def one(self, thing: T, version: str) -> dict[str, Any]:
        """A single object; also of an event of a watch."""
        if self._form is Form.TABLE:
            return self._table([thing], version, {"resourceVersion": version})
        if self._form is Form.METADATA:
            return self._partial(thing, version)
        return self._kind.object_of(thing, version, self._instance)

    def many(self, things: Iterable[T], version: str, token: str = "") -> dict[str, Any]:
        """A list; `token` is for the next part of it, empty if there is none."""
        about = {"resourceVersion": version} | ({"continue": token} if token else {})
        if self._form is Form.TABLE:
            return self._table(things, version, about)
        if self._form is Form.METADATA:
            kind, api_version = Form.METADATA.value, _META_VERSION
        else:
            kind, api_version = self._kind.name, API_VERSION
        items = [self.one(thing, version) for thing in things]
        return {
            "kind": f"{kind}List",
            "apiVersion": api_version,
            "metadata": about,
            "items": items,
        }

    def _table(self, things: Iterable[T], version: str, about: Mapping[str, str]) -> dict[str, Any]:
        return {
            "kind": Form.TABLE,
            "apiVersion": _META_VERSION,
            "metadata": about,
            "columnDefinitions": [
                {
                    "name": column.name,
                    "type": column.type,
                    "format": column.format,
                    "description": column.text,
                    "priority": column.priority,
                }
                for column in self._kind.all_columns
            ],
            "rows": [
                {"cells": self._kind.cells_of(thing, self._instance)} | self._object(thing, version)
                for thing in things
            ],
        }

    def _object(self, thing: T, version: str) -> dict[str, Any]:
        match self._included:
            case Included.NONE:
                return {}
            case Included.METADATA:
                return {"object": self._partial(thing, version)}
            case Included.OBJECT:
                return {"object": self._kind.object_of(thing, version, self._instance)}

    def _partial(self, thing: T, version: str) -> dict[str, Any]:
        about = self._kind.metadata_of(thing, version)
        return {"kind": Form.METADATA, "apiVersion": _META_VERSION, "metadata": about}

"""Which kinds there are: discovery, old and aggregated. kubectl needs it for every command.

Rules: pure.
Source: Kubernetes, "Kubernetes API discovery"; apidiscovery.k8s.io/v2.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec

from ingress_controller.aggregated.forms import media_types
from ingress_controller.aggregated.kinds import API_VERSION, ROOT, Kind
from ingress_controller.aggregated.status_error import GROUP, VERSION

JSON = "application/json"

_AGGREGATED = ("apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList")


class Document(NamedTuple):
    """An answer that is always the same; `etag` is of its content."""

    body: bytes
    content_type: str
    etag: str


Documents: TypeAlias = Mapping[str, Callable[[str], Document]]
"""By path; each for what an Accept field wants."""


def document(content: Any, content_type: str = JSON) -> Document:
    """Of what becomes its JSON."""
    body = msgspec.json.encode(content)
    return Document(body, content_type, f'"{hashlib.sha256(body).hexdigest()}"')


def discovery(kinds: Sequence[Kind[Any]]) -> Documents:
    """What there is to know before an object is asked for."""
    version = {"groupVersion": API_VERSION, "version": VERSION}
    of_group = {"name": GROUP, "versions": [version], "preferredVersion": version}
    groups = document({"kind": "APIGroupList", "apiVersion": "v1", "groups": [of_group]})
    group = document({"kind": "APIGroup", "apiVersion": "v1", **of_group})
    resources = document(_resources(kinds))
    api, api_version, kind = _AGGREGATED
    aggregated = document(_aggregated(kinds), f"{JSON};g={api};v={api_version};as={kind}")
    return {
        "/apis": lambda accept: aggregated if _wants_aggregated(accept) else groups,
        f"/apis/{GROUP}": lambda _: group,
        ROOT: lambda _: resources,
    }


def _wants_aggregated(accept: str) -> bool:
    return any(
        (name, tuple(map(parameters.get, ("g", "v", "as")))) == (JSON, _AGGREGATED)
        for name, parameters in media_types(accept)
    )


def _resources(kinds: Sequence[Kind[Any]]) -> dict[str, Any]:
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": API_VERSION,
        "resources": [
            {
                "name": kind.plural,
                "singularName": kind.singular,
                "namespaced": kind.is_namespaced,
                "kind": kind.name,
                "verbs": kind.verbs,
                "shortNames": kind.short_names,
            }
            for kind in kinds
        ],
    }


def _aggregated(kinds: Sequence[Kind[Any]]) -> dict[str, Any]:
    api, api_version, kind_of_list = _AGGREGATED
    resources = [
        {
            "resource": kind.plural,
            "responseKind": kind.reference,
            "scope": "Namespaced" if kind.is_namespaced else "Cluster",
            "singularResource": kind.singular,
            "verbs": kind.verbs,
            "shortNames": kind.short_names,
        }
        for kind in kinds
    ]
    version = {"version": VERSION, "freshness": "Current", "resources": resources}
    return {
        "kind": kind_of_list,
        "apiVersion": f"{api}/{api_version}",
        "metadata": {},
        "items": [{"metadata": {"name": GROUP}, "versions": [version]}],
    }

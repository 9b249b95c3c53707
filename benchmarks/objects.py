"""The objects of a large cluster, as the API server writes them. Pure.

Number n is an Ingress with one host and `PATHS` paths to one Service, that Service, and its slice
with `ENDPOINTS` pods. `version` makes another object of the same name.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ingress_controller.model.problem import ObjectKey

PATHS = 10
ENDPOINTS = 5
_NAMESPACES = 100

Object = dict[str, Any]


def objects(count: int) -> Iterator[Object]:
    """All objects of the numbers below `count`."""
    for number in range(count):
        yield ingress(number)
        yield service(number)
        yield endpoint_slice(number)


def key_of(raw: Mapping[str, Any]) -> ObjectKey:
    """The cache's key of an object."""
    metadata = raw["metadata"]
    return ObjectKey(raw["kind"], metadata["namespace"], metadata["name"])


def ingress(number: int, *, version: int = 0) -> Object:
    """A version has another first path."""
    backend = {"service": {"name": f"app-{number}", "port": {"number": 80}}}
    paths = [f"/api/v1/part-{index}" for index in range(PATHS)]
    paths[0] += f"/{version}" if version else ""
    rules = [{"path": path, "pathType": "Prefix", "backend": backend} for path in paths]
    spec = {"rules": [{"host": f"host-{number}.shop.example", "http": {"paths": rules}}]}
    return _object("networking.k8s.io/v1", "Ingress", number, spec=spec)


def service(number: int) -> Object:
    """With one named port."""
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}]
    return _object("v1", "Service", number, spec={"ports": ports, "type": "ClusterIP"})


def endpoint_slice(number: int, *, version: int = 0) -> Object:
    """A version has another last endpoint."""
    endpoints = [_endpoint(number, index) for index in range(ENDPOINTS)]
    if version:
        endpoints[-1] = _endpoint(number, ENDPOINTS + version)
    ports = [{"name": "http", "port": 8080, "protocol": "TCP"}]
    raw = _object("discovery.k8s.io/v1", "EndpointSlice", number, endpoints=endpoints, ports=ports)
    raw["metadata"]["labels"] = {"kubernetes.io/service-name": f"app-{number}"}
    return raw | {"addressType": "IPv4"}


def _endpoint(number: int, index: int) -> Object:
    name = f"app-{number}-7d9c5b8f6-{index:05}"
    return {
        "addresses": [f"10.{number >> 8 & 255}.{number & 255}.{index & 255}"],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "nodeName": f"node-{index % 50}",
        "targetRef": {"kind": "Pod", "namespace": _namespace(number), "name": name, "uid": name},
        "zone": f"zone-{index % 3}",
    }


def _object(version: str, kind: str, number: int, **fields: Any) -> Object:
    metadata = {
        "name": f"app-{number}",
        "namespace": _namespace(number),
        "uid": f"5f0c2f9e-{kind}-{number:012}",
        "resourceVersion": str(number),
        "generation": 1,
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}


def _namespace(number: int) -> str:
    return f"team-{number % _NAMESPACES}"

"""Short ways to write Kubernetes objects in tests, and to build a table from them."""

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from ingress_controller.model.problem import ObjectKey
from ingress_controller.model.values import Values
from ingress_controller.routing.backends import Resolved
from ingress_controller.routing.builder import Builder, Built, Options
from proxy.table import RouteTable

Object = dict[str, Any]
MANIFESTS = Options(is_manifests=True)


def key_of(raw: Mapping[str, Any]) -> ObjectKey:
    metadata = raw["metadata"]
    return ObjectKey(raw["kind"], metadata.get("namespace", ""), metadata["name"])


def values_of(objects: Iterable[Mapping[str, Any]]) -> Values:
    values = Values()
    for raw in objects:
        values.apply(key_of(raw), raw)
    return values


def build(
    objects: Iterable[Mapping[str, Any]],
    options: Options = MANIFESTS,
    resolved: Mapping[str, Resolved] | None = None,
) -> Built:
    builder = Builder(options)
    return builder.build(values_of(objects), resolved or {}, RouteTable(), now_unix_ms=1_000)


def backend(name: str, port: int | str = 80) -> Object:
    field = "name" if isinstance(port, str) else "number"
    return {"service": {"name": name, "port": {field: port}}}


def ingress(
    *paths: Object,
    host: str | None = "shop.example",
    name: str = "web",
    namespace: str = "shop",
    created: str | None = None,
    annotations: Mapping[str, str] | None = None,
    **spec: Any,
) -> Object:
    metadata: Object = {"namespace": namespace, "name": name, "annotations": annotations}
    if created is not None:
        metadata["creationTimestamp"] = created
    rule: Object = {"http": {"paths": list(paths)}} if paths else {}
    if host is not None:
        rule["host"] = host
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata,
        "spec": {"rules": [rule], **spec} if rule else spec,
    }


def path(value: str | None, service: str | Object = "api", kind: str = "Prefix") -> Object:
    to = service if isinstance(service, dict) else backend(service)
    return {"pathType": kind, "backend": to} | ({} if value is None else {"path": value})


def service(
    name: str = "api",
    *ports: Object,
    namespace: str = "shop",
    annotations: Mapping[str, str] | None = None,
    **spec: Any,
) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": name, "annotations": annotations},
        "spec": {"ports": list(ports) or [{"port": 80}], **spec},
    }


def secret(
    pair: tuple[str, str] | None = None,
    *,
    ca: str = "",
    name: str = "cert",
    namespace: str = "shop",
    **fields: Any,
) -> Object:
    """Of type kubernetes.io/tls, with a chain and its key or with authorities."""
    texts = dict(zip(("tls.crt", "tls.key"), pair or (), strict=False))
    texts |= {"ca.crt": ca} if ca else {}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": namespace, "name": name},
        "type": "kubernetes.io/tls",
        "data": {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()},
        **fields,
    }


def tracing_policy(
    name: str = "quiet",
    *,
    namespace: str = "shop",
    tail: object = None,
    spec: Mapping[str, object] | None = None,
    **sampling: object,
) -> Object:
    """`spec` is what it says besides."""
    tails = {} if tail is None else {"tail": {"spansPerSecond": tail}}
    said = ({"sampling": sampling} if sampling else {}) | tails | dict(spec or {})
    return {
        "apiVersion": "spanway.io/v1alpha1",
        "kind": "TracingPolicy",
        "metadata": {"namespace": namespace, "name": name},
        "spec": said,
    }


def endpoint_slice(
    of: str = "api",
    *endpoints: Object | str,
    ports: list[Object] | None = None,
    name: str | None = None,
    namespace: str = "shop",
    **fields: Any,
) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": namespace,
            "name": name or f"{of}-1",
            "labels": {"kubernetes.io/service-name": of},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [e]} if isinstance(e, str) else e for e in endpoints],
        "ports": [{"port": 9_000}] if ports is None else ports,
        **fields,
    }

"""Short ways to write the Kubernetes objects that the tests serve; all are plain dicts."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from scene.http import Json

CONTROLLER = "spanway.io/ingress-controller"


def ingress_class(name: str = "spanway", *, controller: str = CONTROLLER) -> Json:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": name},
        "spec": {"controller": controller},
    }


def ingress(
    host: str,
    service: str,
    *,
    name: str = "web",
    namespace: str = "default",
    path: str = "/",
    port: int | str = 80,
    class_name: str | None = "spanway",
) -> Json:
    """One host and path; `port` by number or by name."""
    port_field = "name" if isinstance(port, str) else "number"
    backend = {"service": {"name": service, "port": {port_field: port}}}
    paths = [{"path": path, "pathType": "Prefix", "backend": backend}]
    spec: Json = {"rules": [{"host": host, "http": {"paths": paths}}]}
    if class_name is not None:
        spec["ingressClassName"] = class_name
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def service(
    name: str,
    *,
    namespace: str = "default",
    ports: Mapping[str, tuple[int, int]] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Json:
    """Selects the pods labelled `app: name`; `ports` are (port, target port) by name."""
    named = ports or {"http": (80, 8080)}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "annotations": dict(annotations or {}),
        },
        "spec": {
            "selector": {"app": name},
            "ports": [
                {"name": port_name, "port": port, "targetPort": target}
                for port_name, (port, target) in named.items()
            ],
        },
    }


def external_name(name: str, dns_name: str, port: int, *, namespace: str = "default") -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "type": "ExternalName",
            "externalName": dns_name,
            "ports": [{"name": "http", "port": 80, "targetPort": port}],
        },
    }


def endpoint_slice(
    service_name: str,
    *addresses: str,
    port: int,
    name: str | None = None,
    namespace: str = "default",
    node: str = "node-a",
) -> Json:
    """Endpoints on `node` whose pods are called `<service>-0`, `-1` and so on."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name or f"{service_name}-1",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service_name},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [address],
                "conditions": {"ready": True},
                "nodeName": node,
                "targetRef": {"kind": "Pod", "name": f"{service_name}-{index}"},
            }
            for index, address in enumerate(addresses)
        ],
    }


def write_manifests(file: Path, objects: Sequence[Json]) -> None:
    """Replaces the file in one step, as editors do: a reader sees the old or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}")
    unfinished.write_text(yaml.safe_dump_all(objects))
    unfinished.replace(file)

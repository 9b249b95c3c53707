"""Pods that are ready because their status says so, for the real EndpointSlice controller.

There is no kubelet: a test listens on the pod's address itself. Scaling is adding and removing
such pods.
"""

from collections.abc import Mapping
from typing import Literal

from scene.http import HttpError
from scene.kubernetes import Kubernetes
from scene.process import wait_until

DEFAULT_NODE = "node-a"
ENDPOINTS_DEADLINE_S = 15.0
CONFLICT = 409


def add_ready_pod(
    kubernetes: Kubernetes,
    name: str,
    address: str,
    *,
    labels: Mapping[str, str],
    namespace: str = "default",
    node: str = DEFAULT_NODE,
) -> None:
    """Makes a pod at `address` (of 192.0.2.0/24) on `node`, which is made too, and ready."""
    add_node(kubernetes, node)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": {"nodeName": node, "containers": [{"name": "app", "image": "none"}]},
    }
    kubernetes.request("POST", f"/api/v1/namespaces/{namespace}/pods", pod)
    set_pod_status(kubernetes, name, address, namespace=namespace)


def set_pod_status(
    kubernetes: Kubernetes,
    name: str,
    address: str,
    *,
    namespace: str = "default",
    ready: Literal["True", "False"] = "True",
) -> None:
    """Says what the kubelet would: it runs, at this address, and is `ready` or not.

    Also for pods that a controller made, such as a Deployment's; bind them to a node first.
    """
    conditions = [
        {"type": condition, "status": ready, "lastTransitionTime": None}
        for condition in ("ContainersReady", "Ready")
    ]
    status = {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": conditions,
    }
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/status"
    kubernetes.request("PATCH", path, {"status": status})


def bind_pod(
    kubernetes: Kubernetes, name: str, *, namespace: str = "default", node: str = DEFAULT_NODE
) -> None:
    """Does the scheduler's work for a pod that a controller made."""
    add_node(kubernetes, node)
    binding = {"metadata": {"name": name}, "target": {"kind": "Node", "name": node}}
    kubernetes.request("POST", f"/api/v1/namespaces/{namespace}/pods/{name}/binding", binding)


def remove_pod(
    kubernetes: Kubernetes, name: str, *, namespace: str = "default", grace_s: int = 0
) -> None:
    """Deletes it. With a grace period it stays terminating: nothing here ends it but grace 0."""
    kubernetes.request(
        "DELETE",
        f"/api/v1/namespaces/{namespace}/pods/{name}",
        {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": grace_s},
    )


def add_node(kubernetes: Kubernetes, name: str) -> None:
    """Makes the Node if it is missing: the controller publishes no pod of an unknown one."""
    try:
        kubernetes.request("POST", "/api/v1/nodes", {"metadata": {"name": name}})
    except HttpError as err:
        if err.status != CONFLICT:
            raise


def ready_addresses(
    kubernetes: Kubernetes, service: str, *, namespace: str = "default"
) -> set[str]:
    """The ready addresses in all EndpointSlices of a Service."""
    slices = kubernetes.request(
        "GET",
        f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        f"?labelSelector=kubernetes.io/service-name%3D{service}",
    )
    return {
        address
        for endpoint_slice in slices["items"]
        for endpoint in endpoint_slice["endpoints"] or ()
        if endpoint["conditions"]["ready"]
        for address in endpoint["addresses"]
    }


def wait_for_addresses(
    kubernetes: Kubernetes, service: str, addresses: set[str], *, namespace: str = "default"
) -> None:
    """Returns when exactly `addresses` are the Service's ready ones."""
    wait_until(
        lambda: ready_addresses(kubernetes, service, namespace=namespace) == addresses,
        f"{namespace}/{service} has exactly {sorted(addresses)} ready",
        deadline_s=ENDPOINTS_DEADLINE_S,
    )

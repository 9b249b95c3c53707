"""The pods of the shop, where they run, and what a cluster would tell Spanway of them.

The nodes are network namespaces where this machine lets us have some: then packets between Spanway
and a node go through a relay that can lose them. Else they are names on one machine, and what
happens to a node is simulated by its pods.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from children import DemoError
from network.namespace import Namespace, NetworkError
from network.wire import Wire

NODES = ("node-1", "node-2", "node-3")
LOOPBACK = "127.0.0.1"
GATEWAY = "198.51.100.1"
"""How nodes in namespaces reach this machine; TEST-NET-2 of RFC 5737, so it is nobody else's."""


@dataclass(frozen=True)
class Pod:
    """One process of the shop."""

    name: str
    node: str
    port: int

    @property
    def service(self) -> str:
        return self.name.rpartition("-")[0]


PODS = (
    Pod("storefront-0", "node-1", 18101),
    Pod("storefront-1", "node-2", 18102),
    Pod("catalog-0", "node-1", 18111),
    Pod("catalog-1", "node-2", 18112),
    Pod("catalog-2", "node-3", 18113),
    Pod("recommend-0", "node-1", 18121),
    Pod("recommend-1", "node-2", 18122),
    Pod("recommend-2", "node-3", 18123),
)


@dataclass(frozen=True)
class Node:
    """Where pods run. `wire` is the path to it, if it has a namespace of its own."""

    address: str
    namespace: Namespace | None = None
    wire: Wire | None = None

    def inside(self, argv: Sequence[str]) -> list[str]:
        """What runs a command there."""
        return self.namespace.inside(*argv) if self.namespace else list(argv)


@dataclass(frozen=True)
class Cluster:
    """The nodes by name. `gateway` is this machine's address for their pods; `why_simulated` says
    why they have no namespaces, and is empty where they have."""

    nodes: Mapping[str, Node]
    gateway: str
    why_simulated: str

    def address(self, pod: Pod) -> str:
        return f"{self.nodes[pod.node].address}:{pod.port}"


@contextmanager
def cluster(kind: str) -> Iterator[Cluster]:
    """`kind` is `namespaces`, `simulated`, or `auto` for whatever this machine lets us have.

    Raises:
        DemoError: namespaces are asked for and cannot be had.
    """
    with ExitStack() as stack:
        yield _simulated("as --nodes says") if kind == "simulated" else _made(stack, kind)


def _simulated(why: str) -> Cluster:
    return Cluster(dict.fromkeys(NODES, Node(LOOPBACK)), LOOPBACK, why)


def _made(stack: ExitStack, kind: str) -> Cluster:
    try:
        return Cluster(dict(_namespaces(stack)), GATEWAY, "")
    except NetworkError as err:
        stack.close()
        if kind == "namespaces":
            raise DemoError(f"Nodes cannot be network namespaces here: {err}.") from err
        return _simulated(f"{err}; for root on Linux they are network namespaces")


def _namespaces(stack: ExitStack) -> Iterator[tuple[str, Node]]:
    for number, name in enumerate(NODES, start=1):
        namespace = stack.enter_context(Namespace())
        address = f"198.51.100.{10 + number}"
        wire = stack.enter_context(Wire(f"demo-{name}", GATEWAY, address, namespace))
        yield name, Node(address, namespace, wire)


def write_manifests(source: Path, directory: Path, of: Cluster) -> Path:
    """The shop's objects for these nodes: a copy of `source`, which may be edited, and the
    EndpointSlices, which in a cluster are Kubernetes' own work. Returns the copy."""
    copy = directory / source.name
    copy.write_text(source.read_text().replace(LOOPBACK, of.gateway))
    slices = [_slice(pod, of) for pod in PODS]
    (directory / "endpoints.json").write_text(
        json.dumps({"apiVersion": "v1", "kind": "List", "items": slices}, indent=1)
    )
    return copy


def _slice(pod: Pod, of: Cluster) -> object:
    """One for each pod, since each has another port; in a cluster they would share one."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": pod.name,
            "namespace": "shop",
            "labels": {"kubernetes.io/service-name": pod.service},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": pod.port}],
        "endpoints": [
            {
                "addresses": [of.nodes[pod.node].address],
                "nodeName": pod.node,
                "targetRef": {"kind": "Pod", "name": pod.name},
            }
        ],
    }

"""What the tests of the network layer ask through: client, Spanway, app and the paths between."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from network.namespace import Namespace, NetworkError
from network.wire import Wire

from scene.namespace import is_listening
from scene.objects import endpoint_slice, ingress, service, write_manifests
from scene.otlp_sink import OtlpSink
from scene.parts import PartMissingError
from scene.process import Process, wait_until
from scene.spanway import Spanway

HOST = "shop.example"
# TEST-NET-3 and TEST-NET-2 of RFC 5737; 192.0.2.0/24 is what other tests' pods have.
EDGE_ADDRESS, CLIENT_ADDRESS = "203.0.113.1", "203.0.113.2"
NODE_ADDRESS, APP_ADDRESS = "198.51.100.1", "198.51.100.2"
APP_PORT = 8080
START_DEADLINE_S = 15.0
LOAD_DEADLINE_S = 120.0


@dataclass(frozen=True)
class Told:
    """What a client and the app told of one request."""

    path: str
    status: int
    took_us: int
    """From its first byte to the last one of the answer, by the client's clock."""
    app_us: int
    """How long the app had it."""


@dataclass(frozen=True)
class Shop:
    """A running one."""

    client: Namespace
    client_wire: Wire
    cluster_wire: Wire
    spanway: Spanway
    sink: OtlpSink

    def ask(
        self,
        path: str,
        count: int,
        *,
        connections: int = 8,
        fields: Mapping[str, str] | None = None,
        body_bytes: int = 0,
        kept: int = 20,
    ) -> list[Told]:
        """`count` requests to `path/0`, `path/1` …, over so many connections at once.

        Args: kept: the requests for which a connection is kept; the next one reaches any worker.
        """
        request = json.dumps({"fields": dict(fields or {}), "body_bytes": body_bytes, "kept": kept})
        port = self.spanway.http.rpartition(":")[2]
        arguments = (EDGE_ADDRESS, port, path, count, connections, request)
        ended = subprocess.run(
            _program(self.client, "load", *arguments),
            check=True,
            stdout=subprocess.PIPE,
            timeout=LOAD_DEADLINE_S,
        )
        return [Told(**json.loads(line)) for line in ended.stdout.splitlines()]


@contextlib.contextmanager
def open_shop(directory: Path, *flags: str) -> Iterator[Shop]:
    """A ready one, whose app answers at once and whose paths are quick; `flags` are Spanway's."""
    manifests = directory / "manifests"
    objects = [
        ingress(HOST, "app"),
        service("app"),
        endpoint_slice("app", APP_ADDRESS, port=APP_PORT),
    ]
    write_manifests(manifests / "shop.yaml", objects)
    with (
        _network() as network,
        _app(network.node, directory / "app.log"),
        OtlpSink() as sink,
        Spanway(
            directory,
            "--manifests",
            manifests,
            "--otlp-endpoint",
            sink.url,
            *flags,
            address=EDGE_ADDRESS,
        ) as spanway,
    ):
        spanway.wait_until_ready()
        yield Shop(network.client, network.client_wire, network.cluster_wire, spanway, sink)


@dataclass(frozen=True)
class _Network:
    client: Namespace
    node: Namespace
    client_wire: Wire
    cluster_wire: Wire


@contextlib.contextmanager
def _network() -> Iterator[_Network]:
    """Raises: PartMissingError: this machine lets nobody make one."""
    with contextlib.ExitStack() as stack:
        try:
            client, node = (stack.enter_context(Namespace()) for _ in range(2))
            client_wire = Wire("client", EDGE_ADDRESS, CLIENT_ADDRESS, client)
            stack.enter_context(client_wire)
            cluster_wire = Wire("cluster", NODE_ADDRESS, APP_ADDRESS, node)
            stack.enter_context(cluster_wire)
        except NetworkError as err:
            raise PartMissingError(
                f"no network path between namespaces can be made here: {err}"
            ) from err
        yield _Network(client, node, client_wire, cluster_wire)


@contextlib.contextmanager
def _app(node: Namespace, log: Path) -> Iterator[None]:
    app = Process(_program(node, "app", APP_ADDRESS, APP_PORT), log=log)
    try:
        wait_until(
            lambda: is_listening(APP_ADDRESS, APP_PORT),
            app.log_tail,
            deadline_s=START_DEADLINE_S,
        )
        yield
    finally:
        app.stop()


def _program(where: Namespace, name: str, *arguments: str | int) -> list[str]:
    """What runs one of the programs of this folder there."""
    file = Path(__file__).with_name(f"{name}.py")
    return where.inside(sys.executable, str(file), *map(str, arguments))

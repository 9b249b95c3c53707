"""What the tests of the network layer ask through: client, Spanway, app and the paths between."""

import contextlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from scene.namespace import is_listening
from scene.network.namespaces import Namespace
from scene.network.wire import Wire
from scene.objects import endpoint_slice, ingress, service, write_manifests
from scene.otlp_sink import OtlpSink
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
            self.client.program("load", *arguments),
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
        Namespace() as clients,
        Namespace() as node,
        Wire("client", EDGE_ADDRESS, CLIENT_ADDRESS, clients) as client_wire,
        Wire("cluster", NODE_ADDRESS, APP_ADDRESS, node) as cluster_wire,
        _app(node, directory / "app.log"),
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
        yield Shop(clients, client_wire, cluster_wire, spanway, sink)


@contextlib.contextmanager
def _app(node: Namespace, log: Path) -> Iterator[None]:
    app = Process(node.program("app", APP_ADDRESS, APP_PORT), log=log)
    try:
        wait_until(
            lambda: is_listening(APP_ADDRESS, APP_PORT),
            app.log_tail,
            deadline_s=START_DEADLINE_S,
        )
        yield
    finally:
        app.stop()

"""The servers under test and what stands around them: how each is configured and started.

Rules: one worker each, keep-alive on both sides without a limit of requests, access logs off. Every
configuration is a file in `config/`, whose `@name@` are filled in here.
"""

import json
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.children import BenchError, Children, Cores, free_port, program

HOST = "bench.example"
RESPONSE_BYTES = 1024
EXPORT_S_MAX = 20.0
EXPORT_POLL_S = 0.05

_CONFIG = Path(__file__).with_name("config")


@dataclass(frozen=True, slots=True)
class Server:
    """A server under test. `admin` is the address of Spanway's admin server."""

    name: str
    what: str
    port: int
    pid: int
    admin: str | None = None
    exports: bool = False


class Stage:
    """Starts servers; what they need lies in `directory`."""

    def __init__(self, children: Children, directory: Path, cores: Cores) -> None:
        self._children = children
        self._directory = directory
        self._cores = cores
        self.origin_port = 0
        self.origin_port, self.origin_pid = self._nginx("origin", self._cores.origin)

    def servers(self) -> list[Server]:
        """Every server under test, started. The first is what the others are compared with."""
        sink_port, _ = self._nginx("sink", self._cores.origin)
        sink = f"http://127.0.0.1:{sink_port}"
        on_server_core = self._cores.server
        return [
            Server("nginx", "no tracing", *self._nginx("nginx", on_server_core)),
            Server(
                "nginx-bare", "no forwarding headers", *self._nginx("nginx-bare", on_server_core)
            ),
            Server("haproxy", "no tracing", *self._haproxy()),
            self._spanway("spanway-off", "tracing off", {"OTEL_SDK_DISABLED": "true"}),
            self._spanway("spanway", "3 spans a request", {}),
            self._spanway(
                "spanway-export", "3 spans, exported", {"OTEL_EXPORTER_OTLP_ENDPOINT": sink}
            ),
        ]

    def _nginx(self, name: str, core: int) -> tuple[int, int]:
        port = free_port()
        config = self._config(f"{name}.conf", port)
        argv = [program("nginx"), "-p", str(self._directory), "-c", str(config)]
        return port, self._children.start(name, argv, core=core, url=f"http://127.0.0.1:{port}/")

    def _haproxy(self) -> tuple[int, int]:
        port = free_port()
        argv = [program("haproxy"), "-db", "-f", str(self._config("haproxy.cfg", port))]
        url = f"http://127.0.0.1:{port}/"
        return port, self._children.start("haproxy", argv, core=self._cores.server, url=url)

    def _spanway(self, name: str, what: str, env: Mapping[str, str]) -> Server:
        """The real command; it is ready when its admin server says so."""
        port, admin = free_port(), f"127.0.0.1:{free_port()}"
        manifests = self._config("manifests.yaml", port).parent
        argv = [str(Path(sys.executable).with_name("spanway")), "run"]
        argv += ["--manifests", str(manifests), "--workers", "1"]
        argv += ["--http", f"127.0.0.1:{port}", "--admin", admin]
        pid = self._children.start(
            name, argv, core=self._cores.server, url=f"http://{admin}/readyz", env=env
        )
        return Server(name, what, port, pid, admin, "OTEL_EXPORTER_OTLP_ENDPOINT" in env)

    def _config(self, name: str, port: int) -> Path:
        """The file `config/name`, filled in, in a directory of its kind."""
        text = (_CONFIG / name).read_text()
        values = {
            "directory": str(self._directory),
            "port": str(port),
            "body": "x" * RESPONSE_BYTES,
            "upstream": str(self.origin_port),
        }
        for key, value in values.items():
            text = text.replace(f"@{key}@", value)
        path = self._directory / "config" / Path(name).suffix.removeprefix(".") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


def wait_until_exported(server: Server) -> None:
    """Returns when every span that was recorded so far was sent; for other servers at once.

    Raises:
        BenchError: spans were dropped, or it took longer than `EXPORT_S_MAX`.
    """
    if not server.exports or server.admin is None:
        return
    deadline_s = time.monotonic() + EXPORT_S_MAX
    while time.monotonic() < deadline_s:
        with urllib.request.urlopen(f"http://{server.admin}/api/stats", timeout=5) as answer:
            stats = json.load(answer)
        lost = stats["engine"]["spans_dropped"] + sum(stats["export"]["dropped_spans"].values())
        if lost:
            raise BenchError(f"{server.name} lost {lost} spans: its figures would flatter it.")
        if stats["export"]["sent_spans"] == stats["engine"]["spans_recorded"]:
            return
        time.sleep(EXPORT_POLL_S)
    raise BenchError(f"{server.name} did not export its spans within {EXPORT_S_MAX:g} s.")

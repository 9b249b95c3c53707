"""The servers under test: how each is configured and started.

Rules: as many workers as asked for, keep-alive on both sides without a limit of requests, access
logs off, the same forwarding headers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from benchmarks.children import BenchError, Children, answers, free_port, listens, program
from benchmarks.stage import Stage


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run a program; `what` is for people."""

    program: str
    what: str
    workers: int = 1


VARIANTS = {
    "nginx": Variant("nginx", "no tracing"),
    "nginx-bare": Variant("nginx", "no forwarding headers"),
    "nginx-2": Variant("nginx", "2 workers", workers=2),
    "haproxy": Variant("haproxy", "no tracing"),
    "haproxy-2": Variant("haproxy", "2 threads", workers=2),
    "envoy": Variant("envoy", "no tracing"),
    "envoy-traced": Variant("envoy", "1 span, exported"),
    "caddy": Variant("caddy", "no tracing"),
    "spanway": Variant("spanway", "3 spans a request"),
    "spanway-2": Variant("spanway", "2 workers, 3 spans", workers=2),
    "spanway-off": Variant("spanway", "tracing off"),
    "spanway-export": Variant("spanway", "3 spans, exported"),
    "spanway-kernel": Variant("spanway", "kernel timestamps on all"),
    "spanway-store": Variant("spanway", "3 spans, stored as far as it comes"),
    "direct": Variant("direct", "no proxy"),
}
"""Every server, by name."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server under test: its ports by what they speak (`http`, `https`, `h2c`).

    `admin` is the port of Spanway's or Envoy's admin server. `exports`: it sends spans.
    """

    name: str
    pid: int
    ports: Mapping[str, int]
    admin: int = 0
    exports: bool = False

    @property
    def workers(self) -> int:
        return VARIANTS[self.name].workers

    def port(self, kind: str) -> int:
        """Raises: BenchError, when it has none of this kind."""
        if kind not in self.ports:
            raise BenchError(f"it has no {kind} listener")
        return self.ports[kind]


@dataclass(frozen=True, slots=True)
class Starter:
    """Starts servers on a stage; with `tls`, also a listener for TLS."""

    stage: Stage
    children: Children
    tls: bool = False

    def start(self, name: str) -> Server:
        """Started and ready; `direct` is the origin.

        Raises:
            BenchError: it cannot be started so; the message says why.
        """
        starts: Mapping[str, Callable[[str], Server]] = {
            "direct": self._direct,
            "nginx": self._nginx,
            "haproxy": self._haproxy,
            "envoy": self._envoy,
            "caddy": self._caddy,
            "spanway": self._spanway,
        }
        return starts[VARIANTS[name].program](name)

    def _direct(self, name: str) -> Server:
        return Server(name, self.stage.origin_pid, {"http": self.stage.origin_port})

    def _nginx(self, name: str) -> Server:
        ports = _ports("http", "https", "h2c")
        template = "nginx-bare.conf" if name == "nginx-bare" else "nginx.conf"
        argv = [program("nginx"), "-p", str(self.stage.directory)]
        argv += ["-c", str(self._config(name, template, ports))]
        return self._listening(name, argv, ports)

    def _haproxy(self, name: str) -> Server:
        ports = _ports("http", "https", "h2c")
        argv = [program("haproxy"), "-db", "-f", str(self._config(name, "haproxy.cfg", ports))]
        return self._listening(name, argv, ports)

    def _envoy(self, name: str) -> Server:
        ports, admin = _ports("http", "https"), free_port()
        is_traced = name == "envoy-traced"
        tracing = self.stage.text("envoy-tracing.yaml", {}) if is_traced else ""
        values = {**ports, "admin": admin, "tracing": tracing}
        argv = [str(envoy_path()), "--config-path", str(self._config(name, "envoy.yaml", values))]
        argv += ["--concurrency", str(VARIANTS[name].workers)]
        argv += ["--log-level", "error", "--disable-hot-restart"]
        started = self._listening(name, argv, {**ports, "h2c": ports["http"]})
        return replace(started, admin=admin, exports=is_traced)

    def _caddy(self, name: str) -> Server:
        ports = _ports("http", "https")
        argv = [program("caddy"), "run", "--adapter", "caddyfile"]
        argv += ["--config", str(self._config(name, "Caddyfile", ports))]
        home = str(self.stage.directory)
        env = {"GOMAXPROCS": str(VARIANTS[name].workers), "HOME": home, "XDG_DATA_HOME": home}
        return self._listening(name, argv, {**ports, "h2c": ports["http"]}, env)

    def _spanway(self, name: str) -> Server:
        """The real command; it is ready when its admin server says so."""
        ports, admin = _ports("http", *(["https"] if self.tls else [])), free_port()
        argv = [program("spanway"), "run", "--admin", f"127.0.0.1:{admin}"]
        argv += ["--store", "memory" if name == "spanway-store" else "off"]
        argv += ["--kernel-timestamps", "all" if name == "spanway-kernel" else "off"]
        argv += ["--manifests", str(self._config(name, "manifests.yaml", {}).parent)]
        argv += ["--workers", str(VARIANTS[name].workers)]
        for kind, port in ports.items():
            argv += [f"--{kind}", f"127.0.0.1:{port}"]
        sink = f"http://127.0.0.1:{self.stage.sink_port}"
        env = {
            "spanway-off": {"OTEL_SDK_DISABLED": "true"},
            "spanway-export": {"OTEL_EXPORTER_OTLP_ENDPOINT": sink},
        }.get(name, {})
        url = f"http://127.0.0.1:{admin}/readyz"
        pid = self.children.start(
            name, argv, cores=self._cores(name), ready=lambda: answers(url), env=env
        )
        exports = name == "spanway-export"
        return Server(name, pid, {**ports, "h2c": ports["http"]}, admin, exports=exports)

    def _listening(
        self,
        name: str,
        argv: list[str],
        ports: Mapping[str, int],
        env: Mapping[str, str] | None = None,
    ) -> Server:
        """Started; it is ready when it accepts connections."""
        pid = self.children.start(
            name, argv, cores=self._cores(name), ready=lambda: listens(ports["http"]), env=env
        )
        return Server(name, pid, ports)

    def _cores(self, name: str) -> frozenset[int]:
        cores, workers = self.stage.cores, VARIANTS[name].workers
        return frozenset({cores.server}) if workers == 1 else cores.of_two_workers

    def _config(self, name: str, template: str, values: Mapping[str, object]) -> Path:
        values = {"name": name, "workers": VARIANTS[name].workers, **values}
        return self.stage.config(template, values, under=name)


def envoy_path() -> Path:
    """The program itself; the script of that name only starts it.

    Raises:
        BenchError: it is not installed.
    """
    try:
        path = Path(str(resources.files("envoy"))) / "_bin" / "envoy"
    except ModuleNotFoundError as err:
        raise BenchError("envoy is missing: run `make bench`.") from err
    return path


def _ports(*kinds: str) -> dict[str, int]:
    return {kind: free_port() for kind in kinds}

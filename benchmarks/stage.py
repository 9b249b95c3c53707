"""What stands around the servers under test: origins, the sink for spans, certificate, files.

Rule: every configuration is a file in `config/`, whose `@name@` are filled in here.
"""

import base64
import subprocess
from collections.abc import Mapping
from pathlib import Path

from benchmarks.children import Children, Cores, free_port, listens, program

HOST, GRPC_HOST = "bench.example", "grpc.example"
RESPONSE_BYTES = 1024
FILE_BYTES = {"64k": 64 * 1024, "10m": 10 * 1024 * 1024}
"""Responses from `/files/NAME`."""

GRPC_PATH = "/bench.Bench/Unary.grpc"

_CONFIG = Path(__file__).with_name("config")
GRPC_MESSAGE = _CONFIG / "message.grpc"
"""Not compressed, five bytes long: field 1 is "abc". It is both request and response."""

_READABLE = 0o755


class Stage:
    """The surroundings, started. `directory` is for everything that is written."""

    def __init__(self, children: Children, directory: Path, cores: Cores) -> None:
        self.directory = directory
        self.cores = cores
        directory.chmod(_READABLE)  # nginx serves files as another user
        self._values: dict[str, str] = {"directory": str(directory), "body": "x" * RESPONSE_BYTES}
        self._make_certificate()
        self._make_files()
        self.origin_port, self.sink_port = self._port("origin"), self._port("sink")
        self.origin_pid = self._nginx(children, "origin", self.origin_port)
        self.start_sink(children)
        self.grpc_port = self._grpc(children)

    def config(self, name: str, values: Mapping[str, object], *, under: str = "") -> Path:
        """The file `config/name`, filled in, at `under` of the directory."""
        path = self.directory / "config" / under / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.text(name, values))
        return path

    def text(self, name: str, values: Mapping[str, object]) -> str:
        """What `config/name` says, filled in."""
        text = (_CONFIG / name).read_text()
        for key, value in {**values, **self._values}.items():
            text = text.replace(f"@{key}@", str(value))
        return text

    def start_sink(self, children: Children) -> None:
        """What takes spans, at `sink_port`."""
        self._sink_pid = self._nginx(children, "sink", self.sink_port)

    def stop_sink(self, children: Children) -> None:
        """Nothing listens at `sink_port` until it is started again."""
        children.end(self._sink_pid)

    def _nginx(self, children: Children, name: str, port: int) -> int:
        argv = [program("nginx"), "-p", str(self.directory)]
        argv += ["-c", str(self.config(f"{name}.conf", {}))]
        return children.start(name, argv, cores={self.cores.origin}, ready=lambda: listens(port))

    def _grpc(self, children: Children) -> int:
        """An h2c server whose answer to every POST is a message and the trailer of a success."""
        port = self._port("grpc")
        root = self.directory / "grpc"
        answer = root / GRPC_PATH.removeprefix("/")
        answer.parent.mkdir(parents=True)
        answer.write_bytes(GRPC_MESSAGE.read_bytes())
        argv = [program("nghttpd"), "--no-tls", "--address=127.0.0.1", f"--htdocs={root}"]
        types = self.directory / "mime.types"
        types.write_text("application/grpc grpc\n")
        argv += [f"--mime-types-file={types}", "--trailer=grpc-status: 0", "--no-content-length"]
        argv += [str(port)]
        children.start("grpc", argv, cores={self.cores.origin}, ready=lambda: listens(port))
        return port

    def _port(self, name: str) -> int:
        port = free_port()
        self._values[name] = str(port)
        return port

    def _make_files(self) -> None:
        (self.directory / "files").mkdir()
        for name, size in FILE_BYTES.items():
            (self.directory / "files" / name).write_bytes(b"x" * size)

    def _make_certificate(self) -> None:
        """ECDSA P-256, for `HOST` and `GRPC_HOST`, signed by itself."""
        key, certificate = self.directory / "key.pem", self.directory / "certificate.pem"
        argv = [program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt"]
        argv += ["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={HOST}"]
        argv += ["-addext", f"subjectAltName=DNS:{HOST},DNS:{GRPC_HOST}"]
        argv += ["-keyout", str(key), "-out", str(certificate)]
        subprocess.run(argv, check=True, capture_output=True)
        bundle = self.directory / "bundle.pem"
        bundle.write_bytes(certificate.read_bytes() + key.read_bytes())
        bundle.chmod(0o600)
        for name, path in (("certificate_base64", certificate), ("key_base64", key)):
            self._values[name] = base64.b64encode(path.read_bytes()).decode()

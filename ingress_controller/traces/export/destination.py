"""Where spans can be sent, as values: `url` reads them, `making` makes their senders.

Rules: no I/O. Secrets are in no `repr`, and not in an export's name.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import msgspec

TIMEOUT_S = 10.0  # of one attempt; the default of OTEL_EXPORTER_OTLP_TIMEOUT
QUEUE_BYTES = 32 * 1024 * 1024  # of each exporter: 1.6 s at 20,000 requests/s of 1 KiB of spans
SPILL_BYTES = 1024 * 1024 * 1024  # ten minutes at 6,000 requests/s of 1.7 KiB, compressed
FILE_BYTES = 64 * 1024 * 1024  # of a file of spans, until another is begun; Collector: 100 MB
FILES_MAX = 5  # of these, with the one that is written; Collector: 100
GZIP_LEVEL = 1
"""Spans of one service repeat themselves: 0.9 MB of them take 3 ms and shrink to 16 %, at level 6
8 ms and hardly less."""


class Tls(msgspec.Struct, frozen=True):
    """PEM files; without `ca` the system's authorities count."""

    ca: Path | None = None
    certificate: Path | None = None
    private_key: Path | None = None
    verify: bool = True


class _Otlp(msgspec.Struct, frozen=True, kw_only=True):
    headers: Mapping[str, str] = {}
    timeout_s: float = TIMEOUT_S
    gzip: bool = False
    tls: Tls = Tls()

    def __repr__(self) -> str:
        fields = msgspec.structs.asdict(self) | {"headers": sorted(self.headers)}
        shown = ", ".join(f"{name}={value!r}" for name, value in fields.items())
        return f"{type(self).__name__}({shown})"


class OtlpHttp(_Otlp, frozen=True, kw_only=True):
    """`url` is what batches are posted to, with its path. `is_json`: as JSON, not as protobuf."""

    url: str
    is_json: bool = False


class OtlpGrpc(_Otlp, frozen=True, kw_only=True):
    """`address` is `host:port`; without `has_tls` the connection is plain."""

    address: str
    has_tls: bool = False


class JsonFile(msgspec.Struct, frozen=True):
    """OTLP as JSON lines; full, it is `path.1`, then `path.2`, up to `files_max` files in all."""

    path: Path
    file_bytes_max: int = FILE_BYTES
    files_max: int = FILES_MAX


class Console(msgspec.Struct, frozen=True):
    """Standard output."""


class JaegerAgent(msgspec.Struct, frozen=True):
    """Compact Thrift over UDP."""

    host: str
    port: int


class JaegerCollector(msgspec.Struct, frozen=True):
    """Binary Thrift over HTTP. `password` goes with `user`."""

    url: str
    user: str = ""
    password: str = ""
    timeout_s: float = TIMEOUT_S

    def __repr__(self) -> str:
        return f"JaegerCollector(url={self.url!r}, user={self.user!r})"


class Zipkin(msgspec.Struct, frozen=True):
    """JSON over HTTP, version 2."""

    url: str
    timeout_s: float = TIMEOUT_S


class PythonFactory(msgspec.Struct, frozen=True):
    """`module:name` that, called without arguments, gives an OpenTelemetry SpanExporter."""

    module: str
    name: str


Destination: TypeAlias = (
    OtlpHttp
    | OtlpGrpc
    | JsonFile
    | Console
    | JaegerAgent
    | JaegerCollector
    | Zipkin
    | PythonFactory
)


class Spill(msgspec.Struct, frozen=True):
    """Files in `directory`, up to `bytes_max` together, for what the queue has no room for."""

    directory: Path
    bytes_max: int = SPILL_BYTES


class Export(msgspec.Struct, frozen=True):
    """One destination. `name` is its URL without secrets and options; no two are called alike."""

    name: str
    destination: Destination
    queue_bytes_max: int = QUEUE_BYTES
    spill: Spill | None = None

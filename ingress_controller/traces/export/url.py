"""The URLs of `--export`: scheme, address, and options behind a question mark.

Rules: it reads no file, but looks whether files that are named are there. A ValueError says in one
sentence what is wrong and what to write. `docs/EXPORT.md` lists all.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from ingress_controller.traces.export.destination import (
    Console,
    Destination,
    Export,
    JaegerAgent,
    JaegerCollector,
    JsonFile,
    OtlpGrpc,
    OtlpHttp,
    PythonFactory,
    Spill,
    Tls,
    Zipkin,
)
from proxy.spans import BATCH_BYTES_MAX

TRACES_PATH = "/v1/traces"
QUEUE_BYTES_LEAST = 8 * BATCH_BYTES_MAX  # four batches are under way, as many wait
TIMEOUT_S_MAX = 300.0  # of one attempt; longer ones would outlive the shutdown by minutes
FILES_LIMIT_MAX = 1_000  # files of one exporter; each rotation renames all of them
HEADERS_FILE_BYTES_MAX = 64 * 1024  # a file of headers; a request has less room for them

_SIZE = re.compile(r"([0-9]{1,15})(?:([KMGT])(?:i?B?)?)?", re.IGNORECASE)
_SIZE_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_IDENTIFIER = re.compile(r"[A-Za-z_][\w.]*")
_PORTS = {"grpc": 4317, "jaeger-thrift": 6831}

_T = TypeVar("_T")


def export(text: str) -> Export:
    """The export that `text` asks for.

    Raises:
        ValueError: it is none.
    """
    if text.partition("?")[0] == "console":
        text = text.replace("console", "console:", 1)  # the only one that needs no more
    scheme, separator, _ = text.partition(":")
    read = _SCHEMES.get(scheme.lower()) if separator else None
    if read is None:
        near = get_close_matches(scheme.lower(), _SCHEMES, n=1) if separator else []
        hint = f'did you mean "{near[0]}:"?' if near else f"use one of {', '.join(_SCHEMES)}"
        raise ValueError(f'"{_shown(text)}" has no scheme that spans can be sent by; {hint}')
    url = _Url(text)
    destination = read(url)
    made = Export(
        name=url.name,
        destination=destination,
        **url.given(queue_bytes_max=("queue_bytes", _queue_bytes)),
        spill=_spill(url),
    )
    url.refuse_rest()
    return made


def traces_url(base: str) -> str:
    """The URL for traces under an OTLP base URL; one that already ends so is kept.

    Raises ValueError if `base` is not an http or https URL with a host.
    """
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f'"{base}" is not a URL like http://127.0.0.1:4318')
    _ = parts.port  # raises ValueError if it is no number
    return base if parts.path.endswith(TRACES_PATH) else base.rstrip("/") + TRACES_PATH


def grpc_address(text: str) -> str:
    """`host:port` of `[scheme://]host[:port]`, by default port 4317.

    Raises ValueError if it has no host.
    """
    parts = urlsplit(text if "://" in text else f"//{text}")
    if not parts.hostname or parts.path.strip("/"):
        raise ValueError(f'"{_shown(text)}" is not an address like http://127.0.0.1:4317')
    return _address(parts, _PORTS["grpc"])


def name_of(scheme: str, url: str) -> str:
    """What an export to `url` is called: scheme, host and port."""
    parts = urlsplit(url if "://" in url else f"//{url}")
    return f"{scheme}://{_host(parts)}" + (f":{parts.port}" if parts.port else "")


class _Url:
    """A URL whose options are taken one after the other; what is left is refused."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.parts = urlsplit(text)
        self.scheme = self.parts.scheme
        self._options = dict(parse_qsl(self.parts.query, keep_blank_values=True))
        self._known: list[str] = []
        if self.parts.netloc:
            _ = self.parts.port  # raises ValueError if it is no number

    @property
    def name(self) -> str:
        if self.parts.netloc:
            prefix = "otlp+" if self.scheme in ("http", "https") else ""
            return name_of(prefix + self.scheme, self.text)
        return self.text.partition("?")[0].rstrip(":")

    @property
    def base(self) -> str:
        """Scheme without its prefix, host, port and path: no user, no options."""
        if not self.parts.hostname:
            raise ValueError(f'"{_shown(self.text)}" has no host, as in {self.scheme}://host:4318')
        scheme = self.scheme.rpartition("+")[2]
        port = f":{self.parts.port}" if self.parts.port else ""
        return f"{scheme}://{_host(self.parts)}{port}{self.parts.path}"

    @property
    def user(self) -> tuple[str, str]:
        return unquote(self.parts.username or ""), unquote(self.parts.password or "")

    def take(self, option: str, parse: Callable[[str], _T]) -> _T | None:
        self._known.append(option)
        text = self._options.pop(option, None)
        if text is None:
            return None
        try:
            return parse(text)
        except ValueError as err:
            raise ValueError(f"{option}: {err}") from err

    def given(self, **wanted: tuple[str, Callable[[str], object]]) -> dict[str, Any]:
        """The fields whose options are there; the others have their defaults."""
        read = {field: self.take(option, parse) for field, (option, parse) in wanted.items()}
        return {field: value for field, value in read.items() if value is not None}

    def refuse_rest(self) -> None:
        for option in self._options:
            known = ", ".join(self._known)
            raise ValueError(f'"{option}" is no option of {self.scheme}; there are {known}')


def _otlp_http(url: _Url) -> OtlpHttp:
    return OtlpHttp(
        url=traces_url(url.base),
        **url.given(is_json=("encoding", _encoding)),
        **_otlp(url, has_tls=url.base.startswith("https:")),
    )


def _otlp_grpc(url: _Url) -> OtlpGrpc:
    has_tls = url.scheme.endswith("grpcs")
    made = OtlpGrpc(address=grpc_address(url.base), has_tls=has_tls, **_otlp(url, has_tls=has_tls))
    if not made.tls.verify:
        raise ValueError("verify: gRPC cannot do without it; name the authority with ca=FILE")
    return made


def _otlp(url: _Url, *, has_tls: bool) -> dict[str, Any]:
    options = url.given(
        headers=("headers", _headers_of_file),
        timeout_s=("timeout", _seconds),
        gzip=("compression", _compression),
    )
    tls = url.given(
        ca=("ca", _file),
        certificate=("cert", _file),
        private_key=("key", _file),
        verify=("verify", _switch),
    )
    if tls and not has_tls:
        raise ValueError(f"{next(iter(tls))} is for TLS; write {url.scheme}s:// for it")
    if "private_key" in tls and "certificate" not in tls:
        raise ValueError("key has no cert beside it")
    user, password = url.user
    if user:
        basic = b64encode(f"{user}:{password}".encode()).decode()
        headers = {"authorization": f"Basic {basic}"}
        options["headers"] = headers | options.get("headers", {})
    return options | {"tls": Tls(**tls)}


def _jaeger_agent(url: _Url) -> JaegerAgent:
    _ = url.base
    return JaegerAgent(url.parts.hostname or "", url.parts.port or _PORTS["jaeger-thrift"])


def _jaeger_collector(url: _Url) -> JaegerCollector:
    address = _with_path(url.base, "/api/traces")
    return JaegerCollector(address, *url.user, **url.given(timeout_s=("timeout", _seconds)))


def _zipkin(url: _Url) -> Zipkin:
    address = _with_path(url.base, "/api/v2/spans")
    return Zipkin(address, **url.given(timeout_s=("timeout", _seconds)))


def _json_file(url: _Url) -> JsonFile:
    path = Path(unquote(url.parts.path)).absolute()
    if url.parts.netloc or not url.parts.path or not path.parent.is_dir() or path.is_dir():
        raise ValueError(f'"{url.text}" is no file in a directory there is; write file:/path/name')
    given = url.given(file_bytes_max=("file_bytes", size), files_max=("files", _file_count))
    return JsonFile(path, **given)


def _console(_: _Url) -> Console:
    return Console()


def _python_factory(url: _Url) -> PythonFactory:
    module, separator, name = url.parts.path.partition(":")
    if not separator or not (_IDENTIFIER.fullmatch(module) and _IDENTIFIER.fullmatch(name)):
        raise ValueError(f'"{url.text}" is not python:package.module:factory')
    return PythonFactory(module, name)


_SCHEMES: Mapping[str, Callable[[_Url], Destination]] = {
    "http": _otlp_http,
    "https": _otlp_http,
    "otlp+http": _otlp_http,
    "otlp+https": _otlp_http,
    "otlp+grpc": _otlp_grpc,
    "otlp+grpcs": _otlp_grpc,
    "file": _json_file,
    "console": _console,
    "jaeger-thrift": _jaeger_agent,
    "jaeger-thrift+http": _jaeger_collector,
    "jaeger-thrift+https": _jaeger_collector,
    "zipkin+http": _zipkin,
    "zipkin+https": _zipkin,
    "python": _python_factory,
}


def _spill(url: _Url) -> Spill | None:
    directory = url.take("spill", _directory)
    bytes_max = url.given(bytes_max=("spill_bytes", _queue_bytes))
    if directory is None:
        if bytes_max:
            raise ValueError("spill_bytes has no effect without spill=/a/directory")
        return None
    return Spill(directory, **bytes_max)


def headers_of(lines: str) -> dict[str, str]:
    """`Name: value` of each line. No message has a value in it: it may be a secret."""
    headers = {}
    for number, line in enumerate(lines.splitlines(), 1):
        if not line.strip():
            continue
        name, separator, value = line.partition(":")
        if not separator or not name.strip() or not line.isprintable():
            raise ValueError(f"line {number} is not Name: value")
        headers[name.strip()] = value.strip()
    return headers


def _headers_of_file(text: str) -> dict[str, str]:
    path = _file(text)
    if path.stat().st_size > HEADERS_FILE_BYTES_MAX:
        raise ValueError(f'"{text}" is larger than {HEADERS_FILE_BYTES_MAX} bytes')
    try:
        return headers_of(path.read_text())
    except (OSError, UnicodeDecodeError) as err:
        raise ValueError(f'"{text}" cannot be read as text') from err


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    return f"[{host}]" if ":" in host else host


def _address(parts: SplitResult, default_port: int) -> str:
    return f"{_host(parts)}:{parts.port or default_port}"


def _with_path(url: str, path: str) -> str:
    return url if urlsplit(url).path.strip("/") else url.rstrip("/") + path


def _shown(text: str) -> str:
    """Without options and without what stands before an `@`: it may be a secret."""
    scheme, separator, rest = text.partition("?")[0].partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def size(text: str) -> int:
    """Bytes of `64Mi` or `65536`. Raises ValueError."""
    found = _SIZE.fullmatch(text.strip())
    total = int(found[1]) * _SIZE_UNITS[(found[2] or "").lower()] if found else 0
    if not total:
        raise ValueError(f'"{text}" is not a size above zero, for example 64Mi')
    return total


def _queue_bytes(text: str) -> int:
    byte_count = size(text)
    if byte_count < QUEUE_BYTES_LEAST:
        raise ValueError(f'"{text}" is below {QUEUE_BYTES_LEAST} bytes: batches have up to 1 MiB')
    return byte_count


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= TIMEOUT_S_MAX:
        raise ValueError(f'"{text}" is not a number of seconds up to {TIMEOUT_S_MAX:g}')
    return seconds


def _file_count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= FILES_LIMIT_MAX:
        raise ValueError(f'"{text}" is not a whole number from 1 to {FILES_LIMIT_MAX}')
    return int(text)


def _compression(text: str) -> bool:
    if text not in ("gzip", "none"):
        raise ValueError(f'"{text}" is neither gzip nor none')
    return text == "gzip"


def _encoding(text: str) -> bool:
    if text not in ("json", "proto"):
        raise ValueError(f'"{text}" is neither json nor proto')
    return text == "json"


def _switch(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f'"{text}" is neither true nor false')
    return text == "true"


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise ValueError(f'"{text}" is not a file')
    return path


def _directory(text: str) -> Path:
    path = Path(text).absolute()
    if not path.is_dir():
        raise ValueError(f'"{text}" is not a directory')
    return path

"""Texts of flags and variables become values.

Rules: pure but for looking whether a file is there; each raises ValueError, whose message says what
the text is not and what to write.
"""

import ipaddress
import os
import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from ingress_controller.addresses import (
    AddressError,
    address_or_any_port,
)
from ingress_controller.asking import Credentials, token_from
from ingress_controller.credentials import CertificateFiles, Secret, secret_in
from ingress_controller.otel import RemoteSampler, sampling_url
from ingress_controller.peers.addresses import peer_address
from ingress_controller.takeover.channel import PATH_BYTES_MAX
from proxy.table import (
    RATE_PER_S_MAX,
)

WORKERS_MAX = 256  # one is one thread on one core
METRICS_ROUTES_LIMIT_MAX = 65_536  # some 200 MiB of memory; ingress-nginx has no bound
DRAIN_S_MAX = 86_400.0  # a day: long downloads, WebSocket; more would be for ever
TOP_INTERVAL_S_MIN = 0.2  # no eye is faster
TOP_INTERVAL_S_MAX = 3_600.0  # who looks less often can ask once
STORE_AGE_S_MIN = 60.0  # less is nothing that one could look at
STORE_AGE_S_MAX = 3_650 * 86_400.0  # ten years: whoever wants more has another store
CLIENT_S_MIN = 0.001  # the least that the table can say, since it counts milliseconds
CLIENT_S_MAX = 86_400.0  # a day; whoever holds a connection for longer costs memory for nothing
_E = TypeVar("_E", bound=StrEnum)
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_AGE = re.compile(r"([0-9]{1,9})([smhd])")
_AGE_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def log_path(text: str) -> str:
    if text in ("-", "off"):
        return text
    path = Path(text).absolute()
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError(f'"{text}" is no place for a file; name one in a directory there is')
    return str(path)


def peer_addresses(text: str) -> tuple[str, ...]:
    return tuple(peer_address(part.strip()) for part in text.split(","))


def existing_directory(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        kind = "a file, not a directory" if path.exists() else "not there"
        raise ValueError(f'"{text}" is {kind}; name the directory that holds the manifests')
    return path


def file(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_file():
        raise ValueError(f'"{text}" is not a file; name a kubeconfig')
    return path


def workers(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= WORKERS_MAX:
        raise ValueError(f'"{text}" is not a whole number from 1 to {WORKERS_MAX}')
    return int(text)


def metrics_routes(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > METRICS_ROUTES_LIMIT_MAX:
        raise ValueError(f'"{text}" is not a whole number from 0 to {METRICS_ROUTES_LIMIT_MAX}')
    return int(text)


def ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise ValueError(f'"{text}" is not a number from 0 to 1, for example 0.1')
    return ratio


def rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= RATE_PER_S_MAX:
        raise ValueError(f'"{text}" is not a number from 0 to {RATE_PER_S_MAX:,.0f}')
    return rate


def remote_sampler(text: str) -> RemoteSampler:
    return RemoteSampler(sampling_url(text))


def secret_file(text: str) -> Secret:
    return secret_in(Path(text).expanduser())


def token_file(text: str) -> Credentials:
    return token_from(Path(text).expanduser())


def trace_link(text: str) -> str:
    # A browser follows it, so nothing that could be a script.
    if not text.startswith(("http://", "https://")) or text.count("{trace_id}") != 1:
        raise ValueError(f'"{text}" is not a URL such as http://jaeger/trace/{{trace_id}}')
    return text


def seconds(text: str) -> float:
    return seconds_within(text, 0, DRAIN_S_MAX)


def store_age(text: str) -> float:
    found = _AGE.fullmatch(text)
    age_s = int(found[1]) * _AGE_UNITS_S[found[2]] if found else 0
    if not STORE_AGE_S_MIN <= age_s <= STORE_AGE_S_MAX:
        raise ValueError(
            f'"{text}" is not a time from a minute to ten years, for example 12h or 3d'
        )
    return float(age_s)


def top_seconds(text: str) -> float:
    return seconds_within(text, TOP_INTERVAL_S_MIN, TOP_INTERVAL_S_MAX)


def client_seconds(text: str) -> float:
    return seconds_within(text, CLIENT_S_MIN, CLIENT_S_MAX)


def seconds_within(text: str, least: float, most: float) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not least <= seconds <= most:
        raise ValueError(f'"{text}" is not a number of seconds from {least:g} to {most:g}')
    return seconds


def takeover_path(text: str) -> Path:
    path = Path(text).absolute()
    if len(os.fsencode(path)) > PATH_BYTES_MAX:
        raise ValueError(f'"{path}" is longer than the {PATH_BYTES_MAX} bytes of a socket\'s path')
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError(f'"{text}" is no place for a socket; name a file in a directory there is')
    return path


def one_of(words: type[_E]) -> Callable[[str], _E]:
    """Reads one of them; `_` is written as `-`."""

    def read(text: str) -> _E:
        try:
            return words(text.lower().replace("-", "_"))
        except ValueError:
            known = ", ".join(words).replace("_", "-")
            raise ValueError(f'"{text}" is none of {known}') from None

    return read


def switch(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f'"{text}" is neither true nor false')
    return text.lower() == "true"


def object_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f'"{text}" is not a Kubernetes name (lower-case letters, digits, - and .)')
    return text


def object_name_or_ip(text: str) -> str:
    try:
        return address_or_any_port(f"[{text}]:0" if ":" in text else f"{text}:0")[:-2].strip("[]")
    except AddressError:
        return object_name(text)


def default_certificate(text: str) -> tuple[str, str] | CertificateFiles:
    chain, separator, private_key = (part.strip() for part in text.partition(","))
    if separator:
        return CertificateFiles(pem_file(chain), pem_file(private_key))
    namespace, separator, name = text.partition("/")
    if not separator or not (_NAME.fullmatch(namespace) and _NAME.fullmatch(name)):
        raise ValueError(
            f'"{text}" is neither NS/NAME of a Secret nor CERT.pem,KEY.pem, for example'
            " ingress/default or /tls/tls.crt,/tls/tls.key"
        )
    return namespace, name


def pem_file(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_file():
        raise ValueError(f'"{text}" is not a file; name the certificate and the key, in PEM form')
    return path


def network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError as err:
        raise ValueError(
            f'"{text}" is neither an IP address nor a network, for example 10.0.0.0/8'
        ) from err


def label(text: str) -> str:
    if not _LABEL.fullmatch(text):
        raise ValueError(f'"{text}" is not the value of a label, for example eu-west-1a')
    return text


def service_name(text: str) -> tuple[str, str]:
    namespace, separator, name = text.partition("/")
    if not separator:
        raise ValueError(f'"{text}" is not NS/NAME, for example ingress/spanway')
    return object_name(namespace), object_name(name)

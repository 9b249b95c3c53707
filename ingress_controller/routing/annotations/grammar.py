"""How the text of an annotation is written: one Grammar for each kind of value.

Rules: pure. What does not fit raises ValueError with half a sentence that ends without a period.
A message may show what was written, but never the value of a header: it may be a credential.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from proxy.table import (
    RATE_PER_S_MAX,
    Affinity,
    HashKey,
    HashOn,
    Redirect,
    Rewrite,
    UpstreamTls,
)

SHOWN_CHARS_MAX = 60  # of what was written, in a message; more would not be read
ENTRIES_MAX = 16_384  # of a list; of shorter ones than these Kubernetes takes no more
HEADER_EDITS_MAX = 64  # of one annotation; the engine takes as many for one head
HEADER_VALUE_BYTES_MAX = 4_096  # the engine's own bound; nginx: 4 KiB a directive
PATTERN_CHARS_MAX = 1_024  # of a regular expression; the paths it is for have at most 4 KiB
DURATION_MS_MAX = 30 * 24 * 3_600_000  # a month; beyond it, no bound at all is what is meant
SIZE_BYTES_MAX = 1 << 50  # 1 PiB; beyond it, no bound at all is what is meant
COUNT_MAX = 1_000_000  # of requests, connections, waiting requests
WEIGHT_MAX = 1_000  # the table's own bound

_E = TypeVar("_E", bound=StrEnum)

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION_PART = re.compile(r"([0-9]{1,12})(ms|s|m|h|d)")
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+")
_SIZE = re.compile(r"([0-9]{1,16})([kmg]i?)?", re.IGNORECASE)
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,12})?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")  # RFC 9110, 5.6.2
_COOKIE_PATH = re.compile(r"/[!-:<-~]{0,255}")  # RFC 6265, 4.1.1: no ";", no controls
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_VARIABLE = re.compile(r"\$\{?([A-Za-z0-9_]*)")
_AUTHORITY = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
_REDIRECT = re.compile(r"(?:(?P<status>[0-9]{3})\s+)?(?P<location>\S+)")
_REDIRECT_STATUSES = (301, 302, 303, 307, 308)
_REDIRECT_VARIABLES = ("scheme", "host", "path", "query")
_REDIRECT_STARTS = ("http://", "https://", "$scheme://", "/", "$path")

HEADERS_REFUSED = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "http2-settings",
        "keep-alive",
        "proxy",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Names that frame a message or belong to a connection, which no policy changes; and `Proxy`, which
CGI-like backends take for a variable. Source: RFC 9110, 7.6.1; RFC 9112, 6; httpoxy."""

HEADER_VARIABLES = ("client_ip", "host", "request_id", "scheme", "trace_id")
"""What the value of a header may hold, as `$name` or `${name}`."""

_TRACE_CONTEXT = ("traceparent", "tracestate")


class Grammar(msgspec.Struct, frozen=True):
    """`form` says for people what is written; `parse` reads it or raises ValueError."""

    form: str
    parse: Callable[[str], Any]


class Place(StrEnum):
    """What of an endpoint a weight goes by; the later in this list wins."""

    ZONE = "zone"
    NODE = "node"
    POD = "pod"


class Weight(msgspec.Struct, frozen=True):
    """The weight of the endpoints in one zone, on one node, or of one pod."""

    place: Place
    name: str
    weight: int


class SecretName(msgspec.Struct, frozen=True):
    """A Secret; without `namespace` one in the namespace of the object that names it."""

    name: str
    namespace: str = ""


def shown(text: str) -> str:
    """What was written, in quotes, shortened."""
    short = text if len(text) <= SHOWN_CHARS_MAX else f"{text[:SHOWN_CHARS_MAX]}…"
    return f'"{short}"'


def duration_ms(text: str) -> int:
    """`500ms`, `1m30s`; `0` is no bound."""
    if text == "0":
        return 0
    if not _DURATION.fullmatch(text):
        hint = f"; write {text}s for seconds" if text.isdigit() else ""
        raise ValueError(f"{shown(text)} is not a duration{hint}")
    total = sum(int(n) * _UNITS_MS[unit] for n, unit in _DURATION_PART.findall(text))
    if total > DURATION_MS_MAX:
        raise ValueError(f"{shown(text)} is longer than 30 days")
    return total


def positive_duration_ms(text: str) -> int:
    """The same, but never 0."""
    total = duration_ms(text)
    if total == 0:
        raise ValueError(f"{shown(text)} is no time at all")
    return total


def duration_s(text: str) -> int:
    """A duration of whole seconds, in seconds."""
    total = duration_ms(text)
    if total % 1_000:
        raise ValueError(f"{shown(text)} is not a whole number of seconds")
    return total // 1_000


def size_bytes(text: str) -> int:
    """`8k`, `1m` and `1g` as nginx reads them (1,024), `1Mi` as Kubernetes does, or bytes."""
    parts = _SIZE.fullmatch(text)
    if parts is None:
        raise ValueError(f"{shown(text)} is not a size")
    exponent = ("", "k", "m", "g").index((parts[2] or "").lower().rstrip("i"))
    total = int(parts[1]) << 10 * exponent
    if total > SIZE_BYTES_MAX:
        raise ValueError(f"{shown(text)} is more than a petabyte")
    return total


def size_within(low: int, high: int) -> Callable[[str], int]:
    """Sizes from `low` to `high` bytes."""

    def parse(text: str) -> int:
        total = size_bytes(text)
        if not low <= total <= high:
            raise ValueError(f"{shown(text)} is not from {low} to {high} bytes")
        return total

    return parse


def whole(low: int, high: int) -> Callable[[str], int]:
    """Whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text[:20]) <= high):
            raise ValueError(f"{shown(text)} is not a whole number from {low} to {high}")
        return int(text)

    return parse


def ratio(text: str) -> float:
    """A share. Raises ValueError."""
    return _number(text, 1.0)


def rate(text: str) -> float:
    """So many in a second. Raises ValueError."""
    return _number(text, RATE_PER_S_MAX)


def _number(text: str, highest: float) -> float:
    if not _DECIMAL.fullmatch(text) or not float(text) <= highest:
        raise ValueError(f"{shown(text)} is not a number from 0 to {highest:g}")
    return float(text)


def switch(text: str) -> bool:
    """`true` or `false`."""
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{shown(text)} is neither true nor false")
    return text.lower() == "true"


def one_of(kind: type[_E]) -> Callable[[str], _E]:
    """A member of `kind`, with hyphens for its underscores."""
    members = {member.value.replace("_", "-"): member for member in kind}

    def parse(text: str) -> _E:
        found = members.get(text.lower().replace("_", "-"))
        if found is None:
            raise ValueError(f"{shown(text)} is none of {', '.join(members)}")
        return found

    return parse


def some_of(kind: type[_E]) -> Callable[[str], tuple[_E, ...]]:
    """Members of `kind`, each once; `off` for none."""
    parse_one = one_of(kind)

    def parse(text: str) -> tuple[_E, ...]:
        return () if text == "off" else tuple(dict.fromkeys(map(parse_one, entries(text))))

    return parse


def entries(text: str) -> list[str]:
    """What commas, spaces and ends of lines separate; at least one."""
    found = re.split(r"[\s,]+", text.strip().strip(","))
    if not any(found):
        raise ValueError("the list is empty")
    if len(found) > ENTRIES_MAX:
        raise ValueError(f"the list has more than {ENTRIES_MAX} entries")
    return [entry for entry in found if entry]


def networks(text: str) -> tuple[str, ...]:
    """Networks in canonical form; an address stands for itself, bits behind the prefix for 0."""

    def network(entry: str) -> str:
        try:
            return str(ipaddress.ip_network(entry, strict=False))
        except ValueError as err:
            raise ValueError(f"{shown(entry)} is neither an IP address nor a network") from err

    return tuple(dict.fromkeys(map(network, entries(text))))


def header_names(text: str) -> tuple[str, ...]:
    """Names of header fields that may be removed."""
    names = dict.fromkeys(_bounded(entries(text)))
    return tuple(_header_name(name, refused=("host",)) for name in names)


def request_headers_set(text: str) -> tuple[tuple[str, str], ...]:
    """`Name: value`, one to a line and each name once; Host is what the endpoint is told."""
    return _once(_header_lines(text, refused=_TRACE_CONTEXT))


def request_headers_add(text: str) -> tuple[tuple[str, str], ...]:
    """`Name: value`, one to a line."""
    return _header_lines(text, refused=("host", *_TRACE_CONTEXT))


def response_headers_set(text: str) -> tuple[tuple[str, str], ...]:
    """`Name: value`, one to a line and each name once."""
    return _once(_header_lines(text, refused=("host",)))


def response_headers_add(text: str) -> tuple[tuple[str, str], ...]:
    """`Name: value`, one to a line."""
    return _header_lines(text, refused=("host",))


def _bounded(items: list[str]) -> list[str]:
    if len(items) > HEADER_EDITS_MAX:
        raise ValueError(f"there are more than {HEADER_EDITS_MAX} headers in it")
    return items


def _header_name(text: str, *, refused: Sequence[str]) -> str:
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"{shown(text)} is not a header name")
    # A CGI-like backend takes X_A for X-A.
    if text.lower().replace("_", "-") in (*HEADERS_REFUSED, *refused):
        raise ValueError(f"{shown(text)} is not for a policy to change")
    return text


def _header_lines(text: str, *, refused: Sequence[str]) -> tuple[tuple[str, str], ...]:
    lines = _bounded([line for line in map(str.strip, text.splitlines()) if line])
    if not lines:
        raise ValueError("there is no line in it")
    found = []
    for number, line in enumerate(lines, 1):
        name, separator, value = (part.strip() for part in line.partition(":"))
        if not separator:
            raise ValueError(f"line {number} has no colon")
        _header_name(name, refused=refused)
        _header_value(number, value, is_host=name.lower() == "host")
        found.append((name, value))
    return tuple(found)


def _header_value(number: int, value: str, *, is_host: bool) -> None:
    if not all(sign == "\t" or " " <= sign <= "~" for sign in value):
        raise ValueError(f"the value in line {number} is not plain ASCII")
    if len(value) > HEADER_VALUE_BYTES_MAX:
        raise ValueError(f"the value in line {number} has over {HEADER_VALUE_BYTES_MAX} bytes")
    if is_host and not _AUTHORITY.fullmatch(value):
        raise ValueError(f"the value in line {number} is not a host with or without a port")
    if not is_host and _unknown_variable(value, HEADER_VARIABLES) is not None:
        known = ", ".join(f"${name}" for name in HEADER_VARIABLES)
        raise ValueError(
            f"the value in line {number} has a variable other than {known}; $$ is a dollar"
        )


def _once(lines: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    names = [name.lower() for name, _ in lines]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{shown(name)} is set twice")
    return lines


def _unknown_variable(text: str, known: Sequence[str]) -> str | None:
    """The first variable in `text` that is none of `known`; `$$` is a dollar."""
    names = _VARIABLE.findall(text.replace("$$", ""))
    return next((name for name in names if name not in known), None)


def rewrite(text: str) -> Rewrite:
    """`pattern => replacement`. Whether the pattern is one, the engine knows."""
    pattern, separator, replacement = (part.strip() for part in text.partition("=>"))
    if not separator or not pattern:
        raise ValueError(f"{shown(text)} is not PATTERN => REPLACEMENT")
    if len(pattern) > PATTERN_CHARS_MAX or len(replacement) > PATTERN_CHARS_MAX:
        raise ValueError(f"a side of it is longer than {PATTERN_CHARS_MAX} characters")
    if not all("!" <= sign <= "~" and sign not in "?#\\" for sign in replacement):
        raise ValueError(f"{shown(replacement)} has what is not in a path")
    if pattern.startswith("^/") and not replacement.startswith(("/", "$")):
        raise ValueError(f"{shown(replacement)} does not begin with a slash as the path does")
    return Rewrite(pattern, replacement)


def redirect(text: str) -> Redirect:
    """`308 https://…`; without the status 308."""
    parts = _REDIRECT.fullmatch(text)
    if parts is None or not parts["location"].startswith(_REDIRECT_STARTS):
        raise ValueError(f"{shown(text)} is not a status and a URL or path")
    status, location = int(parts["status"] or 308), parts["location"]
    if status not in _REDIRECT_STATUSES:
        raise ValueError(f"{status} is none of {', '.join(map(str, _REDIRECT_STATUSES))}")
    if not location.isascii() or not location.isprintable():
        raise ValueError(f"{shown(location)} has signs that a URL must have in %XX form")
    unknown = _unknown_variable(location, _REDIRECT_VARIABLES)
    if unknown is not None:
        known = ", ".join(f"${variable}" for variable in _REDIRECT_VARIABLES)
        raise ValueError(f"${unknown} is not known; there are {known}")
    return Redirect(location, status)


def hash_on(text: str) -> HashKey:
    """`ip`, `header NAME` or `cookie NAME`."""
    what, _, name = text.partition(" ")
    name = name.strip()
    on = one_of(HashOn)(what)
    if on is HashOn.IP and name:
        raise ValueError(f"{shown(text)} has a name after ip")
    if on is not HashOn.IP and not _TOKEN.fullmatch(name):
        raise ValueError(f"{shown(text)} does not name a {on}")
    return HashKey(on, name)


def affinity(text: str) -> Affinity:
    """The name of a cookie."""
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"{shown(text)} is not a cookie name")
    return Affinity(cookie=text)


def cookie_path(text: str) -> str:
    """The `Path` of a cookie."""
    if not _COOKIE_PATH.fullmatch(text):
        raise ValueError(f"{shown(text)} is not a path")
    return text


def upstream_tls(text: str) -> UpstreamTls | None:
    """`true` or `false`."""
    return UpstreamTls() if switch(text) else None


def dns_name(text: str) -> str:
    """A DNS name."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"{shown(text)} is not a DNS name in lower case")
    return text


def secret_name(text: str) -> SecretName:
    """`NAME` or `NAMESPACE/NAME`."""
    namespace, separator, name = text.rpartition("/")
    if not _NAME.fullmatch(name) or (separator and not _NAME.fullmatch(namespace)):
        raise ValueError(f"{shown(text)} is not the name of a Secret")
    return SecretName(name, namespace)


def object_name(text: str) -> str:
    """A name. Raises ValueError."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"{shown(text)} is not a name")
    return text


def own_secret_name(text: str) -> SecretName:
    """`NAME`: a private key is only used by objects of its own namespace."""
    found = secret_name(text)
    if found.namespace:
        raise ValueError(f"{shown(text)} names a namespace, but the Secret must be in its own")
    return found


def weights(text: str) -> tuple[Weight, ...]:
    """`zone=eu-1a:3, node=n1:1, pod=api-0:5`."""
    return tuple(_weights(text))


def _weights(text: str) -> Iterator[Weight]:
    for entry in entries(text):
        place, _, rest = entry.partition("=")
        name, _, number = rest.rpartition(":")
        if not name or place not in list(Place):
            raise ValueError(f"{shown(entry)} is not zone=NAME:N, node=NAME:N or pod=NAME:N")
        yield Weight(Place(place), name, whole(0, WEIGHT_MAX)(number))

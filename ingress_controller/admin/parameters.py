"""Parameters of a URL, and answers as JSON: what all questions to the admin server have in common.

Rules: a wrong parameter is a sentence that names it, its value and what to write instead.
"""

import difflib
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

import msgspec
from aiohttp import web

VALUE_CHARACTERS_MAX = 512  # of one parameter: as long as the text that it is compared with
SINCE_S_MAX = 86_400.0 * 365  # of a window; the store keeps days
SINCE_S = 3_600.0  # of a window of which nothing is said; Jaeger's page: an hour

_TRACE_ID = re.compile(r"[0-9a-fA-F]{1,32}")

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

_E = TypeVar("_E", bound=StrEnum)
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ns|us|µs|ms|s|m|h|d)?")
_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
_SHOWN_CHARACTERS = 64


class ParameterError(Exception):
    """What a user gets as 400."""

    def __init__(self, parameter: str, value: str, fix: str) -> None:
        super().__init__(f'{parameter}: "{value}" {fix}.')
        self.parameter = parameter
        self.value = value


class Window(NamedTuple):
    """From one time to another, both included, in UTC nanoseconds."""

    start_ns: int
    end_ns: int


WINDOW = ("since", "from", "to")
"""The parameters that `window` reads."""

PEERS = "peers"
"""The parameter that `asks_peers` reads."""


def given_once(parameters: Iterable[tuple[str, str]], known: Sequence[str]) -> dict[str, str]:
    """The parameters by name.

    Raises:
        ParameterError: one of them is unknown, is there twice, or is too long.
    """
    given: dict[str, str] = {}
    for name, value in parameters:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            meant = f'write "{close[0]}"' if close else f"there are {', '.join(known)}"
            raise ParameterError(
                cut(name), cut(value), f"cannot be asked for: there is no such parameter; {meant}"
            )
        if name in given:
            raise ParameterError(name, cut(value), "is a second value; give one")
        if len(value) > VALUE_CHARACTERS_MAX:
            fix = f"and so on is too long; give at most {VALUE_CHARACTERS_MAX} characters"
            raise ParameterError(name, cut(value), fix)
        given[name] = value
    return given


def window(given: dict[str, str]) -> Window:
    """The time that a question is about: `since=15m` until now, or `from` and `to` in seconds since
    1970 (or milliseconds, as JavaScript has them, or RFC 3339); else the last hour.

    Raises:
        ParameterError: one of them cannot be read, or they contradict each other.
    """
    now_ns = time.time_ns()
    if "since" in given:
        if "from" in given:
            raise ParameterError("since", cut(given["since"]), "is given beside from; give one")
        since_ns = duration_ns("since", given["since"], SINCE_S_MAX)
    else:
        since_ns = int(SINCE_S * 1e9)
    end_ns = time_ns("to", given["to"]) if "to" in given else now_ns
    start_ns = time_ns("from", given["from"]) if "from" in given else end_ns - since_ns
    if start_ns > end_ns:
        raise ParameterError("from", cut(given.get("from", "")), "is later than to")
    return Window(max(0, start_ns), end_ns)


def asks_peers(given: Mapping[str, str]) -> bool:
    """Whether other replicas are asked, too, which `peers=false` says they are not.

    Raises:
        ParameterError: it says something else.
    """
    text = given.get(PEERS, "true")
    if text not in ("true", "false"):
        raise ParameterError(PEERS, cut(text), "is neither true nor false")
    return text == "true"


def duration_ns(name: str, text: str, s_max: float) -> int:
    """Of `500ms` or `2s`; seconds where no unit is there."""
    found = _DURATION.fullmatch(text)
    ns = float(found[1]) * _UNITS_NS[found[2] or "s"] if found else -1
    if not 0 <= ns <= s_max * 1e9:
        raise ParameterError(name, cut(text), "is no duration; write 500ms, 2s or 1m")
    return round(ns)


def one_of(name: str, text: str, kind: type[_E]) -> _E:
    """A word of a closed set."""
    try:
        return kind(text)
    except ValueError:
        raise ParameterError(name, cut(text), f"is none of {', '.join(kind)}") from None


def trace_id_of(name: str, text: str) -> str:
    """32 hex digits, in lower case; zeros at their begin may be left out, as Jaeger does."""
    if not _TRACE_ID.fullmatch(text):
        raise ParameterError(name, cut(text), "is no trace id; write 32 hex digits")
    return text.lower().zfill(32)


def whole_number(name: str, text: str, least: int, most: int) -> int:
    """In decimal digits."""
    if not text.isascii() or not text.isdigit() or not least <= int(text[:9]) <= most:
        raise ParameterError(name, cut(text), f"is not a whole number from {least} to {most}")
    return int(text)


def cut(text: str) -> str:
    """As much of it as a sentence can hold."""
    return text[:_SHOWN_CHARACTERS]


def answer(of: Any) -> web.Response:
    """JSON, for eyes too."""
    body = msgspec.json.format(msgspec.json.encode(of), indent=2)
    return web.Response(body=body + b"\n", content_type="application/json", headers=HEADERS)


def refusal(status: int, message: str, **what: str) -> web.Response:
    """Why there is no answer; `what` says it to programs."""
    body = msgspec.json.encode({"error": message, **what}) + b"\n"
    return web.Response(status=status, body=body, content_type="application/json", headers=HEADERS)


def refused(err: ParameterError) -> web.Response:
    """The 400 of a wrong parameter."""
    return refusal(400, str(err), parameter=err.parameter, value=err.value)


def time_ns(name: str, text: str) -> int:
    """UTC nanoseconds of seconds or milliseconds since 1970, or of RFC 3339."""
    try:
        if re.fullmatch(r"[0-9]{1,11}(\.[0-9]{1,9})?", text):
            whole, _, part = text.partition(".")
            return int(whole) * 1_000_000_000 + int(part.ljust(9, "0"))
        if re.fullmatch(r"[0-9]{13}", text):
            return int(text) * 1_000_000
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None and at.year >= 1970:  # noqa: PLR2004
            return int(at.timestamp() * 1e6) * 1_000
    except (ValueError, OverflowError):
        pass
    fix = "is no time; write seconds since 1970, or 2026-11-27T08:00:00Z"
    raise ParameterError(name, cut(text), fix)

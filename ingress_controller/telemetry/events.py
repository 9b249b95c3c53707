"""One event, one log line: time, level, the event's name, then its fields as key=value.

Rules: an event class is defined where it happens. ERROR: data is lost or a person must act; WARN:
odd, but recovered; INFO: an operator's action took effect. No bodies, queries, headers or keys.
A terminal may read it, so no byte of a stranger's is anything but a character.
"""

import json
import logging
import sys
import time
from typing import Any, ClassVar

import msgspec

from ingress_controller.readable import printable

_LOGGER = logging.getLogger("spanway")
_LEVELS = {logging.WARNING: "WARN", logging.CRITICAL: "ERROR"}


class Event(msgspec.Struct, frozen=True):
    """Base of all events. `level` is a level of the logging module."""

    level: ClassVar[int] = logging.INFO

    def __str__(self) -> str:
        fields = msgspec.structs.asdict(self).items()
        return " ".join([type(self).__name__, *(f"{k}={_shown(v)}" for k, v in fields)])


def emit(event: Event) -> None:
    """Logs the event. Never blocks longer than a write to stderr, never raises."""
    _LOGGER.log(event.level, str(event))


def set_up_logging(level: int = logging.INFO) -> None:
    """Sends all logging of the process to stderr, one line a record; once, at the start."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    _LOGGER.setLevel(level)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        level = _LEVELS.get(record.levelno, record.levelname)
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f" error={_shown(repr(record.exc_info[1]))}"
        origin = "" if record.name == _LOGGER.name else f"{record.name}: "
        return printable(f"{at}.{int(record.msecs):03d}Z {level:5} {origin}{text}")


def _shown(value: Any) -> str:
    text = str(value)
    is_plain = text and not any(sign in text for sign in ' "=\n\t')
    return text if is_plain else json.dumps(text, ensure_ascii=False)

"""JSON of whoever may nest it as deeply as he likes, read all the same.

Parsers recurse, and give up some way down. The API server takes 10,000 levels, for example in the
`managedFields` of an Ingress, so that one object would keep all others from being read.
Rules: pure. `read` is for what anybody sends, and has one error for all that cannot be read;
`decode` for what has to be read all the same. Only what gave a parser up is looked at here, once,
from its begin to its end.
"""

import re
from typing import Any, TypeVar

import msgspec

DEPTH_MAX = 200
"""Levels that are read; what is deeper is null. No kind of Kubernetes that is read here has 20."""

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{\]}]')


T = TypeVar("T")


def read(text: bytes | bytearray | str, kind: type[T]) -> T:
    """A `kind`, with what it consists of.

    Raises:
        msgspec.DecodeError: it is none, or is nested more deeply than a parser goes; a ValueError.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except RecursionError as err:
        raise msgspec.DecodeError("it is nested too deeply") from err


def decode(text: bytes) -> Any:
    """The value; what of it is nested too deeply is None.

    Raises:
        msgspec.DecodeError: it is no JSON.
    """
    try:
        return msgspec.json.decode(text)
    except RecursionError:
        return msgspec.json.decode(shallow(text))


def shallow(text: bytes) -> bytes:
    """The same with null for what is nested too deeply."""
    kept, depth, end = bytearray(), 0, 0
    for token in _TOKEN.finditer(text):
        match token[0]:
            case b"[" | b"{":
                depth += 1
                if depth == DEPTH_MAX + 1:
                    kept += text[end : token.start()] + b"null"
            case b"]" | b"}":
                depth -= 1
                if depth == DEPTH_MAX:
                    end = token.end()
    # What never ends is no JSON; the parser says so.
    return bytes(kept) + (text[end:] if depth <= DEPTH_MAX else b"")

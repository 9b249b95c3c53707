"""From a raw object to a value: one conversion, errors in the words of who wrote the object.

Rules: fields that Spanway does not read are ignored. Pure.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

import msgspec

from ingress_controller.model.problem import ObjectKey, Problem

RawObject = Mapping[str, Any]
"""A Kubernetes object as it came, not yet looked into."""

HeldObject: TypeAlias = RawObject | bytes
"""The same as it is kept: as JSON text if it came as such, in a tenth of the memory."""

_V = TypeVar("_V", bound=msgspec.Struct)

_WORDS = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "a mapping",
    "array": "a list",
    "null": "nothing",
}
_TYPE_ERROR = re.compile(r"Expected `(?P<want>[^`]+)`, got `(?P<got>[^`]+)`")
_BOUND = re.compile(r"Expected `(?P<want>[^`]+)` (?P<bound>.+)")
_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]+)`")


class Value(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """Base of everything read from an object; names are Kubernetes' own in snake_case.

    Values are trees, so reference counts alone free them and the collector need not look.

    The API server writes `null` for empty lists and maps, hence the many `| None`.
    """


class Metadata(Value, frozen=True):
    """`metadata` of any object."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    creation_timestamp: datetime | None = None
    annotations: dict[str, str] | None = None
    labels: dict[str, str] | None = None

    @property
    def created_unix_s(self) -> float:
        """UTC seconds; 0 where unknown, as in manifests that were never applied."""
        return self.creation_timestamp.timestamp() if self.creation_timestamp else 0.0

    def annotation(self, name: str) -> str:
        """The annotation's value, stripped; empty where it is absent."""
        return (self.annotations or {}).get(name, "").strip()


class _Versioned(Value, frozen=True):
    class Metadata(Value, frozen=True):
        generation: int = 0

    metadata: Metadata


def generation_of(raw: HeldObject) -> int:
    """`metadata.generation`, which grows with each change of `spec`; 0 where there is none."""
    found = decode(ObjectKey("", "", ""), raw, _Versioned)
    return found.metadata.generation if isinstance(found, _Versioned) else 0


def decode(key: ObjectKey, raw: HeldObject, kind: type[_V]) -> _V | Problem:
    """The value in `raw`, or the first field that has the wrong shape as a Problem."""
    try:
        if isinstance(raw, bytes):
            return msgspec.json.decode(raw, type=kind)
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as err:
        return _problem(key, str(err))


def _problem(key: ObjectKey, reason: str) -> Problem:
    what, _, where = reason.partition(" - at ")
    field = where.rpartition("`$")[2].strip("`").lstrip(".").replace("[...]", "[*]")
    explain = ".".join([key.kind.lower(), re.sub(r"\[[^\]]*\]", "", field)]).rstrip(".")
    fix = f"`kubectl explain {explain}` shows what belongs there."
    if missing := _MISSING.match(what):
        return Problem(key, field, f"The required field {missing['field']} is missing.", fix)
    if wrong := _TYPE_ERROR.match(what):
        got = _WORDS.get(wrong["got"], wrong["got"])
        if "str" in wrong["want"].split(" | ") and wrong["got"] in ("int", "float", "bool"):
            fix = "Put the value in quotes."
        return Problem(key, field, f"Expected {_either(wrong['want'])}, got {got}.", fix)
    if bound := _BOUND.fullmatch(what):
        return Problem(key, field, f"Expected {_either(bound['want'])} {bound['bound']}.", fix)
    return Problem(key, field, f"{what}.", fix)


def _either(want: str) -> str:
    kinds = [_WORDS.get(kind, kind) for kind in want.split(" | ") if kind != "null"]
    return " or ".join(sorted(kinds))

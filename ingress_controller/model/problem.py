"""What is wrong with an object, as data: where it is, what it says, what to do.

Rules: a Problem never stops the rest of the table from being built. The same text reaches the
user everywhere: log, `spanway check`, `/api/problems`, `kubectl describe`.
"""

from enum import StrEnum
from typing import NamedTuple

import msgspec


class ObjectKey(NamedTuple):
    """Names one object. `namespace` is empty for what has none; kind `File` is a manifest file."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.path}"

    @property
    def path(self) -> str:
        """`namespace/name`, as kubectl and people write it."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Severity(StrEnum):
    """ERROR: a part of what the object asks for is not served. WARNING: all of it is, but look."""

    ERROR = "error"
    WARNING = "warning"


class Problem(msgspec.Struct, frozen=True):
    """One thing wrong with one object.

    `field` is the path in the object (`spec.rules[0].host`), empty for the object as a whole.
    `message` and `fix` are sentences for the person who wrote the object.
    """

    object: ObjectKey
    field: str
    message: str
    fix: str = ""
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        where = f"{self.object}, {self.field}" if self.field else str(self.object)
        return f"{where}: {self.text}"

    @property
    def text(self) -> str:
        """Message and fix, for places that name the object themselves."""
        return f"{self.message} {self.fix}".rstrip()

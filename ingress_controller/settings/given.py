"""What was given, by flag or by variable, with the name that it was given under.

Rule: a flag wins over its variable `SPANWAY_<FLAG>`, in which several values are separated by
commas.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ingress_controller.arguments import (
    SettingsError,
)

_T = TypeVar("_T")
_G = TypeVar("_G")


class Given:
    """Values with the name they were given under."""

    def __init__(self, arguments: Mapping[str, Any], env: Mapping[str, str]) -> None:
        self._arguments = arguments
        self._env = env

    def texts(self, flag: str) -> list[tuple[str, str]]:
        """(flag or variable, value) of each value given."""
        name = flag.removeprefix("--").replace("-", "_")
        value = self._arguments.get(name)
        if isinstance(value, list):
            return [(flag, text) for text in value]
        if value is not None:
            return [(flag, value)]
        variable = f"SPANWAY_{name.upper()}"
        parts = (part.strip() for part in self._env.get(variable, "").split(","))
        return [(variable, part) for part in parts if part]

    def all(self, flag: str, parse: Callable[[str], _T]) -> tuple[_T, ...]:
        """Every value, parsed. Raises SettingsError where `parse` raises ValueError."""
        return tuple(parsed(name, text, parse) for name, text in self.texts(flag))

    def one(self, flag: str, parse: Callable[[str], _T]) -> _T | None:
        """The value, parsed; None where it is not given."""
        texts = self.texts(flag)
        name = texts[0][0] if texts else flag
        return parsed(name, ",".join(text for _, text in texts), parse) if texts else None


def parsed(name: str, given: _G, parse: Callable[[_G], _T]) -> _T:
    try:
        return parse(given)
    except ValueError as err:
        raise SettingsError(f"{name}: {err}.") from err

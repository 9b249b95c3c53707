"""A kind of objects as data: its names, its fields, the columns of its table.

Of the fields are made the objects, and what `kubectl explain` says.
Rules: pure. Empty text and empty lists are left out of objects; a cell for nothing is `-`. A kind
says of what thing `T` each value is taken; which Spanway answered is added to all of them.
"""

from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from ingress_controller.aggregated.status_error import GROUP, VERSION
from ingress_controller.readable import printable

API_VERSION = f"{GROUP}/{VERSION}"
ROOT = f"/apis/{API_VERSION}"
"""Of the paths of all objects."""

T = TypeVar("T")


class Shown(NamedTuple, Generic[T]):
    """A field: `section.name`, its type in JSON, what it says; `of` takes it from a thing."""

    path: str
    type: str
    text: str
    of: Callable[[T], Any]


class Column(NamedTuple, Generic[T]):
    """One of the table that kubectl prints; `priority` 1 is for `-o wide`."""

    name: str
    text: str
    of: Callable[[T], Any]
    type: str = "string"
    format: str = ""
    priority: int = 0


class Kind(NamedTuple, Generic[T]):
    """See the module.

    Attributes:
        plural: the name in URLs.
        text, metadata_text: what `kubectl explain` says of it.
        sections: what stands over fields that belong together; outer ones first.
        metadata: name, namespace and the like of a thing.
        instance: of which Spanway it is; empty for the one that answers.
    """

    name: str
    plural: str
    singular: str
    short_names: tuple[str, ...]
    is_namespaced: bool
    verbs: tuple[str, ...]
    text: str
    metadata_text: str
    sections: Mapping[str, str]
    fields: tuple[Shown[T], ...]
    columns: tuple[Column[T], ...]
    metadata: Callable[[T], dict[str, Any]]
    instance: Callable[[T], str] = lambda _: ""

    def object_of(self, thing: T, version: str, instance: str) -> dict[str, Any]:
        """The object. `version` is the answer's: nothing here has versions of its own."""
        made: dict[str, Any] = {
            "apiVersion": API_VERSION,
            "kind": self.name,
            "metadata": self.metadata_of(thing, version),
        }
        for shown in self.fields:
            value = shown.of(thing)
            if value not in ("", ()):
                _put(made, shown.path, value)
        _put(made, INSTANCE.path, self.instance(thing) or instance)
        return made

    def metadata_of(self, thing: T, version: str) -> dict[str, Any]:
        return {**self.metadata(thing), "resourceVersion": version}

    def cells_of(self, thing: T, instance: str) -> list[Any]:
        """One for each of `all_columns`."""
        return [
            *(_cell(column.of(thing)) for column in self.columns),
            _cell(self.instance(thing) or instance),
        ]

    @property
    def reference(self) -> dict[str, str]:
        return {"group": GROUP, "version": VERSION, "kind": self.name}

    @property
    def all_columns(self) -> tuple[Column[Any], ...]:
        return (*self.columns, _INSTANCE_COLUMN)


INSTANCE: Shown[Any] = Shown(
    "status.instance",
    "string",
    "The Spanway that it is in, or that answered: a pod's name.",
    lambda _: "",
)
"""A field of every kind."""

_INSTANCE_COLUMN: Column[Any] = Column("Instance", INSTANCE.text, INSTANCE.of, priority=1)


def _put(made: dict[str, Any], path: str, value: Any) -> None:
    *outer, name = path.split(".")
    for section in outer:
        made = made.setdefault(section, {})
    made[name] = value


def _cell(value: Any) -> Any:
    return (printable(value) or "-") if isinstance(value, str) else value

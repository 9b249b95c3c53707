"""One manifest file becomes objects.

Rules: a file that cannot be parsed is an error as a whole, with its line; a document in it that is
no object is a Problem of its own and the others count. Kinds that Spanway does not read are only
counted.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from ingress_controller.model.decode import RawObject
from ingress_controller.model.problem import ObjectKey, Problem
from ingress_controller.model.values import API_VERSIONS

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
FILE_BYTES_MAX = 16 * 1024 * 1024  # ten times what etcd lets one object have

_CLUSTER_SCOPED = frozenset({"IngressClass"})
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is ten times as fast


class FileError(Exception):
    """The file as a whole is not usable. `line` counts from 1, 0 if unknown."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


class FileObjects(msgspec.Struct, frozen=True):
    """What a file holds; `ignored_count` are objects of kinds that are not read."""

    objects: tuple[tuple[ObjectKey, RawObject], ...] = ()
    problems: tuple[Problem, ...] = ()
    ignored_count: int = 0


def read_file(path: Path, name: str) -> FileObjects:
    """Reads `path`; `name` is how people know it.

    Raises:
        FileError: it cannot be read or parsed.
    """
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as err:
        raise FileError(0, f"It cannot be read: {err.strerror}.") from err
    if len(content) > FILE_BYTES_MAX:
        raise FileError(0, f"It is larger than {FILE_BYTES_MAX // 1024 // 1024} MiB.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = content.count(b"\n", 0, err.start) + 1
        raise FileError(line, "It is not UTF-8 text.") from err
    documents = _json(text) if path.suffix == ".json" else _yaml(text)
    return _Sorter(name).sort(documents)


def _json(text: str) -> list[tuple[int, Any]]:
    try:
        return [(1, json.loads(text))] if text.strip() else []
    except json.JSONDecodeError as err:
        raise FileError(err.lineno, f"It is not JSON: {err.msg}.") from err
    except RecursionError as err:
        raise FileError(0, "It is nested too deeply.") from err


def _yaml(text: str) -> list[tuple[int, Any]]:
    documents = []
    try:
        loader = _Loader(text)
        while loader.check_node():
            node = loader.get_node()
            documents.append((node.start_mark.line + 1, loader.construct_document(node)))
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        reason = ", ".join(filter(None, (err.context, err.problem)))
        last = len(text.splitlines())  # what is not closed is missed after the last line
        raise FileError(
            min(mark.line + 1, last) if mark else 0, f"It is not YAML: {reason}."
        ) from err
    except yaml.reader.ReaderError as err:
        line = text.count("\n", 0, err.position) + 1
        raise FileError(line, f"It is not YAML: {err.reason}.") from err
    except (RecursionError, ValueError) as err:  # ValueError: a date like 2024-99-99
        raise FileError(0, f"It is not YAML: {err}.") from err
    return documents


class _Sorter:
    """Keeps the objects that are read, counts the others, complains about what is none."""

    def __init__(self, name: str) -> None:
        self._file = ObjectKey("File", "", name)
        self._objects: list[tuple[ObjectKey, RawObject]] = []
        self._problems: list[Problem] = []
        self._ignored_count = 0

    def sort(self, documents: list[tuple[int, Any]]) -> FileObjects:
        for line, document in documents:
            for where, raw in _flattened(f"line {line}", document):
                self._add(where, raw)
        return FileObjects(tuple(self._objects), tuple(self._problems), self._ignored_count)

    def _add(self, where: str, raw: Any) -> None:
        if raw is None:
            return  # an empty document, as a file that starts with --- has
        kind = raw.get("kind") if isinstance(raw, dict) else None
        if not isinstance(kind, str) or not isinstance(raw.get("apiVersion"), str):
            self._problem(
                where, "It is no Kubernetes object.", "Add apiVersion, kind and metadata."
            )
        elif kind not in API_VERSIONS:
            self._ignored_count += 1
        elif raw["apiVersion"] != API_VERSIONS[kind]:
            group, _, _ = API_VERSIONS[kind].rpartition("/")
            if raw["apiVersion"].rpartition("/")[0] not in (group, "extensions"):
                self._ignored_count += 1  # another project's kind of the same name
                return
            message = f"{kind} of apiVersion {raw['apiVersion']} is not read."
            self._problem(where, message, f"Convert it to {API_VERSIONS[kind]}.")
        else:
            self._add_known(where, kind, raw)

    def _add_known(self, where: str, kind: str, raw: dict[str, Any]) -> None:
        metadata = raw.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        if not isinstance(metadata, dict) or not isinstance(name, str) or not name:
            self._problem(where, f"The {kind} has no metadata.name.", "Name it.")
            return
        namespace = "" if kind in _CLUSTER_SCOPED else metadata.get("namespace") or "default"
        if not isinstance(namespace, str):
            self._problem(
                where, f"The namespace of {kind} {name} is no string.", "Put it in quotes."
            )
            return
        placed = {**raw, "metadata": {**metadata, "namespace": namespace}}
        self._objects.append((ObjectKey(kind, namespace, name), placed))

    def _problem(self, where: str, message: str, fix: str) -> None:
        self._problems.append(Problem(self._file, where, message, fix))


def _flattened(where: str, document: Any) -> Iterator[tuple[str, Any]]:
    """The objects of a List; its items may leave out what the list says, as the API server does."""
    kind = document.get("kind") if isinstance(document, dict) else None
    if not isinstance(kind, str) or not kind.endswith("List") or "items" not in document:
        yield where, document
        return
    items = document["items"] if isinstance(document["items"], list) else []
    for index, item in enumerate(items):
        if isinstance(item, dict) and kind != "List":
            of_list = {"kind": kind.removesuffix("List"), "apiVersion": document.get("apiVersion")}
            item = {**of_list, **item}  # noqa: PLW2901 - the completed item
        yield f"{where}, items[{index}]", item

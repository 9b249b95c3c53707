"""A directory of manifests as a source: every YAML and JSON file in it, at any depth.

Rules: hidden names are skipped, so a ConfigMap volume (whose `..data` symbolic link is swapped) is
read once, through its visible links. A file that breaks keeps the objects of its last good version.
Of an object in two files the first file by name has it. inotify wakes the reader; a look at names
and times every `RESCAN_S` makes up for file systems without it and for a replaced directory.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
from watchfiles import awatch

from ingress_controller.model.decode import RawObject
from ingress_controller.model.problem import ObjectKey, Problem
from ingress_controller.watch.cache import Cache
from ingress_controller.watch.files import SUFFIXES, FileError, FileObjects, read_file

RESCAN_S = 2.0  # where the file system tells nothing; kubelet rescans after 20 s
FILES_MAX = 10_000  # more is a wrong directory, such as /
_DEBOUNCE_MS = 100  # editors and `kubectl apply`-like tools write several files at once
_STEP_MS = 50  # each is a thread that wakes up and takes the interpreter

_Stamp = tuple[int, int, int]


class Reading(msgspec.Struct, frozen=True):
    """A directory at one moment."""

    objects: dict[ObjectKey, RawObject]
    problems: tuple[Problem, ...]
    ignored_count: int


class Directory:
    """Reads the directory, each file only when it changed. Blocks; for one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: dict[str, tuple[_Stamp, FileObjects]] = {}

    def read(self) -> Reading:
        """All of it, now."""
        problems: list[Problem] = []
        if not self.path.is_dir():
            problems.append(_problem(str(self.path), "The directory is gone.", "Put it back."))
        else:
            self._update(problems)
        objects: dict[ObjectKey, RawObject] = {}
        origin: dict[ObjectKey, str] = {}
        for name, (_, held) in sorted(self._files.items()):
            problems += held.problems
            for key, raw in held.objects:
                if key in objects:
                    fix = "Remove it from one of the two."
                    message = f"{name} has it too; the one in {origin[key]} counts."
                    problems.append(Problem(key, "", message, fix))
                else:
                    objects[key], origin[key] = raw, name
        ignored_count = sum(held.ignored_count for _, held in self._files.values())
        return Reading(objects, tuple(problems), ignored_count)

    def _update(self, problems: list[Problem]) -> None:
        files: dict[str, tuple[_Stamp, FileObjects]] = {}
        for path in _manifests(self.path):
            name = str(path.relative_to(self.path))
            if len(files) >= FILES_MAX:
                message = f"It has more than {FILES_MAX} manifests; the others are not read."
                problems.append(_problem(str(self.path), message, "Name a smaller directory."))
                break
            stamp = _stamp(path)
            if stamp is None:
                continue  # removed since it was listed
            known = self._files.get(name)
            files[name] = known if known and known[0] == stamp else self._read(path, name, stamp)
        self._files = files

    def _read(self, path: Path, name: str, stamp: _Stamp) -> tuple[_Stamp, FileObjects]:
        try:
            return stamp, read_file(path, name)
        except FileError as err:
            known = self._files.get(name)
            good = known[1].objects if known else ()
            fix = "Its last good version keeps serving." if good else "Nothing of it is served."
            where = f"line {err.line}" if err.line else ""
            broken = Problem(ObjectKey("File", "", name), where, err.message, fix)
            return stamp, FileObjects(good, (broken,))


class ManifestsSource:
    """A `Source` that follows a directory."""

    def __init__(self, path: Path, cache: Cache) -> None:
        self._directory = Directory(path)
        self._cache = cache
        self._reading: Reading | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        return () if self._reading else (f"the manifests in {self._directory.path}",)

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self._reading.problems if self._reading else ()

    @property
    def ignored_count(self) -> int:
        """Objects of kinds that are not read."""
        return self._reading.ignored_count if self._reading else 0

    async def run(self) -> None:
        while True:
            await self._read()
            if self._directory.path.is_dir():
                await self._follow()
            else:
                await asyncio.sleep(RESCAN_S)

    async def _follow(self) -> None:
        """Reads at each change, until the path means another directory."""
        path = self._directory.path
        followed = _stamp(path)
        changes = awatch(
            path,
            watch_filter=None,
            debounce=_DEBOUNCE_MS,
            step=_STEP_MS,
            rust_timeout=int(RESCAN_S * 1_000),
            yield_on_timeout=True,
        )
        async for _ in changes:
            await self._read()
            now = _stamp(path)
            if now is None or followed is None or now[2] != followed[2]:
                return

    async def _read(self) -> None:
        reading = await asyncio.to_thread(self._directory.read)
        is_first = self._reading is None
        is_new = is_first or self._reading.problems != reading.problems  # type: ignore[union-attr]
        self._reading = reading
        self._cache.replace(reading.objects, kind=None)
        if is_new:
            self._cache.touch()


def _manifests(directory: Path) -> Iterator[Path]:
    """Files by name; links to files are followed, links to directories are not (they may loop)."""
    for root, directories, names in os.walk(directory):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix in SUFFIXES:
                yield Path(root, name)


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _problem(name: str, message: str, fix: str) -> Problem:
    return Problem(ObjectKey("Directory", "", name), "", message, fix)

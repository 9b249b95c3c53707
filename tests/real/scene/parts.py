"""Where the real programs are, or the sentence that says what is missing.

Rules: nothing is built here; `tests/parts/build` does that, and takes minutes.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

EXTRA_ENVIRONMENT = Path(__file__).parents[2] / "parts" / "venv"
BUILD = Path(__file__).parents[2] / "parts" / "build"


class PartMissingError(Exception):
    """A real part is not on this machine; the message says how to get it."""


@contextlib.contextmanager
def skipped_without_part() -> Iterator[None]:
    """Skips when the body finds a part missing; in continuous integration (CI=true) fails."""
    try:
        yield
    except PartMissingError as err:
        if os.environ.get("CI") == "true":
            pytest.fail(str(err), pytrace=False)
        pytest.skip(str(err))


def built_part(name: str) -> Path:
    """The folder with the programs of a part that `tests/parts/build` builds."""
    result = subprocess.run(
        [BUILD, "--if-built", name], stdout=subprocess.PIPE, text=True, check=False
    )
    if result.returncode != 0:
        has_go = "" if shutil.which("go") else " (which needs Go, and there is none here)"
        raise PartMissingError(f"{name} is not built: run tests/parts/build {name}{has_go}")
    return Path(result.stdout.strip())


def extra_python(extra: str) -> Path:
    """The Python of an extra of Spanway that needs an environment of its own."""
    command: list[str | Path] = [EXTRA_ENVIRONMENT, "--if-built", extra]
    environment = {**os.environ, "PYTHON": sys.executable}
    result = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=False, env=environment
    )
    if result.returncode != 0:
        raise PartMissingError(f"{extra} is not set up: run tests/parts/venv {extra}")
    return Path(result.stdout.strip())


def debian_part(program: str, package: str) -> Path:
    """The path of a program that a Debian package brings."""
    # Debian keeps servers in sbin, which is not on a normal user's path.
    search_path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    if found := shutil.which(program, path=search_path):
        return Path(found)
    raise PartMissingError(f"{program} is missing: install the Debian package {package}")

"""The page's libraries, kept in `ui/vendor/` as they are published: what, whose, and how to renew.

`python -m ingress_controller.admin.vendored` writes them anew, by npm; after a change of a version
here it says the new sums. Rule: nothing in `ui/vendor/` is written by hand.
"""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

from ingress_controller.admin.page import UI

VENDOR = UI / "vendor"


class Vendored(NamedTuple):
    """A file of a package of npm's. `sha256` is of what is in `ui/vendor/`."""

    package: str
    version: str
    path: str
    name: str
    sha256: str


FILES = (
    # Preact: components and hooks in 16 KB; MIT, kept by the Preact team. What would else be ours
    # is the updating of a page without losing focus, scroll and selection.
    Vendored(
        "preact",
        "11.2.0",
        "dist/preact.mjs",
        "preact.js",
        "915c2405a65e0e82f9e3e6bae133479983e843d5462da4e4d0f605666417b05b",
    ),
    Vendored(
        "preact",
        "11.2.0",
        "hooks/dist/hooks.mjs",
        "preact-hooks.js",
        "9239765db3b06965256ac267d402039be76d6dd968de82aa1d09d3490d474032",
    ),
    Vendored(
        "preact",
        "11.2.0",
        "LICENSE",
        "LICENSE-preact",
        "1fe6958409c8c257a70c587a18b6f7f412b179b456630790d30b2ec9a8e4b7d4",
    ),
    # htm: markup in template literals, so that there is no build step; Apache-2.0, 1.2 KB, by the
    # same people, finished since 2022.
    Vendored(
        "htm",
        "3.1.1",
        "dist/htm.module.js",
        "htm.js",
        "ab33dd3f38059b9be4d5f5350128eefb2356639c4e0bbe9d9e8b3ba75847e9e4",
    ),
    Vendored(
        "htm",
        "3.1.1",
        "LICENSE",
        "LICENSE-htm",
        "740725f7252e750af735d0028cc534970772f513331e9f68150fede8fb3ce00f",
    ),
    # uPlot: time series and heat maps on a canvas, a hundred thousand points at once; MIT, kept by
    # Leon Sorokin, and what Grafana draws with.
    Vendored(
        "uplot",
        "1.6.32",
        "dist/uPlot.esm.js",
        "uPlot.js",
        "5dd9b3281aa64b461b42d9945f6adb2649d346502b12281a9ae0d46599a80eba",
    ),
    Vendored(
        "uplot",
        "1.6.32",
        "dist/uPlot.min.css",
        "uPlot.min.css",
        "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    ),
    Vendored(
        "uplot",
        "1.6.32",
        "LICENSE",
        "LICENSE-uPlot",
        "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
    ),
)

_REPLACED = (
    (b'from"preact"', b'from"./preact.js"'),  # a browser finds no package by its name
    (b"//# sourceMappingURL=", b"// source map: "),  # it is not here
)


def renew() -> int:
    """Writes all files; 1 if one of them is another than its sum says."""
    changed = 0
    with tempfile.TemporaryDirectory() as directory:
        for wanted in FILES:
            body = _published(wanted, Path(directory))
            (VENDOR / wanted.name).write_bytes(body)
            found = hashlib.sha256(body).hexdigest()
            if found != wanted.sha256:
                print(f"{wanted.name}: the sum is now {found}", file=sys.stderr)
                changed = 1
    return changed


def _published(wanted: Vendored, directory: Path) -> bytes:
    archive = directory / f"{wanted.package}-{wanted.version}.tgz"
    if not archive.exists():
        package = f"{wanted.package}@{wanted.version}"
        argv = ["npm", "pack", "--silent", package]
        subprocess.run(argv, cwd=directory, check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(archive) as opened:
        member = opened.extractfile(f"package/{wanted.path}")
        assert member is not None, "the path is a file's"
        body = member.read()
    for old, new in _REPLACED:
        body = body.replace(old, new)
    return body


if __name__ == "__main__":
    sys.exit(renew())

"""`python -m benchmarks.profile_fit BUILD_LOG [--note]`: how much of the engine its profile fits.

Rule. The compiler warns of each function that has changed since it was counted, and of each that
never was. Those that nobody uses are of the second kind, always; how many they were when the
profile was made is noted beside it (`--note`, by `make profile`). More have come since, or were
counted under another name: all of them, after a change of Rust's release or of a dependency.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
NOTED = ROOT / "proxy/crates/engine.profdata.uncounted"

_WARNING = re.compile(
    r"warning: spanway_engine\.\S+: (?P<what>no profile data available for function"
    r"|function control flow change detected \(hash mismatch\)) (?P<name>\S+)"
)


class Fit(NamedTuple):
    """Functions of the engine without a profile: they have changed, or were never counted."""

    changed: frozenset[str]
    uncounted: frozenset[str]


def fit(log: Iterable[str]) -> Fit:
    """Of the lines of a build's log, in which a warning may stand twice."""
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for line in log:
        if warning := _WARNING.search(line):
            found["hash mismatch" in warning["what"]].add(warning["name"])
    return Fit(frozenset(found[True]), frozenset(found[False]))


def sentence(of: Fit, noted_count: int) -> str:
    """What whoever builds should know; empty where all is as it was counted."""
    count = len(of.changed) + max(0, len(of.uncounted) - noted_count)
    if not count:
        return ""
    return (
        f"spanway: {count:,} of the engine's functions {'is' if count == 1 else 'are'} new or"
        " changed since its profile was made, and compiled without it; `make profile` counts anew"
    )


def main(argv: list[str]) -> int:
    log, *flags = argv
    with Path(log).open(errors="replace") as lines:
        found = fit(lines)
    if "--note" in flags:
        NOTED.write_text(f"{len(found.uncounted)}\n")
    elif NOTED.exists() and (said := sentence(found, int(NOTED.read_text()))):
        print(said)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

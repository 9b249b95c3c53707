"""docs/LIMITS.md tells what the code has."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_page_is_what_the_constants_say() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "docs/limits.py"], capture_output=True, text=True, check=True
    )

    assert made.stdout == (ROOT / "docs/LIMITS.md").read_text(), "`make format` writes it anew"


def test_every_bound_of_the_engine_is_on_the_page() -> None:
    source = (ROOT / "proxy/crates/engine/src/limits.rs").read_text()
    page = (ROOT / "docs/LIMITS.md").read_text()
    names = [line.split()[2].rstrip(":") for line in source.splitlines() if line[:9] == "pub const"]

    assert len(names) > 60
    assert [name for name in names if f"| `{name}` |" not in page] == []

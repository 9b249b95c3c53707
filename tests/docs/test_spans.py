"""docs/SPANS.md lists what the engine can put on a span: all of it, and nothing else."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/SPANS.md").read_text()
ENGINE = ROOT / "proxy/crates/engine/src"

ATTRIBUTE = re.compile(r"`([a-z][a-z0-9_]*(?:\.[a-z0-9_*]+)+)`")

KEY = re.compile(r'\b(?:key!\(|text!\(|put_known!\(\s*out,)\s*"([^"]+)"')


def emitted() -> set[str]:
    """Every key that is encoded; the families whose members are many by their pattern."""
    sources = [path.read_text() for path in ENGINE.rglob("*.rs")]
    keys = {key for source in sources for key in KEY.findall(source)}
    prefixes = {
        prefix
        for source in sources
        for prefix in re.findall(r'"(http\.(?:request|response)\.header\.)"', source)
    }
    assert len(keys) > 60
    assert len(prefixes) == 2
    phases = {key for key in keys if key.startswith("spanway.phase.")}
    assert len(phases) == 9
    return keys - phases | {"spanway.phase.*_us"} | {f"{prefix}*" for prefix in prefixes}


def listed() -> set[str]:
    """The attributes of all tables; a row's first cell names them, and one with a type follows."""
    rows = [line.split("|")[1:-1] for line in PAGE.splitlines() if line.startswith("| `")]
    names = set()
    for first, *others in rows:
        kinds = " ".join(others[:2])
        if re.search(r"\b(?:text|texts|int|bool)\b", kinds) or "semconv" in " ".join(others[:4]):
            names |= set(ATTRIBUTE.findall(first))
    return names


def test_every_attribute_that_is_encoded_is_listed() -> None:
    assert emitted() - expanded(listed()) == set()


def test_every_attribute_that_is_listed_is_encoded() -> None:
    families = {name for name in listed() if name.endswith(".*")}
    plain = listed() - families | {"http.request.header.*", "http.response.header.*"}

    assert plain - emitted() - {"spanway.phase.connect_us"} == set()
    for family in families:
        assert any(name.startswith(family[:-1]) for name in emitted()), family


def expanded(names: set[str]) -> set[str]:
    """With the members of families like `server.*`, which some table lists by that."""
    families = tuple(name[:-1] for name in names if name.endswith(".*"))
    return names | {name for name in emitted() if name.startswith(families)}

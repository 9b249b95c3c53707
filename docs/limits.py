"""docs/LIMITS.md, made of the constants and what is written at them: `make format` writes it.

Rules: a bound of the engine is a constant of limits.rs; one of the other crates is public and its
name ends in `_MAX` or `_MIN`; one of the control plane is a constant of the module that keeps it,
whose name ends in `_MAX` or in its unit. What is said about it stands in
the comment behind it or the docstring below it. One without a word is an error.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
ENGINE = ROOT / "proxy/crates/engine/src/limits.rs"
CRATES = ("columns", "kernel")
PACKAGES = ("ingress_controller", "proxy")

_RUST = re.compile(r"((?:^/// ?.*\n)+)^pub const (\w+): [^=]+ =\s*([^;]+);", flags=re.MULTILINE)
_RUST_BOUND = re.compile(r"[A-Z][A-Z0-9_]*_(?:MAX|MIN)")
_PYTHON = re.compile(r"[A-Z][A-Z0-9_]*_(?:MAX|S|MS|BYTES)")
_NO_BOUNDS = {"PORT_MAX", "TRACE_ID_BYTES", "SPAN_ID_BYTES"}

HEAD = """\
# Limits

Every queue, buffer, loop, cache and wait has a bound with a name; beside it stand the precedent for
its value and what happens when it is reached. The page is made from the constants and what is
written at them by `make format`; edit those.

## The engine

`proxy/crates/engine/src/limits.rs`. What routes, backends and listeners may set for themselves is
in [ANNOTATIONS.md](ANNOTATIONS.md).

| limit | value | |
|---|---|---|
"""

BESIDE = """
## The crates beside it

`columns` keeps what the trace store gets; `kernel` reads what the kernel tells of a socket.

| limit | value | where | |
|---|---|---|---|
"""

MIDDLE = """
## The control plane

| limit | value | where | |
|---|---|---|---|
"""


class Limit(NamedTuple):
    """A constant; `words` is what is written at it."""

    name: str
    value: str
    where: str
    words: str


def engine_limits() -> Iterator[Limit]:
    """In the order of the file."""
    return _of_rust(ENGINE)


def crate_limits() -> Iterator[Limit]:
    """By file, then in its order."""
    for crate in CRATES:
        for path in sorted((ROOT / "proxy/crates" / crate / "src").rglob("*.rs")):
            yield from (limit for limit in _of_rust(path) if _RUST_BOUND.fullmatch(limit.name))


def _of_rust(path: Path) -> Iterator[Limit]:
    where = str(path.relative_to(ROOT))
    for words, name, value in _RUST.findall(path.read_text()):
        text = re.sub(r"^/// ?", "", words, flags=re.MULTILINE)
        yield Limit(name, _one_line(value), where, _one_line(text))


def python_limits() -> Iterator[Limit]:
    """By module, then in the order of the file."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield from _of_module(path)


def _of_module(path: Path) -> Iterator[Limit]:
    source = path.read_text()
    lines = source.splitlines()
    body = ast.parse(source).body
    for index, node in enumerate(body):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case _:
                continue
        if not _PYTHON.fullmatch(name) or name in _NO_BOUNDS:
            continue
        comment = lines[node.lineno - 1].partition("  # ")[2]
        below = body[index + 1] if index + 1 < len(body) else None
        match below:
            case ast.Expr(value=ast.Constant(value=str(text))):
                comment = comment or text
        where = str(path.relative_to(ROOT))
        if not comment:
            raise SystemExit(f"{where}: {name} does not say why it has this value.")
        yield Limit(name, ast.unparse(value), where, _one_line(comment))


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def page() -> str:
    """The document."""
    engine = (f"| `{x.name}` | `{x.value}` | {x.words} |\n" for x in engine_limits())
    crates, python = (
        "".join(f"| `{x.name}` | `{x.value}` | `{x.where}` | {x.words} |\n" for x in limits)
        for limits in (crate_limits(), python_limits())
    )
    return HEAD + "".join(engine) + BESIDE + crates + MIDDLE + python


if __name__ == "__main__":
    sys.stdout.write(page())

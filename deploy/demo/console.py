"""What the demos print: headings, facts, drawn traces; in colour only on a terminal."""

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable
from datetime import datetime

from ingress_controller.traces.drawing import draw, duration_text
from ingress_controller.traces.span import Span, SpanKind, SpanStatus
from ingress_controller.traces.tree import Tree, tree
from ingress_controller.traces.where import where

WIDTH_WITHOUT_TERMINAL = 110


class Console:
    """Standard output. Plain without a terminal, and where NO_COLOR is set (no-color.org)."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._in_colour = self._is_terminal and not os.environ.get("NO_COLOR")

    def say(self, text: str = "") -> None:
        print(text, flush=True)

    def heading(self, text: str) -> None:
        self.say(f"\n\x1b[1m{text}\x1b[0m" if self._in_colour else f"\n{text}")

    def facts(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Two columns."""
        rows = list(pairs)
        columns = max(len(name) for name, _ in rows)
        for name, value in rows:
            self.say(f"  {name.ljust(columns)}  {value}")

    def item(self, text: str, *, mark: str = "") -> None:
        """A paragraph that is indented, with a mark before it."""
        first = f"  {mark} " if mark else "  "
        width = self._width
        self.say(
            textwrap.fill(text, width, initial_indent=first, subsequent_indent=" " * len(first))
        )

    @property
    def _width(self) -> int:
        if not self._is_terminal:
            return WIDTH_WITHOUT_TERMINAL
        return shutil.get_terminal_size().columns

    def trace(self, spans: Iterable[Span]) -> None:
        """The drawing, and where the time went."""
        of = tree(spans)
        self.say(draw(of, width=self._width, in_colour=self._in_colour))
        self.say(f"Where the time went: {where(of)}.")

    def line(self, spans: Iterable[Span]) -> None:
        """A trace in one line, at the time of day; nothing where no span came."""
        of = tree(spans)
        if of.branches:
            root = of.branches[0].span
            status = root.attributes.get("http.response.status_code", "")
            now = datetime.now().strftime("%H:%M:%S")
            duration = duration_text(root.duration_ns)
            what = f"{root.name} {status}  {duration}  {where(of)}"
            self.say(f"{now}  {what}{_failure(of)}  trace {root.trace_id}")


def _failure(of: Tree) -> str:
    """Where it began to fail: the deepest span that did."""
    failed = [branch for branch in of.branches if branch.span.status is SpanStatus.ERROR]
    if not failed:
        return ""
    span = max(failed, key=lambda branch: branch.depth).span
    error = span.status_message or span.attributes.get("error.type", "error")
    what = f"{span.name} {span.peer}" if span.kind is SpanKind.CLIENT else span.name
    return f"  ✗ {span.service}: {what}: {error}"

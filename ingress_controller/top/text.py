"""Live requests as text: cells, details, a plain table.

Rules: pure. Names and paths are a stranger's, so whatever is shown of them is `printable`.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from ingress_controller.peers.live import SharedLive
from ingress_controller.readable import cut, duration, printable, size
from proxy.live import Group, Phase, Row

CELL_CHARACTERS_MAX = 120  # of one cell of the plain table


class Column(NamedTuple):
    """`title`, and whether numbers stand right."""

    title: str
    is_number: bool = False


_REQUESTS = (
    Column("AGE", True),
    Column("PHASE"),
    Column("METHOD"),
    Column("REQUEST"),
    Column("SERVICE"),
    Column("NODE"),
    Column("POD"),
    Column("ID"),
)


def request_columns(live: SharedLive) -> tuple[Column, ...]:
    """Of a table of its requests; where several replicas may tell of some, it says which one."""
    return (*_REQUESTS, Column("REPLICA")) if live.peers else _REQUESTS


def request_cells(live: SharedLive) -> Iterator[tuple[str, ...]]:
    """For each request one for each of `request_columns`."""
    for row in live.requests:
        yield (*_cells(row), printable(row.instance)) if live.peers else _cells(row)


def _cells(row: Row) -> tuple[str, ...]:
    method = row.method or row.kind
    cells = (
        duration(row.age_us),
        row.phase,
        method,
        row.host + row.path,
        row.service,
        row.node,
        row.pod,
        row.id,
    )
    return tuple(printable(cell) or "-" for cell in cells)


def group_columns(groups: Iterable[Group], name: str) -> tuple[tuple[Column, ...], list[Phase]]:
    """The columns of groups that are called `name`, and the phases that have one: those in which
    somebody is, so that a terminal of 80 columns has room for names."""
    used = {phase for group in groups for phase, count in group.phases.items() if count}
    phases = [phase for phase in Phase if phase in used]
    numbers = (Column(phase.value.upper(), True) for phase in phases)
    return (Column("COUNT", True), Column("OLDEST", True), *numbers, Column(name)), phases


def group_cells(group: Group, phases: Iterable[Phase], *, unnamed: str = "none") -> tuple[str, ...]:
    """One for each of `group_columns`."""
    counts = (str(group.phases.get(phase, "")) for phase in phases)
    name = printable(group.name) or unnamed
    return (str(group.count), duration(group.age_max_us), *counts, name)


def summary(live: SharedLive) -> str:
    """One line: how many, in which phases, and what is missing of the answer."""
    phases = ", ".join(f"{count} {phase}" for phase, count in live.phases.items() if count)
    of = "" if live.matched == live.live else f" of {live.live}"
    text = f"{live.matched}{of} live" + (f": {phases}" if phases else "")
    if live.kept_from_us:
        kept_from = datetime.fromtimestamp(live.kept_from_us // 1_000_000, UTC)
        text += f"; nothing is kept of before {kept_from:%Y-%m-%dT%H:%M:%SZ}"
    if live.workers_silent:
        text += f"; {live.workers_silent} workers did not answer"
    if silent := [printable(str(peer)) for peer in live.peers if peer.error]:
        text += f"; without replica {', '.join(silent)}"
    return text


def details(row: Row) -> str:
    """All that is known of one, a line each; its phases as bars."""
    lines = [
        ("trace", row.trace_id or "none"),
        ("request", f"{row.method or row.kind} {row.scheme}://{row.host}{row.path}"),
        ("client", f"{row.client} ({row.protocol})"),
        ("route", f"{row.route or 'none'}" + (f" by {row.ingress} {row.rule}" if row.rule else "")),
        ("service", row.service or "none"),
        ("endpoint", _endpoint(row)),
        ("body", f"{size(row.received_bytes)} from the client, {size(row.sent_bytes)} to it"),
        ("status", str(row.status or "none yet")),
        ("attempts", str(row.attempts)),
        ("table", f"generation {row.generation}"),
    ]
    text = [f"{name:9} {printable(value)}" for name, value in lines]
    text += ["", f"live for {duration(row.age_us)}, by phase:"]
    for phase, us in row.phases_us.items():
        bar = "█" * round(30 * us / max(row.age_us, 1))
        now = " ← now" if phase is row.phase else ""
        text.append(f"{phase:9} {duration(us):>8} {bar}{now}")
    return "\n".join(text)


def _endpoint(row: Row) -> str:
    where = ", ".join(filter(None, (row.pod, row.node, row.zone)))
    return (row.endpoint or "none") + (f" ({where})" if where else "")


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> str:
    """Aligned columns with their titles; the last one is as wide as it is."""
    shown = [[cut(printable(cell), CELL_CHARACTERS_MAX) for cell in row] for row in rows]
    titles = [column.title for column in columns]
    widths = [max(map(_width, cells)) for cells in zip(titles, *shown, strict=True)]
    lines = []
    for cells in (titles, *shown):
        padded = []
        for cell, column, width in zip(cells, columns, widths, strict=True):
            gap = " " * (width - _width(cell))
            padded.append(gap + cell if column.is_number else cell + gap)
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)

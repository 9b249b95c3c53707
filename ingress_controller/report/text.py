"""Reports as text for a terminal.

Rules: pure. Lines are at most `width` columns; names are a stranger's, and are made printable.
"""

import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ingress_controller.analysis.bottlenecks import Bottlenecks, Slowness
from ingress_controller.analysis.compare import Change, Changed, Comparison, TraceComparison
from ingress_controller.analysis.graph import Graph
from ingress_controller.analysis.latency import Latency, LatencyRow
from ingress_controller.analysis.measures import Basis, Part, Shares
from ingress_controller.analysis.nodes import NodeRow, Nodes
from ingress_controller.analysis.path import Path
from ingress_controller.plural import counted
from ingress_controller.readable import cut, duration, printable
from ingress_controller.top.text import Column, table

WIDTH_MIN = 60  # below, lines wrap

RATE_MIN = 0.01  # a second
MOVED_US_MIN = 1_000  # a callee may end its span when its caller has the answer already
SHARE_MIN = 0.005  # of the time; less would be 0 %


def latency_text(of: Latency, width: int) -> str:
    """The groups, then whose the time of all was."""
    columns = (*map(_number, ("COUNT", "RATE", "ERR", *_QUANTILES)), Column(of.by.upper()))
    lines = [_table(columns, map(_latency_cells, of.rows), width)]
    if of.group_count > len(of.rows):
        lines.append(f"and {of.group_count - len(of.rows)} more; limit={of.group_count} shows them")
    if of.all is not None and of.all.shares is not None:
        lines.append(f"\nTime of all {of.all.count}: {_shares(of.all.shares)}")
    return _report(of.basis, lines)


def nodes_text(of: Nodes, width: int) -> str:
    """The nodes, then which are outliers, and by what rule."""
    titles = ("COUNT", "ERR", "P50", "P99", "NETWORK", "FLEET", "APP", "FLEET", "PROXY")
    lines = [_table((*map(_number, titles), Column("NODE")), map(_node_cells, of.rows), width), ""]
    lines += [_wrapped(finding.text, width) for finding in of.findings] or [
        "No node is an outlier."
        if of.rows[1:]
        else "There is one node, and none to compare it with."
        if of.rows
        else "No endpoint on a known node had a request: nodes are named in EndpointSlices."
    ]
    lines.append(f"\n{_wrapped(of.rule, width)}")
    return _report(of.basis, lines)


def bottlenecks_text(of: Bottlenecks, width: int) -> str:
    """For each kind of request what makes it slow."""
    lines = [] if of.requests else ["There are too few requests of any kind to tell.", ""]
    for slowness in of.requests:
        lines += [_slowness(slowness, width), ""]
    lines.append(_wrapped(of.rule, width))
    return _report(of.basis, lines)


def compared_text(of: Comparison | TraceComparison, width: int) -> str:
    """What changed, the costliest first."""
    return _comparison(of, width) if isinstance(of, Comparison) else _trace_comparison(of, width)


def graph_text(of: Graph, width: int) -> str:
    """Who calls whom."""
    columns = (
        *map(_number, ("COUNT", "RATE", "ERR", "P50", "P99")),
        Column("WHOSE"),
        Column("CALL"),
    )
    names = {place.id: place.name for place in of.places}
    rows = [
        (
            str(arrow.count),
            _rate(arrow.rate_per_s),
            _percent(arrow.error_share),
            duration(arrow.p50_us),
            duration(arrow.p99_us),
            _largest(arrow.shares),
            f"{names[arrow.source]} → {names[arrow.target]}",
        )
        for arrow in of.arrows
    ]
    return _report(of.basis, [_table(columns, rows, width)])


def path_text(of: Path, width: int) -> str:
    """Whose the time of one trace was, and what its clocks needed."""
    columns = (*map(_number, ("TIME", "SHARE")), Column("WHOSE"), Column("WHAT"))
    rows = [
        (
            duration(part.time_us),
            _percent(part.share),
            part.part,
            f"{part.service} {part.operation}",
        )
        for part in of.parts
    ]
    lines = [_table(columns, rows, width), "", f"{duration(of.duration_us)} in all."]
    moved_us = [abs(ns) // 1_000 for ns in of.moved_ns.values()]
    moved_us = [us for us in moved_us if us >= MOVED_US_MIN]
    if moved_us:
        lines.append(
            f"{counted(len(moved_us), 'called service')} had another clock:"
            f" moved by up to {duration(max(moved_us))}."
        )
    if of.cut_span_ids:
        lines.append(f"{counted(len(of.cut_span_ids), 'span')} went on after what called it.")
    return "\n".join(lines) + "\n"


_QUANTILES = ("P50", "P90", "P99", "P99.9")
_WORDS: dict[str, str] = {
    "client_network": Part.CLIENT_NETWORK,
    "proxy": Part.PROXY,
    "cluster_network": Part.CLUSTER_NETWORK,
    "app": Part.APP,
    "app_queue": Part.APP_QUEUE,
}


def _comparison(of: Comparison, width: int) -> str:
    titles = ("P50", "NOW", "P99", "NOW", "COUNT", "NOW")
    columns = (Column("CHANGE"), *map(_number, titles), Column("NAME"))
    lines = [_table(columns, map(_changed_cells, of.rows), width), "", _wrapped(of.rule, width)]
    return _report(of.now, lines)


def _trace_comparison(of: TraceComparison, width: int) -> str:
    columns = (*map(_number, ("BEFORE", "AFTER", "CHANGE")), Column("WHOSE"), Column("WHAT"))
    rows = [
        (
            duration(row.before_us),
            duration(row.after_us),
            _signed(row.change_us),
            row.part,
            f"{row.service} {row.operation}",
        )
        for row in of.rows
    ]
    total = f"{duration(of.before_us)} before, {duration(of.after_us)} after."
    return f"{_table(columns, rows, width)}\n\n{total}\n"


def _latency_cells(row: LatencyRow) -> Sequence[str]:
    spread = row.spread
    times = (spread.p50_us, spread.p90_us, spread.p99_us, spread.p999_us)
    return (
        str(row.count),
        _rate(row.rate_per_s),
        _percent(row.error_share),
        *map(duration, times),
        row.name,
    )


def _node_cells(row: NodeRow) -> Sequence[str]:
    def part(of: dict[Any, int], name: Part) -> str:
        return duration(of[name]) if name in of else "-"

    own, fleet = dict(row.p50_us), dict(row.fleet_p50_us)
    return (
        str(row.count),
        _percent(row.error_share),
        duration(row.spread.p50_us),
        duration(row.spread.p99_us),
        part(own, Part.CLUSTER_NETWORK),
        part(fleet, Part.CLUSTER_NETWORK),
        part(own, Part.APP),
        part(fleet, Part.APP),
        part(own, Part.PROXY),
        row.name + (" ← outlier" if row.is_outlier else ""),
    )


def _slowness(of: Slowness, width: int) -> str:
    lines = [
        printable(f"{of.operation} ({of.service}): {counted(of.count, 'request')},")
        + f" p50 {duration(of.p50_us)}, p99 {duration(of.p99_us)}"
    ]
    if not of.bottlenecks:
        lines.append("Slow ones take no longer than usual ones.")
    shown = (*of.bottlenecks, *of.contenders)
    if not shown:
        return "\n".join(lines)
    columns = (*map(_number, ("USUAL", "SLOW", "SHARE")), Column("WHOSE"), Column("WHAT"))
    rows = [
        (
            duration(one.usual_us),
            duration(one.slow_us),
            _percent(one.excess_share),
            one.part,
            f"{one.service} {one.operation}"
            + (" ← grows" if one.growth and one.growth.grows else ""),
        )
        for one in shown
    ]
    lines.append(_table(columns, rows, width))
    told = [
        one
        for one in of.bottlenecks
        if one is of.bottlenecks[0] or (one.growth and one.growth.grows)
    ]
    lines += [_wrapped(one.text, width) for one in (*told, *of.contenders)]
    return "\n".join(lines)


def _changed_cells(row: Changed) -> Sequence[str]:
    def cell(say: Callable[[Any], str], of: object) -> str:
        return say(of) if of else "-"

    sides = (row.earlier, row.now)
    mark = {Change.SLOWER: "slower ▲", Change.FASTER: "faster ▼"}.get(row.change, row.change)
    return (
        mark,
        *(cell(lambda side: duration(side.spread.p50_us), side) for side in sides),
        *(cell(lambda side: duration(side.spread.p99_us), side) for side in sides),
        *(cell(lambda side: str(side.count), side) for side in sides),
        row.name,
    )


def _report(basis: Basis, lines: Iterable[str]) -> str:
    seconds = duration(round(basis.duration_s * 1e6))
    of = f"{counted(basis.span_count, 'span')} of {seconds}"
    if basis.traces_one_of > 1:
        of += f"; one in {basis.traces_one_of} traces was looked at, and counts are extrapolated"
    return "\n".join((*lines, "", of)) + "\n"


def _table(columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int) -> str:
    lines = table(columns, rows).splitlines()
    return "\n".join(cut(line, width) for line in lines)


def _number(title: str) -> Column:
    return Column(title, is_number=True)


def _rate(per_s: float) -> str:
    if per_s >= 10:  # noqa: PLR2004 - two digits
        return f"{per_s:.0f}/s"
    return f"{per_s:.2g}/s" if per_s >= RATE_MIN else "<0.01/s"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share == 0 or abs(share) >= SHARE_MIN else "<1%"


def _signed(us: int) -> str:
    return f"{'-' if us < 0 else '+'}{duration(abs(us))}"


def _largest(of: Shares | None) -> str:
    if of is None:
        return "-"
    name = max(_WORDS, key=lambda name: getattr(of, name))
    return f"{_WORDS[name]} {_percent(getattr(of, name))}"


def _shares(of: Shares) -> str:
    named = [(getattr(of, name), word) for name, word in _WORDS.items()]
    return ", ".join(
        f"{word} {_percent(share)}" for share, word in sorted(named, reverse=True) if share
    )


def _wrapped(text: str, width: int) -> str:
    return textwrap.fill(printable(text), width)

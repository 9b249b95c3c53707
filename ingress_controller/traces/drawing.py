"""Draws a trace for a terminal: one line a span, nested names, bars on one time axis.

Rules: pure; the caller says how wide and whether in colour. What comes from spans is made
printable, since a name may hold whatever a client sent.
"""

from ingress_controller.traces.span import Span, SpanKind, SpanStatus
from ingress_controller.traces.tree import KERNEL_LAYER, Branch, Tree, is_own_detail

WIDTH_MIN = 60
BAR_COLUMNS_MIN = 10
LABEL_COLUMNS_MIN = 16
SPANS_MAX = 200
"""More lines than this are no drawing any more; the last line says how many are left out."""

_SERVICE_COLOURS = (36, 35, 34, 33, 32)  # ANSI: cyan, magenta, blue, yellow, green
_ERROR_COLOUR = 31
_US, _MS, _S = 1_000, 1_000_000, 1_000_000_000


def draw(of: Tree, *, width: int, in_colour: bool) -> str:
    """Lines of at most `width` columns (at least `WIDTH_MIN`), the last with a newline.

    Columns: service, name nested by depth with what matters of its attributes, duration, bar.
    A service's bars have one colour; what failed is red, and says so without colour too.
    """
    width = max(width, WIDTH_MIN)
    drawn = _drawn(of)
    shown = drawn[:SPANS_MAX]
    if not shown:
        return "no spans\n"
    services = list(dict.fromkeys(_printable(branch.span.service) for branch in shown))
    labels = ["  " * branch.depth + _label(branch) for branch in shown]
    durations = [duration_text(branch.span.duration_ns) for branch in shown]
    service_columns = min(max(map(len, services)), width // 6)
    duration_columns = max(map(len, durations))
    free = width - service_columns - duration_columns - 6  # three gaps
    label_columns = min(max(map(len, labels)), max(LABEL_COLUMNS_MIN, free - free // 3))
    bar_columns = max(BAR_COLUMNS_MIN, free - label_columns)
    lines = []
    for branch, label, duration in zip(shown, labels, durations, strict=True):
        service = _printable(branch.span.service)
        has_failed = branch.span.status is SpanStatus.ERROR
        colour = _SERVICE_COLOURS[services.index(service) % len(_SERVICE_COLOURS)]
        text = (
            f"{_cut(service, service_columns)}  {_cut(label, label_columns)}"
            f"  {duration.rjust(duration_columns)}  "
        )
        bar = _bar(branch.span, of, bar_columns)
        if in_colour:
            text = f"\x1b[{_ERROR_COLOUR}m{text}\x1b[0m" if has_failed else text
            bar = f"\x1b[{_ERROR_COLOUR if has_failed else colour}m{bar}\x1b[0m"
        lines.append((text + bar).rstrip())
    if len(drawn) > SPANS_MAX:
        lines.append(f"and {len(drawn) - SPANS_MAX} more spans")
    return "\n".join(lines) + "\n"


def duration_text(duration_ns: int) -> str:
    """Three digits and a unit: `17.2 µs`, `0.42 ms`, `212 ms`, `1.24 s`."""
    if duration_ns < 100 * _US:
        return f"{_three_digits(duration_ns / _US)} µs"
    if duration_ns < 999.5 * _MS:
        return f"{_three_digits(duration_ns / _MS)} ms"
    return f"{_three_digits(duration_ns / _S)} s"


def _drawn(of: Tree) -> list[Branch]:
    """What the kernel saw of an attempt only where its callee's spans do not show it."""
    told = {branch.parent_index for branch in of.branches if not is_own_detail(branch.span)}
    return [
        branch
        for branch in of.branches
        if branch.span.name not in KERNEL_LAYER or branch.parent_index not in told
    ]


def _three_digits(number: float) -> str:
    if number == 0:
        return "0"
    return f"{number:.{0 if number >= 99.95 else 1 if number >= 9.995 else 2}f}"  # noqa: PLR2004


def _label(branch: Branch) -> str:
    span = branch.span
    attributes = span.attributes
    parts = [span.name]
    if span.kind is SpanKind.CLIENT and span.peer:
        parts += ["→", str(attributes.get("k8s.pod.name", "")), span.peer]
    if span.kind is SpanKind.SERVER or span.status is SpanStatus.ERROR:
        parts.append(str(attributes.get("http.response.status_code", "")))
    if span.status is SpanStatus.ERROR:
        error = span.status_message or str(attributes.get("error.type", "error"))
        parts.append("✗" if error in parts else f"✗ {error}")
    if branch.early_ns:
        parts.append(f"(starts {duration_text(branch.early_ns)} before its parent)")
    return " ".join(_printable(" ".join(parts)).split())


def _bar(span: Span, of: Tree, columns: int) -> str:
    """At least one column, inside the axis; a thin mark where the span is too short for a block."""
    per_column_ns = max(of.duration_ns, 1) / columns
    first = min(columns - 1, int((span.start_unix_ns - of.start_unix_ns) / per_column_ns))
    block_columns = min(columns - first, round(span.duration_ns / per_column_ns))
    return " " * first + ("█" * block_columns or "▏")


def _cut(text: str, columns: int) -> str:
    return text.ljust(columns) if len(text) <= columns else text[: columns - 1] + "…"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "�" for letter in text)

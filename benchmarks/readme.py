"""`python -m benchmarks.readme`: puts the table of `results/latest.json` into the README.

So that no number there is typed by hand. Between two markers, everything is written anew.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures import FIGURES

HERE = Path(__file__).parent
RESULT, README = HERE / "results" / "latest.json", HERE.parent / "README.md"
BEGIN, END = "<!-- from `python -m benchmarks.readme` -->", "<!-- end -->"

SERVERS = {
    "nginx": "nginx",
    "haproxy": "HAProxy",
    "envoy": "Envoy",
    "caddy": "Caddy",
    "spanway": "**Spanway**",
}
"""The columns; what else was measured is in the JSON."""


class MarkerError(Exception):
    """The text has no place for the table."""


def render(result: Mapping[str, Any]) -> str:
    """The figures as Markdown: a line a scenario and figure, medians; then the targets."""
    lines = [f"| | | {' | '.join(SERVERS.values())} |", "|---|---|" + "--:|" * len(SERVERS)]
    for scenario in result["scenarios"].values():
        lines += [_line(scenario, figure) for figure in scenario["plotted"]]
    lines += ["", "| what is aimed at | measured | |", "|---|---|---|"]
    for target in result["targets"]:
        what, _, said = target["said"].rpartition(": ")
        lines.append(f"| {what} | {said} | {target['outcome']} |")
    return "\n".join(lines)


def put(table: str, text: str) -> str:
    """`text` with `table` between its markers.

    Raises:
        MarkerError: there are none.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise MarkerError(f"the text needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def _line(scenario: Mapping[str, Any], figure: str) -> str:
    title = scenario["title"]
    if scenario["rate_rps"]:
        title += f" ({scenario['rate_rps']:,.0f}/s)"
    cells = [_cell(scenario, name, figure) for name in SERVERS]
    return f"| {title} | {FIGURES[figure].title} | {' | '.join(cells)} |"


def _cell(scenario: Mapping[str, Any], server: str, figure: str) -> str:
    found = scenario["summaries"].get(server)
    return FIGURES[figure].text(found[figure]["median"]) if found else "–"


def main() -> int:
    """Writes the README."""
    result = json.loads(RESULT.read_text())
    try:
        README.write_text(put(render(result), README.read_text()))
    except MarkerError as err:
        print(f"benchmark: {README.name}: {err}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

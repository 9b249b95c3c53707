"""The result as a picture: a small plot for each scenario and figure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures import FIGURES

UNDER_TEST = "spanway"
OURS, OTHERS, ALPHA = "#1f6feb", "#8b949e", 0.7
WHISKER, LIMIT, MUTED = "#57606a", "#cf222e", "#57606a"
BEHIND_TEXT = {"boxstyle": "round,pad=0.1", "facecolor": "white", "alpha": 0.7, "linewidth": 0}
COLUMNS = 3
WIDTH_INCHES, BAR_INCHES, TITLE_INCHES = 4.6, 0.28, 0.75
HEADROOM = 1.15
WHISKER_MAX = 1.6
"""How far beyond the longest bar a plot reaches: one outlier must not flatten everything else."""
DOTS_PER_INCH = 130


def draw(path: Path, result: Mapping[str, Any]) -> None:
    """Writes a PNG of `report.as_json`'s result: bars are medians, whiskers the range of rounds."""
    shown = [
        (scenario, name, _limits(key, scenario, name, result["targets"]))
        for key, scenario in result["scenarios"].items()
        for name in scenario["plotted"]
        if scenario["summaries"]
    ]
    if not shown:
        return
    rows, columns = -(-len(shown) // COLUMNS), min(COLUMNS, len(shown))
    bars = [
        max(len(scenario["summaries"]) for scenario, _, _ in shown[at : at + columns])
        for at in range(0, len(shown), columns)
    ]
    heights = [count * BAR_INCHES + TITLE_INCHES for count in bars]
    figure = Figure(figsize=(columns * WIDTH_INCHES, sum(heights) + 0.4))
    grid = figure.add_gridspec(rows, columns, height_ratios=heights)
    for index, (scenario, name, limits) in enumerate(shown):
        _panel(figure.add_subplot(grid[divmod(index, columns)]), scenario, name, limits)
    machine = result["machine"]
    caption = f"{machine['cpu']}, {machine['kernel']}. Bars: medians; whiskers: range of rounds; "
    caption += "red: what Spanway is to reach."
    figure.text(0.01, 0.005, caption, fontsize=7, color=MUTED, wrap=True)
    figure.tight_layout(rect=(0, 0.02, 1, 1), w_pad=2, h_pad=2)
    figure.savefig(path, dpi=DOTS_PER_INCH)


def _panel(axes: Axes, scenario: Mapping[str, Any], figure: str, limits: list[float]) -> None:
    names = list(scenario["summaries"])
    found = [scenario["summaries"][name][figure] for name in names]
    medians = [one["median"] for one in found]
    whiskers = (
        [one["median"] - one["low"] for one in found],
        [one["high"] - one["median"] for one in found],
    )
    at = range(len(names))
    colors = [OURS if name.startswith(UNDER_TEST) else OTHERS for name in names]
    axes.barh(at, medians, height=0.66, color=colors, alpha=ALPHA)
    axes.errorbar(medians, at, xerr=whiskers, fmt="none", ecolor=WHISKER, capsize=2, elinewidth=0.8)
    for position, median in zip(at, medians, strict=True):
        text = f" {FIGURES[figure].text(median)}"
        axes.text(0, position, text, va="center", fontsize=8, bbox=BEHIND_TEXT)
    for limit in limits:
        axes.axvline(limit, color=LIMIT, linewidth=1, linestyle="--")
    reach = max(
        *medians, *limits, min(max(one["high"] for one in found), WHISKER_MAX * max(medians))
    )
    axes.set_xlim(0, reach * HEADROOM)
    axes.set_yticks(at, names, fontsize=8)
    axes.invert_yaxis()
    axes.set_title(f"{scenario['title']}\n{FIGURES[figure].label}", fontsize=9, loc="left")
    axes.tick_params(axis="x", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def _limits(
    key: str, scenario: Mapping[str, Any], shown: str, targets: list[Mapping[str, Any]]
) -> list[float]:
    """Where the lines go: a target beside a peer is a multiple of the peer's median.

    A target on the capacity is one on CPU per request, turned over, as both say the same.
    """
    limits = []
    for target in targets:
        if target["scenario"] != key:
            continue
        factor = target["limit"]
        if (shown, target["figure"]) == ("cpu_us", "capacity_rps"):
            factor = 1 / factor
        elif shown != target["figure"]:
            continue
        peer = scenario["summaries"].get(target["peer"])
        if target["peer"] and peer is None:
            continue
        limits.append(factor * (peer[shown]["median"] if peer else 1.0))
    return limits

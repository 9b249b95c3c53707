"""The figures as a picture: what a request costs, and how long it takes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.report import UNDER_TEST, Summary

OURS, OTHERS, ALPHA = "#1f6feb", "#8b949e", 0.7
WHISKER = "#57606a"
BEHIND_TEXT = {"boxstyle": "round,pad=0.1", "facecolor": "white", "alpha": 0.7, "linewidth": 0}
THREE_DIGITS = 100
HEADROOM = 1.3
SIZE_INCHES = (11, 4.2)
DOTS_PER_INCH = 150


def draw(
    path: Path,
    summed: Mapping[str, Mapping[str, Summary]],
    what: Mapping[str, str],
    *,
    caption: str,
    rate: int,
) -> None:
    """Writes a PNG: bars are medians, whiskers the range over all rounds."""
    names = list(summed)
    figure = Figure(figsize=SIZE_INCHES)
    cost, latency = figure.subplots(1, 2, sharey=True)
    _bars(cost, _pick(summed, "cpu_us"), height=0.6)
    cost.set_yticks(range(len(names)), [f"{name}\n{what[name]}" for name in names])
    cost.invert_yaxis()
    cost.set_title("CPU per request at saturation (µs)")
    _bars(latency, _pick(summed, "p50_us"), height=0.36, offset=-0.2)
    _bars(latency, _pick(summed, "p99_us"), height=0.36, offset=0.2)
    latency.set_title(f"p50 (above) and p99 at {rate:,} requests/s (µs)")
    figure.text(0.01, 0.01, caption, fontsize=7, color="#57606a")
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(path, dpi=DOTS_PER_INCH)


def _pick(summed: Mapping[str, Mapping[str, Summary]], figure: str) -> list[tuple[str, Summary]]:
    return [(name, figures[figure]) for name, figures in summed.items()]


def _bars(
    axes: Axes, bars: Sequence[tuple[str, Summary]], *, height: float, offset: float = 0.0
) -> None:
    medians = [one.median for _, one in bars]
    below = [one.median - one.low for _, one in bars]
    above = [one.high - one.median for _, one in bars]
    at = [index + offset for index in range(len(bars))]
    colors = [OURS if name.startswith(UNDER_TEST) else OTHERS for name, _ in bars]
    axes.barh(at, medians, height=height, color=colors, alpha=ALPHA)
    axes.errorbar(medians, at, xerr=[below, above], fmt="none", ecolor=WHISKER, capsize=2)
    for position, median in zip(at, medians, strict=True):
        text = f" {median:.0f}" if median >= THREE_DIGITS else f" {median:.1f}"
        axes.text(0, position, text, va="center", fontsize=8, bbox=BEHIND_TEXT)
    # One outlier must not flatten everything else: a whisker may leave the picture.
    axes.set_xlim(0, max(*medians, HEADROOM * sorted(medians)[len(medians) // 2]) * 1.15)
    axes.spines[["top", "right"]].set_visible(False)

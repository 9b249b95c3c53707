"""From the figures of all rounds to medians, ranges and ratios; to JSON, a table and a verdict.

A ratio compares a server with the first one within the same round, so that what drifts from round
to round (other load, the host's frequency) cancels out; then comes the median of these ratios.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.load import FixedRate, Saturation

BUDGET = 0.95
"""Spanway with all spans may cost at most this share of nginx's CPU per request."""

UNDER_TEST, BARE = "spanway", "nginx-bare"

_FIGURES = ("cpu_us", "worker_cpu_us", "rps", "core_share", "p50_us", "p99_us", "paced_cpu_us")


@dataclass(frozen=True, slots=True)
class Summary:
    """One figure over all rounds: the figure, and its ratio to the baseline's."""

    median: float
    low: float
    high: float
    ratio_median: float
    ratio_low: float
    ratio_high: float


@dataclass(frozen=True, slots=True)
class Round:
    """What one server did in one round."""

    saturation: Saturation
    fixed_rate: FixedRate

    def figure(self, name: str) -> float:
        if name == "paced_cpu_us":
            return self.fixed_rate.cpu_us
        source = self.fixed_rate if name.startswith("p") else self.saturation
        value: float = getattr(source, name)
        return value


Rounds = Mapping[str, Sequence[Round]]
"""By server, in the order of the rounds; the first server is the baseline."""


def summaries(rounds: Rounds, baseline: str | None = None) -> dict[str, dict[str, Summary]]:
    """By server, then by figure; without `baseline`, the first server is the one."""
    base = rounds[baseline or next(iter(rounds))]
    return {
        name: {figure: _summary(figure, own, base) for figure in _FIGURES}
        for name, own in rounds.items()
    }


def as_json(rounds: Rounds, setup: Mapping[str, Any], machine: Mapping[str, str]) -> dict[str, Any]:
    """The whole result: conditions, summaries, verdict, and each round as it was measured."""
    summed = summaries(rounds)
    return {
        "machine": dict(machine),
        "setup": dict(setup),
        "verdict": verdict(rounds),
        "summaries": {
            server: {figure: asdict(summary) for figure, summary in figures.items()}
            for server, figures in summed.items()
        },
        "rounds": {name: [asdict(one) for one in own] for name, own in rounds.items()},
    }


def table(summed: Mapping[str, Mapping[str, Summary]], what: Mapping[str, str]) -> str:
    """For the screen: a line a server, medians, with ratios to the first server."""
    lines = [
        f"{'':38}{'CPU µs a request':>27}{'of it worker':>14}{'requests/s':>16}"
        f"{'p50 µs':>15}{'p99 µs':>15}",
        f"{'server':38}{'median':>8}{'range':>12}{'ratio':>7}{'median':>14}{'median':>10}"
        f"{'ratio':>6}" + f"{'median':>9}{'ratio':>6}" * 2,
    ]
    for name, figures in summed.items():
        cpu, worker, rps = figures["cpu_us"], figures["worker_cpu_us"], figures["rps"]
        title, span = f"{name} ({what[name]})", f"{cpu.low:.1f}–{cpu.high:.1f}"
        line = f"{title:38}{cpu.median:8.1f}{span:>12}{cpu.ratio_median:7.2f}"
        line += f"{worker.median:14.1f}" if worker.median else f"{'–':>14}"
        line += f"{rps.median:10.0f}{rps.ratio_median:6.2f}"
        for latency in (figures["p50_us"], figures["p99_us"]):
            line += f"{latency.median:9.0f}{latency.ratio_median:6.2f}"
        lines.append(line)
    return "\n".join(lines)


def verdict(rounds: Rounds) -> str:
    """Whether the budget held, and what it would be against a baseline that does less work."""
    baseline = next(iter(rounds))
    cpu = summaries(rounds)[UNDER_TEST]["cpu_us"]
    bare = summaries(rounds, BARE)[UNDER_TEST]["cpu_us"]
    held = "held" if cpu.ratio_median <= BUDGET else "NOT held"
    return (
        f"Budget {held}: with three spans on every request Spanway costs {cpu.ratio_median:.2f} × "
        f"{baseline}'s CPU per request (rounds {cpu.ratio_low:.2f}–{cpu.ratio_high:.2f}; "
        f"at most {BUDGET:.2f}). Against {BARE}: {bare.ratio_median:.2f}."
    )


def _summary(figure: str, own: Sequence[Round], baseline: Sequence[Round]) -> Summary:
    values = [one.figure(figure) for one in own]
    bases = [one.figure(figure) for one in baseline]
    # A baseline without such a figure (nginx has no Spanway workers) has no ratio either.
    ratios = [value / base if base else 0.0 for value, base in zip(values, bases, strict=True)]
    return Summary(
        statistics.median(values),
        min(values),
        max(values),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
    )

"""From the figures of all rounds to tables for the screen and to JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.figures import FIGURES
from benchmarks.runner import Measured
from benchmarks.servers import VARIANTS
from benchmarks.summary import ratio, summary
from benchmarks.targets import Outcome, Target, Verdict

CORE_SHARE_FULL = 0.85
"""Below it in both the server's and the load's core, something else than CPU was in the way."""

_NAME, _CELL = 36, 22


def table(measured: Measured) -> str:
    """For the screen: a line a server; medians, and in parentheses their ratio to the first's.

    The first figure is told with its range over the rounds.
    """
    scenario = measured.scenario
    figures = [name for name in scenario.figures if name in FIGURES]
    titles = "".join(f"{FIGURES[name].title:>{_CELL}}" for name in figures)
    rate = f" ({measured.rate_rps:,.0f}/s)" if measured.rate_rps else ""
    lines = [f"{scenario.title}{rate}", f"{'  server':{_NAME}}{titles}{'range':>{_CELL}}"]
    base = next(iter(measured.rounds.values()), [])
    for name, own in measured.rounds.items():
        title = f"  {name} ({VARIANTS[name].what})"
        cells = "".join(f"{_cell(figure, own, base):>{_CELL}}" for figure in figures)
        lines.append(f"{title:{_NAME}}{cells}{_range(figures[0], own):>{_CELL}}{_doubt(own)}")
    lines += [f"  {name}: not run: {reason}" for name, reason in measured.not_run.items()]
    return "\n".join(lines)


def verdicts_text(verdicts: Sequence[Verdict]) -> str:
    """A line for each target."""
    return "\n".join(f"{one.outcome.value:7}  {sentence(one)}" for one in verdicts)


def sentence(verdict: Verdict) -> str:
    """What the target is and what came out, in words."""
    target = verdict.target
    if verdict.outcome is Outcome.NOT_RUN:
        return f"{wanted(target)}: no figures"
    said = f"{verdict.value:.2f} (rounds {verdict.low:.2f}–{verdict.high:.2f})"
    return f"{wanted(target)}: {said}"


def wanted(target: Target) -> str:
    """For example `http1: CPU µs of spanway ≤ 0.85 × nginx`."""
    sign = "≤" if target.is_most else "≥"
    limit = f"{target.limit:.2f} × {target.peer}" if target.peer else f"{target.limit:g}"
    return f"{target.scenario}: {FIGURES[target.figure].title} of {target.server} {sign} {limit}"


def as_json(
    measured: Sequence[Measured],
    verdicts: Sequence[Verdict],
    *,
    setup: Mapping[str, Any],
    machine: Mapping[str, str],
) -> dict[str, Any]:
    """The whole result: conditions, summaries, targets, and each round as it was measured."""
    return {
        "machine": dict(machine),
        "setup": dict(setup),
        "targets": [
            {**asdict(one.target), "outcome": one.outcome.value, "said": sentence(one)}
            | {"value": one.value, "low": one.low, "high": one.high}
            for one in verdicts
        ],
        "scenarios": {one.scenario.name: _scenario_json(one) for one in measured},
    }


def _scenario_json(measured: Measured) -> dict[str, Any]:
    base = next(iter(measured.rounds.values()), [])
    return {
        "title": measured.scenario.title,
        "figures": list(measured.scenario.figures),
        "plotted": list(measured.scenario.figures[: measured.scenario.plotted]),
        "rate_rps": measured.rate_rps,
        "not_run": measured.not_run,
        "summaries": {
            name: {
                figure: asdict(summary([one[figure] for one in own]))
                | {"ratio": ratio(figure, own, base).median}
                for figure in own[0]
            }
            for name, own in measured.rounds.items()
        },
        "rounds": {name: list(own) for name, own in measured.rounds.items()},
    }


def _cell(figure: str, own: Sequence[Mapping[str, float]], base: Any) -> str:
    median = summary([one[figure] for one in own]).median
    return f"{FIGURES[figure].text(median)} ({ratio(figure, own, base).median:.2f})"


def _range(figure: str, own: Sequence[Mapping[str, float]]) -> str:
    found = summary([one[figure] for one in own])
    return f"{FIGURES[figure].text(found.low)}–{FIGURES[figure].text(found.high)}"


def _doubt(own: Sequence[Mapping[str, float]]) -> str:
    """That neither core was used up: then the server, or something else, waited."""
    shares = [max(one.get("core_share", 1), one.get("load_core_share", 1)) for one in own]
    if (share := summary(shares).median) < CORE_SHARE_FULL:
        return f"  no core was used up ({share:.0%})"
    return ""

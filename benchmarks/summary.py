"""Medians and ranges over rounds, and ratios within them.

A ratio compares two servers within the same round, so that what drifts from round to round (other
load, the host's frequency) cancels out; then comes the median of these ratios.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.load import Figures

Rounds = Mapping[str, Sequence[Figures]]
"""By server, in the order of the rounds. One that could not do the scenario is not in there."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Of some values: never empty."""

    median: float
    low: float
    high: float


def summary(values: Sequence[float]) -> Summary:
    return Summary(statistics.median(values), min(values), max(values))


def ratio(figure: str, own: Sequence[Figures], base: Sequence[Figures]) -> Summary:
    """`own` divided by `base`, round by round. Where the base is 0, there is no ratio: 0."""
    pairs = zip(own, base, strict=True)
    return summary([_divide(one[figure], other[figure]) for one, other in pairs])


def _divide(value: float, by: float) -> float:
    return value / by if by else 0.0

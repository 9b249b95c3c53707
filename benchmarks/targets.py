"""What the figures should be, and whether they are.

A target beside a peer is judged by the median of the ratios within the rounds; one without a peer
by the median of the figure itself. Where it was not measured, it is neither held nor missed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.summary import Rounds, ratio, summary


class Outcome(StrEnum):
    """How a target came out."""

    HELD = "pass"
    MISSED = "MISS"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Target:
    """`figure` of `server` is at most, or at least, `limit`, times the `peer`'s if there is one."""

    scenario: str
    figure: str
    limit: float
    is_most: bool
    server: str = "spanway"
    peer: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a target. `value` and its range over the rounds are 0 where it was not run."""

    target: Target
    outcome: Outcome
    value: float = 0.0
    low: float = 0.0
    high: float = 0.0


def at_most(scenario: str, figure: str, limit: float, *, peer: str = "") -> Target:
    return Target(scenario, figure, limit, is_most=True, peer=peer)


def at_least(
    scenario: str, figure: str, limit: float, *, peer: str, server: str = "spanway"
) -> Target:
    return Target(scenario, figure, limit, is_most=False, server=server, peer=peer)


TARGETS = (
    at_most("http1", "cpu_us", 0.85, peer="nginx"),
    at_most("http1", "cpu_us", 0.20, peer="envoy-traced"),
    at_least("body64k", "capacity_rps", 1.0, peer="nginx"),
    at_least("body10m", "capacity_rps", 1.0, peer="nginx"),
    at_least("tls", "capacity_rps", 1.0, peer="nginx"),
    at_least("handshakes", "capacity_rps", 1.0, peer="nginx"),
    at_least("h2", "capacity_rps", 2.0, peer="envoy"),
    at_least("h2c", "capacity_rps", 2.0, peer="envoy"),
    at_least("grpc", "capacity_rps", 2.0, peer="envoy"),
    at_most("latency", "p50_us", 1.0, peer="haproxy"),
    at_most("latency", "p99_us", 1.0, peer="haproxy"),
    at_most("latency", "p999_us", 1.0, peer="haproxy"),
    at_most("idle", "connection_kib", 10.0),
    at_least("workers", "capacity_rps", 1.8, server="spanway-2", peer="spanway"),
    at_most("table", "match_ns", 1000.0),
    at_most("table", "publish_ms", 5.0),
)


def judge(target: Target, rounds: Rounds) -> Verdict:
    """`rounds` are those of the target's scenario."""
    needed = [target.server, *([target.peer] if target.peer else [])]
    if any(not rounds.get(name) for name in needed):
        return Verdict(target, Outcome.NOT_RUN)
    own = rounds[target.server]
    if target.peer:
        found = ratio(target.figure, own, rounds[target.peer])
    else:
        found = summary([one[target.figure] for one in own])
    is_held = found.median <= target.limit if target.is_most else found.median >= target.limit
    outcome = Outcome.HELD if is_held else Outcome.MISSED
    return Verdict(target, outcome, found.median, found.low, found.high)


def judge_all(measured: Mapping[str, Rounds]) -> list[Verdict]:
    """Every target whose scenario was asked for; `measured` is by scenario."""
    return [judge(one, measured[one.scenario]) for one in TARGETS if one.scenario in measured]

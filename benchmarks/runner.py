"""A scenario from its first server to its last round.

Rules: rounds are interleaved (A B C, B C A, …); a server that cannot do the scenario, or fails in
it, is left out with its reason, and the others go on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.children import BenchError, Children, Cores
from benchmarks.load import Figures, FixedRate, Http1, Load
from benchmarks.scenarios import PACED_RPS_MAX, Scenario
from benchmarks.servers import Server, Starter
from benchmarks.stage import Stage

WARM_UP_S = 1


@dataclass(frozen=True, slots=True)
class Effort:
    """How long it may take: rounds, and seconds of each load."""

    rounds: int
    seconds: int

    def rounds_of(self, scenario: Scenario) -> int:
        return 1 if scenario.is_fresh else self.rounds * scenario.rounds_factor

    def estimate_s(self, scenario: Scenario) -> float:
        """Seconds that `scenario` takes, starting and warming up included."""
        a_round_s = self.seconds + LOAD_OVERHEAD_S
        return len(scenario.servers) * (START_S + self.rounds_of(scenario) * a_round_s)


LOAD_OVERHEAD_S, START_S = 0.3, 1.8
"""Measured: starting a load and reading what it says; starting, warming up and ending a server."""


@dataclass(slots=True)
class Measured:
    """What came out of a scenario; `rate_rps` is that of an open loop, else 0."""

    scenario: Scenario
    rounds: dict[str, list[Figures]] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)
    rate_rps: float = 0.0

    def give_up(self, name: str, err: Exception) -> None:
        """Leaves a server out, in one line."""
        self.rounds.pop(name, None)
        self.not_run[name] = " ".join(str(err).split())


def run(scenario: Scenario, stage: Stage, effort: Effort) -> Measured:
    """Blocks until all rounds are done; every server is ended then."""
    measured = Measured(scenario)
    with Children(stage.directory) as children:
        starter = Starter(stage, children, tls=scenario.needs_tls)
        servers = _start(starter, measured)
        load = scenario.load
        if not scenario.is_fresh:
            warm_up: Load = Http1() if scenario.paced_by else load
            warmed = _round(measured, servers, warm_up, stage.cores, seconds=WARM_UP_S)
            if scenario.paced_by:
                load = _half_of(scenario.paced_by, warmed, measured)
        rounds_of(measured, servers, load, cores=stage.cores, effort=effort)
    return measured


def rounds_of(
    measured: Measured, servers: Sequence[Server], load: Load, *, cores: Cores, effort: Effort
) -> None:
    """All rounds, each of which begins with another server."""
    for index in range(effort.rounds_of(measured.scenario)):
        first = index % max(len(servers), 1)
        order = [*servers[first:], *servers[:first]]
        for name, figures in _round(measured, order, load, cores, seconds=effort.seconds).items():
            measured.rounds[name].append(figures)


def _start(starter: Starter, measured: Measured) -> list[Server]:
    servers = []
    for name in measured.scenario.servers:
        try:
            servers.append(starter.start(name))
            measured.rounds[name] = []
        except BenchError as err:
            measured.give_up(name, err)
    return servers


def _round(
    measured: Measured, servers: Sequence[Server], load: Load, cores: Cores, *, seconds: int
) -> Mapping[str, Figures]:
    """One run of each server that is still in the race."""
    figures = {}
    for server in servers:
        if server.name in measured.not_run:
            continue
        try:
            figures[server.name] = load.measure(server, cores, seconds)
        except (BenchError, OSError) as err:  # the latter where it has died, and its files in /proc
            measured.give_up(server.name, err)
    return figures


def _half_of(name: str, warmed: Mapping[str, Figures], measured: Measured) -> Load:
    """The open loop at half of what `name` serves at most, as far as the load itself can."""
    own = [warmed[name]["rps"]] if name in warmed else [one["rps"] for one in warmed.values()]
    measured.rate_rps = round(min(PACED_RPS_MAX, *(rps / 2 for rps in own)), -2)
    return FixedRate(measured.rate_rps)

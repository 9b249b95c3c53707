"""What is measured, and in which order."""

import pytest

from benchmarks.__main__ import arguments_of
from benchmarks.children import BenchError, Cores
from benchmarks.load import Figures
from benchmarks.runner import Effort, Measured, rounds_of
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.servers import VARIANTS, Server

CORES = Cores(server=0, load=1, origin=1)


class RecordingLoad:
    """A load that remembers whom it was put on; `fails` names who cannot bear it."""

    def __init__(self, fails: str = "") -> None:
        self.asked: list[str] = []
        self._fails = fails

    def measure(self, server: Server, cores: Cores, seconds: int) -> Figures:
        del cores, seconds
        self.asked.append(server.name)
        if server.name == self._fails:
            raise BenchError("it cannot\n do this")
        return {"cpu_us": 1.0}


def run(load: RecordingLoad, count: int) -> Measured:
    names = ("nginx", "haproxy", "spanway")
    measured = Measured(Scenario("x", "X", names, load), {name: [] for name in names})
    servers = [Server(name, 1, {}) for name in names]
    rounds_of(measured, servers, load, cores=CORES, effort=Effort(count, 1))
    return measured


def test_each_round_begins_with_another_server() -> None:
    load = RecordingLoad()
    measured = run(load, 3)
    assert load.asked[0::3] == ["nginx", "haproxy", "spanway"]
    assert {name: len(own) for name, own in measured.rounds.items()} == {
        "nginx": 3,
        "haproxy": 3,
        "spanway": 3,
    }


def test_server_that_fails_is_left_out_with_its_reason_and_the_others_go_on() -> None:
    load = RecordingLoad(fails="haproxy")
    measured = run(load, 2)
    assert measured.not_run == {"haproxy": "it cannot do this"}
    assert load.asked.count("haproxy") == 1
    assert list(measured.rounds) == ["nginx", "spanway"]


def test_every_server_of_every_scenario_is_known() -> None:
    assert {name for one in SCENARIOS for name in one.servers} <= set(VARIANTS)


def test_the_whole_takes_less_than_twenty_minutes() -> None:
    effort = arguments_of([]).effort
    assert 10 * 60 < sum(effort.estimate_s(one) for one in SCENARIOS) < 19 * 60


@pytest.mark.parametrize(
    ("words", "name"),
    [([], "latest"), (["--only", "http1"], "tmp/quick"), (["--rounds", "1"], "tmp/quick")],
)
def test_only_a_whole_run_replaces_the_latest_result(words: list[str], name: str) -> None:
    assert arguments_of(words).name == name


def test_unknown_scenario_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments_of(["--only", "http1,nonsense"])
    assert "no scenario nonsense" in capsys.readouterr().err

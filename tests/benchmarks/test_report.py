"""What the benchmark says of its figures, and which targets it calls held."""

import json

import pytest

from benchmarks.load import percentile
from benchmarks.report import as_json, sentence, table
from benchmarks.runner import Measured
from benchmarks.scenarios import SCENARIOS
from benchmarks.summary import ratio
from benchmarks.targets import TARGETS, Outcome, Target, judge, judge_all

SCENARIO = next(one for one in SCENARIOS if one.name == "http1")


def rounds(*cpu_us: float) -> list[dict[str, float]]:
    return [
        {"cpu_us": cost, "capacity_rps": 1e6 / cost, "rps": 0.9e6 / cost, "core_share": 0.9}
        for cost in cpu_us
    ]


def at_most(limit: float, *, peer: str = "nginx") -> Target:
    return Target("http1", "cpu_us", limit, is_most=True, peer=peer)


def test_ratio_is_taken_within_a_round_so_that_drift_cancels() -> None:
    found = ratio("cpu_us", rounds(9.0, 18.0, 36.0), rounds(10.0, 20.0, 40.0))
    assert (found.low, found.median, found.high) == (0.9, 0.9, 0.9)


@pytest.mark.parametrize(
    ("cost", "want"), [(8.4, Outcome.HELD), (8.5, Outcome.HELD), (8.6, Outcome.MISSED)]
)
def test_target_is_judged_by_the_ratio_to_its_peer(cost: float, want: Outcome) -> None:
    verdict = judge(at_most(0.85), {"nginx": rounds(10.0), "spanway": rounds(cost)})
    assert verdict.outcome is want
    assert f"CPU µs of spanway ≤ 0.85 × nginx: {cost / 10:.2f}" in sentence(verdict)


def test_target_at_least_is_missed_below_its_limit() -> None:
    twice = Target("h2", "capacity_rps", 2.0, is_most=False, peer="envoy")
    measured = {"envoy": rounds(40.0), "spanway": rounds(21.0)}
    assert judge(twice, measured).outcome is Outcome.MISSED
    assert judge(twice, {**measured, "spanway": rounds(19.0)}).outcome is Outcome.HELD


def test_target_without_a_peer_is_judged_by_the_figure_itself() -> None:
    verdict = judge(at_most(10.0, peer=""), {"spanway": rounds(11.0, 9.0, 9.5)})
    assert (verdict.outcome, verdict.value) == (Outcome.HELD, 9.5)


def test_target_is_neither_held_nor_missed_when_its_peer_could_not_run() -> None:
    verdict = judge(at_most(0.85), {"spanway": rounds(1.0)})
    assert verdict.outcome is Outcome.NOT_RUN
    assert sentence(verdict).endswith("no figures")


def test_only_the_targets_of_scenarios_that_were_asked_for_are_judged() -> None:
    judged = judge_all({"http1": {"nginx": rounds(1.0), "spanway": rounds(1.0)}})
    assert {one.target.scenario for one in judged} == {"http1"}


def test_every_target_names_servers_and_a_scenario_that_are_measured() -> None:
    servers = {one.name: {*one.servers} for one in SCENARIOS}
    for target in TARGETS:
        assert {target.server, target.peer} - {""} <= servers[target.scenario]


def test_server_that_could_not_run_is_told_with_its_reason() -> None:
    measured = Measured(SCENARIO, {"nginx": rounds(10.0)}, {"caddy": "it is missing"})
    assert "caddy: not run: it is missing" in table(measured)
    said = as_json([measured], [], setup={}, machine={})
    assert said["scenarios"]["http1"]["not_run"] == {"caddy": "it is missing"}


def test_table_tells_when_neither_core_was_used_up() -> None:
    waiting = [{**one, "core_share": 0.4, "load_core_share": 0.5} for one in rounds(10.0)]
    assert "no core was used up (50%)" in table(Measured(SCENARIO, {"nginx": waiting}))
    assert "used up" not in table(Measured(SCENARIO, {"nginx": rounds(10.0)}))


def test_json_keeps_every_round_and_the_ratio_to_the_first_server() -> None:
    measured = Measured(SCENARIO, {"nginx": rounds(10.0, 20.0), "spanway": rounds(8.0, 16.0)})
    said = json.loads(json.dumps(as_json([measured], [], setup={}, machine={})))
    http1 = said["scenarios"]["http1"]
    assert http1["summaries"]["spanway"]["cpu_us"]["ratio"] == 0.8
    assert [one["cpu_us"] for one in http1["rounds"]["spanway"]] == [8.0, 16.0]


def test_percentile_is_a_value_that_was_measured() -> None:
    ordered = [float(one) for one in range(1, 101)]
    assert (percentile(ordered, 50), percentile(ordered, 99)) == (50.0, 99.0)
    assert percentile([7.0], 99) == 7.0
    assert percentile([float(one) for one in range(1, 1001)], 99.9) == 999.0

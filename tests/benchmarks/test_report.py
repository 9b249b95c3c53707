"""What the benchmark says of its figures."""

import pytest

from benchmarks.load import FixedRate, Saturation, percentile
from benchmarks.report import Round, summaries, verdict


def rounds(*cpu_us: float) -> list[Round]:
    return [
        Round(
            Saturation(1000, rps=1e6 / cost, cpu_us=cost, worker_cpu_us=0.0, core_share=1.0),
            FixedRate(1000, p50_us=100.0, p99_us=200.0, late_p99_us=1.0, cpu_us=cost),
        )
        for cost in cpu_us
    ]


def test_ratio_is_taken_within_a_round_so_that_drift_cancels() -> None:
    measured = {"nginx": rounds(10.0, 20.0, 40.0), "spanway": rounds(9.0, 18.0, 36.0)}
    cpu = summaries(measured)["spanway"]["cpu_us"]
    assert (cpu.ratio_low, cpu.ratio_median, cpu.ratio_high) == (0.9, 0.9, 0.9)
    assert (cpu.low, cpu.median, cpu.high) == (9.0, 18.0, 36.0)


@pytest.mark.parametrize(("cost", "said"), [(9.4, "Budget held"), (9.6, "Budget NOT held")])
def test_verdict_names_the_ratio_and_whether_it_held(cost: float, said: str) -> None:
    measured = {"nginx": rounds(10.0), "nginx-bare": rounds(8.0), "spanway": rounds(cost)}
    sentence = verdict(measured)
    assert sentence.startswith(said)
    assert f"{cost / 10:.2f} × nginx" in sentence
    assert f"nginx-bare: {cost / 8:.2f}" in sentence


def test_percentile_is_a_value_that_was_measured() -> None:
    ordered = [float(one) for one in range(1, 101)]
    assert (percentile(ordered, 50), percentile(ordered, 99)) == (50.0, 99.0)
    assert percentile([7.0], 99) == 7.0

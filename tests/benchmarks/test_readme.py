"""The README's table is what the result says."""

import pytest

from benchmarks.readme import BEGIN, END, MarkerError, put, render

RESULT = {
    "scenarios": {
        "http1": {
            "title": "HTTP/1.1",
            "plotted": ["cpu_us"],
            "rate_rps": 0.0,
            "summaries": {
                "nginx": {"cpu_us": {"median": 20.04}},
                "spanway": {"cpu_us": {"median": 17.0}},
            },
        }
    },
    "targets": [
        {"said": "http1: CPU µs ≤ 0.85 × nginx: 0.85 (rounds 0.84–0.86)", "outcome": "pass"}
    ],
}


def test_line_has_a_median_for_each_server_and_a_dash_for_what_was_not_run() -> None:
    assert "| HTTP/1.1 | CPU µs | 20.0 | – | – | – | 17.0 |" in render(RESULT).splitlines()


def test_every_target_has_its_measure_and_its_outcome() -> None:
    wanted = "| http1: CPU µs ≤ 0.85 × nginx | 0.85 (rounds 0.84–0.86) | pass |"
    assert wanted in render(RESULT).splitlines()


def test_only_what_is_between_the_markers_is_written_anew() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert put("new", text) == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert put("new", put("old", text)) == put("new", text)


def test_text_without_markers_is_refused() -> None:
    with pytest.raises(MarkerError):
        put("new", f"{END} and then {BEGIN}")

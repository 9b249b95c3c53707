import time

import pytest

from ingress_controller.admin.parameters import ParameterError, duration_ns, window

NS = 1_000_000_000


def test_a_window_of_which_nothing_is_said_is_the_last_hour() -> None:
    before = time.time_ns()
    start_ns, end_ns = window({})

    assert before <= end_ns <= time.time_ns()
    assert end_ns - start_ns == 3_600 * NS


@pytest.mark.parametrize(
    ("given", "start_ns", "end_ns"),
    [
        (
            {"from": "1700000000", "to": "1700000001.5"},
            1_700_000_000 * NS,
            1_700_000_001_500_000_000,
        ),
        (
            {"from": "1700000000000", "to": "1700000001500"},
            1_700_000_000 * NS,
            1_700_000_001_500_000_000,
        ),
        ({"to": "1700000000", "since": "15m"}, (1_700_000_000 - 900) * NS, 1_700_000_000 * NS),
        (
            {"from": "2023-11-14T22:13:20Z", "to": "2023-11-14T23:13:21.25+01:00"},
            1_700_000_000 * NS,
            1_700_000_001_250_000_000,
        ),
    ],
)
def test_a_window_is_read_in_every_form(given: dict[str, str], start_ns: int, end_ns: int) -> None:
    assert window(given) == (start_ns, end_ns)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"from": "yesterday"}, 'from: "yesterday" is no time; write seconds since 1970, or'),
        ({"from": "2023-11-14T22:13:20"}, "is no time"),  # whose midnight?
        ({"from": "9999-99-99"}, "is no time"),
        ({"since": "15x"}, 'since: "15x" is no duration; write 500ms, 2s or 1m'),
        ({"since": "9999999999d"}, "is no duration"),
        ({"since": "1h", "from": "1700000000"}, "is given beside from; give one"),
        ({"from": "1700000001", "to": "1700000000"}, "is later than to"),
    ],
)
def test_a_window_that_cannot_be_read_is_refused(given: dict[str, str], message: str) -> None:
    with pytest.raises(ParameterError, match=message.replace("(", r"\(")):
        window(given)


@pytest.mark.parametrize(
    ("text", "ns"), [("1.5ms", 1_500_000), ("250us", 250_000), ("2", 2 * NS), ("1d", 86_400 * NS)]
)
def test_a_duration_has_a_unit_or_is_seconds(text: str, ns: int) -> None:
    assert duration_ns("age", text, 1e9) == ns

import json

import pytest
from live_rows import HOSTILE

from ingress_controller.readable import duration, printable, printable_json, size


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "0µs"),
        (999, "999µs"),
        (1_000, "1ms"),
        (999_999, "999ms"),
        (1_970_030, "1.9s"),
        (59_999_999, "59s"),
        (245_000_000, "4m05s"),
        (7_380_000_000, "2h03m"),
        (400_000_000_000, "4d"),
    ],
)
def test_duration_has_at_most_six_characters(us: int, text: str) -> None:
    assert duration(us) == text
    assert len(text) <= 6


def test_size_has_binary_units() -> None:
    assert [size(0), size(2048), size(5 * 1024**4)] == ["0 B", "2.0 KiB", "5.0 TiB"]


def test_what_is_not_printable_is_escaped() -> None:
    assert printable(HOSTILE) == "/<script>\\x1b[31m\\n\\u202e\"'"
    assert printable("/münchen/日本") == "/münchen/日本"


def test_json_is_the_same_with_nothing_in_it_that_a_terminal_takes_for_more() -> None:
    strange = {"path": HOSTILE, "c1": "\x9b31m\x7f", "name": "日本 \U000e0001", "n": [1, None]}
    text = json.dumps(strange, ensure_ascii=False, indent=2)

    shown = printable_json(text)

    assert json.loads(shown) == strange
    assert shown.replace("\n", "").isprintable()
    assert "日本" in shown

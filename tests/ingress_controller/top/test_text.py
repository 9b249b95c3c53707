import pytest
from live_rows import HOSTILE, ROW, live, row

from ingress_controller.top.text import (
    GROUPS,
    REQUESTS,
    Column,
    details,
    duration,
    group_cells,
    printable,
    request_cells,
    size,
    summary,
    table,
)
from proxy.live import Group, Kind, Phase


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


def test_table_is_aligned_and_cut_and_has_nothing_of_a_stranger_unescaped() -> None:
    rows = [row(), row(age_us=20, path=HOSTILE, method="", kind=Kind.CONNECTION, node="")]
    text = table(REQUESTS, map(request_cells, rows))

    head, first, second = text.splitlines()
    assert head.split() == [column.title for column in REQUESTS]
    shown = "shop.example/<script>\\x1b[31m\\n\\u202e\"'"
    assert second.startswith(f"20µs  wait   connection  {shown}  shop/api:80  -  ")
    for title, cell in (("METHOD", "GET"), ("SERVICE", "shop/api:80"), ("ID", ROW.id)):
        assert first.index(cell) == head.index(title)
    assert len(table((Column("A"),), [("x" * 500,)]).splitlines()[1]) == 120


def test_wide_characters_take_two_columns() -> None:
    assert table((Column("A"), Column("B")), [("日本", "x"), ("abcd", "y")]).splitlines() == [
        "A     B",
        "日本  x",
        "abcd  y",
    ]


def test_group_has_a_count_for_each_phase_and_its_name_last() -> None:
    cells = group_cells(Group("", 3, 2_000, {Phase.QUEUE: 1, Phase.WAIT: 2}))

    assert len(cells) == len(GROUPS) + 1
    assert cells == ("3", "2ms", "", "", "1", "", "", "2", "", "", "none")


def test_summary_says_what_is_counted_and_what_is_missing() -> None:
    assert summary(live(ROW, ROW)) == "2 live: 2 wait"


def test_details_show_trace_phases_and_where_it_is() -> None:
    text = details(row(path=HOSTILE))

    assert "trace     0af7651916cd43dd8448eb211c80319c" in text
    assert "endpoint  192.0.2.7:8080 (api-0, node-1, a)" in text
    assert "wait          1.5s ███████████████████████ ← now" in text
    assert "\x1b" not in text

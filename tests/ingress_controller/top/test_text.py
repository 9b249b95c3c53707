from live_rows import HOSTILE, ROW, live, row

from ingress_controller.top.text import (
    GROUPS,
    REQUESTS,
    Column,
    details,
    group_cells,
    request_cells,
    summary,
    table,
)
from proxy.live import Group, Kind, Phase


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

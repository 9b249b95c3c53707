import msgspec
from live_rows import HOSTILE, ROW, live, row

from ingress_controller.peers.peer import Peer
from ingress_controller.readable import printable
from ingress_controller.top.text import (
    Column,
    details,
    group_cells,
    group_columns,
    request_cells,
    request_columns,
    summary,
    table,
)
from proxy.live import Group, Kind, Phase


def test_table_is_aligned_and_cut_and_has_nothing_of_a_stranger_unescaped() -> None:
    of = live(row(), row(age_us=20, path=HOSTILE, method="", kind=Kind.CONNECTION, node=""))
    text = table(request_columns(of), request_cells(of))

    head, first, second = text.splitlines()
    assert head.split() == [column.title for column in request_columns(of)]
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


def test_group_has_a_count_for_each_phase_that_somebody_is_in_and_its_name_last() -> None:
    groups = (
        Group("", 3, 2_000, {Phase.QUEUE: 1, Phase.WAIT: 2, Phase.SEND: 0}),
        Group("node-1", 1, 20, {Phase.STREAM: 1}),
    )

    columns, phases = group_columns(groups, "NODE")

    titles = [column.title for column in columns]
    assert titles == ["COUNT", "OLDEST", "QUEUE", "WAIT", "STREAM", "NODE"]
    assert group_cells(groups[0], phases) == ("3", "2ms", "1", "2", "", "none")


def test_summary_says_what_is_counted_and_what_is_missing() -> None:
    assert summary(live(ROW, ROW)) == "2 live: 2 wait"
    peers = (Peer("192.0.2.2:9901", "b"), Peer("192.0.2.3:9901", HOSTILE, "it is gone"))
    without = f"; without replica {printable(HOSTILE)} (192.0.2.3:9901)"
    assert summary(live(ROW, peers=peers)) == f"1 live: 1 wait{without}"
    before = msgspec.structs.replace(live(), kept_from_us=1_700_000_000_000_000)
    assert summary(before) == "0 live; nothing is kept of before 2023-11-14T22:13:20Z"


def test_where_several_replicas_answer_each_request_says_which_it_is_in() -> None:
    of = live(row(instance="spanway-1"), peers=(Peer("192.0.2.2:9901"),))

    assert request_columns(of)[-1].title == "REPLICA"
    assert [cells[-1] for cells in request_cells(of)] == ["spanway-1"]


def test_details_show_trace_phases_and_where_it_is() -> None:
    text = details(row(path=HOSTILE))

    assert "trace     0af7651916cd43dd8448eb211c80319c" in text
    assert "endpoint  192.0.2.7:8080 (api-0, node-1, a)" in text
    assert "wait          1.5s ███████████████████████ ← now" in text
    assert "\x1b" not in text

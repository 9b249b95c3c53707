import msgspec
import pytest
from live_rows import live, row

from ingress_controller.aggregated import watching
from ingress_controller.aggregated.watching import EventType, Memory, changes
from ingress_controller.peers.peer import Peer
from proxy.live import Condition, Field, Phase

A, B = row(id="a"), row(id="b")


def test_what_comes_changes_and_goes_is_told() -> None:
    moved = msgspec.structs.replace(A, phase=Phase.STREAM, age_us=9_000_000)

    events, known = changes({"a": A, "b": B}, live(moved, row(id="c")))

    assert [(event.type, event.row.id) for event in events] == [
        (EventType.DELETED, "b"),
        (EventType.MODIFIED, "a"),
        (EventType.ADDED, "c"),
    ]
    assert list(known) == ["a", "c"]


def test_growing_older_and_moving_bytes_is_no_change() -> None:
    older = msgspec.structs.replace(
        A, age_us=9_000_000, phase_age_us=8_000_000, phases_us={}, received_bytes=7, sent_bytes=7
    )

    assert changes({"a": A}, live(older))[0] == []


def test_request_of_a_silent_worker_is_not_taken_to_be_over() -> None:
    silent = msgspec.structs.replace(live(B), workers_silent=1)

    events, known = changes({"a": A, "b": B}, silent)

    assert events == []
    assert set(known) == {"a", "b"}


def test_request_of_a_replica_that_does_not_answer_is_not_taken_to_be_over() -> None:
    known = {name: row(id=name, instance=f"spanway-{name}") for name in "ab"}
    silent = Peer("192.0.2.2:9901", "spanway-b", "no answer within 3 s")

    events, rest = changes(known, live(peers=(silent,)))
    assert [(event.type, event.row.id) for event in events] == [(EventType.DELETED, "a")]
    assert set(rest) == {"b"}

    events, rest = changes(rest, live())  # the DNS does not name it any more
    assert [(event.type, event.row.id) for event in events] == [(EventType.DELETED, "b")]


def test_versions_grow_also_when_the_clock_does_not() -> None:
    memory = Memory(clock=lambda: 1_700_000_000_000_000_000)

    first, second = memory.new_version(), memory.new_version()

    assert first == "1700000000000000"
    assert int(second) > int(first)


def test_watch_goes_on_from_all_parts_of_its_list_and_from_no_other() -> None:
    memory = Memory()
    asked = (Condition(Field.POD, "api-0"),)
    memory.add("1", asked, [A])
    memory.add("1", asked, [B])
    memory.add("2", (), [A])

    assert memory.known("1", asked) == {"a": A, "b": B}
    assert memory.known("2", ()) == {"a": A}
    assert memory.known("1", ()) is None
    assert memory.known("3", asked) is None


@pytest.mark.parametrize(
    ("bound", "rows"), [("REMEMBERED_ROWS_MAX", [A]), ("REMEMBERED_LISTS_MAX", [])]
)
def test_oldest_lists_are_forgotten(
    monkeypatch: pytest.MonkeyPatch, bound: str, rows: list[object]
) -> None:
    monkeypatch.setattr(watching, bound, 2)
    memory = Memory()

    for version in ("1", "2", "3"):
        memory.add(version, (), rows)  # type: ignore[arg-type]

    assert memory.known("1", ()) is None
    assert memory.known("2", ()) is not None
    assert memory.known("3", ()) is not None

"""What got slower, and what is only chance."""

import random

import pytest
from recorded import MS, START_NS, Recording

from ingress_controller.analysis.compare import Change, Comparison, change, compare, compare_traces
from ingress_controller.analysis.measures import Window
from ingress_controller.analysis.queries.groups import By, Group, Question

EARLIER = Window(START_NS, START_NS + 10_000 * MS)
NOW = Window(START_NS + 10_000 * MS, START_NS + 20_000 * MS)


def report(recording: Recording, **asked: object) -> Comparison:
    question = Question(**asked)  # type: ignore[arg-type]
    with recording.connection() as connection:
        return compare(connection, EARLIER, NOW, question)


def changes(recording: Recording) -> dict[str, Change]:
    return {row.labels["route"]: row.change for row in report(recording).rows}


def test_a_route_that_takes_longer_is_slower_by_so_much() -> None:
    chance = random.Random(1)
    recording = Recording()
    for number in range(100):
        recording.request(number, app_ms=chance.uniform(9, 11))
        recording.request(10_000 + number, app_ms=chance.uniform(29, 31))

    [row] = report(recording).rows

    assert row.change is Change.SLOWER
    assert row.p50_change_us == pytest.approx(20_000, abs=500)
    assert row.earlier is not None
    assert row.now is not None
    assert (row.earlier.count, row.now.count) == (100, 100)


def test_what_chance_allows_is_hardly_ever_a_change() -> None:
    chance = random.Random(5)

    def group(count: int) -> Group:
        times_ns = sorted(round(chance.expovariate(1e-7)) for _ in range(count))
        quantiles = [times_ns[int(share * count)] for share in (0.25, 0.5, 0.75, 0.9, 0.99, 0.999)]
        return Group(None, count, 0, quantiles, times_ns[-1], sum(times_ns), ())

    for count in (20, 60, 500):
        wrong = sum(change(group(count), group(count)) is not Change.SAME for _ in range(300))
        assert wrong <= 6, f"of 300 groups of {count}"


def test_few_requests_claim_nothing() -> None:
    recording = Recording()
    for number in range(19):
        recording.request(number, app_ms=10)
        recording.request(10_000 + number, app_ms=900)

    assert changes(recording) == {"/": Change.TOO_FEW}


def test_certain_and_costly_changes_come_first() -> None:
    recording = Recording()
    for number in range(50):
        for start_ms, times_ms in ((0, (10, 10, 40, 10)), (10_000, (15, 90, 10, 10))):
            routes = ("/little", "/much", "/faster", "/same")
            for route, app_ms in zip(routes, times_ms, strict=True):
                recording.request(start_ms + number, app_ms=app_ms, route=route)
    recording.request(0, route="/gone")
    recording.request(10_000, route="/new")

    found = report(recording)
    assert [(row.labels["route"], row.change) for row in found.rows][:2] == [
        ("/much", Change.SLOWER),
        ("/little", Change.SLOWER),
    ]
    assert changes(recording) == {
        "/much": Change.SLOWER,
        "/little": Change.SLOWER,
        "/faster": Change.FASTER,
        "/same": Change.SAME,
        "/gone": Change.GONE,
        "/new": Change.NEW,
    }
    assert found.rows[-1].change is Change.FASTER


def test_services_pods_and_phases_are_compared_as_routes_are() -> None:
    recording = Recording()
    for number in range(30):
        recording.request(number)
        recording.request(10_000 + number, connect_ms=5)

    assert {row.name: row.change for row in report(recording, by=By.PHASE).rows} == {
        "wait": Change.SAME,
        "route": Change.SAME,
        "connect": Change.NEW,
    }


def test_changes_of_two_traces_sum_to_the_change_of_their_durations() -> None:
    before, after = Recording(), Recording()
    before.request(0, app_ms=20, told_ms=18)
    after.request(0, app_ms=70, told_ms=61, connect_ms=3)

    found = compare_traces(before.spans, after.spans)

    assert (found.before_us, found.after_us, found.change_us) == (21_000, 74_000, 53_000)
    assert [(row.service, row.operation, row.change_us) for row in found.rows] == [
        ("api", "GET /api", 43_000),
        ("shop/api", "network", 7_000),
        ("shop/api", "connect", 3_000),
        ("spanway", "GET /", 0),
    ]
    assert sum(row.change_us for row in found.rows) == found.change_us


def test_an_empty_trace_is_compared_too() -> None:
    recording = Recording()
    recording.request(0)
    assert compare_traces([], recording.spans).change_us == 11_000

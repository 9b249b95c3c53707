"""Latency by what requests have in common: known answers, and what holds for any requests."""

import random

import pytest
from recorded import MS, START_NS, WINDOW, Recording

from ingress_controller.analysis.latency import Latency, latency
from ingress_controller.analysis.measures import Shares, Window
from ingress_controller.analysis.queries.groups import By, Question, Sort
from ingress_controller.analysis.queries.hops import Filters


def report(recording: Recording, **asked: object) -> Latency:
    with recording.connection() as connection:
        return latency(connection, WINDOW, Question(**asked))  # type: ignore[arg-type]


def test_a_route_has_its_count_rate_errors_and_quantiles() -> None:
    recording = Recording()
    for number in range(1, 101):
        recording.request(number, app_ms=number, route="/cart", failed=number > 98)

    found = report(recording, by=By.ROUTE)

    [row] = found.rows
    assert row.labels == {"host": "shop.example", "route": "/cart", "ingress": "shop/web"}
    assert (row.count, row.error_count, row.error_share) == (100, 2, 0.02)
    assert row.rate_per_s == pytest.approx(100 / 60)
    # One millisecond of the proxy's is in each.
    assert (row.spread.p50_us, row.spread.p90_us, row.spread.p99_us) == (51_000, 91_000, 100_000)
    assert (row.spread.p999_us, row.spread.max_us) == (101_000, 101_000)
    assert row.time_us == (5_050 + 100) * 1_000
    assert found.all is not None
    assert found.all.count == 100
    assert found.group_count == 1


@pytest.mark.parametrize(
    ("by", "names"),
    [
        (By.ALL, ["all requests"]),
        (By.ROUTE, ["shop.example / shop/web", "shop.example /b shop/web"]),
        (By.SERVICE, ["shop/api", "shop/web"]),
        (By.POD, ["api-0 shop/api node-a", "web-0 shop/web node-b"]),
        (By.NODE, ["node-a", "node-b"]),
        (By.HOP, ["client shop/api", "client shop/web"]),
        (By.PHASE, ["wait", "route"]),
        (By.OPERATION, ["api GET /api"]),
    ],
)
def test_requests_are_grouped_by(by: By, names: list[str]) -> None:
    recording = Recording()
    recording.request(0, app_ms=90, told_ms=80)
    recording.request(5, app_ms=20, service="web", pod="web-0", node="node-b", route="/b")

    assert [row.name for row in report(recording, by=by).rows] == names


def test_a_call_between_services_is_a_hop_of_its_own_and_no_route() -> None:
    recording = Recording()
    edge = recording.request(0, app_ms=90, service="shop")
    caller = recording.span(edge.trace_id, edge, "shop", "GET", (10, 60))
    recording.request(12, app_ms=40, service="api", route=None, caller=caller)

    assert [row.name for row in report(recording, by=By.HOP).rows] == [
        "client shop/shop",
        "shop shop/api",
    ]
    assert len(report(recording, by=By.ROUTE).rows) == 1


def test_a_retried_request_counts_once_and_each_attempt_at_its_own_node() -> None:
    recording = Recording()
    recording.request(0, node="node-a", retried=("api-1", "node-b"))

    assert [row.count for row in report(recording, by=By.SERVICE).rows] == [1]
    nodes = {row.name: row for row in report(recording, by=By.NODE).rows}
    assert (nodes["node-a"].count, nodes["node-a"].error_count) == (1, 0)
    assert (nodes["node-b"].count, nodes["node-b"].error_count) == (1, 1)
    assert nodes["node-b"].shares is None


def test_shares_say_whose_the_time_was() -> None:
    recording = Recording()
    recording.request(0, proxy_ms=1, connect_ms=2, network_ms=3, app_ms=14)

    [row] = report(recording).rows
    assert row.shares == Shares(0, 0.05, 0.25, 0.7, 0)


def test_what_the_apps_own_span_does_not_cover_is_the_networks() -> None:
    recording = Recording()
    recording.request(0, proxy_ms=2, app_ms=18, told_ms=13)

    [row] = report(recording).rows
    assert row.shares == Shares(0, 0.1, 0.25, 0.65, 0)


def test_the_kernels_word_counts_more_than_the_apps() -> None:
    recording = Recording()
    recording.request(0, proxy_ms=2, app_ms=18, told_ms=13, kernel=True)

    [row] = report(recording).rows
    assert row.shares == Shares(0, 0.1, 0, 0.9, 0)


def test_filters_leave_only_what_fits() -> None:
    recording = Recording()
    recording.request(0, node="node-a")
    recording.request(1, node="node-b", host="other.example")

    found = report(recording, filters=Filters(host="other.example"), by=By.NODE)
    assert [row.name for row in found.rows] == ["node-b"]
    assert report(recording, filters=Filters(host="' OR true --"), by=By.NODE).rows == ()


@pytest.mark.parametrize(
    ("sort", "first"), [(Sort.TIME, "/often"), (Sort.P99, "/slow"), (Sort.ERRORS, "/failing")]
)
def test_rows_come_in_the_order_that_is_asked_for(sort: Sort, first: str) -> None:
    recording = Recording()
    for number in range(100):
        recording.request(number, app_ms=9, route="/often")
    recording.request(0, app_ms=500, route="/slow")
    recording.request(0, app_ms=1, route="/failing", failed=True)

    found = report(recording, sort=sort, limit=1)
    assert [row.labels["route"] for row in found.rows] == [first]
    assert found.group_count == 3


def test_only_what_started_in_the_window_counts() -> None:
    recording = Recording()
    for at_ms in (-1, 0, 59_999, 60_000):
        recording.request(at_ms)

    assert [row.count for row in report(recording).rows] == [2]


def test_series_have_each_bin_also_those_without_requests() -> None:
    recording = Recording()
    recording.request(1, app_ms=9)
    recording.request(2, app_ms=19, failed=True)
    recording.request(40_001, app_ms=29)

    found = report(recording, bins=6)

    [row] = found.rows
    assert row.series is not None
    assert found.bins is not None
    assert (found.bins.start_unix_ms, found.bins.width_ms) == (START_NS // MS, 10_000)
    assert row.series.count == (2, 0, 0, 0, 1, 0)
    assert row.series.error_count == (1, 0, 0, 0, 0, 0)
    assert row.series.p50_us == (10_000, None, None, None, 30_000, None)
    assert row.series.p99_us == (20_000, None, None, None, 30_000, None)
    assert found.all is not None
    assert found.all.series == row.series


def test_without_requests_there_is_an_answer_and_nothing_in_it() -> None:
    found = report(Recording(), bins=6)
    assert (found.all, found.rows, found.group_count) == (None, (), 0)
    assert found.basis.span_count == 0


def test_of_too_many_spans_whole_traces_are_left_out_and_counts_extrapolated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recording = Recording()
    chance = random.Random(7)
    for number in range(400):
        recording.request(number, trace_id=f"{chance.getrandbits(128):032x}", told_ms=5)
    monkeypatch.setattr("ingress_controller.analysis.queries.hops.SPANS_MAX", 400)

    found = report(recording, by=By.SERVICE)

    assert (found.basis.span_count, found.basis.traces_one_of) == (1_600, 4)
    [row] = found.rows
    assert row.count % 4 == 0
    assert 300 < row.count < 500


@pytest.mark.parametrize("seed", range(5))
def test_shares_of_any_requests_sum_to_one_and_counts_to_all(seed: int) -> None:
    chance = random.Random(seed)
    recording = Recording()
    for _ in range(200):
        app_ms = chance.uniform(0, 50)
        recording.request(
            chance.uniform(0, 59_000),
            app_ms=app_ms,
            connect_ms=chance.choice([0, 3]),
            network_ms=chance.uniform(0, 2),
            told_ms=chance.choice([None, app_ms * 0.9]),
            node=chance.choice(["node-a", "node-b", "node-c"]),
            route=chance.choice(["/a", "/b", None]),
            failed=chance.random() < 0.1,
            retried=chance.choice([None, None, ("api-9", "node-c")]),
        )
    for by in (By.ALL, By.ROUTE, By.SERVICE, By.POD, By.NODE, By.HOP):
        found = report(recording, by=by, bins=10, limit=100)
        assert found.all is not None
        assert sum(row.count for row in found.rows) == found.all.count
        for row in found.rows:
            assert row.series is not None
            assert sum(row.series.count) == row.count
            assert row.spread.p50_us <= row.spread.p90_us <= row.spread.p99_us
            if row.shares is not None:
                shares = [getattr(row.shares, name) for name in row.shares.__struct_fields__]
                assert sum(shares) == pytest.approx(1)


def test_a_window_of_a_nanosecond_is_answered() -> None:
    window = Window(START_NS, START_NS + 1_000_000)
    with Recording().connection() as connection:
        found = latency(connection, window, Question(bins=10))
    assert found.rows == ()

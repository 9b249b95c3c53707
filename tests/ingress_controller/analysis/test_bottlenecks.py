"""What makes slow requests slow: contributors of one trace, of many, and with many at once."""

import random

import pytest
from recorded import CLIENT, SERVER, WINDOW, Recording

from ingress_controller.analysis.bottlenecks import Bottlenecks, bottlenecks
from ingress_controller.analysis.contributors import contributions
from ingress_controller.analysis.measures import Part
from ingress_controller.analysis.queries.hops import Filters
from ingress_controller.traces.span import AttributeValue
from ingress_controller.traces.tree import tree


def parts(recording: Recording) -> dict[tuple[str, str, str], float]:
    """Milliseconds by contributor of the one trace."""
    found = contributions(tree(recording.spans)).by_contributor
    return {(of.service, of.operation, of.part): ns / 1e6 for of, ns in found.items()}


def test_an_app_without_spans_has_what_it_was_waited_for() -> None:
    recording = Recording()
    recording.request(0, proxy_ms=1, connect_ms=2, app_ms=20)

    assert parts(recording) == {
        ("spanway", "GET /", Part.PROXY): 1,
        ("shop/api", "connect", Part.CLUSTER_NETWORK): 2,
        ("shop/api", "wait", Part.APP): 20,
    }


def test_an_app_with_spans_has_what_they_worked_and_the_rest_is_the_networks() -> None:
    recording = Recording()
    recording.request(0, proxy_ms=1, connect_ms=2, app_ms=20, told_ms=14)

    assert parts(recording) == {
        ("spanway", "GET /", Part.PROXY): 1,
        ("shop/api", "connect", Part.CLUSTER_NETWORK): 2,
        ("shop/api", "network", Part.CLUSTER_NETWORK): 6,
        ("api", "GET /api", Part.APP): 14,
    }


def test_a_turn_that_was_waited_for_is_the_backends_queue() -> None:
    recording = Recording()
    trace = recording.trace_id()
    server = recording.span(trace, None, "spanway", "GET /", (0, 50), kind=SERVER, scope="spanway")
    recording.span(
        trace,
        server,
        "spanway",
        "balance shop/api:http",
        (1, 50),
        scope="spanway",
        k8s__namespace__name="shop",
        k8s__service__name="api",
        spanway__lb__queue_us=48_000,
    )

    assert parts(recording) == {
        ("spanway", "GET /", Part.PROXY): 1,
        ("shop/api", "queue", Part.APP_QUEUE): 48,
        ("spanway", "balance shop/api:http", Part.PROXY): 1,
    }


def report(recording: Recording, **filters: str) -> Bottlenecks:
    with recording.connection() as connection:
        return bottlenecks(connection, WINDOW, Filters(**filters), 5)


def shop(recording: Recording, at_ms: float, *, query_ms: float, render_ms: float) -> None:
    """A page that asks a database, then renders."""
    total_ms = query_ms + render_ms
    edge = recording.request(at_ms, app_ms=total_ms, service="page")
    bounds = at_ms + 1, at_ms + 1 + total_ms
    page = recording.span(edge.trace_id, edge, "page", "GET /", bounds, kind=SERVER)
    bounds = at_ms + 1, at_ms + 1 + query_ms
    recording.span(edge.trace_id, page, "mysql", "SQL SELECT", bounds, kind=CLIENT)


def test_what_slow_requests_wait_for_longer_is_their_bottleneck() -> None:
    recording = Recording()
    for number in range(200):
        shop(recording, 250 * number, query_ms=10, render_ms=5 + number % 3)
    for number in range(5):
        shop(recording, 50_000 + 500 * number, query_ms=200, render_ms=7)

    [found] = report(recording).requests

    assert (found.service, found.operation) == ("spanway", "shop.example/")
    assert (found.count, found.slow_count) == (205, 5)
    assert found.slow_us - found.usual_us > 180_000
    first = found.bottlenecks[0]
    assert (first.service, first.operation, first.part) == ("mysql", "SQL SELECT", Part.APP)
    assert (first.usual_us, first.slow_us, first.excess_us) == (10_000, 200_000, 190_000)
    assert first.excess_share > 0.98
    assert "mysql SQL SELECT takes 200 ms of a slow request" in first.text
    assert first.growth is not None
    assert not first.growth.grows
    assert "concurrency" not in first.text
    assert len(found.slow_trace_ids) == 5


def test_a_lock_is_found_by_its_growth_with_concurrency() -> None:
    # Every query takes 20 ms, and one at a time is let in.
    recording = Recording()
    at_ms = 0.0
    for wave in range(40):
        at_ms += 2_000
        for place in range(1 + wave % 12):
            shop(recording, at_ms + place * 0.01, query_ms=20 * (place + 1), render_ms=5)

    [found] = report(recording).requests

    first = found.bottlenecks[0]
    assert (first.service, first.operation) == ("mysql", "SQL SELECT")
    assert first.growth is not None
    assert first.growth.grows
    assert first.growth.per_request_us == pytest.approx(20_000, rel=0.05)
    assert first.growth.levels[0].p50_us == 20_000
    assert "It grows with concurrency: 20.0 ms with 1 in flight" in first.text
    assert "each more adds 20.0 ms" in first.text


def test_a_busy_machine_is_not_the_networks_fault_where_the_kernel_was_asked() -> None:
    # As the demo's shop behaves on a machine with too few cores: its node has a request at once,
    # and the app takes it late.
    recording = Recording()
    for number in range(200):
        late_ms = 60 if number % 40 == 0 else number % 3
        recording.request(
            250 * number, app_ms=20 + late_ms, told_ms=20, network_ms=0.1, kernel=True
        )

    [found] = report(recording).requests

    first = found.bottlenecks[0]
    assert (first.service, first.operation, first.part) == ("shop/api", "wait", Part.APP)
    assert first.excess_share > 0.98
    assert Part.CLUSTER_NETWORK not in {one.part for one in found.bottlenecks}


def test_what_spanway_itself_took_is_said_in_words() -> None:
    recording = Recording()
    for number in range(200):
        late_ms = 60 if number % 40 == 0 else 1
        at_ms, app_ms = 250.0 * number, 20 + late_ms
        last = recording.request(at_ms, app_ms=app_ms, told_ms=20, kernel=True)
        bounds = at_ms + 21, at_ms + 21 + late_ms
        recording.span(last.trace_id, last, "spanway", "net.return", bounds, scope="spanway")

    [found] = report(recording).requests

    first = found.bottlenecks[0]
    assert (first.service, first.operation, first.part) == ("spanway", "net.return", Part.PROXY)
    assert first.text.endswith(
        "So long its answer lay in the kernel until a worker, busy or without a CPU, read it."
    )


def test_an_operation_that_is_only_busy_does_not_grow() -> None:
    chance = random.Random(3)
    recording = Recording()
    for _ in range(400):
        shop(recording, chance.uniform(0, 5_000), query_ms=chance.uniform(50, 250), render_ms=1)

    [found] = report(recording).requests

    assert found.bottlenecks[0].growth is not None
    assert found.bottlenecks[0].growth.levels[-1].in_flight_max > 8
    assert not found.bottlenecks[0].growth.grows


def test_an_operation_that_is_slow_for_a_while_does_not_grow() -> None:
    # While it is slow more of it are in flight: that is the effect, and not the cause.
    chance = random.Random(4)
    recording = Recording()
    for _ in range(600):
        at_ms = chance.uniform(0, 60_000)
        query_ms = chance.uniform(300, 500) if 23_000 <= at_ms < 33_000 else chance.uniform(5, 15)
        shop(recording, at_ms, query_ms=query_ms, render_ms=1)

    [found] = report(recording).requests

    first = found.bottlenecks[0]
    assert (first.service, first.excess_share > 0.9) == ("mysql", True)
    assert first.growth is not None
    assert first.growth.levels[-1].p50_us > 10 * first.growth.levels[0].p50_us
    assert not first.growth.grows


def test_calls_to_different_services_do_not_look_like_a_queue() -> None:
    # All are called GET. Each page asks the quick one first, so the slow one begins as a second.
    recording = Recording()
    for number in range(200):
        at_ms = 250.0 * number
        slow_ms = 120 if number % 40 == 0 else 30 + number % 3
        edge = recording.request(at_ms, app_ms=slow_ms + 2, service="page")
        bounds = at_ms + 1, at_ms + slow_ms + 2
        page = recording.span(edge.trace_id, edge, "page", "GET /", bounds, kind=SERVER)
        for address, after_ms, took_ms in (("quick", 0.0, 10.0), ("slow", 0.5, slow_ms)):
            bounds = at_ms + 1 + after_ms, at_ms + 1 + after_ms + took_ms
            target: dict[str, AttributeValue] = {"server.address": address, "server.port": 80}
            recording.span(edge.trace_id, page, "page", "GET", bounds, kind=CLIENT, **target)

    [found] = report(recording).requests

    first = found.bottlenecks[0]
    assert (first.service, first.operation) == ("page", "GET → slow:80")
    assert first.growth is not None
    assert first.growth.count == 200
    assert not first.growth.grows
    assert "concurrency" not in first.text


def test_who_takes_a_good_part_of_usual_requests_is_named_with_its_growth() -> None:
    recording = Recording()
    for number in range(200):
        at_ms = 250 * (number - number % 2)  # by twos
        shop(recording, at_ms, query_ms=10, render_ms=300 if number % 40 == 0 else 5)

    [found] = report(recording).requests

    assert [one.service for one in found.bottlenecks] == ["page"]
    query, own = found.contenders
    assert own.service == "spanway"
    assert (query.service, query.operation, query.usual_us) == ("mysql", "SQL SELECT", 10_000)
    assert query.growth is not None
    assert not query.growth.grows
    assert query.text == (
        "mysql SQL SELECT takes 10.0 ms of a usual request, 10.0 ms of a slow one."
        " It does not grow with concurrency: 10.0 ms with 1 in flight, 10.0 ms with 2."
    )


def test_kinds_of_requests_are_looked_at_each_for_itself() -> None:
    recording = Recording()
    for number in range(20):
        recording.request(number, route="/fast", app_ms=1 + number % 2)
        recording.request(number, route="/slow", app_ms=900 + number)
        recording.request(number, route="/rare", app_ms=5) if number < 5 else None

    assert [one.operation for one in report(recording).requests] == [
        "shop.example/slow",
        "shop.example/fast",
    ]
    assert [one.operation for one in report(recording, route="/fast").requests] == [
        "shop.example/fast"
    ]


def test_requests_that_are_all_alike_have_no_bottleneck() -> None:
    recording = Recording()
    for number in range(50):
        recording.request(number * 100)

    [found] = report(recording).requests
    assert (found.bottlenecks, found.slow_us, found.usual_us) == ((), 11_000, 11_000)
    assert [(one.service, one.excess_share) for one in found.contenders] == [
        ("shop/api", 0),
        ("spanway", 0),
    ]


@pytest.mark.parametrize("seed", range(3))
def test_excesses_of_any_requests_sum_to_what_slow_ones_take_longer(seed: int) -> None:
    chance = random.Random(seed)
    recording = Recording()
    for _ in range(150):
        at_ms = chance.uniform(0, 50_000)
        shop(recording, at_ms, query_ms=chance.expovariate(0.02), render_ms=chance.uniform(1, 9))

    [found] = report(recording).requests

    shown = sum(one.excess_us for one in found.bottlenecks)
    assert shown + found.others_excess_us == pytest.approx(found.slow_us - found.usual_us, abs=2)
    shares = sum(one.excess_share for one in found.bottlenecks)
    assert shares == pytest.approx(1, abs=0.1)


def test_without_requests_there_is_nothing_slow() -> None:
    assert report(Recording()).requests == ()

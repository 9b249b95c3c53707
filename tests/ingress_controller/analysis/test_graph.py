"""The map of who calls whom."""

from dataclasses import replace

import pytest
from recorded import CLIENT, SERVER, WINDOW, Recording

from ingress_controller.analysis.graph import Graph, graph
from ingress_controller.analysis.queries.hops import Filters


def report(recording: Recording, **filters: str) -> Graph:
    with recording.connection() as connection:
        return graph(connection, WINDOW, Filters(**filters))


def ends(found: Graph) -> list[tuple[str, str, str]]:
    return [(arrow.source, arrow.target, arrow.via) for arrow in found.arrows]


@pytest.fixture
def shop() -> Recording:
    """A client's request to the storefront, which asks the catalog through Spanway, which asks a
    database."""
    recording = Recording()
    edge = recording.request(0, app_ms=100, service="front", pod="front-0")
    trace = edge.trace_id
    front = recording.span(trace, edge, "storefront", "GET /", (5, 95), kind=SERVER)
    call = recording.span(trace, front, "storefront", "GET", (10, 60), kind=CLIENT)
    hop = recording.request(12, app_ms=45, service="catalog", pod="cat-0", route=None, caller=call)
    catalog = recording.span(trace, hop, "catalog", "GET /items", (15, 55), kind=SERVER)
    recording.span(trace, catalog, "mysql", "SELECT", (20, 40), kind=CLIENT, failed=True)
    return recording


def test_requests_are_followed_from_the_client_to_the_pod(shop: Recording) -> None:
    found = report(shop)

    assert set(ends(found)) == {
        ("client", "edge", "spanway"),
        ("edge", "service:shop/front", "spanway"),
        ("service:shop/front", "pod:front-0", ""),
        ("service:shop/front", "service:shop/catalog", "spanway"),
        ("service:shop/catalog", "pod:cat-0", ""),
        ("service:shop/catalog", "app:mysql", ""),
    }
    places = {place.id: place for place in found.places}
    assert places["pod:cat-0"].node == "node-a"
    assert places["app:mysql"].name == "mysql"
    assert set(places) == {one for arrow in ends(found) for one in arrow[:2]}


def test_a_call_whose_callers_span_has_yet_to_come_is_not_a_clients(shop: Recording) -> None:
    # What an app has to tell comes some seconds after Spanway's own spans.
    shop.request(12_000, route=None, caller=replace(shop.spans[0], span_id="f" * 16))
    before = ends(report(shop))
    assert ("client", "service:shop/api", "spanway") not in before

    shop.request(23_000)

    # By now it would have: whoever called sends no spans.
    assert ("client", "service:shop/api", "spanway") in ends(report(shop))


def test_an_arrow_says_whose_the_time_on_it_is(shop: Recording) -> None:
    arrows = {(arrow.source, arrow.target): arrow for arrow in report(shop).arrows}

    edge = arrows["client", "edge"]
    assert (edge.count, edge.p50_us, edge.time_us) == (1, 101_000, 101_000)
    assert edge.shares is not None
    assert edge.shares.cluster_network == pytest.approx(10 / 101)
    assert edge.shares.app == pytest.approx(90 / 101)
    query = arrows["service:shop/catalog", "app:mysql"]
    assert (query.error_count, query.error_share, query.time_us) == (1, 1, 20_000)


def test_a_call_that_spanway_does_not_see_is_known_from_spans_alone() -> None:
    recording = Recording()
    trace = recording.trace_id()
    root = recording.span(trace, None, "shop", "GET /", (0, 100), kind=SERVER)
    call = recording.span(trace, root, "shop", "GET", (10, 60), kind=CLIENT)
    recording.span(trace, call, "stock", "GET /stock", (20, 50), kind=SERVER)

    [arrow] = report(recording).arrows

    assert (arrow.source, arrow.target, arrow.via) == ("app:shop", "app:stock", "")
    assert arrow.p50_us == 50_000
    assert arrow.shares is not None
    assert (arrow.shares.cluster_network, arrow.shares.app) == (0.4, 0.6)


def test_requests_without_a_backend_end_at_the_edge() -> None:
    recording = Recording()
    recording.span(
        recording.trace_id(),
        None,
        "spanway",
        "GET",
        (0, 1),
        kind=SERVER,
        scope="spanway",
        spanway__listener="ingress",
        **{"http.request.method": "GET", "spanway.phase.route_us": 1_000},
    )
    assert ends(report(recording)) == [("client", "edge", "spanway")]


def test_filters_leave_what_spanway_forwards_there(shop: Recording) -> None:
    assert ends(report(shop, service="shop/catalog")) == [
        ("service:shop/catalog", "pod:cat-0", ""),
        ("service:shop/front", "service:shop/catalog", "spanway"),
    ]


def test_without_spans_the_map_is_empty() -> None:
    found = report(Recording())
    assert (found.places, found.arrows) == ((), ())

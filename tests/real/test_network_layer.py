"""The network-namespace layer: spans and verdict say that the time is where a test has put it.

Client, Spanway and app are in namespaces of their own, with paths between them whose delay, loss
and speed the tests set. Each case first lets Spanway see what is usual, then makes a thousand
requests with one fault. What is compared with is what the client, the app and the paths have
measured themselves, so a busy machine makes requests slower but no claim wrong.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

import pytest
from network.wire import Conditions
from scene.network.shop import Shop, Told, open_shop
from scene.parts import skipped_without_part
from scene.process import wait_until

from ingress_controller.traces.span import Span, SpanKind, decode

REQUESTS = 1000
RIGHT_SHARE = 0.95
NEAR_MS = 1.0
"""How near to what was measured at the ends the spans have to be, in the median of all requests."""
SPANS_DEADLINE_S = 20.0

Segments = Mapping[str, Sequence[Span]]
"""The spans of each request, by its path."""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A new one for each test, since what is usual is learnt."""
    with skipped_without_part(), open_shop(tmp_path) as shop:
        yield shop


def test_a_slow_path_to_the_app_is_the_cluster_networks(shop: Shop) -> None:
    warm_up(shop)
    shop.cluster_wire.set(Conditions(delay_s=0.02))
    told = shop.ask("/slow", REQUESTS)

    segments = recorded(shop, told)
    assert_right(told, segments, "cluster-network")
    # One way cannot be measured from one end: the round trip is in `net.deliver` whole.
    round_trip_ms = sum(shop.cluster_wire.report().delays_s) * 1000
    assert round_trip_ms > 40
    assert median(lasted_ms(segments, "net.deliver")) == pytest.approx(round_trip_ms, abs=NEAR_MS)


def test_an_app_that_sleeps_is_the_apps(shop: Shop) -> None:
    warm_up(shop)
    told = shop.ask("/slow", REQUESTS, fields={"x-sleep-ms": "40"})

    segments = recorded(shop, told)
    assert_right(told, segments, "app")
    app_ms = median(one.app_us / 1000 for one in told)
    assert app_ms > 40
    assert median(lasted_ms(segments, "app.respond")) == pytest.approx(app_ms, abs=NEAR_MS)


def test_an_app_that_has_others_to_answer_first_is_a_queue(shop: Shop) -> None:
    """The requests are spread over two workers, each of which has only a part of them."""
    work = {"x-work-ms": "6"}
    warm_up(shop, connections=2, fields=work)
    told = shop.ask("/slow", REQUESTS, connections=12, fields=work)

    assert_right(told, recorded(shop, told), "app-queue")


def test_lost_packets_are_the_cluster_networks(shop: Shop) -> None:
    warm_up(shop)
    shop.cluster_wire.set(Conditions(loss=0.1))
    told = shop.ask("/slow", REQUESTS)

    assert shop.cluster_wire.report().dropped > 0
    segments = recorded(shop, told)
    hit = [one for one in told if one.took_us - one.app_us > 150_000]
    assert len(hit) > REQUESTS / 20, "packets are sent again after 200 ms"
    assert_right(hit, segments, "cluster-network")
    attempts = [client_span(segments[one.path]) for one in hit]
    seen = [one for one in attempts if one.attributes.get("tcp.retransmits")]
    assert len(seen) > len(hit) / 2, "an answer that is lost is sent again by the other side"


def test_a_starved_proxy_is_the_proxys_fault(shop: Shop) -> None:
    warm_up(shop)
    with shop.spanway.process.throttled(run_s=0.006, stop_s=0.06):
        told = shop.ask("/slow", REQUESTS)

    segments = recorded(shop, told)
    hit = [one for one in told if one.took_us - one.app_us > 40_000]
    assert len(hit) > REQUESTS / 8  # the faster the proxy, the fewer
    assert_right(hit, segments, "proxy")


def test_a_slow_path_of_an_upload_is_the_client_networks(shop: Shop) -> None:
    warm_up(shop, body_bytes=65_536)
    shop.client_wire.set(Conditions(delay_s=0.02))
    told = shop.ask("/slow", REQUESTS, body_bytes=65_536)

    assert_right(told, recorded(shop, told), "client-network")


def test_a_slow_path_of_a_download_is_the_client_networks(shop: Shop) -> None:
    """All of the answer fits into the kernel, which takes it at once."""
    fields = {"x-answer-bytes": "65536"}
    warm_up(shop, fields=fields)
    shop.client_wire.set(Conditions(bytes_per_s=15e6))
    told = shop.ask("/slow", REQUESTS, fields=fields)

    segments = recorded(shop, told)
    assert_right(told, segments, "client-network")
    under_way = median(lasted_ms(segments, "client.deliver"))
    assert under_way == pytest.approx(median(one.took_us / 1000 for one in told), rel=0.2)


def warm_up(
    shop: Shop,
    *,
    connections: int = 4,
    fields: Mapping[str, str] | None = None,
    body_bytes: int = 0,
) -> None:
    """Both workers get to know what is usual, each by more requests than baselines begin with."""
    told = shop.ask(
        "/warm", 400, connections=connections, kept=5, fields=fields, body_bytes=body_bytes
    )
    recorded(shop, told)


def recorded(shop: Shop, told: Sequence[Told]) -> Segments:
    """What was recorded of these requests, as soon as all of it has come.

    Parents enclose children in each of them.
    """
    assert {one.status for one in told} == {200}
    wanted = {one.path for one in told}
    by_trace = defaultdict(list)
    count = 0

    def complete() -> Segments | None:
        nonlocal count
        bodies = shop.sink.bodies[count:]
        count += len(bodies)
        for span in (span for body in bodies for span in decode(body)):
            if span.service == "spanway":  # not the controller's own
                by_trace[span.trace_id].append(span)
        segments = {str(server_span(one).attributes["url.path"]): one for one in by_trace.values()}
        return {path: segments[path] for path in wanted} if segments.keys() >= wanted else None

    segments = wait_until(complete, "all spans have come", deadline_s=SPANS_DEADLINE_S)
    for spans in segments.values():
        assert_enclosed(spans)
    return segments


def assert_enclosed(spans: Sequence[Span]) -> None:
    by_id = {span.span_id: span for span in spans}
    for span in spans:
        parent = by_id.get(span.parent_id, span)
        assert parent.start_unix_ns <= span.start_unix_ns <= span.end_unix_ns, spans
        assert span.end_unix_ns <= parent.end_unix_ns, spans


def assert_right(told: Sequence[Told], segments: Segments, verdict: str) -> None:
    """Of nearly all of these requests the verdict is that one."""
    found = Counter(server_span(segments[one.path]).attributes["spanway.verdict"] for one in told)
    assert found[verdict] >= RIGHT_SHARE * len(told), found
    print(f"{found[verdict]} of {len(told)}: {dict(found)}")


def lasted_ms(segments: Segments, name: str) -> Iterable[float]:
    """How long each span of that name was."""
    spans = (span for segment in segments.values() for span in segment)
    return [span.duration_ns / 1e6 for span in spans if span.name == name]


def server_span(spans: Iterable[Span]) -> Span:
    return next(span for span in spans if span.kind is SpanKind.SERVER)


def client_span(spans: Iterable[Span]) -> Span:
    return next(span for span in spans if span.kind is SpanKind.CLIENT)

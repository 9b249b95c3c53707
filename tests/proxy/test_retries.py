"""An attempt that came to nothing is made again: where the policy asks for it, where it can do no
harm, and not more often than the backend's budget allows."""

from typing import Any

import pytest
from data_plane import DataPlane, Segment
from http2 import Http2Client, Http2Upstream, Message, Peer
from message import request, response
from upstream import OK, Answer, Exchange, Upstream, closes, in_turn, resets, says

from proxy.table import Endpoint, Protocol, Retry, RetryOn, RoutePolicy

EVERY = tuple(RetryOn)


def retrying(*on: RetryOn, **changes: Any) -> RoutePolicy:
    """A policy that repeats on these conditions."""
    return RoutePolicy(retry=Retry(on=on, **changes))


def fails(status: int) -> Answer:
    return says(response(status, body=b"failed"))


def denied(segment: Segment) -> object:
    assert segment.balance is not None
    return segment.balance.attributes.get("spanway.retry.denied")


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_status_of_the_policy_is_kept_from_the_client_while_another_attempt_is_made(
    status: int, data_plane: DataPlane, upstream: Upstream
) -> None:
    upstream.answer = in_turn(fails(status), fails(status), OK)
    data_plane.serve(upstream, policy=retrying(RetryOn(str(status))))
    async with await data_plane.client() as client:
        answered = await client.get()
    segment = await data_plane.segment()
    stats = data_plane.engine.stats()

    assert (answered.status, answered.text) == (200, "ok")
    told = [each.attributes["http.response.status_code"] for each in segment.attempts]
    assert told == [status, status, 200]
    resent = [each.attributes.get("http.request.resend_count") for each in segment.attempts]
    assert resent == [None, 1, 2]
    assert segment.balance is not None
    assert segment.balance.attributes["spanway.lb.attempts"] == 3
    assert denied(segment) is None
    assert segment.flag is None
    assert (stats.retries, stats.retries_denied) == (2, 0)


async def test_status_that_the_policy_does_not_name_is_passed_on(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    upstream.answer = in_turn(fails(503), OK)
    data_plane.serve(upstream, policy=retrying(RetryOn.CONNECT, RetryOn.STATUS_502))
    async with await data_plane.client() as client:
        answered = await client.get()
    segment = await data_plane.segment()

    assert (answered.status, answered.text) == (503, "failed")
    assert len(segment.attempts) == 1
    assert denied(segment) is None


async def test_last_attempts_response_is_passed_on_as_it_is(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    upstream.answer = fails(503)
    data_plane.serve(upstream, policy=retrying(RetryOn.STATUS_503, attempts=2))
    async with await data_plane.client() as client:
        answered = await client.get()
    segment = await data_plane.segment()

    assert (answered.status, answered.text) == (503, "failed")
    assert len(upstream.exchanges) == 2
    assert denied(segment) == "attempts"
    assert segment.flag is None, "the service said so, not the proxy"


async def test_status_goes_to_another_endpoint_where_there_is_one(data_plane: DataPlane) -> None:
    async with Upstream(fails(503)) as failing, Upstream() as serving:
        data_plane.serve(failing, serving, policy=retrying(RetryOn.STATUS_503))
        async with await data_plane.client() as client:
            answered = [await client.get() for _ in range(4)]

        assert [each.status for each in answered] == [200] * 4
        assert (len(failing.exchanges), len(serving.exchanges)) == (2, 4)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_method_that_is_not_idempotent_reaches_an_endpoint_once(
    method: str, data_plane: DataPlane, upstream: Upstream
) -> None:
    upstream.answer = in_turn(fails(503), OK)
    data_plane.serve(upstream, policy=retrying(*EVERY))
    async with await data_plane.client() as client:
        answered = await client.ask(request(method, body=b"once"))
    segment = await data_plane.segment()
    stats = data_plane.engine.stats()

    assert (answered.status, answered.text) == (503, "failed")
    assert len(upstream.exchanges) == 1
    assert denied(segment) == "unsafe"
    assert (stats.retries, stats.retries_denied) == (0, 1)


@pytest.mark.parametrize("how", [fails(503), closes, resets])
async def test_body_that_was_begun_is_not_sent_again(
    how: Answer, data_plane: DataPlane, upstream: Upstream
) -> None:
    upstream.answer = in_turn(how, OK)
    data_plane.serve(upstream, policy=retrying(*EVERY))
    async with await data_plane.client() as client:
        answered = await client.ask(request("PUT", body=b"once"))
        following = await client.get()

    assert answered.status >= 500
    assert following.status == 200, "the connection goes on behind the body"
    assert [each.request_body for each in upstream.exchanges] == [b"once", b""]


@pytest.mark.parametrize("how", [closes, resets])
async def test_lost_connection_is_passed_on_where_the_policy_does_not_name_it(
    how: Answer, data_plane: DataPlane, upstream: Upstream
) -> None:
    upstream.answer = how
    async with Upstream() as other:
        data_plane.serve(upstream, other, policy=retrying(RetryOn.CONNECT))
        async with await data_plane.client() as client:
            answered = [(await client.get()).status for _ in range(2)]

    assert sorted(answered) == [200, 502]


async def test_refused_connection_is_passed_on_where_the_policy_does_not_name_it(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    refusing = Endpoint("127.0.0.1", data_plane.free_port().port)
    data_plane.serve(refusing, upstream, policy=retrying(RetryOn.CLOSED))
    async with await data_plane.client() as client:
        answered = [(await client.get()).status for _ in range(2)]

    assert sorted(answered) == [200, 502]


async def test_response_that_began_is_not_repeated(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    upstream.answer = in_turn(says(b"HTTP/1.1 200 OK\r\nConte", then_close=True), OK)
    data_plane.serve(upstream, policy=retrying(*EVERY))
    async with await data_plane.client() as client:
        answered = await client.get()

    assert answered.status == 502
    assert len(upstream.exchanges) == 1


async def test_attempt_whose_response_does_not_begin_in_time_is_repeated(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    upstream.answer = in_turn(Exchange.gone, OK)
    data_plane.serve(upstream, policy=retrying(RetryOn.TIMEOUT, per_try_timeout_ms=20))
    async with await data_plane.client() as client:
        answered = await client.get()
    segment = await data_plane.segment()

    assert answered.status == 200
    late, served = segment.attempts
    assert late.attributes["error.type"] == "upstream_timeout"
    assert served.attributes["http.request.resend_count"] == 1


async def test_every_attempt_too_late_is_a_gateway_timeout(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    upstream.answer = Exchange.gone
    data_plane.serve(upstream, policy=retrying(RetryOn.TIMEOUT, per_try_timeout_ms=20))
    async with await data_plane.client() as client:
        answered = await client.get()
    segment = await data_plane.segment()

    assert answered.status == 504
    assert segment.flag == "upstream_timeout"
    assert len(segment.attempts) == 3
    assert denied(segment) == "attempts"


async def test_attempt_in_whose_time_the_response_began_may_take_longer(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    async def begin_then_wait(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        while data_plane.engine.stats().responses_5xx == 0:  # The other request's time is over.
            await data_plane.turn()
        await exchange.send(b"k")

    upstream.answer = in_turn(begin_then_wait, Exchange.gone)
    data_plane.serve(upstream, policy=retrying(RetryOn.TIMEOUT, per_try_timeout_ms=50, attempts=1))
    async with await data_plane.client() as slow, await data_plane.client() as late:
        await slow.send(request())
        await upstream.wait_for(lambda upstream: len(upstream.exchanges) == 1)
        too_late = await late.get()
        answered = await slow.response()

    assert too_late.status == 504
    assert (answered.status, answered.text) == (200, "ok")


async def test_failing_backend_gets_no_more_retries_than_its_budget(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    upstream.answer = fails(503)
    data_plane.serve(upstream, policy=retrying(RetryOn.STATUS_503, attempts=10, budget_percent=0))
    async with await data_plane.client() as client:
        answered = [await client.get() for _ in range(10)]
    segments = await data_plane.segments()
    stats = data_plane.engine.stats()

    assert {each.text for each in answered} == {"failed"}
    assert denied(segments[-1]) == "budget"
    # Three a second over ten seconds; should a test take that long, it earns more.
    assert stats.retries == 30 == len(upstream.exchanges) - 10
    assert [len(segment.attempts) for segment in segments] == [10] * 3 + [4] + [1] * 6


async def test_retry_that_has_no_endpoint_left_costs_no_budget(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    refusing = Endpoint("127.0.0.1", data_plane.free_port().port)
    data_plane.serve(refusing, policy=retrying(*EVERY, budget_percent=0))
    async with await data_plane.client() as client:
        for _ in range(40):
            await client.get()
        upstream.answer = in_turn(fails(503), OK)
        data_plane.serve(upstream, policy=retrying(*EVERY, budget_percent=0))
        answered = await client.get()

    assert answered.status == 200
    assert data_plane.engine.stats().retries == 1


async def test_budget_outlives_a_table(data_plane: DataPlane, upstream: Upstream) -> None:
    upstream.answer = fails(503)
    policy = retrying(RetryOn.STATUS_503, attempts=10, budget_percent=0)
    data_plane.serve(upstream, policy=policy)
    async with await data_plane.client() as client:
        for swap in range(8):
            await client.get()
            data_plane.serve(upstream, policy=policy, changed_unix_ms=swap)

    assert data_plane.engine.stats().retries == 30


async def test_status_is_kept_from_the_client_over_http_2_too(data_plane: DataPlane) -> None:
    statuses = ["503", "503", "200"]

    async def answer(peer: Peer, asked: Message) -> None:
        await peer.send(asked.stream_id, ((":status", statuses.pop(0)),))

    async with Http2Upstream(answer) as upstream:
        data_plane.serve(
            upstream.endpoint, protocol=Protocol.H2, policy=retrying(RetryOn.STATUS_503)
        )
        async with Http2Client(data_plane.ingress.address) as client:
            answered = await client.ask()

        assert answered.status == 200
        assert len(upstream.requests) == 3

"""What goes wrong becomes a status, a page with the trace's id, and spans that say why."""

import asyncio
import socket
from collections.abc import Iterator

import pytest
from client import Client
from data_plane import ROUTE, DataPlane, Segment, backend, table
from message import DEADLINE_S, request, response
from upstream import OK, RESET, Answer, Exchange, Upstream, closes, in_turn, resets, says

from ingress_controller.traces.span import SpanStatus
from proxy.live import Phase
from proxy.table import Endpoint, Host, RoutePolicy


def page_of(status: int, flag: str, sentence: str, trace_id: str) -> str:
    return f"{status} {flag}: {sentence}\ntrace-id: {trace_id}\n"


def assert_blames(segment: Segment, flag: str, status: int) -> None:
    """The flag is on the SERVER span and, where there was an attempt, on the last one."""
    assert segment.flag == flag
    assert segment.server.attributes["http.response.status_code"] == status
    if segment.attempts:
        assert segment.attempts[-1].attributes["error.type"] == flag
        assert segment.attempts[-1].status is SpanStatus.ERROR


@pytest.fixture
def refusing(data_plane: DataPlane) -> Endpoint:
    """Nobody listens there."""
    return Endpoint("127.0.0.1", data_plane.free_port().port)


@pytest.fixture
def full() -> Iterator[Endpoint]:
    """Listens, but the kernel takes no more connections: they get no answer at all."""
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for filling in (first, second):
            filling.setblocking(False)
            filling.connect_ex(listening.getsockname())
        yield Endpoint(*listening.getsockname())


async def test_host_without_a_route_is_not_found(data_plane: DataPlane, upstream: Upstream) -> None:
    shop = Host("shop.example", (ROUTE,))
    data_plane.publish(table((data_plane.ingress,), (backend(upstream),), (shop,)))
    async with await data_plane.client() as client:
        answered = await client.get(host="other.example")
        found = await client.get(host="shop.example")
    segment, _ = await data_plane.segments()

    assert (answered.status, found.status) == (404, 200)
    assert answered.text == page_of(
        404, "no_route", "no route for this host and path", segment.server.trace_id
    )
    assert answered.head.one("content-type") == "text/plain; charset=utf-8"
    assert_blames(segment, "no_route", 404)
    assert segment.server.status is SpanStatus.UNSET
    assert "error.type" not in segment.server.attributes
    assert segment.spans == (segment.server,)
    assert len(upstream.exchanges) == 1


async def test_missing_service_is_unavailable_and_the_span_says_what_is_missing(
    data_plane: DataPlane,
) -> None:
    data_plane.serve(missing="there is no Service shop/api")
    async with await data_plane.client() as client:
        answered = await client.get()
    segment = await data_plane.segment()

    sentence = "the service of this route, its port or its external name cannot be found"
    assert answered.status == 503
    assert answered.text == page_of(503, "no_backend", sentence, segment.server.trace_id)
    assert_blames(segment, "no_backend", 503)
    assert segment.server.attributes["http.route"] == "/"
    assert segment.balance is not None
    assert segment.balance.attributes["error.type"] == "no_backend"
    assert segment.balance.status is SpanStatus.ERROR
    assert segment.balance.status_message == "there is no Service shop/api"


async def test_service_without_endpoints_is_unavailable(data_plane: DataPlane) -> None:
    data_plane.serve()
    async with await data_plane.client() as client:
        answered = await client.get()
    segment = await data_plane.segment()

    assert answered.status == 503
    assert answered.text == page_of(
        503, "no_endpoints", "the service has no ready endpoint", segment.server.trace_id
    )
    assert_blames(segment, "no_endpoints", 503)
    assert segment.balance is not None
    assert segment.balance.attributes["spanway.lb.endpoints_ready"] == 0
    assert segment.attempts == ()


async def test_refused_connection_is_tried_at_another_endpoint(
    data_plane: DataPlane, upstream: Upstream, refusing: Endpoint
) -> None:
    data_plane.serve(refusing, upstream)
    async with await data_plane.client() as client:
        answered = [await client.get() for _ in range(4)]
    segments = await data_plane.segments()

    assert [each.status for each in answered] == [200] * 4
    repeated = [segment for segment in segments if len(segment.attempts) > 1]
    assert len(repeated) == 2, "round robin goes to both endpoints in turn"
    for segment in repeated:
        first, second = segment.attempts
        assert first.attributes["error.type"] == "connect_refused"
        assert first.attributes["server.port"] == refusing.port
        assert "http.request.resend_count" not in first.attributes
        assert second.attributes["http.request.resend_count"] == 1
        assert second.attributes["server.port"] == upstream.endpoint.port
        assert segment.balance is not None
        assert segment.balance.attributes["spanway.lb.attempts"] == 2
        assert segment.flag is None


async def test_post_is_tried_at_another_endpoint_while_nothing_was_sent(
    data_plane: DataPlane, upstream: Upstream, refusing: Endpoint
) -> None:
    data_plane.serve(refusing, upstream)
    async with await data_plane.client() as client:
        answered = [await client.ask(request("POST", body=b"once")) for _ in range(2)]

    assert [each.status for each in answered] == [200, 200]
    assert [each.request_body for each in upstream.exchanges] == [b"once", b"once"]


async def test_refused_everywhere_is_a_bad_gateway(
    data_plane: DataPlane, refusing: Endpoint
) -> None:
    data_plane.serve(refusing)
    async with await data_plane.client() as client:
        answered = await client.get()
        await client.get()
    segment, _ = await data_plane.segments()

    assert answered.status == 502
    assert answered.text == page_of(
        502,
        "connect_refused",
        "the service's endpoint refused the connection",
        segment.server.trace_id,
    )
    assert_blames(segment, "connect_refused", 502)
    assert len(segment.attempts) == 1, "an endpoint that refused is not asked again"
    assert segment.server.status is SpanStatus.ERROR
    assert segment.server.attributes["error.type"] == "502"


async def test_connection_that_is_not_accepted_in_time_is_a_gateway_timeout(
    data_plane: DataPlane, full: Endpoint
) -> None:
    data_plane.serve(full, connect_timeout_ms=20)
    async with await data_plane.client() as client:
        answered = await client.get()
    segment = await data_plane.segment()

    assert answered.status == 504
    assert answered.text == page_of(
        504,
        "connect_timeout",
        "the service's endpoint did not accept the connection in time",
        segment.server.trace_id,
    )
    assert_blames(segment, "connect_timeout", 504)


async def test_client_that_leaves_is_not_connected_for_any_longer(
    data_plane: DataPlane, full: Endpoint
) -> None:
    data_plane.serve(full, connect_timeout_ms=3_600_000)
    async with await data_plane.client() as client:
        await client.send(request())
        async with asyncio.timeout(DEADLINE_S):
            while data_plane.engine.live().phases[Phase.CONNECT] == 0:
                await data_plane.turn()
        client.reset()
        async with asyncio.timeout(DEADLINE_S):
            while data_plane.engine.live().live > 0:
                await data_plane.turn()

    assert (await data_plane.segment()).flag == "client_gone"


async def test_silent_upstream_is_a_gateway_timeout_and_is_not_asked_again(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    upstream.answer = Exchange.gone
    data_plane.serve(upstream, policy=RoutePolicy(read_timeout_ms=20))
    async with await data_plane.client() as client:
        answered = await client.get()
    segment = await data_plane.segment()

    assert answered.status == 504
    assert answered.text == page_of(
        504,
        "upstream_timeout",
        "the service's endpoint did not answer in time",
        segment.server.trace_id,
    )
    assert_blames(segment, "upstream_timeout", 504)
    assert len(upstream.exchanges) == 1


async def test_upstream_that_lets_a_client_wait_for_100_continue_is_the_one_that_is_late(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    upstream.answer = Exchange.gone
    data_plane.serve(upstream, policy=RoutePolicy(read_timeout_ms=20))
    async with await data_plane.client() as client:
        answered = await client.ask(
            request("POST", "/", "Expect: 100-continue", "Content-Length: 5")
        )
    segment = await data_plane.segment()

    assert answered.status == 504
    assert_blames(segment, "upstream_timeout", 504)


HEAD_WITH_LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


BEFORE_A_WHOLE_HEAD: dict[str, tuple[Answer, str]] = {
    "closes_before_it": (closes, "upstream_closed"),
    "resets_before_it": (resets, "upstream_reset"),
    "closes_within_it": (says(HEAD_WITH_LENGTH[:20], then_close=True), "upstream_closed"),
}


@pytest.mark.parametrize("how", BEFORE_A_WHOLE_HEAD)
async def test_upstream_that_leaves_before_its_head_is_whole_is_a_bad_gateway(
    how: str, data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    upstream.answer, flag = BEFORE_A_WHOLE_HEAD[how]

    answered = await client.ask(request("POST", body=b"once"))
    client.writer.close()
    segment = await data_plane.segment()

    assert answered.status == 502
    assert answered.text.endswith(f"\ntrace-id: {segment.server.trace_id}\n")
    assert_blames(segment, flag, 502)
    assert len(upstream.exchanges) == 1, "a POST must not be sent twice"


CUT_BODIES = {
    "length": HEAD_WITH_LENGTH + b"hel",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    "between_chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n",
}


@pytest.mark.parametrize("framing", CUT_BODIES)
async def test_response_that_is_cut_short_is_cut_short_for_the_client(
    framing: str, data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    upstream.answer = says(CUT_BODIES[framing], then_close=True)

    with pytest.raises(asyncio.IncompleteReadError):
        await client.get()
    segment = await data_plane.segment()

    assert_blames(segment, "upstream_closed", 200)
    assert segment.server.status is SpanStatus.ERROR
    assert segment.server.attributes["error.type"] == "upstream_closed"


async def test_reset_within_a_body_is_told_apart_from_a_close(
    data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    async def reset_within(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.send(HEAD_WITH_LENGTH + b"hel")
        await data_plane.turn()
        exchange.reset()

    upstream.answer = reset_within

    with pytest.raises(asyncio.IncompleteReadError):
        await client.get()

    assert_blames(await data_plane.segment(), "upstream_reset", 200)


async def test_upstream_that_falls_silent_within_a_body_is_cut(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    async def fall_silent(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.send(HEAD_WITH_LENGTH + b"hel")
        await exchange.gone()

    upstream.answer = fall_silent
    data_plane.serve(upstream, policy=RoutePolicy(read_timeout_ms=20))
    async with await data_plane.client() as client:
        with pytest.raises(asyncio.IncompleteReadError):
            await client.get()

    assert_blames(await data_plane.segment(), "upstream_timeout", 200)


MALFORMED = {
    "no_status_line": b"hello\r\n\r\n",
    "no_version": b"200 OK\r\n\r\n",
    "bare_line_feed": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "folded_field": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "blank_before_colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "two_lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length_and_chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown_coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    "negative_length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "upgrade": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
}
TOO_LARGE = {
    "endless_head": b"HTTP/1.1 200 OK\r\nA: " + b"a" * 100_000,
    "endless_line": b"HTTP/1.1 200 " + b"a" * 100_000,
    "too_many_fields": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000 + b"\r\n",
}


@pytest.mark.parametrize("how", MALFORMED)
async def test_malformed_response_is_a_bad_gateway(
    how: str, data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    upstream.answer = in_turn(says(MALFORMED[how]), says(response()))

    answered = await client.get()
    following = await client.get()
    segment, _ = await data_plane.segments()

    assert (answered.status, following.status) == (502, 200)
    assert answered.text == page_of(
        502,
        "upstream_protocol_error",
        "the service's endpoint sent a malformed response",
        segment.server.trace_id,
    )
    assert_blames(segment, "upstream_protocol_error", 502)
    assert upstream.connections_made == 2, "the connection must not be used again"


@pytest.mark.parametrize("how", TOO_LARGE)
async def test_response_head_that_is_too_large_has_a_word_of_its_own(
    how: str, data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    upstream.answer = in_turn(says(TOO_LARGE[how]), says(response()))

    answered = await client.get()
    following = await client.get()
    segment, _ = await data_plane.segments()

    assert (answered.status, following.status) == (502, 200)
    assert answered.text.startswith("502 upstream_head_too_large: ")
    assert_blames(segment, "upstream_head_too_large", 502)


async def test_malformed_chunk_cuts_the_response(
    data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    upstream.answer = says(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhelX0\r\n\r\n"
    )

    with pytest.raises(asyncio.IncompleteReadError):
        await client.get()

    assert_blames(await data_plane.segment(), "upstream_protocol_error", 200)


@pytest.mark.parametrize("leaving", ["closed", "reset"])
async def test_client_that_leaves_takes_the_upstream_request_with_it(
    leaving: str, data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    upstream.answer = Exchange.gone

    await client.send(request())
    await upstream.wait_for(lambda upstream: len(upstream.exchanges) == 1)
    if leaving == "reset":
        raw = client.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.reset()
    else:
        client.writer.close()
    await upstream.wait_for(lambda upstream: upstream.connections_open == 0)
    segment = await data_plane.segment()

    assert segment.flag == "client_gone"
    assert segment.server.attributes["spanway.client.end"] == leaving
    assert "http.response.status_code" not in segment.server.attributes
    assert segment.server.attributes["error.type"] == "client_gone"
    assert segment.server.status is SpanStatus.UNSET
    assert segment.attempts[0].attributes["error.type"] == "client_gone"
    assert segment.attempts[0].status is SpanStatus.UNSET


async def test_client_that_leaves_within_its_upload_takes_the_upstream_request_with_it(
    data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    await client.send(request("POST", "/", "Content-Length: 5") + b"hel")
    await upstream.wait_for(lambda upstream: len(upstream.exchanges) == 1)
    client.writer.close()
    await upstream.wait_for(lambda upstream: upstream.connections_open == 0)
    segment = await data_plane.segment()

    assert segment.flag == "client_gone"
    assert upstream.complete() == []


async def test_malformed_body_is_refused_after_the_head_was_forwarded(
    data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    answered = await client.ask(request("POST", "/", "Transfer-Encoding: chunked") + b"x\r\n")
    rest = await client.rest()
    client.writer.close()
    segment = await data_plane.segment()

    assert (answered.status, rest) == (400, b"")
    assert_blames_client(segment)
    assert upstream.complete() == []


def assert_blames_client(segment: Segment) -> None:
    assert segment.flag == "bad_request"
    assert segment.server.status is SpanStatus.UNSET


async def test_get_on_a_kept_connection_that_is_lost_is_repeated_unseen(
    data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    upstream.answer = in_turn(says(response()), closes, says(response(body=b"repeated")))

    await client.get("/first")
    answered = await client.get("/second")
    _, segment = await data_plane.segments()

    assert (answered.status, answered.body) == (200, b"repeated")
    first, second = segment.attempts
    assert first.attributes["spanway.connection.reused"] is True
    assert first.attributes["error.type"] == "upstream_closed"
    assert second.attributes["spanway.connection.reused"] is False
    assert second.attributes["http.request.resend_count"] == 1
    assert segment.flag is None


async def test_post_on_a_kept_connection_that_is_lost_is_not_sent_twice(
    data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    upstream.answer = in_turn(says(response()), closes, says(response(body=b"repeated")))

    await client.get()
    answered = await client.ask(request("POST", body=b"once"))
    _, segment = await data_plane.segments()

    assert answered.status == 502
    assert_blames(segment, "upstream_closed", 502)
    assert [each.line for each in upstream.exchanges] == ["GET / HTTP/1.1", "POST / HTTP/1.1"]


async def test_get_that_was_half_answered_is_not_repeated(
    client: Client, upstream: Upstream
) -> None:
    upstream.answer = in_turn(
        says(response()), says(HEAD_WITH_LENGTH[:20], then_close=True), says(response())
    )

    await client.get()
    answered = await client.get()

    assert answered.status == 502
    assert len(upstream.exchanges) == 2


async def test_kept_connection_that_the_upstream_has_closed_is_not_used_for_a_post(
    data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    upstream.answer = in_turn(says(response(), then_close=True), says(response(body=b"new")))

    await client.get()
    await upstream.wait_for(lambda upstream: upstream.connections_open == 0)
    answered = await client.ask(request("POST", body=b"once"))
    _, segment = await data_plane.segments()

    assert (answered.status, answered.body) == (200, b"new")
    assert len(segment.attempts) == 1


async def test_failed_request_keeps_its_clients_connection(
    client: Client, upstream: Upstream
) -> None:
    upstream.answer = in_turn(closes, says(response(body=b"fine")))

    failed = await client.get()
    answered = await client.get()

    assert (failed.status, answered.body) == (502, b"fine")


async def test_page_for_head_has_no_body(data_plane: DataPlane) -> None:
    data_plane.serve()
    async with await data_plane.client() as client:
        answered = await client.ask(request("HEAD"))
        following = await client.ask(request("HEAD"))

    assert (answered.status, following.status) == (503, 503)
    assert int(answered.head.one("content-length") or 0) > 0


async def test_span_of_a_refused_request_ends_with_its_response_and_not_with_the_connection(
    data_plane: DataPlane,
) -> None:
    """The engine waits for a client that may still be sending; that is not the request's time."""
    data_plane.serve()
    async with await data_plane.client() as client, await data_plane.client() as later:
        await client.ask(request("POST", "/", "Content-Length: 5"))
        await client.rest()
        await later.get()
    first, second = await data_plane.segments()

    assert first.server.end_unix_ns <= second.server.start_unix_ns


async def test_endpoint_that_only_lost_a_kept_connection_is_asked_again_when_the_others_fail(
    data_plane: DataPlane, upstream: Upstream, refusing: Endpoint
) -> None:
    used: set[asyncio.StreamWriter] = set()

    async def answer(exchange: Exchange) -> None:
        is_kept = exchange.writer in used
        used.add(exchange.writer)
        await (closes if is_kept else OK)(exchange)

    upstream.answer = answer
    data_plane.serve(upstream, refusing)
    async with await data_plane.client() as client:
        answered = [await client.get() for _ in range(20)]

    assert [each.status for each in answered] == [200] * 20

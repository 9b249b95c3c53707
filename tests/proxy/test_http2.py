"""HTTP/2 from clients: judged as HTTP/1 is, and no stream disturbs another."""

import asyncio
import functools

import pytest
from data_plane import DataPlane
from http2 import GET, Http2Client, Http2Upstream, with_fields
from message import response
from upstream import OK, Exchange, Upstream, holds, in_turn, says

from proxy.table import Protocol

POST = with_fields(GET, (":method", "POST"))


async def test_request_and_response_are_the_ones_of_http_1(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream)
    upstream.answer = says(response(201, "X-Own: 1", body=b"hello"))
    async with Http2Client(data_plane.ingress.address) as client:
        answered = await client.ask(
            with_fields(GET, (":path", "/cart?a=1"), ("x-mine", "2"), ("te", "trailers"))
        )

    assert (answered.status, bytes(answered.body)) == (201, b"hello")
    assert (answered.one("x-own"), answered.one("content-length")) == ("1", "5")
    asked = upstream.exchanges[0]
    assert asked.line == "GET /cart?a=1 HTTP/1.1"
    assert (asked.head.one("host"), asked.head.one("x-mine")) == ("shop.example", "2")
    assert (asked.head.one("te"), asked.head.one("connection")) == ("trailers", "te")


@pytest.mark.parametrize("with_length", [True, False], ids=["length", "no-length"])
async def test_bodies_of_any_size_pass_both_ways(
    with_length: bool, data_plane: DataPlane, upstream: Upstream
) -> None:
    body = bytes(range(256)) * 4096
    data_plane.serve(upstream)

    async def echo(exchange: Exchange) -> None:
        await exchange.send(response(200, body=await exchange.body()))

    upstream.answer = echo
    fields = with_fields(POST, ("content-length", str(len(body)))) if with_length else POST
    async with Http2Client(data_plane.ingress.address) as client:
        answered = await client.ask(fields, body)

    assert answered.body == body
    framing = "content-length" if with_length else "transfer-encoding"
    assert upstream.exchanges[0].head.has(framing)


async def test_empty_body_without_length_stays_empty(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream)
    async with Http2Client(data_plane.ingress.address) as client:
        answered = await client.ask(POST, b"")

    assert answered.status == 200
    assert upstream.exchanges[0].request_body == b""


async def test_trailers_pass_both_ways(data_plane: DataPlane, upstream: Upstream) -> None:
    data_plane.serve(upstream)
    upstream.answer = says(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n"
    )
    async with Http2Client(data_plane.ingress.address) as client:
        answered = await client.ask(POST, b"body", (("x-check", "1"),))

    assert (bytes(answered.body), answered.trailers) == (b"hi", (("x-sum", "7"),))
    assert upstream.exchanges[0].reader.trailers == (("x-check", "1"),)


async def test_interim_responses_pass(data_plane: DataPlane, upstream: Upstream) -> None:
    data_plane.serve(upstream)
    upstream.answer = says(b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" + response(200))
    async with Http2Client(data_plane.ingress.address) as client:
        answered = await client.ask()

    assert answered.status == 200
    assert answered.interim == [((":status", "103"), ("link", "<a>"))]


@pytest.mark.parametrize("status", [204, 304])
async def test_response_without_a_body_ends_with_its_head(
    status: int, data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream)
    upstream.answer = says(b"HTTP/1.1 %d Said\r\nETag: x\r\n\r\n" % status)
    async with Http2Client(data_plane.ingress.address) as client:
        answered = await client.ask()

    assert (answered.status, bytes(answered.body)) == (status, b"")


async def test_head_tells_the_length_and_has_no_body(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream)
    upstream.answer = says(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
    async with Http2Client(data_plane.ingress.address) as client:
        answered = await client.ask(with_fields(GET, (":method", "HEAD")))

    assert (answered.one("content-length"), bytes(answered.body)) == ("10", b"")


async def test_a_slow_stream_does_not_hold_up_another(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream)
    may_answer = asyncio.Event()

    async def waits(exchange: Exchange) -> None:
        await exchange.body()
        await may_answer.wait()
        await exchange.send(response(200, body=b"late"))

    upstream.answer = in_turn(waits, says(response(200, body=b"soon")))
    async with Http2Client(data_plane.ingress.address) as client:
        slow = await client.begin()
        await upstream.wait_for(lambda upstream: len(upstream.exchanges) == 1)
        assert (await client.ask()).body == b"soon"
        may_answer.set()
        assert (await client.response(slow)).body == b"late"


async def test_a_client_that_does_not_read_one_stream_can_read_another(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    large = bytes(4_000_000)
    data_plane.serve(upstream)
    upstream.answer = in_turn(says(response(200, body=large)), says(response(200, body=b"small")))
    async with Http2Client(data_plane.ingress.address) as client:
        client.peer.takes_data = False
        unread = await client.begin()
        await client.peer.wait_for(
            lambda: len(getattr(client.peer.messages.get(unread), "body", b"")) == 65_535
        )
        client.peer.h2.increment_flow_control_window(1000)
        await client.peer.flush()
        assert (await client.ask()).body == b"small"


async def test_cookies_sent_apart_become_one_field(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream)
    async with Http2Client(data_plane.ingress.address) as client:
        await client.ask((*GET, ("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")))

    assert upstream.exchanges[0].head.all("cookie") == ["a=1; b=2; c=3"]


async def test_client_that_resets_its_stream_ends_the_request(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream)
    left = asyncio.Event()

    async def waits(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.gone()
        left.set()

    upstream.answer = waits
    async with Http2Client(data_plane.ingress.address) as client:
        stream_id = await client.begin()
        await upstream.wait_for(lambda upstream: len(upstream.complete()) == 1)
        await client.peer.reset(stream_id)
        await asyncio.wait_for(left.wait(), 10)

    assert (await data_plane.segment()).flag == "client_gone"


async def test_endpoint_that_breaks_off_resets_the_stream_and_not_the_connection(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream)
    cut = says(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", then_close=True)
    upstream.answer = in_turn(cut, says(response(200, body=b"whole")))
    async with Http2Client(data_plane.ingress.address) as client:
        broken = await client.ask()
        whole = await client.ask()

    assert (broken.reset, broken.is_complete) == (2, False)  # INTERNAL_ERROR
    assert whole.body == b"whole"


async def test_refusal_says_the_sentence_and_the_trace(data_plane: DataPlane) -> None:
    data_plane.serve()
    async with Http2Client(data_plane.ingress.address) as client:
        answered = await client.ask()
    segment = await data_plane.segment()

    assert answered.status == 503
    assert answered.body.startswith(b"503 no_endpoints: the service has no ready endpoint")
    assert segment.server.trace_id.encode() in answered.body
    assert segment.server.attributes["network.protocol.version"] == "2"


REFUSED = {
    "no host": ((":method", "GET"), (":scheme", "http"), (":path", "/")),
    "other host": with_fields(GET, ("host", "other.example")),
    "bad authority": with_fields(GET, (":authority", "shop.example@evil")),
    "dot segment": with_fields(GET, (":path", "/a/../b")),
    "encoded dot segment": with_fields(GET, (":path", "/a/%2e%2e/b")),
    "asterisk": with_fields(GET, (":path", "*")),
    "connect": ((":method", "CONNECT"), (":authority", "shop.example:443")),
    "two lengths": (*POST, ("content-length", "3"), ("content-length", "4")),
    "expectation": with_fields(POST, ("expect", "nothing")),
    "line end in a protocol": with_fields(
        GET, (":method", "CONNECT"), (":protocol", "websocket\r\nx-smuggled: 1")
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_what_http_1_refuses_is_refused(
    kind: str, data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream)
    async with Http2Client(data_plane.ingress.address) as client:
        answered = await client.ask(REFUSED[kind])
        assert answered.reset is not None or 400 <= answered.status < 600
        assert (await client.ask()).status == 200

    assert len(upstream.exchanges) == 1


ILLEGAL = {
    "line end in a value": ("x-a", "1\r\nx-b: 2"),
    "NUL in a value": ("x-a", "1\0"),
    "connection": ("connection", "close"),
    "transfer-encoding": ("transfer-encoding", "chunked"),
    "upgrade": ("upgrade", "h2c"),
    "te": ("te", "gzip"),
    "upper case": ("X-Upper", "1"),
    "unknown pseudo-header": (":own", "1"),
    "line end in a name": ("x-a\r\nx-b", "1"),
}


@pytest.mark.parametrize("kind", ILLEGAL)
async def test_what_http_2_forbids_reaches_nobody(
    kind: str, data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream)
    async with Http2Client(data_plane.ingress.address) as client:
        answered = await client.ask((*GET, ILLEGAL[kind]))
        assert answered.reset is not None or client.peer.is_closed or answered.status == 400

    assert upstream.exchanges == []


async def test_large_head_is_refused(data_plane: DataPlane, upstream: Upstream) -> None:
    data_plane.serve(upstream)
    async with Http2Client(data_plane.ingress.address) as client:
        many = tuple((f"x-{index}", "v" * 1000) for index in range(70))
        answered = await client.ask((*GET, *many))
        assert answered.reset is not None or answered.status == 431

    assert upstream.exchanges == []


async def test_rapid_reset_ends_the_connection_and_not_the_others(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream)
    async with Http2Client(data_plane.ingress.address) as attacker:
        for _ in range(300):
            stream_id = attacker.peer.h2.get_next_available_stream_id()
            attacker.peer.h2.send_headers(stream_id, list(GET), end_stream=True)
            attacker.peer.h2.reset_stream(stream_id)
        await attacker.peer.flush()
        await attacker.peer.wait_for(lambda: attacker.peer.is_closed)
        assert attacker.peer.goodbye == 11  # ENHANCE_YOUR_CALM
    async with Http2Client(data_plane.ingress.address) as client:
        assert (await client.ask()).status == 200


PREMATURE_RESETS_MAX = 250
"""As in limits.rs."""


async def test_reset_of_requests_that_endpoints_have_ends_the_connection_too(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    """Rapid reset at its own pace: who waits until a request is forwarded is in nobody's queue."""
    data_plane.serve(upstream)
    upstream.answer = Exchange.gone
    async with Http2Client(data_plane.ingress.address) as attacker:
        for begun in range(1, PREMATURE_RESETS_MAX + 2):
            stream_id = await attacker.begin()
            await upstream.wait_for(functools.partial(_has_got, begun))
            await attacker.peer.reset(stream_id)
            await upstream.wait_for(lambda upstream: upstream.connections_open == 0)
        await attacker.peer.wait_for(lambda: attacker.peer.is_closed)
        assert attacker.peer.goodbye == 11  # ENHANCE_YOUR_CALM
    upstream.answer = OK
    async with Http2Client(data_plane.ingress.address) as client:
        assert (await client.ask()).status == 200


def _has_got(count: int, upstream: Upstream) -> bool:
    return len(upstream.exchanges) >= count


async def test_client_that_gives_up_some_of_many_requests_is_served_on(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream)
    waits = asyncio.Event()
    upstream.answer = holds("/slow", waits)
    async with Http2Client(data_plane.ingress.address) as client:
        for _ in range(300):
            stream_id = await client.begin(with_fields(GET, (":path", "/slow")))
            assert (await client.ask()).status == 200
            await client.peer.reset(stream_id)
        assert (await client.ask()).status == 200


async def test_endless_continuation_ends_the_connection(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream)
    async with Http2Client(data_plane.ingress.address) as client:
        # HEADERS without END_HEADERS, then CONTINUATION for ever.
        frames = b"\0\0\1\1\1\0\0\0\1\x82" + b"\0\0\0\x09\0\0\0\0\1" * 10_000
        client.peer.writer.write(frames)
        await client.peer.wait_for(lambda: client.peer.is_closed)

    assert upstream.exchanges == []


async def test_drain_says_goodbye_and_finishes_what_was_begun(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream)
    may_answer = asyncio.Event()

    async def waits(exchange: Exchange) -> None:
        await exchange.body()
        await may_answer.wait()
        await exchange.send(response(200, body=b"finished"))

    upstream.answer = waits
    async with Http2Client(data_plane.ingress.address) as client:
        stream_id = await client.begin()
        await upstream.wait_for(lambda upstream: len(upstream.complete()) == 1)
        stopping = asyncio.ensure_future(data_plane.stop())
        await client.peer.wait_for(lambda: client.peer.goodbye is not None)
        may_answer.set()
        assert (await client.response(stream_id)).body == b"finished"
        await client.peer.wait_for(lambda: client.peer.is_closed)
        await stopping

    assert client.peer.goodbye == 0


WEB_SOCKET = with_fields(
    GET, (":method", "CONNECT"), (":protocol", "websocket"), ("sec-websocket-version", "13")
)


async def test_web_socket_over_a_stream_becomes_an_upgrade(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream)

    async def echoes(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: x\r\n\r\n"
        )
        while part := await exchange.reader.read(1000):
            await exchange.send(part)
        exchange.close()

    upstream.answer = echoes
    async with Http2Client(data_plane.ingress.address) as client:
        stream_id = await client.begin(WEB_SOCKET, is_end=False)
        await client.peer.send_body(stream_id, b"hello", is_end=False)
        await client.peer.wait_for(
            lambda: getattr(client.peer.messages.get(stream_id), "body", b"") == b"hello"
        )
        client.peer.h2.end_stream(stream_id)
        await client.peer.flush()
        answered = await client.response(stream_id)

    assert (answered.status, answered.has("sec-websocket-accept")) == (200, False)
    asked = upstream.exchanges[0].head
    assert (asked.start_line, asked.one("upgrade")) == ("GET / HTTP/1.1", "websocket")
    assert len(asked.one("sec-websocket-key") or "") == 24
    segment = await data_plane.segment()
    (attempt,) = segment.attempts
    told = [span.attributes["http.response.status_code"] for span in (segment.server, attempt)]
    assert told == [200, 101], "to the client, by the endpoint"
    assert segment.server.attributes["spanway.websocket.messages_received"] == 0, "no frames"


@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
async def test_endpoint_that_does_not_switch_opens_no_tunnel(
    protocol: str, data_plane: DataPlane, upstream: Upstream
) -> None:
    """Any success is one to the client (RFC 8441, section 5), and what follows would be taken for
    what the tunnel brings."""
    data_plane.serve(upstream)
    async with Http2Client(data_plane.ingress.address) as client:
        stream_id = await client.begin(
            with_fields(WEB_SOCKET, (":protocol", protocol)), is_end=False
        )
        answered = await client.response(stream_id)
        following = await client.ask()

    assert (answered.status, following.status) == (502, 200)
    assert b"upstream_protocol_error" in answered.body
    refused, _ = await data_plane.segments()
    assert refused.flag == "upstream_protocol_error"


async def test_endpoint_of_http2_alone_opens_no_tunnel(data_plane: DataPlane) -> None:
    async with Http2Upstream() as other:
        data_plane.serve(other.endpoint, protocol=Protocol.H2)
        async with Http2Client(data_plane.ingress.address) as client:
            stream_id = await client.begin(WEB_SOCKET, is_end=False)
            answered = await client.response(stream_id)

    assert answered.status == 502


async def test_what_an_endpoint_says_instead_of_switching_is_passed_on(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream)
    upstream.answer = says(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n\r\nlogin")
    async with Http2Client(data_plane.ingress.address) as client:
        stream_id = await client.begin(WEB_SOCKET, is_end=False)
        answered = await client.response(stream_id)

    assert (answered.status, bytes(answered.body)) == (401, b"login")

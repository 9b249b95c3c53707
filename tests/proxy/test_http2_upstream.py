"""HTTP/2 to endpoints: many requests share a connection, and nothing of HTTP/1 is lost or added."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from data_plane import DataPlane
from http2 import GET, Http2Client, Http2Upstream, Message, Peer, says_ok, with_fields
from message import chunked, request

from proxy.table import Endpoint, Protocol, RoutePolicy

POST = with_fields(GET, (":method", "POST"))


@pytest.fixture
async def h2_upstream(data_plane: DataPlane) -> AsyncIterator[Http2Upstream]:
    async with Http2Upstream() as upstream:
        data_plane.serve(upstream.endpoint, protocol=Protocol.H2)
        yield upstream


async def test_request_and_response_are_translated(
    h2_upstream: Http2Upstream, data_plane: DataPlane
) -> None:
    async def answer(peer: Peer, asked: Message) -> None:
        await peer.wait_for(lambda: asked.is_complete)
        await peer.send(asked.stream_id, ((":status", "201"), ("x-own", "1")), is_end=False)
        await peer.send_body(asked.stream_id, b"hello")

    h2_upstream.answer = answer
    async with await data_plane.client() as client:
        answered = await client.ask(
            request("POST", "/cart?a=1", "Connection: x-hop", "X-Hop: 1", "X-Own: 2", body=b"body")
        )

    (attempt,) = (await data_plane.segment()).attempts
    assert attempt.attributes["network.protocol.version"] == "2"
    assert (answered.status, answered.body) == (201, b"hello")
    assert answered.head.start_line == "HTTP/1.1 201 "
    assert answered.head.one("x-own") == "1"
    asked = h2_upstream.requests[0]
    assert dict(asked.fields[:4]) == {
        ":method": "POST",
        ":scheme": "http",
        ":authority": "shop.example",
        ":path": "/cart?a=1",
    }
    assert (asked.one("x-own"), asked.one("content-length")) == ("2", "4")
    assert (asked.has("x-hop"), asked.has("connection"), asked.has("host")) == (False,) * 3
    assert bytes(asked.body) == b"body"


@pytest.mark.parametrize("status", ["200", "404"])
async def test_response_that_ends_with_its_head_ends_for_a_client_of_http_1_too(
    status: str, h2_upstream: Http2Upstream, data_plane: DataPlane
) -> None:
    async def answer(peer: Peer, asked: Message) -> None:
        await peer.send(asked.stream_id, ((":status", status),))

    h2_upstream.answer = answer
    async with await data_plane.client() as client:
        answers = [await client.get(), await client.get()]
    assert [(answer.status, answer.body) for answer in answers] == [(int(status), b"")] * 2
    assert answers[0].head.one("content-length") == "0"

    async with Http2Client(data_plane.ingress.address) as client:
        assert not (await client.ask()).has("content-length")


@pytest.mark.parametrize(("method", "status"), [("GET", "204"), ("GET", "304"), ("HEAD", "200")])
async def test_body_where_none_may_be_is_no_response_to_the_next_request(
    method: str, status: str, h2_upstream: Http2Upstream, data_plane: DataPlane
) -> None:
    async def answer(peer: Peer, asked: Message) -> None:
        await peer.send(asked.stream_id, ((":status", status),), is_end=False)
        await peer.send_body(asked.stream_id, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")

    h2_upstream.answer = answer
    async with await data_plane.client() as client:
        await client.send(request(method))
        assert b"evil" not in await client.rest()

    assert (await data_plane.segment()).flag in {"upstream_protocol_error", "upstream_reset"}


async def test_end_of_a_body_where_none_may_be_is_awaited(
    h2_upstream: Http2Upstream, data_plane: DataPlane
) -> None:
    async def answer(peer: Peer, asked: Message) -> None:
        await peer.send(asked.stream_id, ((":status", "204"),), is_end=False)
        peer.h2.end_stream(asked.stream_id)
        await peer.flush()

    h2_upstream.answer = answer
    async with await data_plane.client() as client:
        assert [(await client.get()).status for _ in range(2)] == [204] * 2
    assert [each.flag for each in await data_plane.segments()] == [None] * 2


async def test_bodies_and_trailers_pass_both_ways_from_http_1(
    h2_upstream: Http2Upstream, data_plane: DataPlane
) -> None:
    async def echo(peer: Peer, asked: Message) -> None:
        await peer.wait_for(lambda: asked.is_complete)
        await peer.send(asked.stream_id, ((":status", "200"),), is_end=False)
        await peer.send_body(asked.stream_id, bytes(asked.body), is_end=False)
        await peer.send(asked.stream_id, asked.trailers)

    h2_upstream.answer = echo
    body = bytes(range(256)) * 4096
    sent = chunked(body, trailers=b"x-sum: 7\r\n")

    async with await data_plane.client() as client:
        answered = await client.ask(request("POST", "/", "Transfer-Encoding: chunked") + sent)

    assert answered.body == body
    assert answered.trailers == (("x-sum", "7"),)


async def test_requests_at_once_share_one_connection(
    h2_upstream: Http2Upstream, data_plane: DataPlane
) -> None:
    all_there = asyncio.Event()

    async def answer(peer: Peer, asked: Message) -> None:
        if len(h2_upstream.requests) == 20:
            all_there.set()
        await all_there.wait()
        await peer.send(asked.stream_id, ((":status", "200"),))

    h2_upstream.answer = answer
    async with Http2Client(data_plane.ingress.address) as client:
        answered = await asyncio.gather(*(client.ask() for _ in range(20)))

    assert [each.status for each in answered] == [200] * 20
    assert len(h2_upstream.peers) == 1


async def test_another_connection_is_opened_where_one_allows_no_more(
    data_plane: DataPlane,
) -> None:
    async with Http2Upstream(streams_max=2) as upstream:
        data_plane.serve(upstream.endpoint, protocol=Protocol.H2)
        may_answer = asyncio.Event()

        async def answer(peer: Peer, asked: Message) -> None:
            await may_answer.wait()
            await peer.send(asked.stream_id, ((":status", "200"),))

        async with Http2Client(data_plane.ingress.address) as client:
            assert (await client.ask()).status == 200  # The endpoint's settings are known now.
            upstream.answer = answer
            asking = [asyncio.ensure_future(client.ask()) for _ in range(4)]
            await upstream.wait_for(lambda: len(upstream.requests) == 5)
            may_answer.set()
            answered = await asyncio.gather(*asking)

    assert [each.status for each in answered] == [200] * 4
    assert len(upstream.peers) == 2


async def test_early_answer_reaches_a_client_that_is_still_sending(
    h2_upstream: Http2Upstream, data_plane: DataPlane
) -> None:
    async def early(peer: Peer, asked: Message) -> None:
        await peer.send(asked.stream_id, ((":status", "413"),))

    h2_upstream.answer = early
    async with Http2Client(data_plane.ingress.address) as client:
        stream_id = await client.begin(POST, is_end=False)
        await client.peer.send_body(stream_id, b"part", is_end=False)

        assert (await client.response(stream_id)).status == 413


async def test_interim_response_passes(h2_upstream: Http2Upstream, data_plane: DataPlane) -> None:
    async def answer(peer: Peer, asked: Message) -> None:
        await peer.send(asked.stream_id, ((":status", "103"), ("link", "<a>")), is_end=False)
        await peer.send(asked.stream_id, ((":status", "200"), ("content-length", "0")))

    h2_upstream.answer = answer
    async with await data_plane.client() as client:
        answered = await client.get()

    assert [head.one("link") for head in answered.interim] == ["<a>"]
    assert answered.status == 200


async def test_refused_stream_is_tried_again_even_if_it_is_a_post(
    h2_upstream: Http2Upstream, data_plane: DataPlane
) -> None:
    async def refuse_first(peer: Peer, asked: Message) -> None:
        if len(h2_upstream.requests) == 1:
            await peer.reset(asked.stream_id, 7)  # REFUSED_STREAM
        else:
            await peer.send(asked.stream_id, ((":status", "200"),))

    h2_upstream.answer = refuse_first
    async with Http2Client(data_plane.ingress.address) as client:
        answered = await client.ask(POST)
    segment = await data_plane.segment()

    assert answered.status == 200
    assert len(segment.attempts) == 2


async def test_reset_stream_is_a_502_and_the_connection_goes_on(
    h2_upstream: Http2Upstream, data_plane: DataPlane
) -> None:
    async def break_posts(peer: Peer, asked: Message) -> None:
        if asked.one(":method") == "POST":
            await peer.reset(asked.stream_id, 2)
        else:
            await peer.send(asked.stream_id, ((":status", "200"),))

    h2_upstream.answer = break_posts
    async with Http2Client(data_plane.ingress.address) as client:
        assert (await client.ask(POST)).status == 502
        assert (await client.ask()).status == 200

    assert len(h2_upstream.peers) == 1


async def test_endpoint_that_went_away_is_connected_to_anew(
    h2_upstream: Http2Upstream, data_plane: DataPlane
) -> None:
    async with Http2Client(data_plane.ingress.address) as client:
        assert (await client.ask()).status == 200
        h2_upstream.peers[0].h2.close_connection()
        await h2_upstream.peers[0].flush()
        h2_upstream.peers[0].writer.close()
        await h2_upstream.peers[0].wait_for(lambda: h2_upstream.peers[0].is_closed)
        assert (await client.ask()).status == 200

    assert len(h2_upstream.peers) == 2


@pytest.mark.parametrize("is_alive", [False, True])
async def test_connection_on_which_nothing_comes_gets_no_more_requests_after_a_late_one(
    is_alive: bool, h2_upstream: Http2Upstream, data_plane: DataPlane
) -> None:
    policy = RoutePolicy(read_timeout_ms=50)
    data_plane.serve(h2_upstream.endpoint, protocol=Protocol.H2, policy=policy)

    async def answer(peer: Peer, asked: Message) -> None:
        if asked.one(":path") == "/":
            await says_ok(peer, asked)
        elif is_alive:
            peer.h2.ping(b"I'm here")
            await peer.flush()

    h2_upstream.answer = answer
    async with Http2Client(data_plane.ingress.address) as client:
        assert (await client.ask()).status == 200
        assert (await client.ask(with_fields(GET, (":path", "/late")))).status == 504
        assert (await client.ask()).status == 200

    assert len(h2_upstream.peers) == (1 if is_alive else 2)


async def test_client_that_leaves_resets_the_stream(
    h2_upstream: Http2Upstream, data_plane: DataPlane
) -> None:
    async def silent(_peer: Peer, _asked: Message) -> None:
        pass

    h2_upstream.answer = silent
    async with await data_plane.client() as client:
        await client.send(request())
        await h2_upstream.wait_for(lambda: bool(h2_upstream.requests))
    peer, asked = h2_upstream.peers[0], h2_upstream.requests[0]
    await peer.wait_for(lambda: asked.reset is not None)

    assert asked.reset == 8  # CANCEL


async def test_endpoint_that_speaks_http_1_is_a_502(data_plane: DataPlane) -> None:
    async def says_http_1(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(says_http_1, "127.0.0.1", 0)
    address, port = server.sockets[0].getsockname()
    async with server:
        data_plane.serve(Endpoint(address, port), protocol=Protocol.H2)
        async with await data_plane.client() as client:
            assert (await client.get()).status == 502

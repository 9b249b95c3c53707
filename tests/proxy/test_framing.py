"""How messages end: versions, methods and statuses that have rules of their own."""

import pytest
from client import Client
from data_plane import DataPlane
from message import chunked, request, response
from upstream import Exchange, Upstream, in_turn, says

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
    ids=["length", "chunked", "neither"],
)
async def test_response_to_head_has_no_body_and_keeps_the_connection(
    head: bytes, client: Client, upstream: Upstream
) -> None:
    upstream.answer = in_turn(says(head), says(response(body=b"next")))

    answered = await client.ask(request("HEAD"))
    following = await client.get()

    assert answered.status == 200
    assert answered.head.one("content-length") == ("5" if b"5" in head else None)
    assert following.body == b"next"


@pytest.mark.parametrize("status", [204, 304])
async def test_response_that_cannot_have_a_body_keeps_the_connection(
    status: int, client: Client, upstream: Upstream
) -> None:
    head = b"HTTP/1.1 %d X\r\nETag: a\r\n\r\n" % status
    upstream.answer = in_turn(says(head), says(response(body=b"next")))

    answered = await client.get()
    following = await client.get()

    assert (answered.status, answered.head.one("etag")) == (status, "a")
    assert not answered.head.has("transfer-encoding")
    assert following.body == b"next"
    assert upstream.connections_made == 1


async def test_304_says_the_length_of_the_body_that_it_spares(
    client: Client, upstream: Upstream
) -> None:
    upstream.answer = says(b"HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n")

    answered = await client.get()

    assert answered.head.one("content-length") == "5"
    assert (await client.get()).status == 304


async def test_empty_chunked_bodies_stay_empty(client: Client, upstream: Upstream) -> None:
    upstream.answer = says(CHUNKED + chunked())

    answered = await client.ask(request("POST", "/", "Transfer-Encoding: chunked") + chunked())

    assert answered.body == b""
    assert upstream.exchanges[0].request_body == b""


async def test_chunk_extensions_end_at_the_proxy(client: Client, upstream: Upstream) -> None:
    body = b"5;name=value\r\nhello\r\n0\r\n\r\n"
    upstream.answer = says(CHUNKED + body)

    answered = await client.ask(request("POST", "/", "Transfer-Encoding: chunked") + body)

    # Both sides are read by readers that refuse what was sent here.
    assert answered.body == b"hello"
    assert upstream.exchanges[0].request_body == b"hello"


async def test_trailers_reach_the_other_side(client: Client, upstream: Upstream) -> None:
    body = chunked(b"hello", trailers=b"X-Checksum:  1 \r\nx-two: b\r\n")
    upstream.answer = says(CHUNKED + body)

    answered = await client.ask(request("POST", "/", "Transfer-Encoding: chunked") + body)

    want = (("x-checksum", "1"), ("x-two", "b"))
    assert (answered.body, answered.trailers) == (b"hello", want)
    assert upstream.exchanges[0].reader.trailers == want


async def test_response_until_close_is_chunked_for_a_client_that_stays(
    client: Client, upstream: Upstream
) -> None:
    upstream.answer = says(b"HTTP/1.0 200 OK\r\n\r\nhello", then_close=True)

    answered = await client.get()

    assert answered.head.one("transfer-encoding") == "chunked"
    assert answered.body == b"hello"
    assert (await client.get()).body == b"hello"


async def test_http_1_0_client_gets_length_or_close_and_no_chunks(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream)
    upstream.answer = says(CHUNKED + chunked(b"hel", b"lo"))
    async with await data_plane.client() as client:
        answered = await client.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        rest = await client.rest()

    assert not answered.head.has("transfer-encoding")
    assert answered.head.one("connection") == "close"
    assert (answered.body, rest) == (b"hello", b"")


async def test_http_1_0_client_that_asks_for_it_keeps_its_connection(client: Client) -> None:
    asked = b"GET / HTTP/1.0\r\nHost: shop.example\r\nConnection: keep-alive\r\n\r\n"

    first = await client.ask(asked)
    second = await client.ask(asked)

    assert first.head.one("connection") == "keep-alive"
    assert second.status == 200


@pytest.mark.parametrize(
    "asked",
    [b"GET / HTTP/1.0\r\n\r\n", request("GET", "/", "Connection: close")],
    ids=["http_1_0", "connection_close"],
)
async def test_client_that_does_not_stay_is_told_and_let_go(asked: bytes, client: Client) -> None:
    answered = await client.ask(asked)
    rest = await client.rest()

    assert answered.status == 200
    assert answered.head.one("connection") == "close"
    assert rest == b""


@pytest.mark.parametrize("status", [102, 103, 199])
async def test_interim_responses_pass_before_the_final_one(
    status: int, client: Client, upstream: Upstream
) -> None:
    upstream.answer = says(
        b"HTTP/1.1 %d Hint\r\nLink: </a.css>\r\nConnection: x\r\nX: 1\r\n\r\n" % status,
        response(body=b"ok"),
    )

    answered = await client.get()

    (interim,) = answered.interim
    assert interim.start_line == f"HTTP/1.1 {status} Hint"
    assert interim.fields == (("link", "</a.css>"),)
    assert answered.body == b"ok"


async def test_interim_responses_are_kept_from_an_http_1_0_client(
    client: Client, upstream: Upstream
) -> None:
    upstream.answer = says(b"HTTP/1.1 103 Hint\r\n\r\n", response(body=b"ok"))

    answered = await client.ask(b"GET / HTTP/1.0\r\n\r\n")

    assert answered.interim == ()
    assert answered.body == b"ok"


async def test_endless_interim_responses_are_a_bad_gateway(
    client: Client, upstream: Upstream
) -> None:
    upstream.answer = says(b"HTTP/1.1 103 Hint\r\n\r\n" * 100)

    answered = await client.get()

    assert answered.status == 502
    assert len(answered.interim) < 10


async def test_body_is_sent_only_after_the_upstream_said_continue(
    client: Client, upstream: Upstream
) -> None:
    async def go_on(exchange: Exchange) -> None:
        assert exchange.head.one("expect") == "100-continue"
        await exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await exchange.body()
        await exchange.send(response(body=b"ok"))

    upstream.answer = go_on

    await client.send(request("POST", "/", "Expect: 100-continue", "Content-Length: 5"))
    go_ahead = await client.interim()
    await client.send(b"hello")
    answered = await client.response()

    assert go_ahead.start_line == "HTTP/1.1 100 Continue"
    assert (answered.status, upstream.exchanges[0].request_body) == (200, b"hello")


async def test_client_may_be_refused_instead_of_told_to_continue(
    client: Client, upstream: Upstream
) -> None:
    async def refuse(exchange: Exchange) -> None:
        await exchange.send(response(417, body=b"no"))
        await exchange.gone()

    upstream.answer = refuse

    answered = await client.ask(request("POST", "/", "Expect: 100-continue", "Content-Length: 5"))
    rest = await client.rest()

    assert (answered.status, answered.interim) == (417, ())
    assert rest == b""


async def test_pipelined_requests_are_answered_in_their_order(
    client: Client, upstream: Upstream
) -> None:
    async def name_itself(exchange: Exchange) -> None:
        body = await exchange.body()
        await exchange.send(response(body=exchange.line.encode() + b" " + body))

    upstream.answer = name_itself
    sent = [
        request("POST", f"/{index}", body=b"x" * index)
        if index % 2
        else request("GET", f"/{index}")
        for index in range(50)
    ]

    await client.send(b"".join(sent))
    answered = [await client.response() for _ in sent]

    assert [each.text.split()[1] for each in answered] == [f"/{index}" for index in range(50)]


async def test_bytes_behind_a_response_end_the_upstream_connection_and_reach_nobody(
    client: Client, upstream: Upstream
) -> None:
    upstream.answer = in_turn(
        says(response(body=b"one") + response(body=b"smuggled")), says(response(body=b"two"))
    )

    first = await client.get()
    second = await client.get()

    assert (first.body, second.body) == (b"one", b"two")
    assert upstream.connections_made == 2


async def test_head_that_a_client_left_unfinished_does_not_hold_up_the_next_one(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    """The engine reuses a request's memory, but not what it remembers of its bytes."""
    data_plane.serve(upstream)
    whole = request("POST", "/", body=b"no line end" * 100)
    async with await data_plane.client() as leaving:
        await leaving.send(b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 100)
        await data_plane.turn()
    await data_plane.turn()

    async with await data_plane.client() as client:
        answered = await client.ask(whole)

    assert answered.status == 200


async def test_head_that_an_upstream_left_unfinished_does_not_hold_up_the_next_one(
    client: Client, upstream: Upstream
) -> None:
    upstream.answer = in_turn(
        says(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100, then_close=True),
        says(response(body=b"no line end" * 100)),
    )

    assert (await client.get()).status == 502
    assert (await client.get()).status == 200


async def test_body_until_close_that_is_cut_does_not_end_like_a_whole_one(
    client: Client, upstream: Upstream
) -> None:
    cut = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"
    upstream.answer = says(cut, then_close=True)
    await client.send(b"GET / HTTP/1.0\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        await client.rest()

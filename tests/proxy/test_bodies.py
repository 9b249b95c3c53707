"""Bodies: every byte arrives, whatever the framing, the size, and who is done first."""

import asyncio
import random

import pytest
from client import Client
from data_plane import DataPlane
from message import chunked, request, response
from upstream import OK, Exchange, Upstream, says

LARGE = random.Random(3).randbytes(10 * 1024 * 1024)

SIZES = [0, 1, 16 * 1024, 16 * 1024 + 1, 128 * 1024 + 1, len(LARGE)]
"""Around the engine's limits: what is copied behind a head, and a read buffer at its largest."""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_request_body_arrives_as_it_was_sent(
    size: int, framing: str, client: Client, upstream: Upstream
) -> None:
    body = LARGE[:size]

    if framing == "length":
        answered = await client.ask(request("POST", body=body))
    else:
        head = request("POST", "/", "Transfer-Encoding: chunked")
        answered = await client.ask(head + chunked(*_chunks_of(body)))

    assert answered.status == 200
    (exchange,) = upstream.complete()
    assert exchange.request_body == body


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("framing", ["length", "chunked", "until_close"])
async def test_response_body_arrives_as_it_was_sent(
    size: int, framing: str, client: Client, upstream: Upstream
) -> None:
    body = LARGE[:size]
    upstream.answer = says(
        {
            "length": response(body=body),
            "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            + chunked(*_chunks_of(body)),
            "until_close": b"HTTP/1.1 200 OK\r\n\r\n" + body,
        }[framing],
        then_close=framing == "until_close",
    )

    first = await client.get()
    second = await client.get()

    assert (first.status, first.body) == (200, body)
    assert (second.status, second.body) == (200, body)


async def test_both_bodies_flow_at_once(client: Client, upstream: Upstream) -> None:
    async def echo(exchange: Exchange) -> None:
        """Sends on what comes, so that nothing ends unless both directions move."""
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LARGE))
        left = len(LARGE)
        while left:
            part = await exchange.reader.read(min(left, 64 * 1024))
            left -= len(part)
            await exchange.send(part)
        exchange.request_body = b"echoed"

    upstream.answer = echo

    async with asyncio.TaskGroup() as both:
        both.create_task(client.send(request("POST", body=LARGE)))
        answered = both.create_task(client.response())

    assert answered.result().body == LARGE
    upstream.answer = OK
    assert (await client.get()).status == 200


async def test_a_large_response_that_breaks_off_is_not_taken_for_a_whole_one(
    client: Client, upstream: Upstream, data_plane: DataPlane
) -> None:
    async def break_off(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LARGE))
        await exchange.send(LARGE[: len(LARGE) // 2])
        exchange.close()

    upstream.answer = break_off

    await client.send(request())
    received = await client.rest()
    segment = await data_plane.segment()

    assert received.endswith(LARGE[: len(LARGE) // 2])
    assert segment.flag == "upstream_closed"
    assert segment.server.attributes["http.response.body.size"] == len(LARGE) // 2


async def test_a_client_that_leaves_a_large_response_ends_it_at_the_endpoint_too(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    async def pour(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % 2**40)
        with pytest.raises(ConnectionError):  # noqa: PT012 - it takes some until it is known
            while True:
                await exchange.send(LARGE)

    upstream.answer = pour
    data_plane.serve(upstream)

    async with await data_plane.client() as client:
        await client.send(request())
        await client.receive(len(LARGE))
    segment = await data_plane.segment()

    assert segment.flag == "client_gone"


async def test_response_may_come_before_the_request_was_read(
    client: Client, upstream: Upstream
) -> None:
    head_answered = asyncio.Event()

    async def answer_first(exchange: Exchange) -> None:
        await exchange.send(response(body=b"early"))
        head_answered.set()
        await exchange.body()

    upstream.answer = answer_first
    head = request("POST", "/", "Content-Length: 4")

    await client.send(head)
    answered = await client.response()

    assert answered.body == b"early"
    assert head_answered.is_set()


async def test_early_refusal_of_an_upload_reaches_a_client_that_is_still_sending(
    client: Client, upstream: Upstream
) -> None:
    async def refuse_and_close(exchange: Exchange) -> None:
        await exchange.send(response(413, "Connection: close", body=b"too large"))
        exchange.close()

    upstream.answer = refuse_and_close

    await client.send(request("POST", "/", f"Content-Length: {len(LARGE)}"))
    await client.send(LARGE[:100_000])
    answered = await client.response()
    await client.send(LARGE[100_000:200_000])
    rest = await client.rest()

    assert (answered.status, answered.body) == (413, b"too large")
    assert rest == b""


SMALL_RESPONSES = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"hel", b"lo"),
    "trailer": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'3;a=b\r\nhel\r\n2;c="d;e"\r\nlo\r\n0;f\r\nX-Sum: 1\r\n\r\n',
    "interim": b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("kind", SMALL_RESPONSES)
async def test_response_is_the_same_at_every_split(
    kind: str, data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    whole = SMALL_RESPONSES[kind]
    for at in range(1, len(whole)):

        async def split(exchange: Exchange, at: int = at) -> None:
            await exchange.body()
            await exchange.send(whole[:at])
            await data_plane.turn()
            await exchange.send(whole[at:])

        upstream.answer = split

        answered = await client.get()

        assert (answered.status, answered.body) == (200, b"hello"), at


SMALL_BODIES = {
    "length": b"Content-Length: 5\r\n\r\nhello",
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n"
    b'3;a=b\r\nhel\r\n2;c="d;e"\r\nlo\r\n0;f\r\nX-Sum: 1\r\n\r\n',
}


@pytest.mark.parametrize("kind", SMALL_BODIES)
async def test_request_is_the_same_at_every_split(
    kind: str, data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    whole = b"POST /p HTTP/1.1\r\nHost: shop.example\r\n" + SMALL_BODIES[kind]
    for at in range(1, len(whole)):
        await client.send(whole[:at])
        await data_plane.turn()
        await client.send(whole[at:])
        answered = await client.response()

        exchange = upstream.exchanges[-1]
        assert (answered.status, exchange.request_body) == (200, b"hello"), at
        assert not exchange.head.has("x-sum")


@pytest.mark.parametrize("kind", SMALL_RESPONSES)
async def test_response_is_the_same_byte_by_byte(
    kind: str, client: Client, upstream: Upstream
) -> None:
    whole = SMALL_RESPONSES[kind]
    upstream.answer = says(*(whole[at : at + 1] for at in range(len(whole))))

    answered = await client.get()

    assert (answered.status, answered.body) == (200, b"hello")


def _chunks_of(body: bytes) -> list[bytes]:
    """Of many sizes; none is empty."""
    sizes = random.Random(5)
    chunks, start = [], 0
    while start < len(body):
        end = start + sizes.choice([1, 7, 1000, 16 * 1024, 300_000])
        chunks.append(body[start:end])
        start = end
    return chunks

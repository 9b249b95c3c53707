"""A request may take as long as its route says, from its first byte to the last of its response,
whoever is slow."""

import asyncio
import socket
from collections.abc import Iterator

import pytest
from data_plane import DataPlane
from message import request
from upstream import Exchange, Upstream

from proxy.table import Endpoint, Retry, RetryOn, RoutePolicy

SHORT = RoutePolicy(request_timeout_ms=50)


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


async def test_endpoint_that_does_not_answer_in_time_is_a_gateway_timeout(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    upstream.answer = Exchange.gone
    data_plane.serve(upstream, policy=SHORT)
    async with await data_plane.client() as client:
        answered = await client.get()
    segment = await data_plane.segment()

    assert answered.status == 504
    assert "the request took longer than this route allows" in answered.text
    assert segment.flag == "request_timeout"
    assert segment.attempts[-1].attributes["error.type"] == "request_timeout"
    assert len(upstream.exchanges) == 1


async def test_request_that_is_over_its_time_is_not_repeated(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    upstream.answer = Exchange.gone
    retry = Retry(on=tuple(RetryOn), attempts=10, per_try_timeout_ms=40)
    data_plane.serve(upstream, policy=RoutePolicy(request_timeout_ms=100, retry=retry))
    async with await data_plane.client() as client:
        answered = await client.get()
    segment = await data_plane.segment()

    assert answered.status == 504
    assert segment.flag == "request_timeout"
    assert len(segment.attempts) <= 3


async def test_connection_is_waited_for_no_longer_than_the_request_may_take(
    data_plane: DataPlane, full: Endpoint
) -> None:
    data_plane.serve(full, policy=SHORT)
    async with await data_plane.client() as client:
        answered = await client.get()
    segment = await data_plane.segment()

    assert answered.status == 504
    assert segment.flag == "request_timeout"


async def test_attempts_time_bounds_its_connection_too(
    data_plane: DataPlane, full: Endpoint, upstream: Upstream
) -> None:
    retry = Retry(on=(RetryOn.CONNECT,), per_try_timeout_ms=50)
    data_plane.serve(full, upstream, policy=RoutePolicy(retry=retry))
    async with await data_plane.client() as client:
        answered = [(await client.get()).status for _ in range(2)]
    flags = [
        attempt.attributes.get("error.type")
        for segment in await data_plane.segments()
        for attempt in segment.attempts
    ]

    assert answered == [200, 200]
    assert "connect_timeout" in flags


async def test_response_that_is_not_over_in_time_is_cut(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    async def begin(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
        await exchange.gone()

    upstream.answer = begin
    data_plane.serve(upstream, policy=SHORT)
    async with await data_plane.client() as client:
        with pytest.raises(asyncio.IncompleteReadError):
            await client.get()
    segment = await data_plane.segment()

    assert segment.flag == "request_timeout"
    assert segment.server.attributes["http.response.status_code"] == 200


async def test_client_that_does_not_send_its_body_in_time_hears_so(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    upstream.answer = Exchange.gone
    data_plane.serve(upstream, policy=SHORT)
    async with await data_plane.client() as client:
        answered = await client.ask(request("POST", "/", "Content-Length: 5"))
        rest = await client.rest()

    assert answered.status == 504
    assert answered.head.one("connection") == "close"
    assert rest == b""

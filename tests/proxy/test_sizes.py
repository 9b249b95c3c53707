"""Bounds on what a client may send."""

import msgspec
import pytest
from data_plane import DataPlane
from message import chunked, request
from upstream import Upstream

from proxy.table import RoutePolicy

CHUNKED = request("POST", "/", "Transfer-Encoding: chunked")


async def test_body_that_is_as_long_as_it_may_be_passes(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, policy=RoutePolicy(request_body_bytes_max=5))

    async with await data_plane.client() as client:
        assert (await client.ask(request("POST", body=b"12345"))).status == 200
        assert (await client.ask(CHUNKED + chunked(b"123", b"45"))).status == 200

    assert [exchange.request_body for exchange in upstream.exchanges] == [b"12345", b"12345"]


async def test_body_that_says_to_be_too_long_is_refused_before_an_attempt(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, policy=RoutePolicy(request_body_bytes_max=5))

    async with await data_plane.client() as client:
        await client.send(request("POST", "/", "Content-Length: 6", "Expect: 100-continue"))
        answer = await client.response()
        assert await client.rest() == b""
    segment = await data_plane.segment()

    assert (answer.status, answer.interim) == (413, ())
    assert answer.head.one("connection") == "close"
    assert segment.flag == "body_too_large"
    assert segment.spans == (segment.server,)
    assert upstream.exchanges == []


async def test_chunks_that_become_too_long_are_refused_as_they_come(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, policy=RoutePolicy(request_body_bytes_max=5))

    async with await data_plane.client() as client:
        await client.send(CHUNKED + b"3\r\n123\r\n")
        await upstream.wait_for(lambda upstream: len(upstream.exchanges) == 1)
        await client.send(b"3\r\n456\r\n")
        answer = await client.response()
        assert await client.rest() == b""
    segment = await data_plane.segment()

    assert answer.status == 413
    assert answer.head.one("connection") == "close"
    assert segment.flag == "body_too_large"
    assert upstream.complete() == []


async def test_head_is_refused_above_the_bound_of_its_route(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    head = request("GET", "/", "X-Filler: " + "a" * 400)
    policy = RoutePolicy(request_head_bytes_max=len(head))
    data_plane.serve(upstream, policy=policy)

    async with await data_plane.client() as client:
        assert (await client.ask(head)).status == 200
        answer = await client.ask(head.replace(b"aaaa", b"aaaaa", 1))
        assert (await client.ask(head)).status == 200  # The connection goes on.
    segments = await data_plane.segments()

    assert answer.status == 431
    assert "head is larger" in answer.text
    assert [segment.flag for segment in segments] == [None, "head_too_large", None]
    assert len(upstream.exchanges) == 2


@pytest.mark.parametrize("field", ["request_body_bytes_max", "request_head_bytes_max"])
def test_negative_size_is_refused(field: str, data_plane: DataPlane) -> None:
    rejected = data_plane.rejected(msgspec.structs.replace(RoutePolicy(), **{field: -1}))

    assert rejected.message == f"{field} is -1, which is less than 0"

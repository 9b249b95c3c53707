"""Policies mean the same whatever the version of HTTP, on either side."""

import pytest
from data_plane import DataPlane
from http2 import GET, Http2Client, Http2Upstream, with_fields
from upstream import Upstream

from proxy.table import HeaderEdits, Protocol, Redirect, Rewrite, RoutePolicy

POST = with_fields(GET, (":method", "POST"))


async def test_redirect_of_a_stream(data_plane: DataPlane, upstream: Upstream) -> None:
    data_plane.serve(upstream, policy=RoutePolicy(redirect=Redirect("https://www.$host$path", 301)))

    async with Http2Client(data_plane.ingress.address) as client:
        answer = await client.ask(with_fields(GET, (":path", "/%61/b")))

    assert (answer.status, answer.one("location")) == (301, "https://www.shop.example/a/b")
    assert upstream.exchanges == []


@pytest.mark.parametrize("path", ["/x/../admin", "/x/%2e%2e/admin", "/admin\\x", "/%zz"])
async def test_path_tricks_of_a_stream_are_refused(
    path: str, data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream)

    async with Http2Client(data_plane.ingress.address) as client:
        answer = await client.ask(with_fields(GET, (":path", path)))

    assert answer.status == 400
    assert upstream.exchanges == []


async def test_denied_stream_does_not_end_the_others(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, policy=RoutePolicy(deny=("127.0.0.1",)))

    async with Http2Client(data_plane.ingress.address) as client:
        answers = [await client.ask(GET) for _ in range(2)]

    assert [answer.status for answer in answers] == [403, 403]


@pytest.mark.parametrize("length", [(("content-length", "6"),), ()], ids=["said", "counted"])
async def test_body_of_a_stream_is_bounded(
    length: tuple[tuple[str, str], ...], data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, policy=RoutePolicy(request_body_bytes_max=5))

    async with Http2Client(data_plane.ingress.address) as client:
        answer = await client.ask(with_fields(POST, *length), b"123456")

    assert answer.status == 413
    assert upstream.complete() == []


async def test_head_of_a_stream_is_bounded(data_plane: DataPlane, upstream: Upstream) -> None:
    data_plane.serve(upstream, policy=RoutePolicy(request_head_bytes_max=400))

    async with Http2Client(data_plane.ingress.address) as client:
        small = await client.ask(GET)
        large = await client.ask(with_fields(GET, ("x-filler", "a" * 400)))

    assert (small.status, large.status) == (200, 431)


async def test_fields_and_path_are_edited_from_http_2_to_http_2(data_plane: DataPlane) -> None:
    policy = RoutePolicy(
        request_headers=HeaderEdits(
            remove=("cookie",), set=(("Host", "api.internal:81"), ("X-Team", "$host"))
        ),
        response_headers=HeaderEdits(set=(("X-Team", "shop"),)),
        rewrite=Rewrite("^/api/(.*)", "/$1"),
    )
    async with Http2Upstream() as upstream:
        data_plane.serve(upstream.endpoint, protocol=Protocol.H2, policy=policy)
        async with Http2Client(data_plane.ingress.address) as client:
            fields = with_fields(GET, (":path", "/api/v1?a=b"), ("cookie", "a=b"))
            answer = await client.ask(fields)

        asked = upstream.requests[0]
        assert (asked.one(":authority"), asked.one(":path")) == ("api.internal:81", "/v1?a=b")
        assert (asked.one("x-team"), asked.has("cookie")) == ("shop.example", False)
        assert answer.one("x-team") == "shop"

"""Answers without a backend: to another address, to HTTPS."""

import pytest
from data_plane import DataPlane
from message import request
from upstream import Upstream

from proxy.table import Redirect, RoutePolicy


@pytest.mark.parametrize(
    ("location", "target", "wanted"),
    [
        ("https://www.example$path$query", "/a?b=c", "https://www.example/a?b=c"),
        ("https://www.example$path?$query", "/a", "https://www.example/a"),
        ("https://www.example/?was=$path&$query", "/a?b", "https://www.example/?was=/a&b"),
        ("$scheme://www.$host/", "/a", "http://www.shop.example/"),
        ("/new", "/a", "http://shop.example:81/new"),
        ("$path", "/%61|b", "http://shop.example:81/a%7Cb"),
        ("$path", "//evil.example/x", "http://shop.example:81//evil.example/x"),
        ("/$path", "/evil.example", "http://shop.example:81//evil.example"),
        ("$path", "/%0d%0aSet-Cookie:a=b", "http://shop.example:81/%0D%0ASet-Cookie:a=b"),
    ],
)
async def test_location_has_what_the_template_names(
    location: str, target: str, wanted: str, data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, policy=RoutePolicy(redirect=Redirect(location)))

    async with await data_plane.client() as client:
        answer = await client.get(target, host="Shop.Example:81")

    assert answer.status == 308
    assert answer.head.one("location") == wanted.replace("shop.example:81", "Shop.Example:81")
    assert upstream.exchanges == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_status_is_that_of_the_policy_and_the_connection_goes_on(
    status: int, data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, policy=RoutePolicy(redirect=Redirect("/new", status)))

    async with await data_plane.client() as client:
        assert (await client.get()).status == status
        assert (await client.ask(request("HEAD"))).status == status


async def test_redirect_leaves_a_server_span_and_no_other(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, policy=RoutePolicy(redirect=Redirect("/new")))

    async with await data_plane.client() as client:
        await client.get()
    segment = await data_plane.segment()

    assert segment.spans == (segment.server,)
    assert segment.server.attributes["http.response.status_code"] == 308
    assert segment.flag is None
    assert "error.type" not in segment.server.attributes


async def test_request_with_a_body_is_redirected_without_reading_it(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, policy=RoutePolicy(redirect=Redirect("/new")))

    async with await data_plane.client() as client:
        answer = await client.ask(request("POST", body=b"GET /smuggled HTTP/1.1\r\n\r\n"))
        assert answer.status == 308
        assert answer.head.one("connection") == "close"
        assert await client.rest() == b""


@pytest.mark.parametrize(
    ("target", "host", "wanted"),
    [
        ("/a?b=c", "shop.example", "https://shop.example/a?b=c"),
        ("/", "Shop.Example:8080", "https://shop.example/"),
        ("//evil.example", "shop.example", "https://shop.example//evil.example"),
        ("/", "[::1]:8080", "https://[::1]/"),
    ],
)
async def test_plain_http_is_sent_to_https(
    target: str, host: str, wanted: str, data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, policy=RoutePolicy(https_only=True))

    async with await data_plane.client() as client:
        answer = await client.get(target, "X-Forwarded-Proto: https", host=host)

    assert (answer.status, answer.head.one("location")) == (308, wanted)
    assert upstream.exchanges == []


async def test_client_that_names_no_host_cannot_be_sent_to_https(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, policy=RoutePolicy(https_only=True))

    async with await data_plane.client() as client:
        answer = await client.ask(b"GET / HTTP/1.0\r\n\r\n")

    assert answer.status == 400
    assert upstream.exchanges == []


@pytest.mark.parametrize(
    ("location", "status", "wanted"),
    [
        ("/new", 200, "status"),
        ("//evil.example", 308, "location"),
        ("https://$path", 308, "location"),
        ("javascript:alert(1)", 308, "location"),
        ("/a\r\nSet-Cookie: a=b", 308, "location"),
        ("/$uri", 308, "$uri"),
    ],
)
def test_redirect_that_cannot_work_is_refused(
    location: str, status: int, wanted: str, data_plane: DataPlane
) -> None:
    rejected = data_plane.rejected(RoutePolicy(redirect=Redirect(location, status)))

    assert rejected.message.startswith("redirect: ")
    assert wanted in rejected.message

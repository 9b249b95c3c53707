"""Another path for the endpoint."""

import pytest
from data_plane import DataPlane
from message import request
from upstream import Upstream

from proxy.table import Rewrite, RoutePolicy


@pytest.mark.parametrize(
    ("pattern", "replacement", "target", "wanted"),
    [
        ("^/api/(.*)$", "/$1", "/api/v1/items?q=a/b", "/v1/items?q=a/b"),
        ("^/(?<user>[^/]+)/home", "/u/${user}/h", "/joe/home", "/u/joe/h"),
        ("^/api", "", "/api/x", "/x"),
        ("^/a", "/b", "/%61/x", "/b/x"),
        ("^/a/", "/b/", "//a///x", "/b/x"),
        ("^/a/", "/b/", "/a/x%2Fy?", "/b/x%2Fy?"),
        ("^/other", "/b", "/a//x", "/a//x"),
    ],
)
async def test_endpoint_gets_the_rewritten_path_and_the_query(
    pattern: str,
    replacement: str,
    target: str,
    wanted: str,
    data_plane: DataPlane,
    upstream: Upstream,
) -> None:
    data_plane.serve(upstream, policy=RoutePolicy(rewrite=Rewrite(pattern, replacement)))

    async with await data_plane.client() as client:
        answer = await client.get(target)

    assert answer.status == 200
    assert upstream.exchanges[0].line == f"GET {wanted} HTTP/1.1"


async def test_span_has_the_path_of_the_client_and_the_rewritten_one(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, policy=RoutePolicy(rewrite=Rewrite("^/api", "/v1")))

    async with await data_plane.client() as client:
        await client.get("/api/items?secret=1")
    server = (await data_plane.segment()).server

    assert server.attributes["url.path"] == "/api/items"
    assert server.attributes["spanway.rewrite.path"] == "/v1/items"


@pytest.mark.parametrize("target", ["/x../secret", "/x..", "/x..%2fsecret", "/x%2e%2e/secret"])
async def test_capture_cannot_climb_out_of_its_directory(
    target: str, data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, policy=RoutePolicy(rewrite=Rewrite("^/x(.*)$", "/data/$1")))

    async with await data_plane.client() as client:
        answer = await client.get(target)

    assert answer.status == 400
    assert upstream.exchanges == []
    assert (await data_plane.segment()).flag == "bad_request"


async def test_path_that_would_take_long_to_match_is_refused(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, policy=RoutePolicy(rewrite=Rewrite("^/x(.*)$", "/data/$1")))

    async with await data_plane.client() as client:
        query = "q" * 8000
        assert (await client.get(f"/x{'y' * 4094}?{query}")).status == 200
        assert (await client.get(f"/x{'y' * 4095}")).status == 400

    assert len(upstream.exchanges) == 1


async def test_rule_that_makes_no_path_is_at_fault_itself(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, policy=RoutePolicy(rewrite=Rewrite("/a(.*)", "$1")))

    async with await data_plane.client() as client:
        answer = await client.get("/ab")
    segment = await data_plane.segment()

    assert (answer.status, segment.flag) == (500, "bad_rewrite")
    assert segment.balance is None
    assert upstream.exchanges == []


async def test_options_of_the_host_as_a_whole_are_not_rewritten(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, policy=RoutePolicy(rewrite=Rewrite("^/", "/v1/")))

    async with await data_plane.client() as client:
        await client.ask(request("OPTIONS", "*"))

    assert upstream.exchanges[0].line == "OPTIONS * HTTP/1.1"


@pytest.mark.parametrize(
    ("pattern", "replacement", "wanted"),
    [
        ("^/(", "/", "unclosed group"),
        ("^/a", "/$1", "$1"),
        ("^/a", "/a\r\nX-Evil: b", "not in a path"),
        ("^/(a)", "/x?q=$1", "not in a path"),
        ("(((a{100}){100}){100}){100}", "/", "size limit"),
        ("^/(" + "|".join(["(a)(b)?"] * 300) + ")*$", "/", "size limit"),
    ],
)
def test_rule_that_cannot_work_is_refused(
    pattern: str, replacement: str, wanted: str, data_plane: DataPlane
) -> None:
    rejected = data_plane.rejected(RoutePolicy(rewrite=Rewrite(pattern, replacement)))

    assert rejected.message.startswith("rewrite: ")
    assert wanted in rejected.message

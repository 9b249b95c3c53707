"""What a policy changes of the fields of requests and responses."""

import pytest
from client import Client
from data_plane import ROUTE, DataPlane, backend, table
from message import request, response
from upstream import Upstream, closes, says

from proxy.table import HeaderEdits, Listener, ListenerKind, Redirect, RoutePolicy

NAMES_REFUSED = (
    "Content-Length",
    "Transfer-Encoding",
    "transfer_encoding",
    "Connection",
    "Keep-Alive",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Upgrade",
    "Expect",
    "Host",
    "a b",
    "",
)


async def test_request_fields_are_removed_set_and_added(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    edits = HeaderEdits(
        remove=("Cookie",), set=(("X-Team", "shop"),), add=(("X-Seen", "b"), ("x-seen", "c"))
    )
    data_plane.serve(upstream, policy=RoutePolicy(request_headers=edits))

    async with await data_plane.client() as client:
        await client.get("/", "cookie: a=b", "x-TEAM: evil", "X-Team: worse", "X-Seen: a")

    head = upstream.exchanges[0].head
    assert not head.has("cookie")
    assert head.all("x-team") == ["shop"]
    assert head.all("x-seen") == ["a", "b", "c"]


@pytest.mark.parametrize("imitation", ["X_Team", "x_TEAM", "X_Real_User", "X-Real_User"])
async def test_no_client_can_say_in_another_spelling_what_the_policy_says(
    imitation: str, data_plane: DataPlane, upstream: Upstream
) -> None:
    """WSGI and CGI make HTTP_X_TEAM of both `X-Team` and `X_Team`."""
    edits = HeaderEdits(remove=("X-Real-User",), set=(("X-Team", "shop"),))
    data_plane.serve(upstream, policy=RoutePolicy(request_headers=edits))

    async with await data_plane.client() as client:
        await client.get("/", f"{imitation}: evil", "X_Other: kept")

    head = upstream.exchanges[0].head
    assert not head.has(imitation.lower())
    assert head.all("x_other") == ["kept"]


@pytest.mark.parametrize("name", ["X-Team", "x_team", "X-Real-User"])
async def test_no_client_can_say_in_a_trailer_what_the_policy_says(
    name: str, data_plane: DataPlane, upstream: Upstream
) -> None:
    """Some servers take trailers for fields of the head (CVE-2025-12642)."""
    edits = HeaderEdits(remove=("X-Real-User",), set=(("X-Team", "shop"),))
    data_plane.serve(upstream, policy=RoutePolicy(request_headers=edits))
    chunks = b"5\r\nhello\r\n0\r\n"
    head = request("POST", "/", "Transfer-Encoding: chunked")

    async with await data_plane.client() as client:
        answered = await client.ask(head + chunks + b"X-Other: 1\r\n\r\n")
        refused = await client.ask(head + chunks + f"{name}: evil\r\n\r\n".encode())

    assert (answered.status, refused.status) == (200, 400)
    (whole,) = upstream.complete()
    assert whole.reader.trailers == (("x-other", "1"),)


async def test_response_fields_are_removed_set_and_added(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    edits = HeaderEdits(
        remove=("X-Powered-By",), set=(("Server", "shop"),), add=(("Set-Cookie", "b=2"),)
    )
    data_plane.serve(upstream, policy=RoutePolicy(response_headers=edits))
    fields = ("x-powered-by: PHP", "Server: a", "server: b", "Set-Cookie: a=1")
    upstream.answer = says(response(200, *fields, body=b"hello"))

    async with await data_plane.client() as client:
        answer = await client.get()

    assert answer.body == b"hello"
    assert not answer.head.has("x-powered-by")
    assert answer.head.all("server") == ["shop"]
    assert answer.head.all("set-cookie") == ["a=1", "b=2"]


async def test_fields_that_the_engine_writes_can_be_replaced(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    edits = HeaderEdits(remove=("X-Real-IP", "traceparent"), set=(("X-Forwarded-Proto", "https"),))
    data_plane.serve(upstream, policy=RoutePolicy(request_headers=edits))

    async with await data_plane.client() as client:
        await client.get()

    head = upstream.exchanges[0].head
    assert not head.has("x-real-ip")
    assert not head.has("traceparent")
    assert head.all("x-forwarded-proto") == ["https"]


async def test_values_name_facts_of_the_request(data_plane: DataPlane, upstream: Upstream) -> None:
    edits = HeaderEdits(
        set=(("X-Facts", "$scheme $host ${client_ip} $request_id $$1"), ("X-Trace", "$trace_id"))
    )
    policy = RoutePolicy(request_headers=edits, response_headers=edits)
    data_plane.serve(upstream, policy=policy)

    async with await data_plane.client() as client:
        answer = await client.get("/", "X-Request-ID: r-1", host="Shop.Example:81")

    segment = await data_plane.segment()
    for head in (upstream.exchanges[0].head, answer.head):
        assert head.one("x-facts") == "http shop.example 127.0.0.1 r-1 $1"
        assert head.one("x-trace") == segment.server.trace_id


async def test_endpoint_is_told_another_host_where_the_policy_sets_one(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    edits = HeaderEdits(set=(("Host", "api.internal:81"),))
    data_plane.serve(upstream, policy=RoutePolicy(request_headers=edits))

    async with await data_plane.client() as client:
        await client.get(host="shop.example")
    segment = await data_plane.segment()

    head = upstream.exchanges[0].head
    assert head.all("host") == ["api.internal:81"]
    assert head.all("x-forwarded-host") == ["shop.example"]
    assert segment.server.attributes["server.address"] == "shop.example"


@pytest.mark.parametrize("redirect", [None, Redirect("/elsewhere")])
async def test_answers_of_the_engine_are_edited_too(
    redirect: Redirect | None, data_plane: DataPlane, upstream: Upstream
) -> None:
    edits = HeaderEdits(remove=("server",), set=(("Strict-Transport-Security", "max-age=1"),))
    data_plane.serve(upstream, policy=RoutePolicy(response_headers=edits, redirect=redirect))
    upstream.answer = closes

    async with await data_plane.client() as client:
        answer = await client.ask(request("POST", body=b""))

    assert answer.status == (308 if redirect else 502)
    assert answer.head.one("strict-transport-security") == "max-age=1"
    assert not answer.head.has("server")


async def test_interim_responses_are_not_edited(data_plane: DataPlane, upstream: Upstream) -> None:
    edits = HeaderEdits(set=(("X-Team", "shop"),))
    data_plane.serve(upstream, policy=RoutePolicy(response_headers=edits))
    upstream.answer = says(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + response())

    async with await data_plane.client() as client:
        answer = await client.get()

    assert [head.fields for head in answer.interim] == [(("link", "</a>"),)]
    assert answer.head.one("x-team") == "shop"


async def test_policy_of_a_service_listener_edits_too(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    shop = backend(upstream)
    listener = Listener(
        data_plane.free_port().address, ListenerKind.SERVICE, shop.key, policy=ROUTE.policy
    )
    edited = RoutePolicy(request_headers=HeaderEdits(set=(("X-Team", "shop"),)))
    served = table((listener,), (shop,), (), policies={ROUTE.policy: edited})
    assert data_plane.publish(served) == []

    async with await Client.connect(listener.address) as client:
        await client.get()

    assert upstream.exchanges[0].head.all("x-team") == ["shop"]


@pytest.mark.parametrize("name", NAMES_REFUSED)
@pytest.mark.parametrize("how", ["remove", "add"])
def test_name_that_is_not_for_a_policy_is_refused(
    name: str, how: str, data_plane: DataPlane
) -> None:
    edits = HeaderEdits(remove=(name,)) if how == "remove" else HeaderEdits(add=((name, "1"),))
    for policy in (RoutePolicy(request_headers=edits), RoutePolicy(response_headers=edits)):
        rejected = data_plane.rejected(policy)
        assert "_headers " in rejected.message


@pytest.mark.parametrize("value", ["a\r\nX-Evil: b", "a\nb", "a\0b", "$nothing", "$path"])
def test_value_that_is_no_field_value_is_refused(value: str, data_plane: DataPlane) -> None:
    edits = HeaderEdits(set=(("X-Team", value),))

    rejected = data_plane.rejected(RoutePolicy(request_headers=edits))

    assert '"X-Team"' in rejected.message

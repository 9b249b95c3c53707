"""What is added to a message on its way, and what is taken out."""

import msgspec
import pytest
from client import Client
from data_plane import DataPlane, backend, table
from message import Head, request, response
from upstream import Upstream, says

from proxy.table import Listener, ListenerKind

ORIGIN = {
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
    "forwarded",
}

SPOOFED = (
    "X-Forwarded-For: 6.6.6.6",
    "x-forwarded-host: evil.example",
    "X-FORWARDED-PORT: 666",
    "X-Forwarded-Proto: https",
    "X-Real-IP: 6.6.6.6",
    "Forwarded: for=6.6.6.6",
)


def origin_of(head: Head) -> dict[str, list[str]]:
    return {name: head.all(name) for name in ORIGIN if head.has(name)}


@pytest.mark.parametrize("fields", [(), SPOOFED], ids=["nothing_said", "spoofed"])
async def test_edge_says_where_a_request_came_from_whatever_the_client_says(
    fields: tuple[str, ...], data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    await client.get("/", *fields, host="shop.example:8080")

    assert origin_of(upstream.exchanges[0].head) == {
        "x-forwarded-for": ["127.0.0.1"],
        "x-real-ip": ["127.0.0.1"],
        "x-forwarded-host": ["shop.example:8080"],
        "x-forwarded-proto": ["http"],
        "x-forwarded-port": [data_plane.ingress.address.rpartition(":")[2]],
    }


@pytest.mark.parametrize(
    ("address", "wanted"), [("127.0.0.1", "for=127.0.0.1"), ("::1", 'for="[::1]"')]
)
async def test_edge_says_it_by_rfc_7239_where_asked_to(
    address: str, wanted: str, data_plane: DataPlane, upstream: Upstream
) -> None:
    listener = Listener(data_plane.free_port(address).address, ListenerKind.INGRESS, forwarded=True)
    assert data_plane.publish(table((listener,), (backend(upstream),))) == []

    async with await Client.connect(listener.address) as client:
        await client.get("/", *SPOOFED)

    head = upstream.exchanges[0].head
    assert head.all("forwarded") == [f'{wanted};host="shop.example";proto=http']
    assert head.all("x-real-ip") == [address]


async def test_service_listener_passes_on_what_the_edge_said(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    shop = backend(upstream)
    listener = Listener(data_plane.free_port().address, ListenerKind.SERVICE, shop.key)
    assert data_plane.publish(table((listener,), (shop,), ())) == []

    async with await Client.connect(listener.address) as client:
        await client.get("/", *SPOOFED)

    assert origin_of(upstream.exchanges[0].head) == {
        name.lower(): [value] for name, value in (field.split(": ") for field in SPOOFED)
    }


async def test_service_listener_adds_nothing_about_the_origin(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    shop = backend(upstream)
    listener = Listener(data_plane.free_port().address, ListenerKind.SERVICE, shop.key)
    assert data_plane.publish(table((listener,), (shop,), ())) == []

    async with await Client.connect(listener.address) as client:
        await client.get()

    assert origin_of(upstream.exchanges[0].head) == {}


async def test_request_id_of_the_client_is_kept(
    data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    await client.get("/", "x-REQUEST-id: mine-1")
    segment = await data_plane.segment()

    assert upstream.exchanges[0].head.all("x-request-id") == ["mine-1"]
    assert segment.server.attributes["spanway.request.id"] == "mine-1"


async def test_request_id_is_made_for_each_request_that_has_none(
    data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    await client.get()
    await client.get()
    segments = await data_plane.segments()

    ids = [exchange.head.one("x-request-id") for exchange in upstream.exchanges]
    assert len(set(ids)) == 2
    assert all(id_ is not None and len(id_) == 32 for id_ in ids)
    assert ids == [each.server.attributes["spanway.request.id"] for each in segments]


async def test_repeated_request_id_becomes_one(client: Client, upstream: Upstream) -> None:
    await client.get("/", "X-Request-ID: a", "X-Request-ID: b")

    assert upstream.exchanges[0].head.all("x-request-id") == ["a"]


HOP_BY_HOP = (
    "Connection: X-Private, close-not, keep-alive",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "TE: trailers",
    "Upgrade: h2c",
    "HTTP2-Settings: AAMAAABkAAQAAP__",
    "X-Private: for this hop",
)


async def test_fields_of_one_connection_end_at_the_proxy_on_the_way_there(
    client: Client, upstream: Upstream
) -> None:
    await client.get("/", *HOP_BY_HOP, "X-Public: for all")

    # That the others are gone, `Upstream` sees to itself.
    assert not upstream.exchanges[0].head.has("x-private")
    assert upstream.exchanges[0].head.all("x-public") == ["for all"]


async def test_fields_of_one_connection_end_at_the_proxy_on_the_way_back(
    client: Client, upstream: Upstream
) -> None:
    upstream.answer = says(response(200, *HOP_BY_HOP, "X-Public: for all", body=b"ok"))

    answered = await client.get()

    assert set(answered.head.fields) == {("x-public", "for all"), ("content-length", "2")}


@pytest.mark.parametrize("named", ["Host", "Content-Length", "Transfer-Encoding"])
async def test_connection_cannot_take_out_what_the_upstream_relies_on(
    named: str, client: Client, upstream: Upstream
) -> None:
    answered = await client.ask(request("POST", "/", f"Connection: {named}", body=b"x"))

    assert answered.status == 400
    assert upstream.exchanges == []


@pytest.mark.parametrize(
    "named", ["X-Forwarded-For", "X-Real-IP", "X-Request-ID", "traceparent", "Forwarded"]
)
async def test_connection_cannot_take_out_what_the_proxy_says(
    named: str, data_plane: DataPlane, upstream: Upstream
) -> None:
    listener = msgspec.structs.replace(data_plane.ingress, forwarded=True)
    assert data_plane.publish(table((listener,), (backend(upstream),))) == []
    async with await data_plane.client() as client:
        await client.get("/", f"Connection: {named}")

    assert upstream.exchanges[0].head.has(named.lower())


async def test_proxy_field_does_not_become_a_backends_environment(
    client: Client, upstream: Upstream
) -> None:
    """httpoxy: a CGI-like backend takes `Proxy` for its HTTP_PROXY."""
    await client.get("/", "Proxy: evil.example:80")

    assert not upstream.exchanges[0].head.has("proxy")


@pytest.mark.parametrize("imitation", ["X_Forwarded_For", "X_REAL_IP", "x_forwarded-proto"])
async def test_names_that_a_backend_could_take_for_ours_are_dropped(
    imitation: str, client: Client, upstream: Upstream
) -> None:
    await client.get("/", f"{imitation}: 6.6.6.6")

    assert not upstream.exchanges[0].head.has(imitation.lower())


@pytest.mark.parametrize("host", ["shop.example", "SHOP.example:8080", "192.0.2.1", "[::1]:80"])
async def test_host_is_what_the_client_asked_for(
    host: str, client: Client, upstream: Upstream
) -> None:
    await client.get(host=host)

    assert upstream.exchanges[0].head.all("host") == [host]


async def test_other_fields_arrive_in_order_with_their_bytes(
    client: Client, upstream: Upstream
) -> None:
    fields = ("Cookie: a=b; c=d", "X-A: 1", "X-B: \xe4\xff", "X-A: 2", "X-Empty: ")
    upstream.answer = says(response(200, *fields))

    answered = await client.get("/", *fields)

    got = [pair for pair in upstream.exchanges[0].head.fields if pair[0] in FIELDS_BETWEEN]
    assert got == [pair for pair in answered.head.fields if pair[0] in FIELDS_BETWEEN]
    assert got == [
        ("cookie", "a=b; c=d"),
        ("x-a", "1"),
        ("x-b", "\xe4\xff"),
        ("x-a", "2"),
        ("x-empty", ""),
    ]


FIELDS_BETWEEN = {"cookie", "x-a", "x-b", "x-empty"}


async def test_status_and_reason_are_the_upstreams(client: Client, upstream: Upstream) -> None:
    upstream.answer = says(b"HTTP/1.1 299 Quite So\r\nContent-Length: 0\r\n\r\n")

    answered = await client.get()

    assert answered.head.start_line == "HTTP/1.1 299 Quite So"

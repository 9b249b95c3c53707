"""The PROXY protocol: whom a connection is for, told by who is in front of us."""

import ipaddress
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from client import Client
from data_plane import DataPlane
from message import request
from upstream import Upstream

VECTORS = Path(__file__).parents[1] / "vectors" / "proxy_protocol.json"
CASES: list[dict[str, Any]] = json.loads(VECTORS.read_text())["cases"]
GET = request()
V1 = b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 8443\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V2 = SIGNATURE + bytes.fromhex("21 11 000f c0000201 c6336402 9c40 20fb 04 0000")
"""The same as `V1`, and a field that says nothing."""


@pytest.fixture
def announcing(data_plane: DataPlane, upstream: Upstream) -> DataPlane:
    """Wants a header from everybody."""
    return behind(data_plane, upstream)


def behind(data_plane: DataPlane, upstream: Upstream, **changes: Any) -> DataPlane:
    changes = {"proxy_protocol": True, **changes}
    data_plane.ingress = msgspec.structs.replace(data_plane.ingress, **changes)
    data_plane.serve(upstream)
    return data_plane


def end(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    ip = ipaddress.ip_address(host.strip("[]"))
    return str(getattr(ip, "ipv4_mapped", None) or ip), int(port)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case["want"]], ids=lambda case: case["name"]
)
async def test_client_is_the_one_that_the_header_names(
    case: dict[str, Any], announcing: DataPlane, upstream: Upstream
) -> None:
    async with await announcing.client() as client:
        answered = await client.ask_after(case["given"].encode("latin-1"), GET)
        itself = ("127.0.0.1", client.port)
    segment = await announcing.segment()

    source = case["want"]["source"]
    address, port = end(source) if source else itself
    attributes = segment.server.attributes
    assert answered.status == 200
    assert attributes["client.address"] == address
    assert attributes.get("client.port", 0) == port
    assert upstream.exchanges[0].head.all("x-forwarded-for") == [address]
    if source:
        assert attributes["network.peer.address"] == "127.0.0.1"
        assert attributes["network.peer.port"] == itself[1]
    else:
        assert "network.peer.address" not in attributes


@pytest.mark.parametrize(
    "case", [case for case in CASES if not case["want"]], ids=lambda case: case["name"]
)
async def test_connection_with_another_beginning_is_closed_and_counted(
    case: dict[str, Any], announcing: DataPlane, upstream: Upstream
) -> None:
    async with await announcing.client() as client:
        await client.send(case["given"].encode("latin-1") + GET)
        assert await client.closed() == b""

    assert announcing.engine.stats().proxy_headers_missing == 1
    assert upstream.exchanges == []
    assert await announcing.spans() == []


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
async def test_header_may_come_byte_by_byte_and_the_request_with_it(
    header: bytes, announcing: DataPlane, upstream: Upstream
) -> None:
    async with await announcing.client() as client:
        for byte in header + GET:
            await client.send(bytes([byte]))
        first = await client.response()
        second = await client.get()

    assert (first.status, second.status) == (200, 200)
    for exchange in upstream.exchanges:
        assert exchange.head.all("x-forwarded-for") == ["192.0.2.1"]
        assert exchange.head.all("x-real-ip") == ["192.0.2.1"]
        assert exchange.head.all("x-forwarded-port") == ["8443"]


async def test_header_that_does_not_come_in_time_closes_the_connection(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    behind(data_plane, upstream, head_timeout_ms=20)
    async with await data_plane.client() as client:
        await client.send(V1[:-1])
        assert await client.rest() == b""

    assert data_plane.engine.stats().proxy_headers_missing == 1


async def test_client_that_leaves_within_the_header_is_counted(announcing: DataPlane) -> None:
    async with await announcing.client() as client:
        await client.send(V2[:20])
        client.writer.write_eof()
        assert await client.rest() == b""

    assert announcing.engine.stats().proxy_headers_missing == 1


async def test_nobody_but_the_trusted_proxies_sends_a_header(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    behind(data_plane, upstream, trusted_proxies=("10.0.0.0/8",))
    async with await data_plane.client() as client:
        plain = await client.get()
    async with await data_plane.client() as client:
        spoofed = await client.ask_after(V1, GET)

    assert (plain.status, spoofed.status) == (200, 400)
    assert upstream.exchanges[0].head.all("x-forwarded-for") == ["127.0.0.1"]
    assert data_plane.engine.stats().proxy_headers_missing == 0


async def test_trusted_proxy_must_send_a_header(data_plane: DataPlane, upstream: Upstream) -> None:
    behind(data_plane, upstream, trusted_proxies=("127.0.0.1",))
    async with await data_plane.client() as client:
        await client.send(GET)
        assert await client.closed() == b""

    assert data_plane.engine.stats().proxy_headers_missing == 1


async def test_announced_client_is_a_trusted_proxy_only_by_its_own_address(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    behind(data_plane, upstream, trusted_proxies=("127.0.0.1",))
    async with await data_plane.client() as client:
        await client.ask_after(V1, request("GET", "/", "X-Forwarded-For: 6.6.6.6"))

    assert upstream.exchanges[0].head.all("x-forwarded-for") == ["192.0.2.1"]


async def test_no_header_is_taken_where_none_is_wanted(client: Client) -> None:
    assert (await client.ask_after(V1, GET)).status == 400

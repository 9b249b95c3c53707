"""The PROXY protocol: whom a connection is for, told by who is in front of us, and by us."""

import asyncio
import ipaddress
import json
import socket
import ssl
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
from client import Client
from data_plane import DataPlane, backend, table
from http2 import Http2Upstream
from message import DEADLINE_S, Tap, request, response
from upstream import Upstream

from proxy.table import Endpoint, Listener, Protocol, ProxyProtocol, UpstreamTls

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


async def v1_line(tap: Tap) -> bytes:
    return await tap.readuntil(b"\r\n")


async def v2_header(tap: Tap) -> bytes:
    fixed = await tap.readexactly(16)
    return fixed + await tap.readexactly(struct.unpack(">H", fixed[14:])[0])


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

    await announcing.stop()  # What is counted is counted by then.
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

    await data_plane.stop()  # What is counted is counted by then.
    assert data_plane.engine.stats().proxy_headers_missing == 1


async def test_client_that_leaves_within_the_header_is_counted(announcing: DataPlane) -> None:
    async with await announcing.client() as client:
        await client.send(V2[:20])
        client.writer.write_eof()
        assert await client.rest() == b""

    await announcing.stop()  # What is counted is counted by then.
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
    await data_plane.stop()  # What is counted is counted by then.
    assert data_plane.engine.stats().proxy_headers_missing == 0


async def test_trusted_proxy_must_send_a_header(data_plane: DataPlane, upstream: Upstream) -> None:
    behind(data_plane, upstream, trusted_proxies=("127.0.0.1",))
    async with await data_plane.client() as client:
        await client.send(GET)
        assert await client.closed() == b""

    await data_plane.stop()  # What is counted is counted by then.
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


@pytest.mark.parametrize("version", [ProxyProtocol.V1, ProxyProtocol.V2])
async def test_endpoint_is_told_the_client_on_a_connection_of_its_own(
    version: ProxyProtocol, data_plane: DataPlane
) -> None:
    preamble = v1_line if version is ProxyProtocol.V1 else v2_header
    async with Upstream(preamble=preamble) as upstream:
        data_plane.serve(upstream, proxy_protocol=version)
        wanted = []
        for _ in range(2):
            async with await data_plane.client() as client:
                for _ in range(2):
                    assert (await client.get()).status == 200
                    wanted.append(header_of(version, client.port, data_plane.ingress))

        assert upstream.preambles == wanted
        await upstream.wait_for(lambda upstream: upstream.connections_open == 0)


async def test_http2_connection_with_a_header_is_not_shared_either(data_plane: DataPlane) -> None:
    async with Http2Upstream(preamble=v1_line) as upstream:
        version = ProxyProtocol.V1
        data_plane.serve(upstream.endpoint, proxy_protocol=version, protocol=Protocol.H2)
        wanted = []
        for _ in range(2):
            async with await data_plane.client() as client:
                assert (await client.get()).body == b"ok"
                wanted.append(header_of(version, client.port, data_plane.ingress))

    assert upstream.preambles == wanted


def header_of(version: ProxyProtocol, client_port: int, listener: Listener) -> bytes:
    port = int(listener.address.rpartition(":")[2])
    if version is ProxyProtocol.V1:
        return f"PROXY TCP4 127.0.0.1 127.0.0.1 {client_port} {port}\r\n".encode()
    return SIGNATURE + struct.pack(">BBH4s4sHH", 0x21, 0x11, 12, *LOCALHOST, client_port, port)


LOCALHOST = (socket.inet_aton("127.0.0.1"),) * 2


async def test_endpoint_is_told_the_client_that_we_were_told(data_plane: DataPlane) -> None:
    async with Upstream(preamble=v1_line) as upstream:
        behind(data_plane, upstream)
        data_plane.serve(upstream, proxy_protocol=ProxyProtocol.V1)
        async with await data_plane.client() as client:
            assert (await client.ask_after(V2, GET)).status == 200

    assert upstream.preambles == [V1]


async def test_header_comes_before_tls(data_plane: DataPlane) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("api.shop.svc").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(asyncio.to_thread(serve_one, listening, context))
        tls = UpstreamTls(ca=authority.cert_pem.bytes().decode())
        endpoint = Endpoint(*listening.getsockname())
        shop = backend(endpoint, tls=tls, proxy_protocol=ProxyProtocol.V1)
        assert data_plane.publish(table((data_plane.ingress,), (shop,))) == []
        async with await data_plane.client() as client:
            answered = await client.get()
            port = client.port
        line = await serving

    assert answered.status == 200
    listener_port = data_plane.ingress.address.rpartition(":")[2]
    assert line == f"PROXY TCP4 127.0.0.1 127.0.0.1 {port} {listener_port}\r\n".encode()


def serve_one(listening: socket.socket, context: ssl.SSLContext) -> bytes:
    """Answers one request; returns the line of text before the handshake. Blocks."""
    listening.settimeout(DEADLINE_S)
    connection, _ = listening.accept()
    connection.settimeout(DEADLINE_S)
    line = b""
    while not line.endswith(b"\r\n"):
        line += connection.recv(1)
    with context.wrap_socket(connection, server_side=True) as session:
        session.recv(65_536)
        session.sendall(response(body=b"ok"))
    return line

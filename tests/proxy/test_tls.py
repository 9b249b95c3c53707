"""TLS towards clients: which certificate, which version, which session, and what goes wrong."""

import asyncio
import socket
import ssl
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from client import Client
from data_plane import ROUTE, DataPlane
from message import chunked, request, response, within
from tls import (
    DEFAULT,
    Authority,
    Session,
    alert,
    connected,
    hello,
    host,
    subject_names,
    tls_table,
)
from upstream import Exchange, Upstream, says

from proxy.table import HostTls, Listener, ListenerKind, RoutePolicy, TlsVersion

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

LARGE = bytes(range(256)) * (40 * 1024)
"""10 MiB: more than all buffers on the way together."""


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def shop(data_plane: DataPlane, upstream: Upstream, authority: Authority) -> DataPlane:
    """Serves `shop.example` over TLS."""
    certificates = {DEFAULT: authority.certificate("shop.example")}
    assert data_plane.publish(tls_table(data_plane, upstream, certificates)) == []
    return data_plane


@pytest.mark.parametrize("version", [TLS12, TLS13])
async def test_request_over_tls_is_told_as_one_to_endpoint_and_span(
    shop: DataPlane, upstream: Upstream, authority: Authority, version: ssl.TLSVersion
) -> None:
    context = authority.context(version=version, alpn=["http/1.1", "x"])
    async with await connected(shop, context, "shop.example") as client:
        answered = await client.get()
        cipher, protocol, _ = client.writer.get_extra_info("cipher")
        chosen = client.writer.get_extra_info("ssl_object").selected_alpn_protocol()
    segment = await shop.segment()

    assert (answered.status, answered.body, chosen) == (200, b"ok", "http/1.1")
    (got,) = upstream.exchanges
    assert got.head.one("x-forwarded-proto") == "https"
    assert got.head.one("x-forwarded-port") == shop.ingress.address.rpartition(":")[2]
    assert not got.head.has("ssl-client-verify")
    told = segment.server.attributes
    assert told["url.scheme"] == "https"
    assert told["tls.protocol.name"] == "tls"
    assert f"TLSv{told['tls.protocol.version']}" == protocol.replace("TLSv1/SSLv3", "TLSv1.2")
    assert told["tls.cipher"] in {cipher, "TLS_" + cipher.replace("-", "_")} or version is TLS12
    assert str(told["tls.cipher"]).startswith("TLS_")
    assert told["tls.resumed"] is False
    assert told["tls.next_protocol"] == "http/1.1"
    assert told["spanway.tls.server_name"] == "shop.example"
    assert "tls.client.subject" not in told
    assert shop.engine.stats().tls_handshakes == 1


async def test_client_that_knows_http2_gets_it(
    shop: DataPlane, upstream: Upstream, authority: Authority
) -> None:
    context = authority.context(alpn=["http/1.1", "h2"])
    async with await connected(shop, context, "shop.example") as client:
        assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        settings = b"\0\0\0\4\0" + b"\0\0\0\0"
        fields = b"\x82\x87\x84\x41\x0cshop.example"  # GET https / on that host
        headers = bytes((0, 0, len(fields), 1, 5)) + b"\0\0\0\1" + fields
        await client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + headers)
        await upstream.wait_for(lambda upstream: len(upstream.complete()) == 1)
        while (head := await client.receive(9))[3] != 1:
            await client.receive(int.from_bytes(head[:3]))
        assert (await client.receive(1)) == b"\x88"  # 200
    segment = await shop.segment()

    assert upstream.exchanges[0].head.one("x-forwarded-proto") == "https"
    told = segment.server.attributes
    assert (told["network.protocol.version"], told["url.scheme"]) == ("2", "https")
    assert told["tls.next_protocol"] == "h2"


async def test_client_that_knows_no_protocol_of_ours_is_refused(
    shop: DataPlane, authority: Authority
) -> None:
    context = authority.context(alpn=["acme-tls/1"])
    with pytest.raises(ssl.SSLError):  # OpenSSL has no name for `no_application_protocol`.
        await connected(shop, context, "shop.example")
    await shop.stop()  # What is counted is counted by then.
    assert shop.engine.stats().tls_handshakes_failed == 1


async def test_forwarded_says_https(
    data_plane: DataPlane, upstream: Upstream, authority: Authority
) -> None:
    certificates = {DEFAULT: authority.certificate("shop.example")}
    data_plane.publish(tls_table(data_plane, upstream, certificates, forwarded=True))
    async with await connected(data_plane, authority.context(), "shop.example") as client:
        await client.get()

    forwarded = upstream.exchanges[0].head.one("forwarded")
    assert forwarded == 'for=127.0.0.1;host="shop.example";proto=https'


async def test_route_for_https_only_is_served_over_tls_and_redirected_without(
    data_plane: DataPlane, upstream: Upstream, authority: Authority
) -> None:
    certificates = {DEFAULT: authority.certificate("shop.example")}
    served = tls_table(data_plane, upstream, certificates)
    plain = Listener(data_plane.free_port().address, ListenerKind.INGRESS)
    served = msgspec.structs.replace(
        served,
        listeners=(*served.listeners, plain),
        policies={ROUTE.policy: RoutePolicy(https_only=True)},
    )
    assert data_plane.publish(served) == []
    async with await connected(data_plane, authority.context(), "shop.example") as client:
        assert (await client.get("/a")).status == 200
    async with await Client.connect(plain.address) as client:
        redirected = await client.get("/a")

    assert redirected.status == 308
    assert redirected.head.one("location") == "https://shop.example/a"


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("shop.example", {"shop.example"}),
        ("SHOP.example", {"shop.example"}),
        ("a.shop.example", {"*.shop.example"}),
        ("a.b.shop.example", {"default.example"}),  # A wildcard stands for one label.
        ("plain.example", {"default.example"}),  # Its host has no terms.
        ("broken.example", {"default.example"}),  # Its certificate was never usable.
        ("other.example", {"default.example"}),
        ("", {"default.example"}),
    ],
)
async def test_name_that_is_asked_for_chooses_the_certificate(
    data_plane: DataPlane,
    upstream: Upstream,
    authority: Authority,
    asked: str,
    shown: set[str],
) -> None:
    certificates = {
        DEFAULT: authority.certificate("default.example"),
        "shop/exact": authority.certificate("shop.example"),
        "shop/wildcard": authority.certificate("*.shop.example"),
        "shop/broken": authority.certificate("broken.example"),
    }
    certificates["shop/broken"] = type(certificates[DEFAULT])("", "")
    served = tls_table(
        data_plane,
        upstream,
        certificates,
        host("shop.example", HostTls("shop/exact")),
        host("*.shop.example", HostTls("shop/wildcard")),
        host("plain.example"),
        host("broken.example", HostTls("shop/broken")),
    )
    assert [each.subject for each in data_plane.publish(served)] == ["shop/broken"]
    context = authority.context()
    context.check_hostname = False
    async with await connected(data_plane, context, asked) as client:
        assert subject_names(client) == shown


async def test_name_without_a_certificate_ends_with_an_alert(
    data_plane: DataPlane, upstream: Upstream, authority: Authority
) -> None:
    certificates = {"shop/web": authority.certificate("shop.example")}
    terms = HostTls("shop/web")
    data_plane.publish(tls_table(data_plane, upstream, certificates, host("shop.example", terms)))
    for name in ("other.example", ""):
        assert await alert(data_plane, authority.context(), name) == "TLSV1_UNRECOGNIZED_NAME"
    async with await connected(data_plane, authority.context(), "shop.example") as client:
        assert (await client.get()).status == 200

    await data_plane.stop()  # What is counted is counted by then.
    assert data_plane.engine.stats().tls_handshakes_failed == 2
    assert len(await data_plane.segments()) == 1


async def test_lowest_version_is_that_of_the_host(
    data_plane: DataPlane, upstream: Upstream, authority: Authority
) -> None:
    certificates = {DEFAULT: authority.certificate("new.example", "old.example")}
    hosts = host("new.example", HostTls(version_min=TlsVersion.TLS13)), host("old.example")
    data_plane.publish(tls_table(data_plane, upstream, certificates, *hosts))
    old = authority.context(version=TLS12)

    assert await alert(data_plane, old, "new.example") == "TLSV1_ALERT_PROTOCOL_VERSION"
    async with await connected(data_plane, old, "old.example") as client:
        assert (await client.get(host="old.example")).status == 200
        # Nor by the way round: the name of one, the host of the other.
        assert (await client.get(host="new.example")).status == 421
    async with await connected(data_plane, authority.context(), "new.example") as client:
        assert (await client.get(host="new.example")).status == 200
        assert (await client.get(host="old.example")).status == 200


async def test_certificate_that_has_expired_is_served_all_the_same(
    data_plane: DataPlane, upstream: Upstream, authority: Authority
) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    certificates = {DEFAULT: authority.certificate("shop.example", not_after=yesterday)}
    assert data_plane.publish(tls_table(data_plane, upstream, certificates)) == []

    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        await connected(data_plane, authority.context(), "shop.example")


async def test_new_certificate_is_for_new_handshakes_and_open_connections_go_on(
    shop: DataPlane, upstream: Upstream, authority: Authority
) -> None:
    other = Authority()
    async with await connected(shop, authority.context(), "shop.example") as old:
        await old.get()
        certificates = {DEFAULT: other.certificate("shop.example")}
        assert shop.publish(tls_table(shop, upstream, certificates)) == []
        async with await connected(shop, other.context(), "shop.example") as new:
            assert (await new.get()).status == 200
        assert (await old.get()).status == 200

    assert shop.engine.stats().connections == 2


@pytest.mark.parametrize("version", [TLS12, TLS13])
async def test_session_is_resumed_by_any_worker_and_after_a_new_table(
    upstream: Upstream, authority: Authority, version: ssl.TLSVersion
) -> None:
    data_plane = DataPlane(workers=2)
    try:
        certificates = {DEFAULT: authority.certificate("shop.example")}
        data_plane.publish(tls_table(data_plane, upstream, certificates))
        session = Session(data_plane.ingress.address, authority.context(version=version))
        resumed = [await session.ask("shop.example") for _ in range(8)]
        certificates = {DEFAULT: authority.certificate("shop.example")}
        data_plane.publish(tls_table(data_plane, upstream, certificates, host("")))
        resumed.append(await session.ask("shop.example"))
        segments = await data_plane.segments()

        assert resumed == [False] + 8 * [True]
        assert [each.server.attributes["tls.resumed"] for each in segments] == resumed
        assert data_plane.engine.stats().tls_resumed == 8
    finally:
        data_plane.close()


async def test_bodies_of_all_framings_pass_over_one_connection(
    shop: DataPlane, upstream: Upstream, authority: Authority
) -> None:
    async def echo(exchange: Exchange) -> None:
        await exchange.send(response(body=await exchange.body()))

    upstream.answer = echo
    async with await connected(shop, authority.context(), "shop.example") as client:
        for body in (b"", b"x", LARGE):
            answered = await client.ask(request("POST", body=body))
            assert answered.body == body
        head = request("POST", "/", "Transfer-Encoding: chunked")
        answered = await client.ask(head + chunked(b"abc", b"def"))
        assert answered.body == b"abcdef"
        # Two at once: the second one is in the session before the first one is answered.
        await client.send(request("POST", body=b"1") + request("POST", body=b"2"))
        assert [(await client.response()).body for _ in range(2)] == [b"1", b"2"]

    assert shop.engine.stats().connections == 1


async def test_body_until_close_ends_with_close_notify(
    shop: DataPlane, upstream: Upstream, authority: Authority
) -> None:
    upstream.answer = says(b"HTTP/1.1 200 OK\r\n\r\n" + LARGE, then_close=True)

    def ask() -> bytes:
        address, _, port = shop.ingress.address.rpartition(":")
        raw = socket.create_connection((address, int(port)))
        context = authority.context()
        with context.wrap_socket(
            raw, server_hostname="shop.example", suppress_ragged_eofs=False
        ) as stream:
            stream.sendall(b"GET / HTTP/1.0\r\nHost: shop.example\r\n\r\n")
            return b"".join(iter(lambda: stream.recv(65536), b""))

    answer = await within(asyncio.to_thread(ask))
    assert answer.endswith(b"\r\n\r\n" + LARGE)


async def test_client_that_leaves_without_close_notify_does_no_harm(
    shop: DataPlane, authority: Authority
) -> None:
    async with await connected(shop, authority.context(), "shop.example") as client:
        await client.get()
        client.reset()
    async with await connected(shop, authority.context(), "shop.example") as client:
        assert (await client.get()).status == 200
    assert [each.flag for each in await shop.segments()] == [None, None]


async def test_idle_connection_is_closed_in_good_order_at_the_end(
    shop: DataPlane, upstream: Upstream, authority: Authority
) -> None:
    async with await connected(shop, authority.context(), "shop.example") as client:
        may_answer = asyncio.Event()

        async def wait(exchange: Exchange) -> None:
            await exchange.body()
            await within(may_answer.wait())
            await exchange.send(response(body=b"last"))

        upstream.answer = wait
        await client.send(request())
        await upstream.wait_for(lambda upstream: len(upstream.exchanges) == 1)
        async with asyncio.TaskGroup() as stopping:
            stopping.create_task(shop.stop())
            may_answer.set()
            assert (await client.response()).body == b"last"
            assert await client.rest() == b""


async def test_plain_request_gets_400_as_nginx_gives_it(shop: DataPlane) -> None:
    async with await shop.client() as client:
        answered = await client.get()
        rest = await client.rest()

    assert (answered.status, rest) == (400, b"")
    assert answered.text == "400 bad_request: the plain HTTP request was sent to HTTPS port\n"
    assert shop.engine.stats().malformed == 1
    assert await shop.segments() == []


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0" * 300,
        b"\x80\x2e\x01\x03\x01" + b"x" * 50,  # SSL 2.0
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",  # A ServerHello.
        b"\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03",  # A ClientHello that is cut.
        b"\x16\x03\x01\xff\xff" + b"x" * 1000,  # A record that is too long.
        b"\x16\x03\x01\x00\x00" * 200,  # Records of nothing.
        b"\x16\x03\x01\x3f\xff\x01\x00\xff\xff" + b"\0" * 20_000,  # A message that is too long.
    ],
    ids=["zeros", "ssl2", "other-message", "cut", "long-record", "empty-records", "long-message"],
)
async def test_what_is_no_handshake_gets_an_alert_and_is_counted(
    shop: DataPlane, garbage: bytes
) -> None:
    async with await shop.client() as client:
        await client.send(garbage)
        answer = await client.rest()

    assert answer[:1] == b"\x15", answer  # Alert
    assert answer[5:6] == b"\x02", answer  # Fatal
    await shop.stop()  # What is counted is counted by then.
    assert shop.engine.stats().tls_handshakes_failed == 1
    assert await shop.spans() == []


async def test_connection_that_says_nothing_is_no_failed_handshake(shop: DataPlane) -> None:
    async with await shop.client():
        pass
    async with await shop.client() as client:
        client.writer.write_eof()
        assert await client.rest() == b""
    await shop.stop()  # What is counted is counted by then.
    assert shop.engine.stats().tls_handshakes_failed == 0


async def test_handshake_byte_by_byte_is_one(shop: DataPlane, authority: Authority) -> None:
    sent = hello(authority.context(), "shop.example")
    async with await shop.client() as client:
        for at in range(len(sent) - 1):
            await client.send(sent[at : at + 1])
        await shop_turn(shop)
        await client.send(sent[-1:])
        answer = await client.receive(3)
    assert answer == b"\x16\x03\x03"


async def test_handshake_that_takes_too_long_is_given_up(
    data_plane: DataPlane, upstream: Upstream, authority: Authority
) -> None:
    certificates = {DEFAULT: authority.certificate("shop.example")}
    data_plane.publish(tls_table(data_plane, upstream, certificates, head_timeout_ms=50))
    sent = hello(authority.context(), "shop.example")
    for part in (b"", sent[:100], sent):
        async with await data_plane.client() as client:
            await client.send(part)
            await client.rest()

    assert data_plane.engine.stats().tls_handshakes == 0
    await data_plane.stop()  # What is counted is counted by then.
    assert data_plane.engine.stats().tls_handshakes_failed == 3


async def shop_turn(shop: DataPlane) -> None:
    """As `DataPlane.turn`, on a port with TLS."""
    async with await shop.client() as client:
        await client.send(b"\0")
        await client.rest()

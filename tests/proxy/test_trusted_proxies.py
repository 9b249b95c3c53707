"""What a proxy that is trusted says of where a request comes from is believed and handed on."""

from typing import Any

import msgspec
import pytest
from client import Client
from data_plane import DataPlane, backend, table
from message import Head
from upstream import Upstream

from proxy.table import Listener, ListenerKind, Tracing, TrustedField

ORIGIN = (
    "x-forwarded-for",
    "x-real-ip",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "forwarded",
)
TRUSTED = ("127.0.0.0/8", "10.0.0.0/8", "2001:db8:1::/48")


FIELDS = {
    TrustedField.X_FORWARDED_FOR: "X-Forwarded-For: {}",
    TrustedField.FORWARDED: "Forwarded: for={}",
    TrustedField.X_REAL_IP: "X-Real-IP: {}",
}


def trust(data_plane: DataPlane, upstream: Upstream, **changes: Any) -> DataPlane:
    changes = {"trusted_proxies": TRUSTED, **changes}
    data_plane.ingress = msgspec.structs.replace(data_plane.ingress, **changes)
    data_plane.serve(upstream)
    return data_plane


@pytest.fixture
def trusting(data_plane: DataPlane, upstream: Upstream) -> DataPlane:
    """The clients of the tests, on 127.0.0.1, are its trusted proxies."""
    return trust(data_plane, upstream)


def origin_of(head: Head) -> dict[str, list[str]]:
    return {name: head.all(name) for name in ORIGIN if head.has(name)}


XFF = "X-Forwarded-For: "
RFC = "Forwarded: "

CLIENTS = {
    "one": ([XFF + "192.0.2.1"], "192.0.2.1", None),
    "right-most that is not trusted": ([XFF + "6.6.6.6, 192.0.2.1, 10.1.1.1"], "192.0.2.1", None),
    "over several fields": ([XFF + "6.6.6.6, 192.0.2.1", XFF + "10.1.1.1"], "192.0.2.1", None),
    "without blanks": ([XFF + "6.6.6.6,192.0.2.1,10.1.1.1"], "192.0.2.1", None),
    "with many blanks": ([XFF + "6.6.6.6 ,\t 192.0.2.1 , 10.1.1.1"], "192.0.2.1", None),
    "with a port": ([XFF + "192.0.2.1:5555"], "192.0.2.1", 5555),
    "ipv6": ([XFF + "2001:db8::1"], "2001:db8::1", None),
    "ipv6 in brackets": ([XFF + "[2001:db8::1]"], "2001:db8::1", None),
    "ipv6 with a port": ([XFF + "[2001:db8::1]:5555"], "2001:db8::1", 5555),
    "ipv6 quoted with a port": ([XFF + '"[2001:db8::1]:5555"'], "2001:db8::1", 5555),
    "ipv4 in ipv6": ([XFF + "::ffff:192.0.2.1"], "192.0.2.1", None),
    "trusted ipv6": ([XFF + "192.0.2.1, 2001:db8:1::7"], "192.0.2.1", None),
    "trusted ipv4 in ipv6": ([XFF + "192.0.2.1, ::ffff:10.1.1.1"], "192.0.2.1", None),
    "trusted ones alone": ([XFF + "10.3.3.3, 10.2.2.2"], "10.3.3.3", None),
    "garbage before the client": ([XFF + "<script>, 192.0.2.1"], "192.0.2.1", None),
    "garbage behind the client": ([XFF + "192.0.2.1, unknown, 10.1.1.1"], "10.1.1.1", None),
    "an empty member ends the list": ([XFF + "192.0.2.1, , 10.1.1.1"], "10.1.1.1", None),
    "a quote that nobody closes": ([XFF + '"192.0.2.1, 10.1.1.1'], "10.1.1.1", None),
    "more than a list may have": ([XFF + "6.6.6.6" + ", 10.1.1.1" * 64], "10.1.1.1", None),
    "as many as a list may have": ([XFF + "192.0.2.1" + ", 10.1.1.1" * 63], "192.0.2.1", None),
}  # fmt: skip

BY_FORWARDED = {
    "one": ([RFC + "for=192.0.2.1;proto=https"], "192.0.2.1", None),
    "in other letters": ([RFC + "proto=https; For=192.0.2.1"], "192.0.2.1", None),
    "list": ([RFC + "for=6.6.6.6, for=192.0.2.1;by=1, for=10.1.1.1"], "192.0.2.1", None),
    "over several fields": ([RFC + "for=192.0.2.1", RFC + "for=10.1.1.1"], "192.0.2.1", None),
    "ipv6": ([RFC + 'for="[2001:db8::1]:5555"'], "2001:db8::1", 5555),
    "a quote that a stranger opens": ([RFC + 'for="6.6.6.6, for=192.0.2.1'], "192.0.2.1", None),
    "commas in what the client asked for": (
        [RFC + 'for=192.0.2.1;host="a,for=6.6.6.6;x=,b";proto=http'],
        "192.0.2.1",
        None,
    ),
    "quotes in what the client asked for": (
        [RFC + r'for=192.0.2.1;host="\",for=6.6.6.6;x=\"";proto=http'],
        "192.0.2.1",
        None,
    ),
}

NOBODY_BY_FORWARDED = {
    "nothing": [],
    "unknown": [RFC + "for=unknown"],
    "somebody hidden": [RFC + "for=_hidden"],
    "without for": [RFC + "proto=https;by=10.1.1.1"],
    "a quote that nobody opens": [RFC + 'for=192.0.2.1"'],
    "empty": [RFC],
    "a huge list of nothing": [RFC + "," * 30_000],
}

NOBODY = {
    "nothing": [],
    "empty": [XFF],
    "commas": [XFF + ",,,,"],
    "garbage": [XFF + "<script>"],
    "a name": [XFF + "localhost"],
    "a port over 65535": [XFF + "192.0.2.1:70000"],
    "an address with more": [XFF + "192.0.2.1.5"],
    "bytes that are no text": [XFF + "\xff\xfe"],
    "a huge list of nothing": [XFF + "," * 30_000],
}


async def assert_client(
    fields: list[str], address: str, port: int | None, trusting: DataPlane, upstream: Upstream
) -> None:
    """That is who asks, for spans and for the endpoint."""
    async with await trusting.client() as client:
        assert (await client.get("/", *fields)).status == 200
        proxy_port = client.port
    segment = await trusting.segment()

    attributes = segment.server.attributes
    assert attributes["client.address"] == address
    if address == "127.0.0.1":
        assert attributes["client.port"] == proxy_port
        assert "network.peer.address" not in attributes
    else:
        assert attributes.get("client.port") == port
        assert attributes["network.peer.address"] == "127.0.0.1"
        assert attributes["network.peer.port"] == proxy_port
    assert upstream.exchanges[0].head.all("x-real-ip") == [address]


@pytest.mark.parametrize(("fields", "address", "port"), CLIENTS.values(), ids=CLIENTS.keys())
async def test_client_is_the_last_one_that_is_no_trusted_proxy(
    fields: list[str], address: str, port: int | None, trusting: DataPlane, upstream: Upstream
) -> None:
    await assert_client(fields, address, port, trusting, upstream)


@pytest.mark.parametrize(("fields", "address", "port"), BY_FORWARDED.values(), ids=BY_FORWARDED)
async def test_client_in_forwarded_is_the_last_one_that_is_no_trusted_proxy(
    fields: list[str], address: str, port: int | None, data_plane: DataPlane, upstream: Upstream
) -> None:
    trusting = trust(data_plane, upstream, trusted_field=TrustedField.FORWARDED)
    await assert_client(fields, address, port, trusting, upstream)


@pytest.mark.parametrize("fields", NOBODY.values(), ids=NOBODY.keys())
async def test_client_is_the_peer_where_nobody_readable_is_named(
    fields: list[str], trusting: DataPlane, upstream: Upstream
) -> None:
    await assert_client(fields, "127.0.0.1", None, trusting, upstream)


@pytest.mark.parametrize("fields", NOBODY_BY_FORWARDED.values(), ids=NOBODY_BY_FORWARDED)
async def test_client_is_the_peer_where_forwarded_names_nobody_readable(
    fields: list[str], data_plane: DataPlane, upstream: Upstream
) -> None:
    trusting = trust(data_plane, upstream, trusted_field=TrustedField.FORWARDED)
    await assert_client(fields, "127.0.0.1", None, trusting, upstream)


@pytest.mark.parametrize("read", TrustedField)
async def test_field_that_a_trusted_proxy_does_not_write_deceives_nobody(
    read: TrustedField, data_plane: DataPlane, upstream: Upstream
) -> None:
    trust(data_plane, upstream, trusted_field=read, forwarded=True)
    said = [
        field.format("192.0.2.1" if field is FIELDS[read] else "6.6.6.6")
        for field in FIELDS.values()
    ]
    async with await data_plane.client() as client:
        await client.get("/", *said)
    segment = await data_plane.segment()

    assert segment.server.attributes["client.address"] == "192.0.2.1"
    told = origin_of(upstream.exchanges[0].head)
    assert told["x-forwarded-for"] == ["192.0.2.1, 127.0.0.1"]
    assert told["x-real-ip"] == ["192.0.2.1"]
    assert told["forwarded"] == ['for=192.0.2.1, for=127.0.0.1;host="shop.example";proto=http']


@pytest.mark.parametrize("read", TrustedField)
async def test_client_is_the_peer_where_the_field_that_is_read_is_missing(
    read: TrustedField, data_plane: DataPlane, upstream: Upstream
) -> None:
    trusting = trust(data_plane, upstream, trusted_field=read)
    others = [field.format("6.6.6.6") for name, field in FIELDS.items() if name is not read]
    await assert_client(others, "127.0.0.1", None, trusting, upstream)

    told = origin_of(upstream.exchanges[0].head)
    assert "6.6.6.6" not in str(told)


async def test_scheme_host_and_port_are_those_of_the_element_that_names_the_client(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    trust(data_plane, upstream, trusted_field=TrustedField.FORWARDED)
    async with await data_plane.client() as client:
        await client.get(
            "/",
            RFC + "for=6.6.6.6;host=evil.example;proto=http",
            RFC + 'for=192.0.2.1;host="outside.example";proto=HTTPS, for=10.1.1.1;proto=http',
            "X-Forwarded-Host: evil.example",
            "X-Forwarded-Proto: http",
            "X-Forwarded-Port: 666",
        )
    segment = await data_plane.segment()

    assert segment.server.attributes["url.scheme"] == "https"
    told = origin_of(upstream.exchanges[0].head)
    assert told["x-forwarded-host"] == ["outside.example"]
    assert told["x-forwarded-proto"] == ["https"]
    assert told["x-forwarded-port"] == ["443"]


async def test_stranger_in_an_element_before_the_client_says_no_scheme(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    trust(data_plane, upstream, trusted_field=TrustedField.FORWARDED)
    async with await data_plane.client() as client:
        await client.get(
            "/", RFC + "for=6.6.6.6;proto=https, for=192.0.2.1", "X-Forwarded-Proto: https"
        )
    segment = await data_plane.segment()

    assert segment.server.attributes["url.scheme"] == "http"
    assert upstream.exchanges[0].head.all("x-forwarded-proto") == ["http"]


async def test_forwarded_is_continued_where_it_is_read(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    trust(data_plane, upstream, trusted_field=TrustedField.FORWARDED)
    async with await data_plane.client() as client:
        await client.get("/", RFC + 'for="[2001:db8::1]";proto=https', RFC + "for=10.1.1.1")

    assert upstream.exchanges[0].head.all("forwarded") == [
        'for="[2001:db8::1]";proto=https, for=10.1.1.1,'
        ' for=127.0.0.1;host="shop.example";proto=https'
    ]


async def test_what_a_trusted_proxy_says_is_handed_on_with_it_at_the_end(
    trusting: DataPlane, upstream: Upstream
) -> None:
    async with await trusting.client() as client:
        await client.get(
            "/",
            "X-Forwarded-For: 192.0.2.1",
            "X-Forwarded-For: 10.1.1.1",
            "X-Forwarded-Host: outside.example",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Port: 8443",
        )
    segment = await trusting.segment()

    assert origin_of(upstream.exchanges[0].head) == {
        "x-forwarded-for": ["192.0.2.1, 10.1.1.1, 127.0.0.1"],
        "x-real-ip": ["192.0.2.1"],
        "x-forwarded-host": ["outside.example"],
        "x-forwarded-proto": ["https"],
        "x-forwarded-port": ["8443"],
    }
    assert segment.server.attributes["url.scheme"] == "https"


async def test_what_a_trusted_proxy_does_not_say_is_said_as_at_the_edge(
    trusting: DataPlane, upstream: Upstream
) -> None:
    async with await trusting.client() as client:
        await client.get()

    assert origin_of(upstream.exchanges[0].head) == {
        "x-forwarded-for": ["127.0.0.1"],
        "x-real-ip": ["127.0.0.1"],
        "x-forwarded-host": ["shop.example"],
        "x-forwarded-proto": ["http"],
        "x-forwarded-port": [trusting.ingress.address.rpartition(":")[2]],
    }


@pytest.mark.parametrize(("proto", "port"), [("https", "443"), ("HTTP", "80")])
async def test_port_that_is_not_said_is_that_of_the_scheme_that_is(
    proto: str, port: str, trusting: DataPlane, upstream: Upstream
) -> None:
    async with await trusting.client() as client:
        await client.get("/", f"X-Forwarded-Proto: {proto}")

    assert upstream.exchanges[0].head.all("x-forwarded-port") == [port]


@pytest.mark.parametrize(
    "fields",
    [["X-Forwarded-Proto: gopher"], ["X-Forwarded-Proto: https, http"]],
    ids=["unknown", "list"],
)
async def test_scheme_that_is_not_told_in_one_word_is_that_of_the_connection(
    fields: list[str], trusting: DataPlane, upstream: Upstream
) -> None:
    async with await trusting.client() as client:
        await client.get("/", *fields)
    segment = await trusting.segment()

    assert segment.server.attributes["url.scheme"] == "http"
    assert [f"X-Forwarded-Proto: {value}" for value in proto_of(upstream)] == fields


def proto_of(upstream: Upstream) -> list[str]:
    return upstream.exchanges[0].head.all("x-forwarded-proto")


async def test_nothing_that_others_say_is_believed(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    trust(data_plane, upstream, trusted_proxies=("10.0.0.0/8", "::1", "127.0.0.2"))
    spoofed = [f"{name}: 6.6.6.6" for name in ORIGIN]
    async with await data_plane.client() as client:
        await client.get("/", *spoofed)
    segment = await data_plane.segment()

    assert "6.6.6.6" not in str(origin_of(upstream.exchanges[0].head))
    assert segment.server.attributes["client.address"] == "127.0.0.1"
    assert segment.server.attributes["url.scheme"] == "http"


async def test_trust_ends_with_the_table_that_gave_it(
    trusting: DataPlane, upstream: Upstream
) -> None:
    async with await trusting.client() as client:
        await client.get("/", XFF + "192.0.2.1")
        trust(trusting, upstream, trusted_proxies=())
        await client.get("/", XFF + "192.0.2.1")

    heads = [exchange.head for exchange in upstream.exchanges]
    assert [head.all("x-real-ip") for head in heads] == [["192.0.2.1"], ["127.0.0.1"]]


async def test_service_listener_hands_on_what_it_gets_and_records_the_client(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    shop = backend(upstream)
    address = data_plane.free_port().address
    listener = Listener(address, ListenerKind.SERVICE, shop.key, trusted_proxies=TRUSTED)
    assert data_plane.publish(table((listener,), (shop,), ())) == []

    async with await Client.connect(address) as client:
        await client.get("/", XFF + "192.0.2.1")
    segment = await data_plane.segment()

    assert origin_of(upstream.exchanges[0].head) == {"x-forwarded-for": ["192.0.2.1"]}
    assert segment.server.attributes["client.address"] == "192.0.2.1"


@pytest.mark.parametrize("network", ["10.0.0.0/33", "everybody", "", "10.0.0.0/8/8"])
def test_network_that_is_none_is_refused(network: str, data_plane: DataPlane) -> None:
    listener = msgspec.structs.replace(data_plane.ingress, trusted_proxies=("::1", network))
    (rejected,) = data_plane.publish(table((listener,), (), (), Tracing()))

    assert (rejected.kind, rejected.subject) == ("listener", listener.address)
    assert f'"{network}", which is no network' in rejected.message

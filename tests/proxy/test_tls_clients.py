"""Client certificates: who has to show one, what endpoints are told, and no way around it."""

import base64
import ssl

import msgspec
import pytest
from data_plane import ROUTE, DataPlane
from message import request
from tls import DEFAULT, Authority, Session, alert, connected, host, mutual, tls_table
from upstream import Upstream

from proxy.table import ANY_HOST, ClientCertificates, Host, HostTls, RoutePolicy

OFF, OPTIONAL, REQUIRED = ClientCertificates
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

CLAIMS = (
    "SSL-Client-Verify: SUCCESS",
    "ssl-client-subject-dn: CN=admin",
    "Ssl-Client-Issuer-Dn: CN=ca",
    "ssl-client-cert: x",
    "Client-Cert: :eA==:",
    "Client-Cert-Chain: :eA==:",
)
"""What only we may say."""

CLAIMED = {claim.partition(":")[0].lower() for claim in CLAIMS}


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Of the servers."""
    return Authority()


@pytest.fixture(scope="module")
def people() -> Authority:
    """Of the clients."""
    return Authority()


@pytest.fixture
def shop(
    data_plane: DataPlane, upstream: Upstream, authority: Authority, people: Authority
) -> DataPlane:
    """`strict.example` wants a certificate, `mild.example` likes one, `open.example` wants none."""
    names = "strict.example", "mild.example", "open.example"
    served = tls_table(
        data_plane,
        upstream,
        {DEFAULT: authority.certificate(*names)},
        host("strict.example", mutual(people, REQUIRED)),
        host("mild.example", mutual(people, OPTIONAL)),
        host("open.example", HostTls()),
    )
    assert data_plane.publish(served) == []
    return data_plane


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("name", ["strict.example", "mild.example"])
async def test_verified_client_is_told_to_endpoint_and_span(
    shop: DataPlane,
    upstream: Upstream,
    authority: Authority,
    people: Authority,
    name: str,
    version: ssl.TLSVersion,
) -> None:
    ann = people.client("ann, the first")
    context = authority.context(client=ann, version=version)
    async with await connected(shop, context, name) as client:
        await client.ask(request("GET", "/", *CLAIMS, host=name))
    segment = await shop.segment()

    subject = r"CN=ann\, the first,OU=Web,O=Shop"
    got = upstream.exchanges[0].head
    assert got.one("ssl-client-verify") == "SUCCESS"
    assert got.one("ssl-client-subject-dn") == subject
    issuer = got.one("ssl-client-issuer-dn")
    assert issuer is not None
    assert issuer.startswith("OU=Testing CA #")
    der = ssl.PEM_cert_to_DER_cert(ann.cert_chain_pems[0].bytes().decode())
    assert got.one("client-cert") == f":{base64.b64encode(der).decode()}:"
    assert not got.has("ssl-client-cert")
    assert not got.has("client-cert-chain")
    assert segment.server.attributes["tls.client.subject"] == subject
    assert segment.server.attributes["tls.client.issuer"] == issuer


@pytest.mark.parametrize("version", [TLS12, TLS13])
async def test_client_without_a_certificate_is_refused_where_one_is_required(
    shop: DataPlane, authority: Authority, version: ssl.TLSVersion
) -> None:
    ended = await alert(shop, authority.context(version=version), "strict.example")

    assert ended in {"TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE"}
    assert await shop.spans() == []
    await shop.stop()  # What is counted is counted by then.
    assert shop.engine.stats().tls_handshakes_failed == 1


@pytest.mark.parametrize("name", ["strict.example", "mild.example"])
async def test_certificate_of_another_authority_is_refused(
    shop: DataPlane, authority: Authority, name: str
) -> None:
    stranger = Authority().client("ann")
    assert await alert(shop, authority.context(client=stranger), name) == "TLSV1_ALERT_UNKNOWN_CA"


async def test_client_without_an_optional_certificate_is_told_as_none(
    shop: DataPlane, upstream: Upstream, authority: Authority
) -> None:
    async with await connected(shop, authority.context(), "mild.example") as client:
        await client.ask(request("GET", "/", *CLAIMS, host="mild.example"))
    segment = await shop.segment()

    got = upstream.exchanges[0].head
    told = {name: value for name, value in got.fields if name in CLAIMED}
    assert told == {"ssl-client-verify": "NONE"}
    assert "tls.client.subject" not in segment.server.attributes


async def test_no_client_can_claim_a_certificate_where_none_is_asked_for(
    shop: DataPlane, upstream: Upstream, authority: Authority, people: Authority
) -> None:
    context = authority.context(client=people.client("ann"))
    async with await connected(shop, context, "open.example") as client:
        await client.ask(request("GET", "/", *CLAIMS, host="open.example"))
    shop.serve(upstream)  # From here on without TLS.
    async with await shop.client() as client:
        await client.ask(request("GET", "/", *CLAIMS))

    for got in upstream.exchanges:
        assert not CLAIMED & {name for name, _ in got.head.fields}


@pytest.mark.parametrize(
    ("connected_to", "asked", "status"),
    [
        ("open.example", "strict.example", 421),
        ("open.example", "STRICT.example:443", 421),
        ("open.example", "mild.example", 421),
        ("mild.example", "strict.example", 421),
        ("strict.example", "open.example", 421),
        ("", "strict.example", 421),
        ("open.example", "other.example", 404),
        ("", "open.example", 200),
        ("strict.example", "strict.example", 200),
    ],
)
async def test_request_for_a_host_with_other_terms_is_misdirected(
    shop: DataPlane,
    authority: Authority,
    people: Authority,
    connected_to: str,
    asked: str,
    status: int,
) -> None:
    context = authority.context(client=people.client("ann"))
    async with await connected(shop, context, connected_to) as client:
        answered = await client.get(host=asked)
    segment = await shop.segment()

    assert answered.status == status
    if status == 421:
        assert segment.flag == "misdirected"
        assert segment.balance is None


async def test_strict_routes_cannot_be_reached_through_a_host_that_falls_through_to_them(
    data_plane: DataPlane, upstream: Upstream, authority: Authority, people: Authority
) -> None:
    only_x = msgspec.structs.replace(ROUTE, path="/x")
    served = tls_table(
        data_plane,
        upstream,
        {DEFAULT: authority.certificate("open.example")},
        Host("open.example", (only_x,)),
        host("*.example", mutual(people, REQUIRED)),
        Host(ANY_HOST, (ROUTE,)),
    )
    assert data_plane.publish(served) == []
    async with await connected(data_plane, authority.context(), "open.example") as client:
        assert (await client.get("/x", host="open.example")).status == 200
        assert (await client.get("/y", host="open.example")).status == 421


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_required_certificate_cannot_be_replaced_by_a_proxys_word(
    scheme: str, data_plane: DataPlane, upstream: Upstream, authority: Authority, people: Authority
) -> None:
    """A load balancer that ends TLS itself says https of everybody."""
    policy = RoutePolicy(https_only=True)
    for https_only, status in ((True, 421 if scheme == "https" else 308), (False, 421)):
        policy = RoutePolicy(https_only=https_only)
        served = tls_table(
            data_plane,
            upstream,
            {DEFAULT: authority.certificate("strict.example")},
            host("strict.example", mutual(people, REQUIRED)),
            host("open.example"),
        )
        plain = msgspec.structs.replace(
            data_plane.ingress, trusted_proxies=("127.0.0.1/32",), tls=False
        )
        served = msgspec.structs.replace(
            served, listeners=(plain,), policies={ROUTE.policy: policy}
        )
        assert data_plane.publish(served) == []
        async with await data_plane.client() as client:
            told = f"X-Forwarded-Proto: {scheme}"
            assert (await client.get("/", told, host="strict.example")).status == status
            if scheme == "https":
                assert (await client.get("/", told, host="open.example")).status == 200

    assert {each.head.one("host") for each in upstream.exchanges} <= {"open.example"}


async def test_hosts_of_one_authority_share_connections(
    data_plane: DataPlane, upstream: Upstream, authority: Authority, people: Authority
) -> None:
    hosts = [host(name, mutual(people, REQUIRED)) for name in ("a.example", "b.example")]
    certificates = {DEFAULT: authority.certificate("a.example", "b.example")}
    data_plane.publish(tls_table(data_plane, upstream, certificates, *hosts))
    context = authority.context(client=people.client("ann"))
    async with await connected(data_plane, context, "a.example") as client:
        assert (await client.get(host="b.example")).status == 200
        # A new table that says the same is the same.
        hosts.append(host("c.example"))
        data_plane.publish(tls_table(data_plane, upstream, certificates, *hosts))
        assert (await client.get(host="b.example")).status == 200
        # Another authority is another matter, also for who is connected.
        hosts[1] = host("b.example", mutual(Authority(), REQUIRED))
        data_plane.publish(tls_table(data_plane, upstream, certificates, *hosts))
        assert (await client.get(host="b.example")).status == 421
        assert (await client.get(host="a.example")).status == 200


@pytest.mark.parametrize("version", [TLS12, TLS13])
async def test_resumed_session_still_knows_its_client_but_not_after_the_terms_changed(
    data_plane: DataPlane,
    upstream: Upstream,
    authority: Authority,
    people: Authority,
    version: ssl.TLSVersion,
) -> None:
    certificates = {DEFAULT: authority.certificate("shop.example")}

    def serve(tls: HostTls) -> None:
        served = tls_table(data_plane, upstream, certificates, host("shop.example", tls))
        assert data_plane.publish(served) == []

    context = authority.context(client=people.client("ann"), version=version)
    session = Session(data_plane.ingress.address, context)
    serve(mutual(people, OPTIONAL))
    resumed = [await session.ask("shop.example") for _ in range(2)]
    serve(mutual(people, REQUIRED))
    resumed += [await session.ask("shop.example") for _ in range(2)]
    serve(HostTls())
    resumed.append(await session.ask("shop.example"))

    assert resumed == [False, True, False, True, False]
    verified = [each.head.one("ssl-client-verify") for each in upstream.exchanges]
    assert verified == ["SUCCESS"] * 4 + [None]

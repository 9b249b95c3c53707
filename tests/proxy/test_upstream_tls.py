"""TLS to endpoints: whom they must be, what they are shown, and what is kept apart."""

import asyncio
import socket
import ssl
from typing import Any

import pytest
import trustme
from data_plane import ROUTE, DataPlane, backend, table
from http2 import Http2Upstream
from message import DEADLINE_S, request, response
from upstream import Answer, Exchange, Upstream, says

from ingress_controller.traces.span import Span, SpanStatus
from proxy.table import (
    Backend,
    Certificate,
    Endpoint,
    Host,
    Protocol,
    Rejected,
    Retry,
    Route,
    RoutePolicy,
    RouteTable,
    UpstreamTls,
)

SERVICE = "api.shop.svc"
THEN_CLOSE = "Connection: close"


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self) -> None:
        self.ca = trustme.CA()
        self.pem = self.ca.cert_pem.bytes().decode()

    def server(self, *names: str) -> ssl.SSLContext:
        """A server's context whose certificate has these names, and those that clients said."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*names).configure_cert(context)
        return context

    def client(self, name: str) -> Certificate:
        issued = self.ca.issue_cert(common_name=name)
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        return Certificate(chain.decode(), issued.private_key_pem.bytes().decode())


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def stranger() -> Authority:
    """Nobody trusts it."""
    return Authority()


def phases_us(span: Span) -> dict[str, int]:
    prefix = "spanway.phase."
    found = span.attributes.items()
    return {name.removeprefix(prefix): int(v) for name, v in found if name.startswith(prefix)}


async def attempt_of(data_plane: DataPlane) -> Span:
    """The only attempt of the only request."""
    (attempt,) = (await data_plane.segment()).attempts
    return attempt


async def test_endpoint_is_verified_by_the_name_of_its_service(
    data_plane: DataPlane, authority: Authority
) -> None:
    said: list[str | None] = []
    context = authority.server(SERVICE)
    context.sni_callback = lambda _session, name, _context: said.append(name)
    async with Upstream(tls=context) as upstream:
        data_plane.serve(upstream, tls=UpstreamTls(ca=authority.pem))
        async with await data_plane.client() as client:
            answers = [await client.get(), await client.get()]
    first, second = await data_plane.segments()

    assert [answer.status for answer in answers] == [200, 200]
    assert said == [SERVICE]
    assert upstream.connections_made == 1
    fresh, kept = first.attempts[0], second.attempts[0]
    for attempt in (fresh, kept):
        assert attempt.attributes["tls.protocol.version"] == "1.3"
        assert attempt.attributes["tls.resumed"] is False
    assert phases_us(fresh)["tls_us"] > 0
    assert "tls_us" not in phases_us(kept)
    for span in (fresh, kept, first.server, second.server):
        total_us = (span.end_unix_ns - span.start_unix_ns) // 1000
        assert sum(phases_us(span).values()) == total_us


@pytest.mark.parametrize(
    ("name", "ca", "reason"),
    [
        ("other.shop.svc", "authority", f'not valid for name "{SERVICE}"'),
        (SERVICE, "stranger", "UnknownIssuer"),
    ],
    ids=["another name", "another authority"],
)
async def test_endpoint_that_is_somebody_else_is_a_bad_gateway(
    name: str, ca: str, reason: str, data_plane: DataPlane, request: pytest.FixtureRequest
) -> None:
    trusted: Authority = request.getfixturevalue("authority")
    issuer: Authority = request.getfixturevalue(ca)
    async with Upstream(tls=issuer.server(name)) as upstream:
        data_plane.serve(upstream, tls=UpstreamTls(ca=trusted.pem))
        async with await data_plane.client() as client:
            answered = await client.get()
    segment = await data_plane.segment()

    assert upstream.exchanges == []
    assert answered.status == 502
    assert "the TLS connection to the service's endpoint could not be made" in answered.text
    assert segment.flag == "upstream_tls"
    (attempt,) = segment.attempts
    assert attempt.attributes["error.type"] == "upstream_tls"
    assert attempt.status is SpanStatus.ERROR
    assert reason in attempt.status_message
    assert phases_us(attempt)["tls_us"] > 0


async def test_endpoint_that_need_not_be_verified_may_be_anybody(
    data_plane: DataPlane, stranger: Authority
) -> None:
    async with Upstream(tls=stranger.server("other.example")) as upstream:
        data_plane.serve(upstream, tls=UpstreamTls(verify=False))
        async with await data_plane.client() as client:
            assert (await client.get()).status == 200


@pytest.mark.parametrize(
    ("name", "sni"), [("api.example", ["api.example"]), ("127.0.0.1", [None]), ("::1", [None])]
)
async def test_server_name_is_said_and_verified_and_may_be_an_address(
    name: str, sni: list[str | None], data_plane: DataPlane, authority: Authority
) -> None:
    said: list[str | None] = []
    context = authority.server(name)
    context.sni_callback = lambda _session, name, _context: said.append(name)
    async with Upstream(tls=context) as upstream:
        data_plane.serve(upstream, tls=UpstreamTls(ca=authority.pem, server_name=name))
        async with await data_plane.client() as client:
            assert (await client.get()).status == 200

    assert said == sni


async def test_system_is_whom_a_backend_without_authority_trusts(
    data_plane: DataPlane, authority: Authority, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's are read once a process: no test before may want them."""
    roots = tmp_path / "roots.pem"
    roots.write_text(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))
    async with Upstream(tls=authority.server(SERVICE)) as upstream:
        data_plane.serve(upstream, tls=UpstreamTls())
        async with await data_plane.client() as client:
            assert (await client.get()).status == 200


async def test_tls_1_2_is_spoken_to_those_that_have_no_more(
    data_plane: DataPlane, authority: Authority
) -> None:
    context = authority.server(SERVICE)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with Upstream(tls=context) as upstream:
        data_plane.serve(upstream, tls=UpstreamTls(ca=authority.pem))
        async with await data_plane.client() as client:
            assert (await client.get()).status == 200

    attempt = await attempt_of(data_plane)
    assert attempt.attributes["tls.protocol.version"] == "1.2"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_session_is_resumed_by_the_next_connection(
    version: ssl.TLSVersion, data_plane: DataPlane, authority: Authority
) -> None:
    context = authority.server(SERVICE)
    context.minimum_version = context.maximum_version = version
    answer = says(response(200, THEN_CLOSE, body=b"ok"), then_close=True)
    async with Upstream(answer, tls=context) as upstream:
        data_plane.serve(upstream, tls=UpstreamTls(ca=authority.pem))
        async with await data_plane.client() as client:
            for _ in range(2):
                assert (await client.get()).status == 200
    segments = await data_plane.segments()

    assert upstream.connections_made == 2
    resumed = [segment.attempts[0].attributes["tls.resumed"] for segment in segments]
    assert resumed == [False, True]


async def test_client_certificate_is_the_one_of_its_key_and_the_new_one_once_it_changes(
    data_plane: DataPlane, authority: Authority
) -> None:
    shown: list[str] = []

    async def answer(exchange: Exchange) -> None:
        certificate = exchange.writer.get_extra_info("peercert")
        ((_, name),) = certificate["subject"][-1]
        shown.append(name)
        await says(response(body=b"ok"))(exchange)

    async with Upstream(answer, tls=wants_certificate(authority)) as upstream:
        tls = UpstreamTls(ca=authority.pem, certificate="shop/client")
        async with await data_plane.client_of(
            mtls(data_plane, upstream, tls, authority, "one")
        ) as client:
            assert (await client.get()).status == 200
            assert data_plane.publish(mtls(data_plane, upstream, tls, authority, "two")) == []
            assert (await client.get()).status == 200
            await upstream.wait_for(lambda upstream: upstream.connections_open == 1)

    assert shown == ["one", "two"]


def wants_certificate(authority: Authority) -> ssl.SSLContext:
    context = authority.server(SERVICE)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority.pem)
    return context


def mtls(
    data_plane: DataPlane, upstream: Upstream, tls: UpstreamTls, authority: Authority, name: str
) -> RouteTable:
    served = table((data_plane.ingress,), (backend(upstream, tls=tls),))
    return replaced(served, certificates={"shop/client": authority.client(name)})


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_endpoint_that_wants_a_certificate_and_gets_none_is_a_failure_of_tls(
    version: ssl.TLSVersion, data_plane: DataPlane, authority: Authority
) -> None:
    context = wants_certificate(authority)
    context.minimum_version = context.maximum_version = version
    with socket.create_server(("127.0.0.1", 0)) as listening:
        refusing = asyncio.create_task(asyncio.to_thread(refuses_one, listening, context))
        endpoint = Endpoint(*listening.getsockname())
        data_plane.serve(endpoint, tls=UpstreamTls(ca=authority.pem), policy=ONCE)
        async with await data_plane.client() as client:
            answered = await client.get()
        await refusing
    segment = await data_plane.segment()

    assert answered.status == 502
    assert segment.flag == "upstream_tls"


ONCE = RoutePolicy(retry=Retry(attempts=1))


def refuses_one(listening: socket.socket, context: ssl.SSLContext) -> None:
    """Fails the handshake of one connection and says why. Blocks until the other side closes.

    (asyncio would close without a word.)
    """
    listening.settimeout(DEADLINE_S)
    connection, _ = listening.accept()
    connection.settimeout(DEADLINE_S)
    with context.wrap_socket(
        connection, server_side=True, do_handshake_on_connect=False
    ) as session:
        with pytest.raises(ssl.SSLError):
            session.do_handshake()
        session.shutdown(socket.SHUT_WR)
        with socket.fromfd(session.fileno(), socket.AF_INET, socket.SOCK_STREAM) as rest:
            rest.settimeout(DEADLINE_S)
            while rest.recv(65_536):
                pass


async def closes_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.close()


async def answers_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


async def test_endpoint_that_speaks_no_tls_is_a_bad_gateway(
    data_plane: DataPlane, authority: Authority
) -> None:
    for behaviour in (answers_plainly, closes_at_once):
        server = await asyncio.start_server(behaviour, "127.0.0.1", 0)
        async with server:
            endpoint = Endpoint(*server.sockets[0].getsockname())
            data_plane.serve(endpoint, tls=UpstreamTls(ca=authority.pem))
            async with await data_plane.client() as client:
                assert (await client.get()).status == 502
    segments = await data_plane.segments()

    assert [segment.flag for segment in segments] == ["upstream_tls"] * 2
    assert all(segment.attempts[0].status_message for segment in segments)


async def test_endpoint_that_is_silent_in_the_handshake_is_too_late(
    data_plane: DataPlane, authority: Authority
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        endpoint = Endpoint(*listening.getsockname())
        data_plane.serve(endpoint, tls=UpstreamTls(ca=authority.pem), connect_timeout_ms=20)
        async with await data_plane.client() as client:
            assert (await client.get()).status == 504
    segment = await data_plane.segment()

    assert segment.flag == "connect_timeout"
    (attempt,) = segment.attempts
    assert attempt.status_message == "the TLS handshake was not over in time"
    assert phases_us(attempt)["tls_us"] > phases_us(attempt)["connect_us"]


async def test_failed_handshake_is_tried_at_another_endpoint(
    data_plane: DataPlane, authority: Authority, stranger: Authority
) -> None:
    async with (
        Upstream(tls=stranger.server(SERVICE)) as wrong,
        Upstream(tls=authority.server(SERVICE)) as right,
    ):
        data_plane.serve(wrong, right, tls=UpstreamTls(ca=authority.pem))
        async with await data_plane.client() as client:
            answers = [await client.ask(request("POST", body=b"x")) for _ in range(2)]

    assert [answer.status for answer in answers] == [200, 200]
    assert (len(wrong.exchanges), len(right.exchanges)) == (0, 2)


async def test_long_bodies_go_both_ways_whole(data_plane: DataPlane, authority: Authority) -> None:
    body = bytes(range(256)) * 8192

    async def echoes(exchange: Exchange) -> None:
        await exchange.send(response(body=await exchange.body()))

    async with Upstream(echoes, tls=authority.server(SERVICE)) as upstream:
        data_plane.serve(upstream, tls=UpstreamTls(ca=authority.pem))
        async with await data_plane.client() as client:
            for _ in range(2):
                answered = await client.ask(request("POST", body=body))
                assert answered.body == body

    assert upstream.connections_made == 1


async def speaks(
    protocol: Protocol, offered: list[str], data_plane: DataPlane, authority: Authority
) -> str | None:
    """What an endpoint that would rather speak what comes first in `offered` settles on."""
    settled: list[str | None] = []

    async def answer(exchange: Exchange) -> None:
        settled.append(exchange.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await says(response(body=b"ok"))(exchange)

    context = authority.server(SERVICE)
    context.set_alpn_protocols(offered)
    async with Upstream(answer, tls=context) as upstream:
        data_plane.serve(upstream, tls=UpstreamTls(ca=authority.pem), protocol=protocol)
        async with await data_plane.client() as client:
            assert (await client.get()).status == 200
    return settled[0]


async def test_http1_backend_offers_nothing_else(
    data_plane: DataPlane, authority: Authority
) -> None:
    settled = await speaks(Protocol.HTTP1, ["h2", "http/1.1"], data_plane, authority)
    assert settled == "http/1.1"


async def test_auto_backend_speaks_http1_to_those_that_have_no_more(
    data_plane: DataPlane, authority: Authority
) -> None:
    assert await speaks(Protocol.AUTO, ["http/1.1"], data_plane, authority) == "http/1.1"
    assert await speaks(Protocol.AUTO, ["other"], data_plane, authority) is None


@pytest.mark.parametrize(
    ("protocol", "offered"),
    [
        (Protocol.AUTO, ["h2", "http/1.1"]),
        (Protocol.AUTO, ["h2"]),
        (Protocol.H2, ["http/1.1", "h2"]),
        (Protocol.H2, ["other"]),
    ],
)
async def test_http2_is_spoken_where_it_was_settled_on_or_wanted(
    protocol: Protocol, offered: list[str], data_plane: DataPlane, authority: Authority
) -> None:
    begun: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun.append(await reader.readexactly(len(PREFACE)))
        writer.transport.abort()

    context = authority.server(SERVICE)
    context.set_alpn_protocols(offered)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        endpoint = Endpoint(*server.sockets[0].getsockname())
        tls = UpstreamTls(ca=authority.pem)
        data_plane.serve(endpoint, tls=tls, protocol=protocol, policy=ONCE)
        async with await data_plane.client() as client:
            assert (await client.get()).status == 502

    assert begun == [PREFACE]


async def test_http2_connection_with_tls_is_shared_by_requests_and_clients(
    data_plane: DataPlane, authority: Authority
) -> None:
    context = authority.server(SERVICE)
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with Http2Upstream(tls=context) as upstream:
        tls = UpstreamTls(ca=authority.pem)
        data_plane.serve(upstream.endpoint, tls=tls, protocol=Protocol.AUTO)
        for _ in range(2):
            async with await data_plane.client() as client:
                for _ in range(2):
                    assert (await client.get()).body == b"ok"
    segments = await data_plane.segments()

    assert len(upstream.peers) == 1
    assert [dict(asked.fields)[":scheme"] for asked in upstream.requests] == ["https"] * 4
    attempts = [segment.attempts[0].attributes for segment in segments]
    assert [each["tls.protocol.version"] for each in attempts] == ["1.3"] * 4
    reused = [each["spanway.connection.reused"] for each in attempts]
    assert reused == [False, True, True, True]


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def replaced(served: RouteTable, **changes: Any) -> RouteTable:
    fields = {name: getattr(served, name) for name in served.__struct_fields__}
    return RouteTable(**{**fields, **changes})


def by_host(data_plane: DataPlane, backends: dict[str, Backend]) -> RouteTable:
    """Each host goes to a backend of its own."""
    hosts = tuple(
        Host(name, (Route(ROUTE.kind, "/", backend.key, "shop", "web", "r"),))
        for name, backend in backends.items()
    )
    return table((data_plane.ingress,), tuple(backends.values()), hosts)


async def test_connections_are_shared_only_by_those_that_made_them_alike(
    data_plane: DataPlane, authority: Authority
) -> None:
    async with Upstream(tls=authority.server(SERVICE)) as upstream:
        endpoint = upstream.endpoint
        careful = UpstreamTls(ca=authority.pem, server_name=SERVICE)
        backends = {
            "careful.example": Backend("shop", "a", "1", (endpoint,), tls=careful),
            "careless.example": Backend(
                "shop", "b", "1", (endpoint,), tls=UpstreamTls(verify=False)
            ),
        }
        assert data_plane.publish(by_host(data_plane, backends)) == []
        async with await data_plane.client() as client:
            for _ in range(2):
                for host in backends:
                    assert (await client.get(host=host)).status == 200
    segments = await data_plane.segments()

    assert upstream.connections_made == 2
    reused = [segment.attempts[0].attributes["spanway.connection.reused"] for segment in segments]
    assert reused == [False, False, True, True]


async def test_connection_outlives_a_change_of_endpoints_but_not_of_tls(
    data_plane: DataPlane, authority: Authority
) -> None:
    tls = UpstreamTls(ca=authority.pem)
    async with Upstream(tls=authority.server(SERVICE)) as upstream:
        data_plane.serve(upstream, tls=tls)
        async with await data_plane.client() as client:
            assert (await client.get()).status == 200
            data_plane.serve(upstream, tls=tls, changed_unix_ms=1, connect_timeout_ms=1000)
            assert (await client.get()).status == 200
            assert upstream.connections_made == 1

            data_plane.serve(
                upstream, tls=UpstreamTls(ca=authority.pem, server_name=SERVICE.upper())
            )
            await upstream.wait_for(lambda upstream: upstream.connections_open == 0)
            assert (await client.get()).status == 200
            assert upstream.connections_made == 2


async def test_sessions_are_not_shared_with_those_that_verified_otherwise(
    data_plane: DataPlane, authority: Authority, stranger: Authority
) -> None:
    answer: Answer = says(response(200, THEN_CLOSE, body=b"ok"), then_close=True)
    async with (
        Upstream(answer, tls=stranger.server(SERVICE)) as upstream,
        await data_plane.client_of(unverified(data_plane, upstream)) as client,
    ):
        assert (await client.get()).status == 200
        data_plane.serve(upstream, tls=UpstreamTls(ca=authority.pem))
        assert (await client.get()).status == 502


def unverified(data_plane: DataPlane, upstream: Upstream) -> RouteTable:
    tls = UpstreamTls(verify=False)
    return table((data_plane.ingress,), (backend(upstream, tls=tls),))


def pem(content: str) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{content}\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        (UpstreamTls(ca="nothing"), "ca: there is no certificate in it"),
        (UpstreamTls(ca=pem("%")), "is not PEM"),
        (UpstreamTls(ca=pem("AAAA")), "cannot be used"),
        (UpstreamTls(server_name="not a name"), "no name of a TLS server"),
        (UpstreamTls(certificate="shop/none"), 'there is no usable certificate "shop/none"'),
    ],
    ids=["no certificate", "no base64", "no X.509", "no name", "no key"],
)  # fmt: skip
def test_tls_that_cannot_be_set_up_is_refused_and_says_why(
    tls: UpstreamTls, words: str, data_plane: DataPlane
) -> None:
    shop = backend(Endpoint("127.0.0.1", 1), tls=tls)
    rejected = data_plane.publish(table((data_plane.ingress,), (shop,)))

    assert [(each.kind, each.subject) for each in rejected] == [("backend", shop.key)]
    assert words in rejected[0].message


def test_certificate_that_is_none_is_refused_and_its_key_is_not_shown(
    data_plane: DataPlane, authority: Authority, stranger: Authority
) -> None:
    certificates = {
        "no-chain": Certificate("", authority.client("a").private_key),
        "no-key": Certificate(authority.client("a").chain, "secret"),
        "not-its-key": Certificate(authority.client("a").chain, stranger.client("b").private_key),
    }
    served = replaced(table((data_plane.ingress,), ()), hosts={}, certificates=certificates)
    rejected: list[Rejected] = data_plane.publish(served)

    assert [(each.kind, each.subject) for each in rejected] == [
        ("certificate", name) for name in certificates
    ]
    assert "secret" not in str(rejected)

"""TLS that is not ended here: the connection is handed on by the name that its client asks for."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from client import refusal
from data_plane import DataPlane, backend
from message import DEADLINE_S, READ_LIMIT_BYTES, within
from tls import DEFAULT, Authority, connected, hello, host, subject_names, tls_table
from upstream import RESET, Upstream

from ingress_controller.traces.span import Span, SpanKind, SpanStatus
from proxy.table import Backend, Endpoint, HostTls, Tracing

SECURE = "shop/secure:443"
LARGE = bytes(range(256)) * (20 * 1024)

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def echoes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while got := await reader.read(READ_LIMIT_BYTES):
        writer.write(got)
        await writer.drain()


def resets(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


class SecureServer:
    """A server of its own certificate, which serves each connection by `serve`."""

    def __init__(self, authority: Authority, serve: Serve = echoes) -> None:
        self.serve = serve
        self.connections = 0
        self.ended = asyncio.Event()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.server("secret.example").configure_cert(self._context)

    async def __aenter__(self) -> "SecureServer":
        self._server = await asyncio.start_server(self._run, "127.0.0.1", 0, ssl=self._context)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self.serve(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()
            self.ended.set()

    @property
    def endpoint(self) -> Endpoint:
        address, port = self._server.sockets[0].getsockname()
        return Endpoint(address, port, pod="vault-0", node="node-1")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def secure(authority: Authority) -> AsyncIterator[SecureServer]:
    async with SecureServer(authority) as server:
        yield server


def secret(*endpoints: Endpoint, **changes: Any) -> Backend:
    return msgspec.structs.replace(backend(*endpoints), service="secure", port="443", **changes)


def serve(
    data_plane: DataPlane,
    upstream: Upstream,
    authority: Authority,
    *endpoints: Endpoint,
    **changes: Any,
) -> None:
    """`secret.example` is handed on, `shop.example` is served."""
    served = tls_table(
        data_plane,
        upstream,
        {DEFAULT: authority.certificate("shop.example")},
        host("secret.example", HostTls(passthrough=SECURE)),
        host("shop.example"),
        backends=(secret(*endpoints, **changes),),
    )
    assert data_plane.publish(served) == []


def told(span: Span) -> dict[str, object]:
    return {name: value for name, value in span.attributes.items() if ".phase." not in name}


def only(spans: list[Span], kind: SpanKind) -> Span:
    (span,) = (span for span in spans if span.kind is kind)
    return span


async def test_connection_is_handed_on_as_it_is_and_told_in_two_spans(
    data_plane: DataPlane, upstream: Upstream, authority: Authority, secure: SecureServer
) -> None:
    serve(data_plane, upstream, authority, secure.endpoint, changed_unix_ms=5)
    async with await connected(data_plane, authority.context(), "secret.example") as client:
        assert subject_names(client) == {"secret.example"}  # The endpoint's, not ours.
        await client.send(b"hello")
        assert await client.receive(5) == b"hello"
        port = client.port
        (live,) = data_plane.engine.live().requests
    await within(secure.ended.wait())
    async with await connected(data_plane, authority.context(), "shop.example") as client:
        assert (await client.get()).status == 200
    spans = await data_plane.spans()

    server = only([each for each in spans if each.name == "tls secret.example"], SpanKind.SERVER)
    assert (live.id, live.trace_id) == (server.span_id, server.trace_id)
    assert (live.kind, live.phase, live.host) == ("connection", "stream", "secret.example")
    assert (live.service, live.pod, live.attempts) == ("shop/secure:443", "vault-0", 1)
    assert min(live.received_bytes, live.sent_bytes) > 500
    (attempt,) = (span for span in spans if span.parent_id == server.span_id)
    assert (attempt.kind, attempt.name) == (SpanKind.CLIENT, "tcp")
    assert server.start_unix_ns <= attempt.start_unix_ns <= attempt.end_unix_ns
    assert attempt.end_unix_ns <= server.end_unix_ns
    attributes = told(server)
    received = attributes.pop("spanway.connection.received_bytes")
    sent = attributes.pop("spanway.connection.sent_bytes")
    assert isinstance(received, int)
    assert isinstance(sent, int)
    assert received > 500  # A ClientHello at least.
    assert sent > 500  # A certificate at least.
    assert attributes == {
        "server.address": "secret.example",
        "server.port": int(data_plane.ingress.address.rpartition(":")[2]),
        "client.address": "127.0.0.1",
        "client.port": port,
        "network.transport": "tcp",
        "network.protocol.name": "tls",
        "k8s.namespace.name": "shop",
        "k8s.service.name": "secure",
        "spanway.listener": "ingress",
        "spanway.table.generation": 1,
        "spanway.endpoints.changed_unix_ms": 5,
    }
    assert told(attempt) == {
        "network.transport": "tcp",
        "server.address": "127.0.0.1",
        "server.port": secure.endpoint.port,
        "network.peer.address": "127.0.0.1",
        "network.peer.port": secure.endpoint.port,
        "k8s.pod.name": "vault-0",
        "k8s.node.name": "node-1",
    }
    assert {server.status, attempt.status} == {SpanStatus.UNSET}
    stats = data_plane.engine.stats()
    assert (stats.connections_passed_through, stats.tls_handshakes) == (1, 1)


@pytest.mark.parametrize("name", ["shop.example", ""])
async def test_host_whose_connections_are_handed_on_is_not_asked_for_over_one_that_ends_here(
    name: str,
    data_plane: DataPlane,
    upstream: Upstream,
    authority: Authority,
    secure: SecureServer,
) -> None:
    """Its endpoint ends TLS itself, perhaps to see its clients' certificates."""
    serve(data_plane, upstream, authority, secure.endpoint)
    async with await connected(data_plane, authority.context(), name) as client:
        assert (await client.get(host="secret.example")).status == 421
    assert upstream.exchanges == []


async def test_large_amounts_pass_both_ways_at_once(
    data_plane: DataPlane, upstream: Upstream, authority: Authority, secure: SecureServer
) -> None:
    serve(data_plane, upstream, authority, secure.endpoint)
    async with await connected(data_plane, authority.context(), "secret.example") as client:
        async with asyncio.TaskGroup() as both:
            both.create_task(client.send(LARGE))
            got = both.create_task(client.receive(len(LARGE)))
        assert got.result() == LARGE


async def test_hello_in_pieces_is_read_whole_before_it_is_handed_on(
    data_plane: DataPlane, upstream: Upstream, authority: Authority, secure: SecureServer
) -> None:
    serve(data_plane, upstream, authority, secure.endpoint)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = authority.context().wrap_bio(incoming, outgoing, server_hostname="secret.example")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    sent = outgoing.read()
    async with await data_plane.client() as client:
        for at in range(len(sent)):
            await client.send(sent[at : at + 1])
        while True:
            incoming.write(await client.receive(1))
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                continue
            break
    assert tls.getpeercert() is not None


async def test_end_of_one_direction_leaves_the_other_open(
    data_plane: DataPlane, upstream: Upstream, authority: Authority
) -> None:
    got = bytearray()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.extend(await reader.read(-1))  # Until the client is done.
        writer.write(LARGE)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        serve(data_plane, upstream, authority, Endpoint(*server.sockets[0].getsockname()))
        sent = hello(authority.context(), "secret.example") + b"and more"
        async with await data_plane.client() as client:
            await client.send(sent)
            client.writer.write_eof()
            assert await client.rest() == LARGE
        assert bytes(got) == sent
    attributes = only(await data_plane.spans(), SpanKind.SERVER).attributes
    assert attributes["spanway.connection.received_bytes"] == len(sent)
    assert attributes["spanway.connection.sent_bytes"] == len(LARGE)
    assert "spanway.flags" not in attributes


async def test_endpoint_that_refuses_is_followed_by_another(
    data_plane: DataPlane, upstream: Upstream, authority: Authority, secure: SecureServer
) -> None:
    refusing = [Endpoint("127.0.0.1", data_plane.free_port().port) for _ in range(2)]
    serve(data_plane, upstream, authority, secure.endpoint, *refusing)
    for _ in range(3):  # Each is the first one once.
        async with await connected(data_plane, authority.context(), "secret.example") as client:
            await client.send(b"x")
            assert await client.receive(1) == b"x"
    spans = await data_plane.spans()

    refused = [span for span in spans if span.attributes.get("error.type") == "connect_refused"]
    assert secure.connections == 3
    assert len(refused) >= 2
    assert {span.kind for span in refused} == {SpanKind.CLIENT}
    assert {span.status for span in refused} == {SpanStatus.ERROR}
    assert len([span for span in spans if span.kind is SpanKind.SERVER]) == 3


async def ended(data_plane: DataPlane, authority: Authority) -> None:
    """Returns when the connection was closed instead of a handshake."""
    with pytest.raises((ConnectionError, ssl.SSLError)):
        await connected(data_plane, authority.context(), "secret.example")


@pytest.mark.parametrize(
    ("changes", "flag"),
    [({}, "no_endpoints"), ({"missing": "the Service does not exist"}, "no_backend")],
)
async def test_connection_without_an_endpoint_is_closed_and_told(
    data_plane: DataPlane,
    upstream: Upstream,
    authority: Authority,
    changes: dict[str, Any],
    flag: str,
) -> None:
    serve(data_plane, upstream, authority, **changes)
    await ended(data_plane, authority)
    (span,) = await data_plane.spans()

    assert (span.kind, span.status) == (SpanKind.SERVER, SpanStatus.ERROR)
    assert (span.attributes["spanway.flags"], span.attributes["error.type"]) == (flag, flag)


async def test_connection_whose_endpoints_all_refuse_is_closed_and_told(
    data_plane: DataPlane, upstream: Upstream, authority: Authority
) -> None:
    refusing = Endpoint("127.0.0.1", data_plane.free_port().port)
    serve(data_plane, upstream, authority, refusing)
    await ended(data_plane, authority)
    spans = await data_plane.spans()

    assert only(spans, SpanKind.SERVER).attributes["spanway.flags"] == "connect_refused"
    assert only(spans, SpanKind.CLIENT).attributes["error.type"] == "connect_refused"


async def test_endpoint_that_resets_is_to_blame(
    data_plane: DataPlane, upstream: Upstream, authority: Authority
) -> None:
    async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        resets(writer)

    async with SecureServer(authority, reset) as server:
        serve(data_plane, upstream, authority, server.endpoint)
        async with await connected(data_plane, authority.context(), "secret.example") as client:
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await client.receive(1)
    spans = await data_plane.spans()
    assert only(spans, SpanKind.SERVER).attributes["spanway.flags"] == "upstream_reset"
    assert only(spans, SpanKind.CLIENT).attributes["error.type"] == "upstream_reset"


async def test_client_that_resets_is_to_blame(
    data_plane: DataPlane, upstream: Upstream, authority: Authority, secure: SecureServer
) -> None:
    serve(data_plane, upstream, authority, secure.endpoint)
    async with await connected(data_plane, authority.context(), "secret.example") as client:
        await client.send(b"x")
        await client.receive(1)
        resets(client.writer)
    await within(secure.ended.wait())
    server = only(await data_plane.spans(), SpanKind.SERVER)
    assert server.attributes["spanway.flags"] == "client_gone"
    assert server.status is SpanStatus.UNSET


async def test_open_connection_may_finish_at_the_end(
    data_plane: DataPlane, upstream: Upstream, authority: Authority, secure: SecureServer
) -> None:
    serve(data_plane, upstream, authority, secure.endpoint)
    async with await connected(data_plane, authority.context(), "secret.example") as client:
        await client.send(b"x")
        await client.receive(1)
        async with asyncio.TaskGroup() as stopping:
            stopping.create_task(data_plane.stop())
            await refusal(data_plane.ingress.address)
            await client.send(b"y")
            assert await client.receive(1) == b"y"
            client.writer.close()
    server = only(await data_plane.spans(), SpanKind.SERVER)
    assert "spanway.flags" not in server.attributes


async def test_open_connection_that_is_cut_at_the_end_is_told_as_such(
    data_plane: DataPlane, upstream: Upstream, authority: Authority, secure: SecureServer
) -> None:
    serve(data_plane, upstream, authority, secure.endpoint)
    async with await connected(data_plane, authority.context(), "secret.example") as client:
        await client.send(b"x")
        await client.receive(1)
        await data_plane.stop(deadline_s=0)
    spans = await data_plane.spans()
    server, attempt = only(spans, SpanKind.SERVER), only(spans, SpanKind.CLIENT)
    assert server.attributes["spanway.flags"] == "shutdown"
    assert attempt.end_unix_ns == server.end_unix_ns


async def test_connection_that_is_not_sampled_leaves_no_span(
    data_plane: DataPlane, upstream: Upstream, authority: Authority, secure: SecureServer
) -> None:
    serve(data_plane, upstream, authority, secure.endpoint)
    off = msgspec.structs.replace(data_plane.table, tracing=Tracing(enabled=False))
    data_plane.publish(off)
    async with await connected(data_plane, authority.context(), "secret.example") as client:
        await client.send(b"x")
        assert await client.receive(1) == b"x"
    await within(secure.ended.wait())
    assert await data_plane.spans() == []


async def test_side_that_is_done_and_takes_no_more_is_not_to_blame(
    data_plane: DataPlane, upstream: Upstream, authority: Authority
) -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.write_eof()
        await within(client_is_told.wait())
        resets(writer)

    client_is_told = asyncio.Event()
    server = await asyncio.start_server(leave, "127.0.0.1", 0)
    async with server:
        serve(data_plane, upstream, authority, Endpoint(*server.sockets[0].getsockname()))
        async with await data_plane.client() as client:
            await client.send(hello(authority.context(), "secret.example"))
            assert await client.rest() == b""
            client_is_told.set()
            async with asyncio.timeout(DEADLINE_S):
                with suppress(ConnectionError):
                    while True:  # It is noticed when the endpoint is sent something.
                        await client.send(b"x")
                        await asyncio.sleep(0)
    server_span = only(await data_plane.spans(), SpanKind.SERVER)
    assert "spanway.flags" not in server_span.attributes

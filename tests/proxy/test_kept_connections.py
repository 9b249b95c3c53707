"""Connections to endpoints that are kept: whose requests they carry, and what may be on them."""

import asyncio

import pytest
from client import Client
from data_plane import DataPlane
from http2 import Http2Upstream, Message, Peer, says_ok
from message import request, response, within
from upstream import Exchange, Upstream, holds

from proxy.table import Protocol


async def _answers(exchange: Exchange) -> None:
    await exchange.body()
    await exchange.send(response(body=exchange.line.encode()))


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_bytes_that_come_after_a_response_answer_nobody(
    method: str, data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    """An endpoint that answers twice, as one does that was made to see two requests in one."""
    is_late = asyncio.Event()

    async def answers_twice(exchange: Exchange) -> None:
        await _answers(exchange)
        if len(upstream.exchanges) == 1:
            await is_late.wait()
            await exchange.send(response(body=b"smuggled"))

    upstream.answer = answers_twice
    asked = [request(method, path, body=b"" if method == "POST" else None) for path in ("/1", "/2")]

    first = await client.ask(asked[0])
    is_late.set()
    await upstream.wait_for(lambda upstream: len(upstream.complete()) == 1)
    await data_plane.turn()
    second = await client.ask(asked[1])

    assert first.text.split()[1] == "/1"
    assert second.text.split()[1] == "/2"
    assert upstream.connections_made == 2


async def test_connection_that_was_in_use_when_its_endpoint_went_is_closed_after_use(
    data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    may_answer = asyncio.Event()
    async with Upstream(holds("/held", may_answer)) as going, await data_plane.client() as other:
        data_plane.serve(going)
        await client.send(request(target="/held"))
        await going.wait_for(lambda going: len(going.exchanges) == 1)
        await other.get()
        data_plane.serve(upstream)
        await going.wait_for(lambda going: going.connections_open == 1)  # Not the idle one.
        may_answer.set()
        answered = await client.response()
        await going.wait_for(lambda going: going.connections_open == 0)

    assert answered.status == 200


async def test_shared_connection_that_was_in_use_when_its_endpoint_went_is_closed_after_use(
    data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    may_answer = asyncio.Event()

    async def answer(peer: Peer, asked: Message) -> None:
        if asked.one(":path") == "/held":
            await within(may_answer.wait())
        await says_ok(peer, asked)

    async with Http2Upstream(answer) as one, Http2Upstream(answer) as two:
        data_plane.serve(one.endpoint, two.endpoint, protocol=Protocol.H2)
        await client.send(request(target="/held"))
        async with await data_plane.client() as other:
            while not (one.requests and two.requests):
                await other.get()
        in_use, idle = (one, two) if one.requests[0].one(":path") == "/held" else (two, one)
        data_plane.serve(upstream)
        await idle.peers[0].wait_for(lambda: idle.peers[0].is_closed)
        may_answer.set()
        answered = await client.response()
        await in_use.peers[0].wait_for(lambda: in_use.peers[0].is_closed)

    assert answered.status == 200


@pytest.mark.parametrize("scheme", ["NTLM", "ntlm", "Negotiate"])
async def test_connection_that_a_client_has_authenticated_is_for_no_other_request(
    scheme: str, client: Client, upstream: Upstream
) -> None:
    """RFC 4559, section 6: to such an endpoint the connection is the user."""
    upstream.answer = _answers

    await client.get("/user", f"Authorization: {scheme} TlRMTVNTUAAD")
    await client.get("/stranger")

    assert upstream.connections_made == 2


@pytest.mark.parametrize("value", ["Basic Og==", "Bearer NTLM", "NTLMx y", ""])
async def test_connection_is_kept_after_what_authenticates_a_request(
    value: str, client: Client, upstream: Upstream
) -> None:
    upstream.answer = _answers

    await client.get("/", f"Authorization: {value}")
    await client.get("/")

    assert upstream.connections_made == 1

"""Connections to endpoints that are kept: whose requests they carry, and what may be on them."""

import asyncio

import pytest
from client import Client
from data_plane import DataPlane
from message import request, response
from upstream import Exchange, Upstream


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

"""Stopping: what was accepted is served, what is idle has its time, what takes too long is cut."""

import asyncio
import socket
from contextlib import AsyncExitStack

import pytest
from client import Client, refusal
from data_plane import STOP_DEADLINE_S, DataPlane
from message import request, response, within
from upstream import Exchange, Upstream, echoes


class Held:
    """An upstream's answer that waits for the test."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.body()
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        await within(self.may_answer.wait())
        await exchange.send(b"hello")


async def assert_answered(clients: list[Client]) -> None:
    for client in clients:
        assert (await client.response()).status == 200
        client.writer.close()
        await client.writer.wait_closed()


@pytest.fixture
def held(upstream: Upstream) -> Held:
    upstream.answer = held = Held()
    return held


async def test_running_request_is_finished_and_recorded(
    held: Held, data_plane: DataPlane, client: Client
) -> None:
    await client.send(request())
    await client.interim()  # The head is here, the body is not.
    async with asyncio.TaskGroup() as stopping:
        stopping.create_task(data_plane.stop())
        await refusal(data_plane.ingress.address)
        held.may_answer.set()
        # Its head promised to keep the connection; it is closed all the same, now that it is idle.
        body = await client.rest()

    assert body == b"hello"
    segment = await data_plane.segment()
    assert segment.flag is None
    assert segment.server.attributes["http.response.status_code"] == 200


async def test_client_whose_request_is_finished_is_told_that_its_connection_is_not_kept(
    data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    may_answer = asyncio.Event()

    async def wait(exchange: Exchange) -> None:
        await exchange.body()
        await within(may_answer.wait())
        await exchange.send(response(body=b"hello"))

    upstream.answer = wait

    await client.send(request())
    await upstream.wait_for(lambda upstream: len(upstream.exchanges) == 1)
    async with asyncio.TaskGroup() as stopping:
        stopping.create_task(data_plane.stop())
        await refusal(data_plane.ingress.address)
        may_answer.set()
        answered = await client.response()
        rest = await client.rest()
        client.writer.close()

    assert answered.head.one("connection") == "close"
    assert (answered.body, rest) == (b"hello", b"")


async def test_idle_connections_are_closed_at_once(data_plane: DataPlane, client: Client) -> None:
    await client.get()
    async with await data_plane.client() as unused:
        await data_plane.turn()
        await data_plane.stop()

        assert await client.rest() == b""
        assert await unused.rest() == b""


async def test_idle_connection_may_bring_one_more_request_and_is_told_to_close(
    data_plane: DataPlane, client: Client
) -> None:
    await client.get()
    async with await data_plane.client() as unused, asyncio.TaskGroup() as stopping:
        await data_plane.turn()
        stopping.create_task(data_plane.stop(idle_s=STOP_DEADLINE_S))
        await refusal(data_plane.ingress.address)
        for each in client, unused:
            answered = await each.get()
            assert (answered.status, answered.head.one("connection")) == (200, "close")
            assert await each.rest() == b""
            each.writer.close()  # or it is waited for, lest the answer is lost


async def test_requests_that_are_in_the_kernel_are_no_idle_connections(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(await data_plane.client()) for _ in range(50)]
        await data_plane.turn()
        for client in clients:
            client.writer.write(request())
        async with asyncio.TaskGroup() as stopping:
            stopping.create_task(data_plane.stop())
            await assert_answered(clients)


async def test_connections_that_wait_to_be_accepted_are_served(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    # They wait in a socket that the engine is given just before it is told to stop.
    address = data_plane.ingress.address
    host, port = address.rsplit(":", 1)
    listening = socket.create_server((host, int(port)), backlog=128)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(await data_plane.client()) for _ in range(100)]
        for client in clients:
            await client.send(request())
        data_plane.engine.adopt(address, listening)
        data_plane.serve(upstream)
        async with asyncio.TaskGroup() as stopping:
            stopping.create_task(data_plane.stop())
            await assert_answered(clients)


async def test_tunnel_is_cut_at_the_deadline(
    data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    upstream.answer = echoes
    await client.send(request("GET", "/", "Connection: upgrade", "Upgrade: echo"))
    await client.interim()
    async with asyncio.TaskGroup() as stopping:
        stopping.create_task(data_plane.stop(deadline_s=0.2))
        await refusal(data_plane.ingress.address)
        await client.send(b"still here")
        assert await client.receive(len(b"still here")) == b"still here"

        assert await client.rest() == b""


async def test_request_that_takes_too_long_is_cut(
    held: Held, data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    await client.send(request())
    await upstream.wait_for(lambda upstream: len(upstream.exchanges) == 1)

    await data_plane.stop(deadline_s=0.02)

    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await client.response()
    assert not held.may_answer.is_set()


async def test_last_spans_can_be_taken_after_the_stop(
    data_plane: DataPlane, client: Client
) -> None:
    for _ in range(3):
        await client.get()

    assert len(await data_plane.segments()) == 3
    assert data_plane.engine.take_spans() == []


async def test_stopping_twice_is_stopping_once(data_plane: DataPlane, client: Client) -> None:
    await client.get()

    await data_plane.stop()
    await data_plane.stop()

    assert len(data_plane.engine.take_spans()) == 1


async def test_engine_that_serves_nothing_stops(data_plane: DataPlane) -> None:
    await data_plane.stop()

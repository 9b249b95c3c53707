"""Server-sent events and the like: the client has what was said before more is said."""

import asyncio

from client import Client
from data_plane import DataPlane
from http2 import Http2Client, Http2Upstream, Message, Peer
from message import request
from upstream import Exchange, Upstream

from proxy.table import Protocol

EVENTS = [b"data: %d\n\n" % index for index in range(3)]


class Stage:
    """An endpoint that says the next event only when the client has the last one."""

    def __init__(self) -> None:
        self.heard = asyncio.Semaphore(0)

    async def over_http1(self, exchange: Exchange) -> None:
        await exchange.body()
        await exchange.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for event in EVENTS:
            await exchange.send(b"%x\r\n%b\r\n" % (len(event), event))
            await self.heard.acquire()
        await exchange.send(b"0\r\n\r\n")

    async def over_http2(self, peer: Peer, asked: Message) -> None:
        await peer.send(asked.stream_id, ((":status", "200"),), is_end=False)
        for event in EVENTS:
            await peer.send_body(asked.stream_id, event, is_end=False)
            await self.heard.acquire()
        peer.h2.end_stream(asked.stream_id)
        await peer.flush()


async def hear_over_http1(client: Client, stage: Stage) -> None:
    await client.send(request())
    assert (await client.interim()).one("transfer-encoding") == "chunked"
    for event in EVENTS:
        chunk = b"%x\r\n%b\r\n" % (len(event), event)
        assert await client.receive(len(chunk)) == chunk
        stage.heard.release()
    assert await client.receive(5) == b"0\r\n\r\n"


async def hear_over_http2(client: Http2Client, stage: Stage) -> None:
    stream_id = await client.begin()
    for count in range(1, len(EVENTS) + 1):
        heard = b"".join(EVENTS[:count])
        await client.peer.wait_for(
            lambda heard=heard: getattr(client.peer.messages.get(stream_id), "body", b"") == heard
        )
        stage.heard.release()
    assert (await client.response(stream_id)).is_complete


async def test_events_reach_a_client_of_http_1_one_by_one(
    client: Client, upstream: Upstream
) -> None:
    stage = Stage()
    upstream.answer = stage.over_http1

    await hear_over_http1(client, stage)


async def test_events_reach_a_client_of_http_2_one_by_one(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    stage = Stage()
    upstream.answer = stage.over_http1
    data_plane.serve(upstream)
    async with Http2Client(data_plane.ingress.address) as client:
        await hear_over_http2(client, stage)


async def test_events_of_an_endpoint_of_http_2_arrive_one_by_one(data_plane: DataPlane) -> None:
    stage = Stage()
    async with Http2Upstream(stage.over_http2) as upstream:
        data_plane.serve(upstream.endpoint, protocol=Protocol.H2)
        async with await data_plane.client() as client:
            await hear_over_http1(client, stage)
        async with Http2Client(data_plane.ingress.address) as client:
            await hear_over_http2(client, stage)

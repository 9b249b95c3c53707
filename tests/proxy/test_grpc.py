"""gRPC: streams both ways, trailers, deadlines, and our own errors in its own words."""

import pytest
from data_plane import DataPlane
from http2 import GET, Answer, Http2Client, Http2Upstream, Message, Peer, with_fields

from ingress_controller.traces.span import SpanStatus
from proxy.table import Protocol

CALL = with_fields(
    GET,
    (":method", "POST"),
    (":path", "/shop.Cart/Add"),
    ("content-type", "application/grpc+proto"),
    ("te", "trailers"),
)


def message(data: bytes) -> bytes:
    """A gRPC message: not compressed, its length, its data."""
    return b"\0" + len(data).to_bytes(4, "big") + data


async def test_call_with_trailers_passes(data_plane: DataPlane) -> None:
    async def answer(peer: Peer, asked: Message) -> None:
        await peer.wait_for(lambda: asked.is_complete)
        head = ((":status", "200"), ("content-type", "application/grpc"))
        await peer.send(asked.stream_id, head, is_end=False)
        await peer.send_body(asked.stream_id, message(b"answer"), is_end=False)
        await peer.send(asked.stream_id, (("grpc-status", "0"), ("grpc-message", "")))

    async with Http2Upstream(answer) as upstream:
        data_plane.serve(upstream.endpoint, protocol=Protocol.H2)
        async with Http2Client(data_plane.ingress.address) as client:
            answered = await client.ask(CALL, message(b"question"))

    assert upstream.requests[0].one("te") == "trailers"
    assert bytes(upstream.requests[0].body) == message(b"question")
    assert bytes(answered.body) == message(b"answer")
    assert dict(answered.trailers) == {"grpc-status": "0", "grpc-message": ""}


async def test_messages_stream_both_ways_at_once(data_plane: DataPlane) -> None:
    async def echoes(peer: Peer, asked: Message) -> None:
        await peer.send(asked.stream_id, ((":status", "200"),), is_end=False)
        while not asked.is_complete:
            await peer.wait_for(lambda: asked.is_complete or len(asked.body) > 0)
            part = bytes(asked.body)
            asked.body.clear()
            await peer.send_body(asked.stream_id, part, is_end=False)
        await peer.send(asked.stream_id, (("grpc-status", "0"),))

    async with Http2Upstream(echoes) as upstream:
        data_plane.serve(upstream.endpoint, protocol=Protocol.H2)
        async with Http2Client(data_plane.ingress.address) as client:
            stream_id = await client.begin(CALL, is_end=False)
            said = b""
            for index in range(5):
                said += message(b"%d" % index)
                await client.peer.send_body(stream_id, message(b"%d" % index), is_end=False)
                await client.peer.wait_for(
                    lambda said=said: (
                        getattr(client.peer.messages.get(stream_id), "body", b"") == said
                    )
                )
            client.peer.h2.end_stream(stream_id)
            await client.peer.flush()
            answered = await client.response(stream_id)

    assert dict(answered.trailers) == {"grpc-status": "0"}


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc;charset=utf-8"])
async def test_our_own_error_is_a_grpc_status(kind: str, data_plane: DataPlane) -> None:
    data_plane.serve()
    async with Http2Client(data_plane.ingress.address) as client:
        answered = await client.ask(with_fields(CALL, ("content-type", kind)))

    assert answered.status == 200
    assert (answered.one("grpc-status"), bytes(answered.body)) == ("14", b"")  # UNAVAILABLE
    assert answered.one("grpc-message") == "no_endpoints: the service has no ready endpoint"
    server = (await data_plane.segment()).server
    assert server.attributes["http.response.status_code"] == 200
    assert server.attributes["rpc.response.status_code"] == "UNAVAILABLE"
    assert server.attributes["error.type"] == "no_endpoints"
    assert server.status is SpanStatus.ERROR


def ends(status: str, *, in_head: bool) -> Answer:
    """Ends a call with this status: in the trailers, or in the only head."""

    async def answer(peer: Peer, asked: Message) -> None:
        await peer.wait_for(lambda: asked.is_complete)
        head = ((":status", "200"), ("content-type", "application/grpc"))
        end = (("grpc-status", status),)
        if not in_head:
            await peer.send(asked.stream_id, head, is_end=False)
            await peer.send_body(asked.stream_id, message(b"answer"), is_end=False)
        await peer.send(asked.stream_id, head + end if in_head else end)

    return answer


@pytest.mark.parametrize("in_head", [True, False])
@pytest.mark.parametrize(
    ("status", "name", "server_status", "client_status"),
    [
        ("0", "OK", SpanStatus.UNSET, SpanStatus.UNSET),
        ("5", "NOT_FOUND", SpanStatus.UNSET, SpanStatus.ERROR),
        ("13", "INTERNAL", SpanStatus.ERROR, SpanStatus.ERROR),
    ],
)
async def test_call_is_in_its_spans(
    status: str,
    name: str,
    server_status: SpanStatus,
    client_status: SpanStatus,
    in_head: bool,
    data_plane: DataPlane,
) -> None:
    async with Http2Upstream(ends(status, in_head=in_head)) as upstream:
        data_plane.serve(upstream.endpoint, protocol=Protocol.H2)
        async with Http2Client(data_plane.ingress.address) as client:
            await client.ask(CALL, message(b"question"))
        segment = await data_plane.segment()

    (attempt,) = segment.attempts
    assert segment.server.name == "POST /", "the path is not in the name"
    assert (segment.server.status, attempt.status) == (server_status, client_status)
    for span in (segment.server, attempt):
        assert span.attributes["rpc.system.name"] == "grpc"
        assert span.attributes["rpc.method"] == "shop.Cart/Add"
        assert span.attributes["rpc.response.status_code"] == name
        error = name if span.status is SpanStatus.ERROR else None
        assert span.attributes.get("error.type") == error


async def test_method_that_the_endpoint_does_not_have_is_only_told_as_it_came(
    data_plane: DataPlane,
) -> None:
    async with Http2Upstream(ends("12", in_head=True)) as upstream:
        data_plane.serve(upstream.endpoint, protocol=Protocol.H2)
        async with Http2Client(data_plane.ingress.address) as client:
            await client.ask(CALL)
        server = (await data_plane.segment()).server

    assert server.attributes["rpc.method"] == "_OTHER"
    assert server.attributes["rpc.method_original"] == "shop.Cart/Add"


async def test_request_that_is_no_call_says_nothing_of_one(data_plane: DataPlane) -> None:
    async with Http2Upstream() as upstream:
        data_plane.serve(upstream.endpoint, protocol=Protocol.H2)
        async with Http2Client(data_plane.ingress.address) as client:
            await client.ask()
        spans = (await data_plane.segment()).spans

    assert not [name for span in spans for name in span.attributes if name.startswith("rpc.")]


async def test_other_kinds_of_content_get_an_http_status(data_plane: DataPlane) -> None:
    data_plane.serve()
    async with Http2Client(data_plane.ingress.address) as client:
        answered = await client.ask(with_fields(CALL, ("content-type", "application/grpcx")))

    assert answered.status == 503
    assert not answered.has("grpc-status")


async def test_client_s_deadline_ends_the_call(data_plane: DataPlane) -> None:
    async def silent(_peer: Peer, _asked: Message) -> None:
        pass

    async with Http2Upstream(silent) as upstream:
        data_plane.serve(upstream.endpoint, protocol=Protocol.H2)
        async with Http2Client(data_plane.ingress.address) as client:
            answered = await client.ask(with_fields(CALL, ("grpc-timeout", "20m")))
        segment = await data_plane.segment()

    assert answered.one("grpc-status") == "4"  # DEADLINE_EXCEEDED
    assert segment.flag == "request_timeout"


@pytest.mark.parametrize("value", ["", "20", "m", "-1m", "123456789m", "1x", "1 m"])
async def test_deadline_that_cannot_be_read_is_none(value: str, data_plane: DataPlane) -> None:
    async with Http2Upstream() as upstream:
        data_plane.serve(upstream.endpoint, protocol=Protocol.H2)
        async with Http2Client(data_plane.ingress.address) as client:
            answered = await client.ask(with_fields(CALL, ("grpc-timeout", value)))

    assert bytes(answered.body) == b"ok"

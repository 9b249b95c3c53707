"""Upgraded connections, WebSocket's among them: both sides talk on over the same connection."""

from client import Client
from data_plane import DataPlane
from message import request, response
from upstream import OK, SWITCHING, Exchange, Upstream, echoes, says

from proxy.table import RoutePolicy

UPGRADE = ("Connection: upgrade", "Upgrade: echo")


async def upgraded(client: Client) -> None:
    await client.send(request("GET", "/chat", *UPGRADE))
    head = await client.interim()
    assert head.start_line == "HTTP/1.1 101 Switching Protocols"
    assert head.one("upgrade") == "echo"
    assert head.one("connection") == "upgrade"
    assert head.one("x-own") == "1"


async def test_both_sides_talk_on_after_an_upgrade(client: Client, upstream: Upstream) -> None:
    upstream.answer = echoes

    await upgraded(client)
    for part in (b"\0\x81hello", b"x" * 200_000):
        await client.send(part)
        assert await client.receive(len(part)) == part

    assert upstream.exchanges[0].head.one("upgrade") == "echo"


async def test_what_came_before_the_upgrade_was_granted_is_not_lost(
    client: Client, upstream: Upstream
) -> None:
    upstream.answer = echoes

    await client.send(request("GET", "/chat", *UPGRADE) + b"early")

    await client.interim()
    assert await client.receive(5) == b"early"


async def test_what_came_with_the_switch_is_not_lost(client: Client, upstream: Upstream) -> None:
    upstream.answer = says(SWITCHING + b"first words", then_close=True)

    await upgraded(client)

    assert await client.rest() == b"first words"


async def test_client_that_is_done_still_gets_the_rest(client: Client, upstream: Upstream) -> None:
    async def last_words(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.send(SWITCHING)
        await exchange.gone()
        await exchange.send(b"last words")
        exchange.close()

    upstream.answer = last_words

    await upgraded(client)
    client.writer.write_eof()

    assert await client.rest() == b"last words"


async def test_upgrade_that_is_refused_leaves_the_connection_as_it_was(
    client: Client, upstream: Upstream
) -> None:
    upstream.answer = OK

    answered = await client.get("/chat", *UPGRADE)

    assert (answered.status, answered.body) == (200, b"ok")
    assert (await client.get()).status == 200
    assert upstream.connections_made == 1


async def test_upgrade_is_one_request_in_the_trace(
    data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    upstream.answer = says(SWITCHING + b"hello", then_close=True)

    await upgraded(client)
    await client.rest()
    segment = await data_plane.segment()

    assert segment.server.attributes["http.response.status_code"] == 101
    assert segment.server.attributes["spanway.connection.received_bytes"] == 0
    assert segment.server.attributes["spanway.connection.sent_bytes"] == 5
    assert "http.response.body.size" not in segment.server.attributes
    assert "spanway.websocket.messages_sent" not in segment.server.attributes
    assert segment.flag is None


PING = b"\x89\x80mask"
HELLO = b"\x81\x85mask" + b"hello"
LONG = b"\x02\xfe\x01\x00mask" + bytes(256)
LONG_END = b"\x80\x80mask"


async def test_messages_of_a_websocket_are_counted_each_way(
    data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    said = HELLO + LONG + PING + LONG_END
    answer = b"\x81\x02hi" * 3

    async def talks(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.send(SWITCHING.replace(b"echo", b"websocket"))
        await exchange.reader.readexactly(len(said))
        for byte in answer:
            await exchange.send(bytes([byte]))
        exchange.close()

    upstream.answer = talks
    await client.send(request("GET", "/chat", "Connection: upgrade", "Upgrade: websocket"))
    await client.interim()
    for piece in (said[:3], said[3:20], said[20:]):
        await client.send(piece)
    assert await client.rest() == answer
    attributes = (await data_plane.segment()).server.attributes

    assert attributes["spanway.websocket.messages_received"] == 2
    assert attributes["spanway.websocket.messages_sent"] == 3
    assert attributes["spanway.connection.received_bytes"] == len(said)
    assert attributes["spanway.connection.sent_bytes"] == len(answer)


async def test_websocket_that_sends_no_frames_is_passed_on_all_the_same(
    client: Client, upstream: Upstream
) -> None:
    async def echo(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.send(SWITCHING.replace(b"echo", b"websocket"))
        while part := await exchange.reader.read(64 * 1024):
            await exchange.send(part)
        exchange.close()

    upstream.answer = echo
    await client.send(request("GET", "/chat", "Connection: upgrade", "Upgrade: websocket"))
    await client.interim()
    for part in (b"\xff\xff" * 1000, bytes(range(256)) * 100):
        await client.send(part)
        assert await client.receive(len(part)) == part


async def test_switch_that_nobody_asked_for_is_a_protocol_error(
    client: Client, upstream: Upstream
) -> None:
    upstream.answer = says(SWITCHING)

    assert (await client.get()).status == 502


async def test_switch_without_a_protocol_is_a_protocol_error(
    client: Client, upstream: Upstream
) -> None:
    upstream.answer = says(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")

    assert (await client.get("/", *UPGRADE)).status == 502


async def test_h2c_is_not_asked_for(client: Client, upstream: Upstream) -> None:
    """By it a client could send requests past the routes (h2c smuggling)."""
    for protocols in ("h2c", "echo, H2C", "h2c,echo"):
        answered = await client.get("/", "Connection: upgrade", f"Upgrade: {protocols}")
        assert answered.status == 200

    # `Upstream` refuses every other hop-by-hop field than those of an upgrade.
    assert not any(exchange.head.has("upgrade") for exchange in upstream.exchanges)


async def test_upgrade_with_a_body_is_passed_on_without_the_upgrade(
    client: Client, upstream: Upstream
) -> None:
    answered = await client.ask(request("POST", "/", *UPGRADE, body=b"x"))

    assert answered.status == 200
    assert not upstream.exchanges[0].head.has("upgrade")


async def test_tunnel_where_both_sides_are_silent_is_closed(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, policy=RoutePolicy(tunnel_timeout_ms=30))
    upstream.answer = echoes
    async with await data_plane.client() as client:
        await upgraded(client)

        assert await client.rest() == b""

    segment = await data_plane.segment()
    assert segment.flag is None


async def test_te_is_passed_on_where_the_client_says_it_for_its_connection(
    client: Client, upstream: Upstream
) -> None:
    upstream.answer = says(response(200))

    await client.get("/", "Connection: te", "TE: gzip, Trailers")
    await client.get("/", "TE: trailers")

    first, second = (exchange.head for exchange in upstream.exchanges)
    assert (first.one("te"), first.one("connection")) == ("trailers", "te")
    assert not second.has("te")

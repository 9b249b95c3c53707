"""What the endpoint received is what the client sent, and what the spans say was sent.

Random legal and nearly legal requests over real sockets. Each is read at the endpoint by a strict
reader and, where it is HTTP/1.1, by a second, independent parser (h11).
"""

import os
import random
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

import h11
import pytest
from data_plane import DataPlane, Segment
from http2 import Fields, Http2Client, Http2Upstream, Message, Peer
from message import response
from random_requests import Wanted, by_name, damaged, http1, http2, legal, parts
from upstream import Exchange, Upstream

from proxy.table import Protocol

REQUESTS = 40
DAMAGED = 120

ADDED = frozenset(
    {
        "forwarded",
        "host",
        "x-request-id",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-real-ip",
        "traceparent",
        "tracestate",
        "connection",
        "te",
        "transfer-encoding",
        "content-length",
    }
)
"""By the proxy, for its own connection or about the client's."""


@pytest.fixture
def rng() -> random.Random:
    """`SPANWAY_TEST_SEED` repeats what a failure has printed."""
    seed = int(os.environ.get("SPANWAY_TEST_SEED") or random.SystemRandom().randrange(2**32))
    print(f"SPANWAY_TEST_SEED={seed}")
    return random.Random(seed)


Received = Callable[[], list[Wanted]]
"""What the endpoint has got whole so far, in the order in which it began."""


@pytest.fixture(params=["to-http1", "to-http2"])
async def received(
    request: pytest.FixtureRequest, data_plane: DataPlane
) -> AsyncIterator[Received]:
    """Everything goes to an endpoint that answers with what it got."""
    if request.param == "to-http1":
        async with Upstream(echo_http1) as upstream:
            data_plane.serve(upstream)
            yield lambda: [http1_received(exchange) for exchange in upstream.complete()]
    else:
        async with Http2Upstream(echo_http2) as http2_upstream:
            data_plane.serve(http2_upstream.endpoint, protocol=Protocol.H2)
            requests = http2_upstream.requests
            yield lambda: [http2_received(message) for message in requests if message.is_complete]


async def test_http_1_request_is_received_as_it_was_sent(
    received: Received, data_plane: DataPlane, rng: random.Random
) -> None:
    asked = [legal(rng, number) for number in range(REQUESTS)]
    async with await data_plane.client() as client:
        waiting = list(asked)
        while waiting:
            count = rng.randrange(1, 5)
            pipelined, waiting = waiting[:count], waiting[count:]
            for part in parts(rng, b"".join(http1(rng, each) for each in pipelined)):
                await client.send(part)
            for each in pipelined:
                answered = await client.response()
                assert answered.status == 203
                assert_echoed(answered.head.fields, answered.body, each.wanted)

    assert received() == [each.wanted for each in asked]
    assert_recorded(await data_plane.segments(), received())


async def test_http_2_request_is_received_as_it_was_sent(
    received: Received, data_plane: DataPlane, rng: random.Random
) -> None:
    asked = [legal(rng, number) for number in range(REQUESTS)]
    async with Http2Client(data_plane.ingress.address) as client:
        for each in asked:
            wanted = each.wanted
            answered = await client.ask(http2(each), wanted.body or None, wanted.trailers)
            assert answered.status == 203
            assert_echoed(answered.fields, bytes(answered.body), wanted)

    assert received() == [each.wanted for each in asked]
    assert_recorded(await data_plane.segments(), received())


async def test_damaged_request_is_refused_or_received_once(
    received: Received, data_plane: DataPlane, rng: random.Random
) -> None:
    answered: list[str] = []
    for number in range(DAMAGED):
        data = damaged(rng, http1(rng, legal(rng, number)))
        async with await data_plane.client() as client:
            await client.send(data)
            answered += targets_seen(await client.closed())

    assert [each.target for each in received()] == answered
    assert 0 < len(answered) < DAMAGED
    served = [each for each in await data_plane.segments() if each.attempts]
    complete = [each for each in served if each.server.attributes.get("error.type") is None]
    assert_recorded(complete, received())


def targets_seen(answers: bytes) -> list[str]:
    """What the endpoint says it was asked, in each answer that is its."""
    return [value.decode() for value in re.findall(rb"\r\nx-seen: ([^\r]*)\r\n", answers, re.I)]


def assert_echoed(fields: Fields, body: bytes, wanted: Wanted) -> None:
    """The response is the one that the endpoint has sent."""
    own = [(name.lower(), value) for name, value in fields if name.lower().startswith("x-")]
    assert own == [("x-seen", wanted.target), *ECHO_FIELDS]
    assert body == wanted.body


def assert_recorded(segments: list[Segment], received: list[Wanted]) -> None:
    """The spans say of each request what the endpoint saw."""
    recorded = sorted(map(recorded_of, (each.server.attributes for each in segments)))
    assert recorded == sorted((w.method, w.path, len(w.body), 203) for w in received)


def recorded_of(attributes: Mapping[str, object]) -> tuple[object, ...]:
    method = attributes["http.request.method"]
    return (
        attributes["http.request.method_original"] if method == "_OTHER" else method,
        attributes["url.path"],
        attributes.get("http.request.body.size", 0),
        attributes["http.response.status_code"],
    )


ECHO_FIELDS = (("x-obs", "\xe9\xff"), ("x-two", "1"), ("x-two", "2"))


async def echo_http1(exchange: Exchange) -> None:
    body = await exchange.body()
    target = exchange.line.split(" ")[1]
    fields = [f"{name.upper()}: {value}" for name, value in (("x-seen", target), *ECHO_FIELDS)]
    await exchange.send(response(203, *fields, body=body))


async def echo_http2(peer: Peer, asked: Message) -> None:
    await peer.wait_for(lambda: asked.is_complete)
    fields = ((":status", "203"), ("x-seen", asked.one(":path")), *ECHO_FIELDS)
    await peer.send(asked.stream_id, fields, is_end=not asked.body)
    await peer.send_body(asked.stream_id, bytes(asked.body))


def http2_received(message: Message) -> Wanted:
    target, body = message.one(":path"), bytes(message.body)
    return wanted_of(message.one(":method"), target, message.fields, body, message.trailers)


def http1_received(exchange: Exchange) -> Wanted:
    """By the strict reader, with which the second one has to agree."""
    method, target, _ = exchange.line.split(" ")
    body = exchange.request_body
    assert body is not None
    received = wanted_of(method, target, exchange.head.fields, body, exchange.reader.trailers)
    assert by_h11(exchange.raw) == received
    return received


def by_h11(raw: bytes) -> Wanted:
    """The one request in `raw`, as h11 reads it."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(raw) + 1)
    connection.receive_data(raw)
    asked, body = connection.next_event(), b""
    assert isinstance(asked, h11.Request)
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert connection.trailing_data[0] == b""
    method, target = asked.method.decode(), asked.target.decode()
    return wanted_of(method, target, text(asked.headers), body, text(event.headers))


def text(fields: Iterable[tuple[bytes, bytes]]) -> Fields:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in fields)


def wanted_of(
    method: str,
    target: str,
    fields: Fields,
    body: bytes,
    trailers: Fields,
) -> Wanted:
    path, mark, query = target.partition("?")
    own = by_name(field for field in fields if field[0] not in ADDED and field[0][0] != ":")
    return Wanted(method, path, mark + query, own, body, trailers)

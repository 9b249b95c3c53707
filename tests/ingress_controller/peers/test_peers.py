"""What is said of replicas that answer, and of those that do not; over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import msgspec
import pytest
from aiohttp import web
from live_rows import live, row
from spanway_process import free_address

from ingress_controller import shallow_json
from ingress_controller.asking import Credentials
from ingress_controller.credentials import Secret
from ingress_controller.peers import peers as asking
from ingress_controller.peers.peer import INSTANCE_HEADER, NAME_HEADER, Identity, Peer
from ingress_controller.peers.peers import Asked, Peers
from ingress_controller.peers.questions import LiveAsked
from proxy.live import Live, Query

OWN = Identity("0000", "spanway-0")
QUESTION = LiveAsked(Query(limit=7))
DEADLINE_S = 10.0

Serve = Callable[[web.Request], Awaitable[web.Response]]


class Replica:
    """Fakes another process: answers `content` as who it is, and keeps what it is asked."""

    def __init__(
        self, id_: str, content: bytes = msgspec.json.encode(live(row())), *, status: int = 200
    ) -> None:
        self.asked: list[web.Request] = []
        self.bodies: list[bytes] = []
        self._headers = {INSTANCE_HEADER: id_, NAME_HEADER: f"spanway-{id_}"} if id_ else {}
        self._content, self._status = content, status

    async def serve(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        self.bodies.append(await request.read())
        return web.Response(status=self._status, body=self._content, headers=self._headers)


@asynccontextmanager
async def listening(*replicas: Replica) -> AsyncIterator[list[str]]:
    """Their addresses."""
    async with AsyncExitStack() as stack:
        addresses = []
        for place, replica in enumerate(replicas, 2):
            app = web.Application()
            app.router.add_post("/api/peer", replica.serve)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, f"127.0.0.{place}", 0).start()
            host, port = runner.addresses[0][:2]
            addresses.append(f"{host}:{port}")
        yield addresses


async def ask(peers: Peers, deadline_s: float = DEADLINE_S) -> Asked[Live]:
    read = partial(shallow_json.read, kind=Live)
    return await peers.ask(QUESTION, read, deadline_s)


@asynccontextmanager
async def knowing(*addresses: str, token: str = "") -> AsyncIterator[Peers]:
    peers = Peers(addresses, OWN, Credentials(token=Secret(token)))
    try:
        yield peers
    finally:
        await peers.close()


async def test_all_are_asked_the_same_and_their_answers_have_their_names() -> None:
    one, other = Replica("1"), Replica("2", msgspec.json.encode(live()))
    async with listening(one, other) as addresses, knowing(*addresses, token="s3cret") as peers:
        told, asked = await ask(peers)

    assert [(of.instance, of.answer.live) for of in told] == [("spanway-1", 1), ("spanway-2", 0)]
    assert asked == (Peer(addresses[0], "spanway-1"), Peer(addresses[1], "spanway-2"))
    assert one.bodies == other.bodies == [msgspec.json.encode(QUESTION)]
    assert one.asked[0].headers["Authorization"] == "Bearer s3cret"
    assert one.asked[0].headers[INSTANCE_HEADER] == OWN.id


async def test_this_process_is_known_by_its_id_and_not_asked_again() -> None:
    itself, other = Replica(OWN.id), Replica("1")
    async with listening(itself, other) as addresses, knowing(*addresses) as peers:
        for _ in range(2):
            told, asked = await ask(peers)
            assert (
                [of.instance for of in told] == [peer.instance for peer in asked] == ["spanway-1"]
            )

    assert (len(itself.asked), len(other.asked)) == (1, 2)


async def test_a_replica_with_two_addresses_is_one() -> None:
    replica = Replica("1")
    async with listening(replica, replica) as addresses, knowing(*addresses) as peers:
        for _ in range(2):
            told, asked = await ask(peers)
            assert (len(told), len(asked)) == (1, 1)

    assert len(replica.asked) == 3  # when its second address is known, that is not asked


@pytest.mark.parametrize(
    ("replica", "error"),
    [
        (
            Replica("1", b'{"lives": 7}'),
            "it answers in another form, as another version of Spanway may",
        ),
        (
            Replica("1", msgspec.json.encode(live()).replace(b'"live":0', b'"live":%d' % 2**64)),
            "it answers in another form, as another version of Spanway may: Expected `int` <= ",
        ),
        (
            Replica("1", b"\xff<html>"),
            "it answers in another form, as another version of Spanway may",
        ),
        (Replica(""), "what answers there is no Spanway"),
        (Replica("", b"Not Found", status=404), "it answers with status 404, as another version"),
        (
            Replica("1", b'{"error": "64 questions of replicas wait already."}', status=503),
            "64 questions of replicas wait already",
        ),
        (
            Replica("", b'{"error": "Authorization: a token is needed"}', status=401),
            "it wants another token; give all replicas one --admin-token-file",
        ),
        (Replica("1", b'"' + b"x" * 2_000_000), "its answer has more than 1000000 bytes"),
        (
            Replica("1", b'{"x":' + b"[" * 100_000),
            "it answers in another form, as another version of Spanway may",
        ),
        (
            Replica("", b'{"x":' + b"[" * 100_000, status=503),
            "it answers with status 503, as another version",
        ),
    ],
    ids=[
        "fields",
        "number",
        "bytes",
        "foreign",
        "older",
        "busy",
        "token",
        "large",
        "deep",
        "deep_error",
    ],
)
async def test_whoever_does_not_tell_what_was_asked_is_named_and_the_others_are_told(
    replica: Replica, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ANSWER_BYTES_MAX", 1_000_000)
    async with listening(replica, Replica("2")) as addresses, knowing(*addresses) as peers:
        told, asked = await ask(peers)

    assert [of.instance for of in told] == ["spanway-2"]
    assert {peer.address: peer.error[: len(error)] for peer in asked} == {
        addresses[0]: error,
        addresses[1]: "",
    }


async def test_all_answers_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    large = msgspec.json.encode(live()) + b" " * 600_000
    monkeypatch.setattr(asking, "ANSWERS_BYTES_MAX", 1_000_000)
    async with (
        listening(Replica("1", large), Replica("2", large)) as addresses,
        knowing(*addresses) as peers,
    ):
        for _ in range(2):  # The second question has as many.
            told, asked = await ask(peers)

            assert len(told) == 1
            assert sorted(peer.error for peer in asked) == [
                "",
                "all answers have more than 1000000 bytes",
            ]


async def test_what_a_replica_says_of_itself_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "NAME_CHARACTERS_MAX", 5)
    talkative = Replica("", msgspec.json.encode({"error": "x" * 100_000}), status=503)
    async with listening(talkative, Replica("2")) as addresses, knowing(*addresses) as peers:
        told, asked = await ask(peers)

    assert [of.instance for of in told] == ["spanw"]
    assert asked[0].error == "x" * asking.ERROR_CHARACTERS_MAX


async def test_one_that_is_gone_is_named_as_who_it_was() -> None:
    async with AsyncExitStack() as stack:
        peers = await stack.enter_async_context(knowing(address := free_address()))
        assert await ask(peers) == ((), (Peer(address, error="connection refused"),))


async def test_one_that_hangs_costs_its_deadline_once_and_is_asked_again_later() -> None:
    over = asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with knowing(f"{host}:{port}") as peers:
        first = await ask(peers, 0.1)
        again = await ask(peers)
        peers._silent_until_s.clear()
        later = await ask(peers, 0.1)
        over.set()
        server.close()

    assert [of.peers[0].error for of in (first, again, later)] == [
        "no answer within 0.1 s",
        "it did not answer in time, and is asked again in 5 s",
        "no answer within 0.1 s",
    ]

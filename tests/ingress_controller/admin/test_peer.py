"""`POST /api/peer`: what another replica gets, and what it does not."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from live_rows import engine_json, row
from sample_spans import START_UNIX_NS, TRACE_ID, request

from ingress_controller.admin import peer
from ingress_controller.admin.peer import PeerApi
from ingress_controller.peers.live import LiveRequests
from ingress_controller.peers.peer import INSTANCE_HEADER, NAME_HEADER, STORE_HEADER, Identity
from ingress_controller.peers.questions import (
    QUESTION_BYTES_MAX,
    LiveAsked,
    MatchesAsked,
    Question,
    TracesAsked,
    ValuesAsked,
)
from ingress_controller.traces.store import handing_over
from ingress_controller.traces.store.handing_over import Handed
from ingress_controller.traces.store.limits import StoreLimits
from ingress_controller.traces.store.queries import Search
from ingress_controller.traces.store.store import Store
from proxy.live import Live, Query

Client = TestClient[web.Request, web.Application]
OWN = Identity("0123", "spanway-0", "a-directory")
JSON = {"Content-Type": "application/json"}
ALL = Search(start_ns=0, end_ns=2**63 - 1)


def engine(query: Query) -> bytes:
    """Fakes the engine, which refuses queries for too many rows."""
    if query.limit > 10_000:
        raise ValueError("limit")
    return engine_json(query, row())


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    store = Store(None, StoreLimits(age_s_max=1e9))
    await store.add(request(2).SerializeToString())
    app = web.Application()
    PeerApi(OWN, LiveRequests(engine, store, own=OWN), store).add_to(app)
    async with TestClient(TestServer(app)) as client:
        yield client


async def asked(client: Client, body: bytes | Question, **headers: str) -> tuple[int, bytes]:
    body = body if isinstance(body, bytes) else msgspec.json.encode(body)
    async with client.post("/api/peer", data=body, headers=JSON | headers) as answer:
        if answer.status == 200:
            assert answer.headers[INSTANCE_HEADER] == OWN.id
            assert answer.headers[NAME_HEADER] == OWN.name
        return answer.status, await answer.read()


async def test_it_tells_what_is_here(client: Client) -> None:
    assert msgspec.json.decode((await asked(client, LiveAsked(Query())))[1], type=Live).live == 1
    assert (await asked(client, ValuesAsked(None, 0, 2**63 - 1)))[1] == b'[["shop",2]]'
    status, file = await asked(client, TracesAsked((TRACE_ID.hex(),), 0, 2**63 - 1))
    assert (status, Handed(file).traces_one_of) == (200, 1)
    _, told = await asked(client, MatchesAsked(ALL, START_UNIX_NS))
    assert len(msgspec.json.decode(told)[0]) == 1


async def test_whoever_asks_itself_gets_its_name_and_nothing_else(client: Client) -> None:
    assert await asked(client, b"", **{INSTANCE_HEADER: OWN.id}) == (200, b"")


async def test_who_has_the_same_directory_gets_what_is_not_in_it_yet(client: Client) -> None:
    store = {STORE_HEADER: "a-directory"}

    assert (await asked(client, ValuesAsked(None, 0, 1), **store))[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"type": "weather"}',
        b'{"type": "live"}',
        b'{"type": "live", "query": {"limit": 99999}}',
        b'{"type": "live", "query": {}, "at_ns": -1}',
        b'{"type": "window", "start_ns": 0, "end_ns": 9223372036854775808, "spans_max": 1}',
        b'{"type": "window", "start_ns": 0, "end_ns": 1, "spans_max": 0}',
        b'{"type": "traces", "trace_ids": ["x"], "start_ns": 0, "end_ns": 1}',
        b'{"type": "values", "field": "DROP VIEW spans", "start_ns": 0, "end_ns": 1}',
        b'{"type": "services"}' + b" " * QUESTION_BYTES_MAX + b"x",
        msgspec.json.encode(
            MatchesAsked(
                search=Search(start_ns=0, end_ns=1, attributes={f"a{n}": "" for n in range(17)}),
                start_ns=0,
            )
        ),
        b'{"type": "services", "x": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    ],
)
async def test_what_is_no_question_is_refused(client: Client, body: bytes) -> None:
    status, answer = await asked(client, body)

    assert (status, b"The question is not known here" in answer) == (400, True)


async def test_a_browser_cannot_ask_without_being_asked_first(client: Client) -> None:
    body = msgspec.json.encode(LiveAsked(Query()))
    async with client.post("/api/peer", data=body, headers={"Content-Type": "text/plain"}) as no:
        assert no.status == 415


async def test_too_many_questions_and_too_many_spans_are_refused(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: Any = TracesAsked((TRACE_ID.hex(),), 0, 2**63 - 1)
    with monkeypatch.context() as patched:
        patched.setattr(handing_over, "HANDED_BYTES_MAX", 0)
        status, answer = await asked(client, wanted)
        assert (status, b"MiB of spans for this" in answer) == (503, True)
    monkeypatch.setattr(peer, "QUESTIONS_MAX", 0)
    status, answer = await asked(client, wanted)
    assert (status, b"0 questions of replicas wait already" in answer) == (503, True)

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request
from live_rows import HOSTILE, ROW, engine_json, row

from ingress_controller.admin import live
from ingress_controller.admin.live import LiveApi, ParameterError, read_interval_s, read_query
from ingress_controller.peers.live import LiveRequests
from ingress_controller.peers.peer import Identity
from proxy.live import Condition, Field, Query, Sort

OWN = Identity("0", "spanway-0")


class FakeEngine:
    """Fakes the engine: keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Query] = []

    def live(self, query: Query) -> bytes:
        self.asked.append(query)
        return engine_json(query, row(path=HOSTILE))


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def client(engine: FakeEngine) -> AsyncIterator[TestClient[Request, Application]]:
    app = Application()
    app.router.add_get("/api/live", LiveApi(LiveRequests(engine.live, own=OWN)).serve)
    async with TestClient(TestServer(app)) as client:
        yield client


def test_parameters_become_conditions_order_and_bounds() -> None:
    parameters = {
        "host": "shop.example",
        "node": "!node-1",
        "phase": "wait",
        "age_min": "1.5s",
        "sort": "sent",
        "order": "asc",
        "limit": "7",
    }

    assert read_query(parameters.items()) == Query(
        conditions=(
            Condition(Field.PHASE, "wait"),
            Condition(Field.HOST, "shop.example"),
            Condition(Field.NODE, "node-1", negated=True),
        ),
        age_min_us=1_500_000,
        sort=Sort.SENT,
        ascending=True,
        limit=7,
    )
    assert read_query(()) == Query(limit=100)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("phase", "waiting", 'phase: "waiting" is none of head, route, queue, connect, send,'),
        ("kind", "!tunnel", 'kind: "tunnel" is none of request, upgrade, connection.'),
        ("sort", "host", 'sort: "host" is none of age, phase_age, received, sent.'),
        ("order", "up", 'order: "up" is none of asc, desc.'),
        ("limit", "1001", 'limit: "1001" is not a whole number from 0 to 1000.'),
        ("limit", "-1", 'limit: "-1" is not'),
        ("limit", "\u0665", 'limit: "\u0665" is not'),
        ("limit", "9" * 5000, 'limit: "9999'),
        ("age_min", "2 days", 'age_min: "2 days" is no duration; write 500ms, 2s or 1m.'),
        ("age_min", "9" * 400, 'age_min: "999'),
        ("hots", "a", 'hots: "a" cannot be asked for: there is no such parameter; write "host".'),
        ("zzz", "a", 'zzz: "a" cannot be asked for: there is no such parameter; there are id,'),
        ("pod", "x" * 513, "and so on is too long; give at most 512 characters."),
    ],
)
def test_wrong_parameter_is_named_with_its_value_and_the_fix(
    name: str, value: str, message: str
) -> None:
    with pytest.raises(ParameterError) as raised:
        read_query([(name, value)])
    assert message in str(raised.value)
    assert len(str(raised.value)) < 400


def test_parameter_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ParameterError, match="is a second value; give one"):
        read_query([("pod", "a"), ("pod", "b")])


@pytest.mark.parametrize("text", ["0.1", "61", "nan", "inf", "x", ""])
def test_interval_is_bounded(text: str) -> None:
    with pytest.raises(ParameterError, match=r"is not a number of seconds from 0\.2 to 60"):
        read_interval_s([("watch", "1"), ("interval", text)])


async def test_answer_is_json_whatever_a_path_is(
    client: TestClient[Request, Application], engine: FakeEngine
) -> None:
    answer = await client.get("/api/live", params={"pod": "api-0", "limit": "3"})
    text = await answer.text()

    assert answer.status == 200
    assert (answer.content_type, answer.headers["X-Content-Type-Options"]) == (
        "application/json",
        "nosniff",
    )
    (told,) = json.loads(text)["requests"]
    assert (told["path"], told["instance"]) == (HOSTILE, OWN.name)
    assert "\x1b" not in text
    pod = Condition(Field.POD, "api-0")
    assert engine.asked == [Query((pod,), limit=3, instance=OWN.name)]


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("at=2020-01-01T00:00:00Z", 404, "at: There is no trace store here; start Spanway"),
        ("at=yesterday", 400, 'at: "yesterday" is no time; write seconds since 1970'),
        ("at=99999999999", 400, 'at: "99999999999" is later than now.'),
        ("at=1700000000&watch=1", 400, "is given beside at; what is over does not change"),
    ],
)
async def test_a_moment_that_cannot_be_told_of_is_said_to_be_so(
    client: TestClient[Request, Application], query: str, status: int, message: str
) -> None:
    past = await client.get(f"/api/live?{query}")

    assert past.status == status
    assert message in (await past.json())["error"]


async def test_wrong_parameter_is_400(
    client: TestClient[Request, Application], engine: FakeEngine
) -> None:
    wrong = await client.get("/api/live?limit=x")

    assert wrong.status == 400
    assert await wrong.json() == {
        "error": 'limit: "x" is not a whole number from 0 to 1000.',
        "parameter": "limit",
        "value": "x",
    }
    assert engine.asked == []


async def events(client: TestClient[Request, Application], count: int) -> list[Any]:
    found = []
    async with client.get("/api/live?watch=1&interval=0.2") as answer:
        assert answer.content_type == "text/event-stream"
        for _ in range(count):
            assert await answer.content.readline() == b"event: live\n"
            data = await answer.content.readline()
            found.append(json.loads(data.removeprefix(b"data: ")))
            assert await answer.content.readline() == b"\n"
    return found


async def test_watch_sends_one_answer_after_the_other(
    client: TestClient[Request, Application],
) -> None:
    first, second = await events(client, 2)

    assert first["requests"][0]["id"] == ROW.id
    assert second["matched"] == 1


async def test_watch_ends_after_a_while_so_that_it_is_asked_anew_who_watches(
    client: TestClient[Request, Application], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "WATCH_S_MAX", 0.1)

    async with client.get("/api/live?watch=1&interval=0.2") as answer:
        assert (await answer.content.read()).count(b"event: live") == 1


async def test_watchers_are_bounded_and_one_that_left_makes_room(
    client: TestClient[Request, Application], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "WATCHERS_MAX", 1)
    async with client.get("/api/live?watch=1&interval=0.2") as watching:
        await watching.content.readline()
        refused = await client.get("/api/live?watch=1")
        assert refused.status == 503
        assert "1 watch already" in (await refused.json())["error"]

    async with asyncio.timeout(10):  # that it left is noticed when it is written to
        while (await client.get("/api/live?watch=1")).status == 503:  # noqa: ASYNC110
            await asyncio.sleep(0)

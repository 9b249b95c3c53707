"""Who may ask, and what browsers are told of the answers."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import CookieJar, web
from aiohttp.test_utils import TestClient, TestServer

from ingress_controller.admin import guard
from ingress_controller.admin.guard import COOKIE, Guard, Ways, is_private

TOKEN = "f3a1c5d7e9b2046885a7c9e1d3f50627"

Client = TestClient[web.Request, web.Application]


def application(token: str) -> web.Application:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="answer")

    app = web.Application()
    Guard(Ways(token)).add_to(app)
    for path in ("/", "/livez", "/metrics", "/api/live", "/ui/app.js"):
        app.router.add_get(path, answer)
    return app


@pytest.fixture
async def open_to_all() -> AsyncIterator[Client]:
    async with TestClient(TestServer(application(""))) as client:
        yield client


@pytest.fixture
async def guarded() -> AsyncIterator[Client]:
    jar = CookieJar(unsafe=True)  # which takes cookies of IP addresses, as browsers do
    async with TestClient(TestServer(application(TOKEN)), cookie_jar=jar) as client:
        yield client


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:9901",
        "[::1]:9901",
        "10.0.0.7",
        "localhost:9901",
        "LOCALHOST.",
        "spanway.localhost",
        "spanway-admin",
        "spanway.ingress.svc:9901",
        "spanway.ingress.svc.cluster.local",
    ],
)
def test_addresses_and_names_without_public_dns_are_private(host: str) -> None:
    assert is_private(host)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9901", "127.0.0.1.nip.io", "a.b:x"])
def test_a_name_that_somebody_could_own_is_not_private(host: str) -> None:
    assert not is_private(host)


async def test_a_page_of_somebody_elses_cannot_read_by_rebinding_its_name(
    open_to_all: Client,
) -> None:
    answer = await open_to_all.get("/api/live", headers={"Host": "evil.example"})

    assert answer.status == 403
    assert "start Spanway with --admin-token-file" in (await answer.json())["error"]


async def test_probes_may_ask_by_any_name(open_to_all: Client) -> None:
    answer = await open_to_all.get("/livez", headers={"Host": "shop.example"})

    assert answer.status == 200


async def test_every_answer_tells_browsers_to_run_nothing_foreign(open_to_all: Client) -> None:
    for path in ("/", "/api/live", "/nowhere"):
        headers = (await open_to_all.get(path)).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self'; ")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "Access-Control-Allow-Origin" not in headers


async def test_without_the_token_only_probes_and_the_pages_files_are_answered(
    guarded: Client,
) -> None:
    statuses = {
        path: (await guarded.get(path)).status
        for path in ("/livez", "/", "/ui/app.js", "/api/live", "/metrics")
    }

    assert statuses == {
        "/livez": 200,
        "/": 200,
        "/ui/app.js": 200,
        "/api/live": 401,
        "/metrics": 401,
    }


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN}", 200),
        ("Bearer wrong", 401),
        (f"Basic {TOKEN}", 401),
        ("Bearer \u00e9", 401),
        ("Bearer ", 401),
    ],
)
async def test_the_token_and_nothing_else_opens(
    guarded: Client, authorization: str, status: int
) -> None:
    answer = await guarded.get("/metrics", headers={"Authorization": authorization})

    assert answer.status == status


async def test_with_a_token_any_name_may_be_asked_for(guarded: Client) -> None:
    headers = {"Host": "spanway.example", "Authorization": f"Bearer {TOKEN}"}

    assert (await guarded.get("/metrics", headers=headers)).status == 200


async def test_logging_in_leaves_a_cookie_that_opens_and_does_not_tell_the_token(
    guarded: Client,
) -> None:
    assert await (await guarded.get("/api/session")).json() == {
        "ways": ["token"],
        "is_open": False,
    }

    answer = await guarded.post("/api/session", json={"token": f" {TOKEN}\n"})

    assert answer.status == 200
    cookie = answer.cookies[COOKIE]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Strict")
    assert TOKEN not in cookie.value
    assert (await guarded.get("/api/live")).status == 200
    assert (await (await guarded.get("/api/session")).json())["is_open"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"token": "wrong"}', 403),
        (b"{", 400),
        (b"[]", 400),
        (b"x" * 99_999, 400),
        (b'{"x":' + b"[" * 8_000, 400),
    ],
)
async def test_a_wrong_log_in_is_refused_in_a_sentence(
    guarded: Client, body: bytes, status: int
) -> None:
    answer = await guarded.post("/api/session", data=body)

    assert answer.status == status
    assert (await answer.json())["error"].endswith(".")
    assert COOKIE not in answer.cookies


async def test_a_log_in_that_does_not_come_is_given_up(
    guarded: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "LOG_IN_S_MAX", 0.01)
    over = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b'{"token": '
        await over.wait()

    answer = await guarded.post("/api/session", data=body())
    over.set()

    assert answer.status == 408


async def test_a_log_in_may_come_in_pieces(guarded: Client) -> None:
    async def body() -> AsyncIterator[bytes]:
        for piece in (b'{"token": "', TOKEN.encode(), b'"}'):
            yield piece
            await asyncio.sleep(0)

    assert (await guarded.post("/api/session", data=body())).status == 200

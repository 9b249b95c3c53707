"""Who is not let in leaves a count and, now and then, a line; nothing that it showed."""

import logging

import aiohttp
import pytest
from admin_state import FakeState
from aiohttp.test_utils import TestClient, TestServer
from standing_clock import StandingClock

from ingress_controller.admin.guard import Ways
from ingress_controller.admin.server import application
from ingress_controller.serving import refusals
from ingress_controller.serving.refusals import AdminRefused, Reason, Refusals

TOKEN = "f3a1c5d7e9b2046885a7c9e1d3f50627"


async def test_each_refusal_is_counted_by_why(caplog: pytest.LogCaptureFixture) -> None:
    noted = Refusals(AdminRefused)
    app = application(FakeState(), Ways(TOKEN), noted)
    wrong = {"Authorization": "Bearer hunter2"}

    async with TestClient(TestServer(app)) as client:
        with caplog.at_level(logging.WARNING, "spanway"):
            answers = [
                await client.get("/api/live"),
                await client.get("/api/live", headers=wrong),
                await client.post("/api/session", json={"token": "hunter2"}),
                await client.get("/api/session"),  # the page asks what is wanted
                await client.get("/livez"),
            ]

    assert [answer.status for answer in answers] == [401, 401, 403, 200, 200]
    assert noted.counts == {Reason.UNKNOWN: 3}
    assert caplog.messages == ["AdminRefused reason=unknown count=1 client=127.0.0.1"]


async def test_a_name_that_is_not_answered_is_a_reason_of_its_own() -> None:
    noted = Refusals(AdminRefused)

    async with TestClient(TestServer(application(FakeState(), refusals=noted))) as client:
        answer = await client.get("/api/live", headers={aiohttp.hdrs.HOST: "evil.example"})

    assert answer.status == 403
    assert noted.counts == {Reason.STRANGE_HOST: 1}


def test_refusals_are_logged_once_an_interval_with_their_sum(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = StandingClock()
    monkeypatch.setattr(refusals.time, "monotonic", clock)
    noted = Refusals(AdminRefused)

    with caplog.at_level(logging.WARNING, "spanway"):
        for client in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
            noted.note(Reason.UNKNOWN, client)
        noted.note(Reason.CROWDED, "192.0.2.4")
        clock.now_s += refusals.LOG_INTERVAL_S
        noted.note(Reason.UNKNOWN, "192.0.2.5")

    assert caplog.messages == [
        "AdminRefused reason=unknown count=1 client=192.0.2.1",
        "AdminRefused reason=crowded count=1 client=192.0.2.4",
        "AdminRefused reason=unknown count=3 client=192.0.2.5",
    ]

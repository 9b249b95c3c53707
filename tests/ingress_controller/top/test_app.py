"""The keys of `spanway top`, on a screen of 80 columns and 24 lines."""

from collections.abc import Mapping

import pytest
from live_rows import HOSTILE, live, row
from textual.widgets import DataTable, Static
from textual.widgets._footer import FooterKey

from ingress_controller.asking import AdminAddress
from ingress_controller.peers.live import SharedLive
from ingress_controller.top.app import Details, TopApp
from ingress_controller.top.client import AdminClient, QuestionError, TopError

FIRST = live(row(), row(id="00f067aa0ba902b7", path=HOSTILE))


class FakeClient(AdminClient):
    """Fakes a Spanway that answers the same, unless it has an error to raise."""

    def __init__(self) -> None:
        super().__init__(AdminAddress("http://127.0.0.1:9901/"))
        self.asked: list[dict[str, str]] = []
        self.error: TopError | None = None

    async def live(self, question: Mapping[str, str]) -> SharedLive:
        self.asked.append(dict(question))
        if self.error is not None:
            raise self.error
        return FIRST


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def app(client: FakeClient) -> TopApp:
    return TopApp(client, FIRST, {"namespace": "shop"}, interval_s=3_600)


def line(app: TopApp, name: str) -> str:
    return str(app.query_one(f"#{name}", Static).render())


def cells(app: TopApp) -> list[list[str]]:
    table = app.query_one(DataTable)
    return [[str(cell) for cell in table.get_row_at(i)] for i in range(table.row_count)]


async def test_requests_are_shown_and_hostile_ones_escaped(app: TopApp) -> None:
    async with app.run_test(size=(80, 24)):
        assert cells(app)[0][:4] == ["1.9s", "wait", "GET", "shop.example/cart"]
        assert "\x1b" not in cells(app)[1][3]
        assert line(app, "status") == "2 live: 2 wait (every 3600 s)"
        assert "filter: namespace=shop" in line(app, "question")


async def test_all_keys_are_said_at_the_bottom(app: TopApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()

        said = [str(key.description) for key in app.query(FooterKey)]
        assert set(said) >= {"open", "view", "sort", "filter", "pause", "quit"}


async def test_v_goes_through_the_views_and_enter_opens_what_is_in_a_group(
    app: TopApp, client: FakeClient
) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("v", "v", "v")
        assert (app.view, cells(app)[0][-1]) == ("nodes", "node-1")
        await pilot.press("enter")
        await pilot.pause()

        assert app.view == "requests"
        assert client.asked[-1]["node"] == "node-1"


async def test_s_asks_for_another_order(app: TopApp, client: FakeClient) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("s")
        await pilot.pause()

        assert client.asked[-1]["sort"] == "phase_age"


async def test_enter_opens_a_request_and_escape_closes_it(app: TopApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.screen, Details)
        await pilot.press("escape")
        await pilot.pause()
        assert not isinstance(app.screen, Details)


async def test_p_pauses(app: TopApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("p")

        assert line(app, "status").endswith("(paused)")


async def test_filter_is_taken_over_and_a_wrong_one_is_told(
    app: TopApp, client: FakeClient
) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("slash", *" phase=wait", "enter")
        await pilot.pause()
        assert client.asked[-1]["phase"] == "wait"

        client.error = QuestionError('phase: "x" is none of head.')
        await pilot.press("slash", "x", "enter")
        await pilot.pause()
        assert line(app, "status") == 'phase: "x" is none of head.'
        assert "filter: namespace=shop phase=wait" in line(app, "question")


async def test_spanway_that_is_gone_is_told_and_the_last_answer_stays(
    app: TopApp, client: FakeClient
) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        client.error = TopError("No Spanway answers.")
        await app.refresh_now()
        assert line(app, "status") == "No Spanway answers."
        assert len(cells(app)) == 2

        client.error = None
        await app.refresh_now()
        assert line(app, "status").startswith("2 live")
        await pilot.press("q")
    assert app.return_code == 0

"""Who asks with a token of Kubernetes; the API server that knows it is a fake."""

from collections.abc import AsyncIterator
from http.cookies import Morsel

import pytest
from aiohttp import CookieJar, web
from aiohttp.test_utils import TestClient, TestServer
from fake_apiserver import FakeApiserver, running

from ingress_controller.admin.guard import COOKIE, Guard, Kubernetes, Ways
from ingress_controller.admin.sealing import Seal
from ingress_controller.delegated.access import Access
from ingress_controller.delegated.reviews import Reviewer
from ingress_controller.delegated.tokens import Tokens

TOKENS = "/apis/authentication.k8s.io/v1/tokenreviews"
RIGHTS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
TOKEN = "header.claims.signature-of-ann"
STATIC = "f3a1c5d7e9b2046885a7c9e1d3f50627"

Client = TestClient[web.Request, web.Application]


class Rig:
    """A guarded application; what the API server says is up to a test."""

    def __init__(self, apiserver: FakeApiserver, client: Client, static: str) -> None:
        self.apiserver = apiserver
        self.static = static
        self.client = client
        self.say(is_known=True, is_allowed=True)

    def say(self, *, is_known: bool, is_allowed: bool) -> None:
        known = {"authenticated": is_known, "user": {"username": "ann", "groups": ["staff"]}}
        self.apiserver.answers["POST", TOKENS] = (201, {"status": known})
        self.apiserver.answers["POST", RIGHTS] = (201, {"status": {"allowed": is_allowed}})

    async def ask(self, path: str, token: str = TOKEN, method: str = "GET") -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.client.request(method, path, headers=headers) as answer:
            return answer.status, await answer.text()

    async def log_in(self, token: str = TOKEN) -> tuple[int, str, "Morsel[str] | None"]:
        async with self.client.post("/api/session", json={"token": token}) as answer:
            return answer.status, await answer.text(), answer.cookies.get(COOKIE)

    @property
    def wanted(self) -> list[tuple[str, str]]:
        """Verb and path of each right that was asked about."""
        reviews = [body["spec"] for _, path, body in self.apiserver.requests if path == RIGHTS]
        attributes = [spec["nonResourceAttributes"] for spec in reviews]
        return [(each["verb"], each["path"]) for each in attributes]


def application(ways: Ways) -> web.Application:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="answer")

    app = web.Application()
    Guard(ways).add_to(app)
    for path in ("/livez", "/metrics", "/api/live", "/api/traces/{id}", "/api/analysis/{report}"):
        app.router.add_get(path, answer)
    app.router.add_post("/v1/traces", answer)
    return app


@pytest.fixture(params=["", STATIC], ids=["kubernetes alone", "beside a token"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    async with running() as (apiserver, api):
        reviewer = Reviewer(api, "deploy/kubernetes/admin.yaml")
        kubernetes = Kubernetes(Tokens(reviewer), Access(reviewer), Seal(request.param))
        server = TestServer(application(Ways(request.param, kubernetes=kubernetes)))
        async with TestClient(server, cookie_jar=CookieJar(unsafe=True)) as client:
            yield Rig(apiserver, client, request.param)


@pytest.mark.parametrize(
    ("method", "path", "right"),
    [
        ("GET", "/api/live", ("get", "/spanway/api/live")),
        ("HEAD", "/api/live", ("get", "/spanway/api/live")),
        ("GET", "/api/traces/0af7651916cd43dd8448eb211c80319c", ("get", "/spanway/api/traces/")),
        ("GET", "/api/traces/..%2f..%2fmetrics", ("get", "/spanway/api/traces/")),
        ("GET", "/metrics", ("get", "/metrics")),
        ("POST", "/v1/traces", ("post", "/spanway/v1/traces")),
        ("GET", "/nowhere", ("get", "/spanway/")),
    ],
)
async def test_right_that_is_needed_is_that_of_the_route_below_a_path_of_ours(
    rig: Rig, method: str, path: str, right: tuple[str, str]
) -> None:
    status, _ = await rig.ask(path, method=method)

    assert status == (404 if path == "/nowhere" else 200)
    assert rig.wanted == [right]


async def test_who_may_not_is_told_which_right_is_missing(rig: Rig) -> None:
    rig.say(is_known=True, is_allowed=False)

    status, text = await rig.ask("/api/live")

    assert status == 403
    assert 'User \\"ann\\" cannot get path \\"/spanway/api/live\\"' in text
    assert "deploy/kubernetes/admin.yaml has a ClusterRole" in text


async def test_whoever_is_not_known_or_shows_nothing_is_told_what_is_wanted(rig: Rig) -> None:
    rig.say(is_known=False, is_allowed=True)

    for token in ("wrong", ""):
        status, text = await rig.ask("/api/live", token)
        assert status == 401
        assert "with a token of this Kubernetes" in text
    assert rig.wanted == []
    assert (await rig.ask("/livez", ""))[0] == 200


async def test_while_the_api_server_is_away_nobody_gets_in(rig: Rig) -> None:
    await rig.apiserver.stop()

    status, text = await rig.ask("/api/live")
    session, _ = await rig.ask("/api/session")
    log_in, *_ = await rig.log_in()

    assert (status, session, log_in) == (503, 503, 503)
    assert "cannot be found out now: cannot connect to 127.0.0.1" in text
    assert (await rig.ask("/livez", ""))[0] == 200
    await rig.apiserver.start()


async def test_log_in_leaves_a_sealed_cookie_that_lets_in_while_the_token_does(rig: Rig) -> None:
    status, _, cookie = await rig.log_in()

    assert status == 200
    assert cookie is not None
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Strict")
    assert TOKEN not in cookie.value
    assert (await rig.ask("/api/live", ""))[0] == 200
    assert (await rig.ask("/api/session", ""))[1].endswith('"is_open": true}')
    reviewed = [body["spec"] for _, path, body in rig.apiserver.requests if path == TOKENS]
    assert reviewed[-1] == {"token": TOKEN}


async def test_log_in_of_who_may_not_see_the_page_says_so_and_leaves_nothing(rig: Rig) -> None:
    rig.say(is_known=True, is_allowed=False)
    status, text, cookie = await rig.log_in()

    assert (status, cookie) == (403, None)
    assert 'cannot get path \\"/spanway/api/session\\"' in text

    rig.say(is_known=False, is_allowed=False)
    status, text, cookie = await rig.log_in("somebody else's")

    assert (status, cookie) == (403, None)
    assert "token: nobody here knows it" in text


async def test_cookie_of_another_key_is_nothing(rig: Rig) -> None:
    rig.client.session.cookie_jar.update_cookies({COOKIE: Seal("another").sealed(TOKEN)})

    assert (await rig.ask("/api/live", ""))[0] == 401


async def test_static_token_where_there_is_one_is_not_shown_to_the_api_server(rig: Rig) -> None:
    rig.say(is_known=False, is_allowed=False)

    status, _ = await rig.ask("/api/live", STATIC)

    asked = [path for _, path, _ in rig.apiserver.requests]
    assert (status, asked) == ((200, []) if rig.static else (401, [TOKENS]))

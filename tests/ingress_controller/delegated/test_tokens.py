"""Whose a token is, by the word of an API server that is a fake."""

from typing import Any

import pytest
from fake_apiserver import FakeApiserver
from standing_clock import StandingClock

from ingress_controller.delegated.reviews import ALLOWED_S, DENIED_S, Reviewer, UndecidedError
from ingress_controller.delegated.tokens import Tokens
from ingress_controller.delegated.user import User

PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
ANN = {
    "username": "ann",
    "uid": "7",
    "groups": ["staff", "system:authenticated"],
    "extra": {"scope": ["a", "b"]},
}


def answer(server: FakeApiserver, **status: Any) -> None:
    server.answers["POST", PATH] = (201, {"status": status})


async def test_user_is_who_the_api_server_says(
    apiserver: tuple[FakeApiserver, Reviewer],
) -> None:
    server, reviewer = apiserver
    answer(server, authenticated=True, user=ANN)

    user = await Tokens(reviewer).user("secret")

    assert user == User("ann", "7", ("staff", "system:authenticated"), (("scope", ("a", "b")),))
    ((_, _, body),) = server.requests
    assert body["spec"] == {"token": "secret"}


@pytest.mark.parametrize(
    "status",
    [
        {"authenticated": False, "error": "it has expired"},
        {},
        {"authenticated": "true", "user": ANN},
        {"authenticated": True, "user": {}},
        {"authenticated": True},
    ],
)
async def test_whoever_is_not_authenticated_is_nobody(
    apiserver: tuple[FakeApiserver, Reviewer], status: dict[str, Any]
) -> None:
    server, reviewer = apiserver
    answer(server, **status)

    assert await Tokens(reviewer).user("secret") is None


@pytest.mark.parametrize(
    ("audiences", "is_known"), [(["spanway"], True), (["a", "spanway"], True), ([], False)]
)
async def test_token_has_to_be_for_the_audience_that_is_named(
    apiserver: tuple[FakeApiserver, Reviewer], audiences: list[str], is_known: bool
) -> None:
    server, reviewer = apiserver
    answer(server, authenticated=True, user=ANN, audiences=audiences)

    user = await Tokens(reviewer, "spanway").user("secret")

    assert (user is not None) is is_known
    assert server.requests[0][2]["spec"]["audiences"] == ["spanway"]


async def test_answer_holds_for_some_seconds_and_a_denial_for_fewer(
    apiserver: tuple[FakeApiserver, Reviewer], clock: StandingClock
) -> None:
    server, reviewer = apiserver
    tokens = Tokens(reviewer, clock=clock)
    answer(server, authenticated=True, user=ANN)
    assert await tokens.user("good") is not None
    answer(server, authenticated=False)
    assert await tokens.user("bad") is None

    clock.now_s += DENIED_S
    answer(server, authenticated=True, user=ANN)
    assert await tokens.user("bad") is not None
    answer(server, authenticated=False)
    assert await tokens.user("good") is not None
    clock.now_s += ALLOWED_S - DENIED_S
    assert await tokens.user("good") is None

    assert "good" not in repr(vars(tokens))


async def test_what_cannot_be_found_out_is_an_error_and_not_kept(
    apiserver: tuple[FakeApiserver, Reviewer],
) -> None:
    server, reviewer = apiserver
    tokens = Tokens(reviewer)
    server.denied.add(PATH)
    with pytest.raises(UndecidedError, match=r"may not ask .* TokenReview; apply deploy/kube"):
        await tokens.user("secret")

    server.denied.clear()
    answer(server, authenticated=True, user=ANN)

    assert await tokens.user("secret") is not None

from typing import Any

import pytest
from fake_apiserver import FakeApiserver
from standing_clock import StandingClock

from ingress_controller.aggregated.status_error import forbidden
from ingress_controller.delegated import reviews
from ingress_controller.delegated.access import Access, Asked, NotAllowedError
from ingress_controller.delegated.reviews import ALLOWED_S, DENIED_S, Reviewer, UndecidedError
from ingress_controller.delegated.user import User

PATH = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
ANN = User("ann", "7", ("staff",), (("scope", ("a", "b")),))
LIST = Asked("list", "requests", "shop", group="live.spanway.io", version="v1")


def answer(server: FakeApiserver, **status: Any) -> None:
    server.answers["POST", PATH] = (201, {"status": status})


async def refused(access: Access, user: User, asked: Asked) -> NotAllowedError:
    with pytest.raises(NotAllowedError) as raised:
        await access.check(user, asked)
    return raised.value


async def undecided(access: Access) -> str:
    with pytest.raises(UndecidedError) as raised:
        await access.check(ANN, LIST)
    return str(raised.value)


async def test_api_server_is_asked_with_all_that_is_known_of_the_user(
    apiserver: tuple[FakeApiserver, Reviewer],
) -> None:
    server, reviewer = apiserver
    answer(server, allowed=True)

    await Access(reviewer).check(ANN, LIST)
    await Access(reviewer).check(User("bob"), Asked("get", path="/openapi/v3"))

    of_resource, of_path = (body["spec"] for _, _, body in server.requests)
    assert of_resource == {
        "user": "ann",
        "uid": "7",
        "groups": ["staff"],
        "extra": {"scope": ["a", "b"]},
        "resourceAttributes": {
            "group": "live.spanway.io",
            "version": "v1",
            "resource": "requests",
            "verb": "list",
            "namespace": "shop",
            "name": "",
        },
    }
    assert of_path["nonResourceAttributes"] == {"verb": "get", "path": "/openapi/v3"}


async def test_denial_is_told_in_the_words_of_kubernetes(
    apiserver: tuple[FakeApiserver, Reviewer],
) -> None:
    server, reviewer = apiserver
    answer(server, allowed=False, reason="no role")
    access = Access(reviewer)

    of_namespace = await refused(access, ANN, LIST)
    of_all = await refused(access, ANN, Asked("watch", "requests"))

    status = forbidden(of_namespace)
    assert (status.code, status.reason) == (403, "Forbidden")
    assert status.message == (
        'requests.live.spanway.io is forbidden: User "ann" cannot list resource "requests"'
        ' in API group "live.spanway.io" in the namespace "shop": no role'
    )
    assert 'cannot watch resource "requests"' in str(of_all)
    assert "at the cluster scope" in str(of_all)


async def test_answer_holds_for_some_seconds_for_this_user_and_question(
    apiserver: tuple[FakeApiserver, Reviewer], clock: StandingClock
) -> None:
    server, reviewer = apiserver
    access = Access(reviewer, clock)
    answer(server, allowed=True)
    await access.check(ANN, LIST)
    answer(server, allowed=False)

    await access.check(ANN, LIST)
    await refused(access, User("bob"), LIST)
    clock.now_s += ALLOWED_S
    await refused(access, ANN, LIST)
    assert len(server.requests) == 3


async def test_denial_holds_for_a_shorter_time(
    apiserver: tuple[FakeApiserver, Reviewer], clock: StandingClock
) -> None:
    server, reviewer = apiserver
    access = Access(reviewer, clock)
    answer(server, allowed=False)
    await refused(access, ANN, LIST)
    answer(server, allowed=True)

    await refused(access, ANN, LIST)
    clock.now_s += DENIED_S
    await access.check(ANN, LIST)

    assert DENIED_S < ALLOWED_S


async def test_answers_that_are_kept_are_bounded(
    apiserver: tuple[FakeApiserver, Reviewer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, reviewer = apiserver
    monkeypatch.setattr(reviews, "ANSWERS_MAX", 2)
    checked = Access(reviewer)
    answer(server, allowed=True)

    for name in ("a", "b", "c", "b", "a"):
        await checked.check(User(name), LIST)

    assert len(server.requests) == 4  # only b's was still there


async def test_what_cannot_be_decided_is_not_answered_and_not_kept(
    apiserver: tuple[FakeApiserver, Reviewer],
) -> None:
    server, reviewer = apiserver
    access = Access(reviewer)
    server.denied.add(PATH)
    without_rights = await undecided(access)
    await server.stop()
    away = await undecided(access)

    assert "apply deploy/kubernetes/api.yaml" in without_rights
    assert "cannot connect" in away
    await server.start()
    server.denied.clear()
    answer(server, allowed=True)
    await access.check(ANN, LIST)


async def test_api_server_itself_is_not_asked_about(
    apiserver: tuple[FakeApiserver, Reviewer],
) -> None:
    server, reviewer = apiserver

    await Access(reviewer).check(User("system:kube-aggregator", groups=("system:masters",)), LIST)

    assert server.requests == []

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fake_apiserver import FakeApiserver, running

from ingress_controller.aggregated import access
from ingress_controller.aggregated.access import DECISION_S, Access, Asked
from ingress_controller.aggregated.front_proxy import User
from ingress_controller.aggregated.status_error import StatusError
from ingress_controller.kubernetes_api import KubernetesApi

PATH = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
ANN = User("ann", "7", ("staff",), (("scope", ("a", "b")),))
LIST = Asked("list", "requests", "shop")


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
async def apiserver() -> AsyncIterator[tuple[FakeApiserver, KubernetesApi]]:
    async with running() as both:
        yield both


def answer(server: FakeApiserver, **status: Any) -> None:
    server.answers["POST", PATH] = (201, {"status": status})


async def refused(access: Access, user: User, asked: Asked) -> StatusError:
    with pytest.raises(StatusError) as raised:
        await access.check(user, asked)
    return raised.value


async def test_api_server_is_asked_with_all_that_is_known_of_the_user(
    apiserver: tuple[FakeApiserver, KubernetesApi],
) -> None:
    server, api = apiserver
    answer(server, allowed=True)

    await Access(api).check(ANN, LIST)
    await Access(api).check(User("bob"), Asked("get", path="/openapi/v3"))

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
    apiserver: tuple[FakeApiserver, KubernetesApi],
) -> None:
    server, api = apiserver
    answer(server, allowed=False, reason="no role")
    access = Access(api)

    of_namespace = await refused(access, ANN, LIST)
    of_all = await refused(access, ANN, Asked("watch", "requests"))

    assert (of_namespace.code, of_namespace.reason) == (403, "Forbidden")
    assert of_namespace.message == (
        'requests.live.spanway.io is forbidden: User "ann" cannot list resource "requests"'
        ' in API group "live.spanway.io" in the namespace "shop": no role'
    )
    assert 'cannot watch resource "requests"' in of_all.message
    assert "at the cluster scope" in of_all.message


async def test_answer_holds_for_some_seconds_for_this_user_and_question(
    apiserver: tuple[FakeApiserver, KubernetesApi],
) -> None:
    server, api = apiserver
    clock = Clock()
    access = Access(api, clock)
    answer(server, allowed=True)
    await access.check(ANN, LIST)
    answer(server, allowed=False)

    await access.check(ANN, LIST)
    assert (await refused(access, User("bob"), LIST)).code == 403
    clock.now_s += DECISION_S
    assert (await refused(access, ANN, LIST)).code == 403
    assert len(server.requests) == 3


async def test_answers_that_are_kept_are_bounded(
    apiserver: tuple[FakeApiserver, KubernetesApi], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, api = apiserver
    monkeypatch.setattr(access, "DECISIONS_MAX", 2)
    checked = Access(api)
    answer(server, allowed=True)

    for name in ("a", "b", "c", "b", "a"):
        await checked.check(User(name), LIST)

    assert len(server.requests) == 4  # only b's was still there


async def test_what_cannot_be_decided_is_not_answered_and_not_kept(
    apiserver: tuple[FakeApiserver, KubernetesApi],
) -> None:
    server, api = apiserver
    access = Access(api)
    server.denied.add(PATH)
    without_rights = await refused(access, ANN, LIST)
    await server.stop()
    away = await refused(access, ANN, LIST)

    assert (without_rights.code, away.code) == (503, 503)
    assert "apply deploy/kubernetes/api.yaml" in without_rights.message
    assert "cannot connect" in away.message
    await server.start()


async def test_api_server_itself_is_not_asked_about(
    apiserver: tuple[FakeApiserver, KubernetesApi],
) -> None:
    server, api = apiserver

    await Access(api).check(User("system:kube-aggregator", groups=("system:masters",)), LIST)

    assert server.requests == []

import pytest
from fake_apiserver import FakeApiserver, Json, running

from ingress_controller.kubernetes_api import ApiError
from ingress_controller.model.problem import ObjectKey, Problem
from ingress_controller.status.recorder import AT_ONCE_MAX, EventRecorder
from ingress_controller.watch.cache import Cache

TERMINATING = {
    "kind": "Status",
    "reason": "Forbidden",
    "message": "unable to create new content in namespace old because it is being terminated",
    "details": {"causes": [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]},
}
DENIED = {"kind": "Status", "reason": "Forbidden", "message": "exceeded quota: objects"}


def problem(namespace: str, text: str = "x") -> Problem:
    return Problem(ObjectKey("Ingress", namespace, "web"), "spec", text)


def events(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/events"


def sent_to(server: FakeApiserver, namespace: str) -> list[Json]:
    return [body for _, path, body in server.requests if path == events(namespace)]


async def test_a_namespace_that_is_being_deleted_keeps_nothing_back() -> None:
    async with running() as (server, api):
        server.answers["POST", events("old")] = (403, TERMINATING)
        server.answers["POST", events("shop")] = (201, {})
        recorder = EventRecorder(api, Cache(), "me")

        assert await recorder.report([problem("old"), problem("shop")])
        assert await recorder.report([problem("old"), problem("shop")])

        assert len(sent_to(server, "shop")) == len(sent_to(server, "old")) == 1


async def test_what_is_refused_is_tried_again_after_all_others_and_as_the_same_event() -> None:
    async with running() as (server, api):
        server.answers["POST", events("full")] = (403, DENIED)
        server.answers["POST", events("shop")] = (201, {})
        recorder = EventRecorder(api, Cache(), "me")
        full = [problem("full", str(n)) for n in range(AT_ONCE_MAX)]

        for _ in range(2):
            with pytest.raises(ApiError, match="exceeded quota"):
                await recorder.report([*full, problem("shop")])

        assert len(sent_to(server, "shop")) == 1
        names = [body["metadata"]["name"] for body in sent_to(server, "full")]
        assert names[AT_ONCE_MAX:] == names[: AT_ONCE_MAX - 1]

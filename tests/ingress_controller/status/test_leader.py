import asyncio
import contextlib

import pytest
from eventually import until
from fake_apiserver import FakeApiserver, Json, running

from ingress_controller.kubernetes_api import KubernetesApi
from ingress_controller.status.leader import LEASE_S, RENEW_DEADLINE_S, Leader

COLLECTION = "/apis/coordination.k8s.io/v1/namespaces/edge/leases"
LEASE = f"{COLLECTION}/spanway"


class RoundsOverError(Exception):
    """Ends a leader's loop."""


class Rounds:
    """A clock that stands still, and a sleep that ends the leader's loop after some rounds."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.left = 1

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, _: float) -> None:
        self.left -= 1
        if self.left == 0:
            raise RoundsOverError

    async def run(self, leader: Leader) -> None:
        self.left = 1
        with contextlib.suppress(RoundsOverError):
            await leader.run()


def leader_of(api: KubernetesApi, rounds: Rounds, identity: str = "me") -> Leader:
    return Leader(
        api,
        namespace="edge",
        name="spanway",
        identity=identity,
        clock=rounds.clock,
        sleep=rounds.sleep,
    )


def lease(holder: str, version: str = "7") -> Json:
    spec = {"holderIdentity": holder, "leaseDurationSeconds": LEASE_S, "leaseTransitions": 3}
    return {"metadata": {"name": "spanway", "resourceVersion": version}, "spec": spec}


def written(server: FakeApiserver, method: str) -> list[Json]:
    return [body for asked, _, body in server.requests if asked == method]


async def test_the_first_replica_makes_the_lease_and_leads_until_the_deadline() -> None:
    async with running() as (server, api):
        server.answers["POST", COLLECTION] = (201, {})
        rounds = Rounds()
        leader = leader_of(api, rounds)

        await rounds.run(leader)

        assert leader.is_leader
        assert written(server, "POST")[0]["spec"]["holderIdentity"] == "me"
        rounds.now_s += RENEW_DEADLINE_S
        assert not leader.is_leader


async def test_anothers_lease_is_taken_only_after_it_did_not_change_for_its_duration() -> None:
    async with running() as (server, api):
        server.answers["GET", LEASE] = (200, lease("other"))
        server.answers["PUT", LEASE] = (200, {})
        rounds = Rounds()
        leader = leader_of(api, rounds)

        await rounds.run(leader)
        rounds.now_s += LEASE_S - 1
        await rounds.run(leader)
        assert not leader.is_leader

        server.answers["GET", LEASE] = (200, lease("other", version="8"))
        rounds.now_s += 2
        await rounds.run(leader)
        assert not leader.is_leader

        rounds.now_s += LEASE_S
        await rounds.run(leader)
        assert leader.is_leader
        (body,) = written(server, "PUT")
        assert body["metadata"]["resourceVersion"] == "8"
        assert body["spec"]["leaseTransitions"] == 4


async def test_of_two_replicas_that_write_at_once_the_one_with_the_conflict_does_not_lead() -> None:
    async with running() as (server, api):
        server.answers["GET", LEASE] = (200, lease(""))
        server.answers["PUT", LEASE] = (409, {"reason": "Conflict"})
        rounds = Rounds()
        leader = leader_of(api, rounds)

        await rounds.run(leader)

        assert not leader.is_leader


async def test_a_leader_that_stops_hands_the_lease_over() -> None:
    async with running() as (server, api):
        server.answers["GET", LEASE] = (200, lease("me"))
        server.answers["PUT", LEASE] = (200, {})
        rounds = Rounds()
        leader = leader_of(api, rounds)
        await rounds.run(leader)

        await leader.release()

        assert written(server, "PUT")[-1]["spec"]["holderIdentity"] == ""
        assert not leader.is_leader
        await leader.run()  # returns: it does not take the Lease again while requests are finished
        assert not leader.is_leader


async def test_a_lease_that_is_granted_while_the_process_stops_is_handed_over() -> None:
    async with running() as (server, api):
        server.answers["GET", LEASE] = (200, lease(""))
        server.answers["PUT", LEASE] = (200, {})
        rounds = Rounds()
        leader = leader_of(api, rounds)
        acquiring = asyncio.ensure_future(rounds.run(leader))
        await until(lambda: server.requests)
        assert not leader.is_leader

        server.answers["GET", LEASE] = (200, lease("me"))
        await leader.release()
        await acquiring

        holders = [body["spec"]["holderIdentity"] for body in written(server, "PUT")]
        assert holders == ["me", ""]
        assert not leader.is_leader


async def test_denied_access_names_the_rule_and_what_came_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    async with running() as (server, api):
        server.answers["GET", LEASE] = (403, {})
        rounds = Rounds()
        leader = leader_of(api, rounds)
        await rounds.run(leader)
        server.answers["GET", LEASE] = (200, lease("me"))
        server.answers["PUT", LEASE] = (200, {})
        await rounds.run(leader)

    denied, solved, *_ = (record.getMessage() for record in caplog.records)
    assert "a Role in namespace edge needs the rule apiGroups: [coordination.k8s.io]" in denied
    assert solved == "LeaseUsable lease=edge/spanway"

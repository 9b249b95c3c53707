import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from eventually import until
from fake_apiserver import FakeApiserver, Json, running
from k8s_objects import Object, ingress, key_of, path, tracing_policy, values_of

from ingress_controller.model.problem import ObjectKey, Problem, Severity
from ingress_controller.status.recorder import EventRecorder
from ingress_controller.status.writer import StatusWriter, address_of
from ingress_controller.watch.cache import Cache

WEB = ingress(path("/"))
STATUS = "/apis/networking.k8s.io/v1/namespaces/shop/ingresses/web/status"
EVENTS = "/api/v1/namespaces/shop/events"
POLICY_STATUS = "/apis/spanway.io/v1alpha1/namespaces/shop/tracingpolicies/quiet/status"
ADDRESS = {"ip": "192.0.2.1"}


class FakeLeader:
    """Fakes the election: leads when the test says so."""

    def __init__(self) -> None:
        self.leads = True
        self.asked_count = 0
        self.on_change: Callable[[], None] = lambda: None

    @property
    def is_leader(self) -> bool:
        self.asked_count += 1
        return self.leads


class Scene:
    def __init__(self, server: FakeApiserver, writer: StatusWriter, cache: Cache) -> None:
        self.server = server
        self.writer = writer
        self.cache = cache

    def submit(self, *objects: Object, problems: tuple[Problem, ...] = ()) -> None:
        values = values_of(objects)
        self.writer.submit(values.ingresses, problems, values.own)

    def sent(self, method: str) -> list[Json]:
        return [body for asked, _, body in self.server.requests if asked == method]


@asynccontextmanager
async def writing(leader: FakeLeader) -> AsyncIterator[Scene]:
    async def no_wait(_: float) -> None:
        await asyncio.sleep(0)

    async with running() as (server, api):
        cache = Cache()
        cache.put(key_of(WEB), WEB)
        server.answers["PATCH", STATUS] = (200, {})
        server.answers["POST", EVENTS] = (201, {})
        writer = StatusWriter(
            api,
            cache,
            leader=leader,
            recorder=EventRecorder(api, cache, "me"),
            addresses=lambda: [ADDRESS],
            sleep=no_wait,
        )
        task = asyncio.ensure_future(writer.run())
        try:
            yield Scene(server, writer, cache)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def with_status(*addresses: Json) -> Object:
    return WEB | {"status": {"loadBalancer": {"ingress": [*addresses]}}}


async def test_an_ingress_gets_our_address_once() -> None:
    async with writing(FakeLeader()) as scene:
        scene.submit(WEB)
        await until(lambda: scene.sent("PATCH"))
        scene.cache.put(key_of(WEB), with_status(ADDRESS | {"ports": []}))
        problem = Problem(key_of(WEB), "spec", "x")
        scene.submit(WEB, problems=(problem,))
        await until(lambda: scene.sent("POST"))

        assert scene.sent("PATCH") == [{"status": {"loadBalancer": {"ingress": [ADDRESS]}}}]


async def test_an_address_that_somebody_else_took_away_is_written_again() -> None:
    async with writing(FakeLeader()) as scene:
        scene.cache.put(key_of(WEB), with_status(ADDRESS))
        problem = Problem(key_of(WEB), "spec", "x")
        scene.submit(WEB, problems=(problem,))
        await until(lambda: scene.sent("POST"))
        assert scene.sent("PATCH") == []

        scene.cache.put(key_of(WEB), with_status())
        scene.submit(WEB, problems=(problem,))
        await until(lambda: scene.sent("PATCH"))


async def test_who_does_not_lead_writes_nothing_until_it_does() -> None:
    leader = FakeLeader()
    leader.leads = False
    async with writing(leader) as scene:
        scene.submit(WEB)
        await until(lambda: leader.asked_count)
        assert scene.server.requests == []

        leader.leads = True
        leader.on_change()
        await until(lambda: scene.sent("PATCH"))


async def test_a_write_that_fails_is_tried_again() -> None:
    async with writing(FakeLeader()) as scene:
        scene.server.answers["PATCH", STATUS] = (500, {"message": "not now"})
        scene.submit(WEB)
        await until(lambda: len(scene.sent("PATCH")) > 2)
        scene.server.answers["PATCH", STATUS] = (200, {})
        scene.cache.put(key_of(WEB), with_status(ADDRESS))


async def test_an_ingress_that_is_not_ours_any_more_loses_our_address() -> None:
    async with writing(FakeLeader()) as scene:
        scene.submit(WEB)
        await until(lambda: scene.sent("PATCH"))
        scene.cache.put(key_of(WEB), with_status(ADDRESS))

        scene.submit()
        await until(lambda: len(scene.sent("PATCH")) == 2)

        assert scene.sent("PATCH")[1] == {"status": {"loadBalancer": {"ingress": []}}}


async def test_a_problem_is_one_event_on_its_object_while_it_lasts() -> None:
    first = Problem(key_of(WEB), "spec.rules[0].host", "It is bad.", "Make it good.")
    second = Problem(key_of(WEB), "spec.tls", "Not yet.", severity=Severity.WARNING)
    async with writing(FakeLeader()) as scene:
        scene.submit(WEB, problems=(first,))
        await until(lambda: scene.sent("POST"))
        scene.submit(WEB, problems=(first, second))
        await until(lambda: len(scene.sent("POST")) == 2)

        events = scene.sent("POST")
        assert [(event["type"], event["reason"], event["message"]) for event in events] == [
            ("Warning", "NotServed", "spec.rules[0].host: It is bad. Make it good."),
            ("Warning", "ServedWithWarning", "spec.tls: Not yet."),
        ]
        assert events[0]["involvedObject"]["kind"] == "Ingress"
        assert events[0]["involvedObject"]["apiVersion"] == "networking.k8s.io/v1"


async def test_a_namespace_that_is_gone_does_not_stop_other_events() -> None:
    gone = Problem(ObjectKey("Ingress", "gone", "web"), "", "x")
    here = Problem(key_of(WEB), "", "y")
    async with writing(FakeLeader()) as scene:
        scene.submit(WEB, problems=(gone, here))

        await until(lambda: len(scene.sent("POST")) == 2)


def policy(generation: int, *conditions: Json) -> Object:
    made = tracing_policy(ratio=0.5)
    made["metadata"] |= {"generation": generation}
    return made | {"status": {"conditions": [*conditions]}}


async def test_a_policy_is_told_once_that_it_is_accepted_and_which_generation_of_it() -> None:
    async with writing(FakeLeader()) as scene:
        scene.server.answers["PATCH", POLICY_STATUS] = (200, {})
        other = {"type": "Other", "status": "True"}
        scene.cache.put(key_of(policy(3)), policy(3, other))
        scene.submit(policy(3))
        await until(lambda: scene.sent("PATCH"))

        (sent,) = scene.sent("PATCH")
        kept, told = sent["status"]["conditions"]
        assert kept == other
        assert told.pop("lastTransitionTime").endswith("Z")
        assert told == {
            "type": "Accepted",
            "status": "True",
            "reason": "Accepted",
            "message": "",
            "observedGeneration": 3,
        }

        scene.cache.put(key_of(policy(3)), policy(3, told))
        scene.submit(policy(3), problems=(Problem(key_of(WEB), "spec", "x"),))
        await until(lambda: scene.sent("POST"))
        assert len(scene.sent("PATCH")) == 1


async def test_a_policy_that_turns_bad_says_why_and_when_and_not_of_a_newer_generation() -> None:
    accepted = {"type": "Accepted", "status": "True", "reason": "Accepted", "message": ""}
    told = accepted | {"observedGeneration": 3, "lastTransitionTime": "2020-01-01T00:00:00Z"}
    problem = Problem(key_of(policy(4)), "spec.sampling.ratio", "It is bad.", "Make it good.")
    async with writing(FakeLeader()) as scene:
        scene.server.answers["PATCH", POLICY_STATUS] = (200, {})
        scene.server.answers["POST", EVENTS] = (403, {"message": "no events"})
        scene.cache.put(key_of(policy(5)), policy(5, told))  # it is there, but not yet looked at

        scene.submit(policy(4), problems=(problem,))
        await until(lambda: scene.sent("PATCH"))

        ((said,),) = [sent["status"]["conditions"] for sent in scene.sent("PATCH")[:1]]
        assert (said["status"], said["reason"]) == ("False", "Invalid")
        assert said["message"].startswith("spec.sampling.ratio: It is bad. Make it good.")
        assert said["observedGeneration"] == 4
        assert said["lastTransitionTime"] > "2026"


async def test_a_cluster_whose_policies_have_no_status_gets_events_all_the_same() -> None:
    problem = Problem(key_of(WEB), "", "x")
    async with writing(FakeLeader()) as scene:
        scene.server.answers["PATCH", POLICY_STATUS] = (404, {"message": "no status"})
        scene.cache.put(key_of(policy(1)), policy(1))
        scene.submit(WEB, policy(1), problems=(problem,))

        await until(lambda: scene.sent("POST"))


def test_an_address_is_an_ip_or_a_host_name() -> None:
    assert address_of("2001:db8::1") == {"ip": "2001:db8::1"}
    assert address_of("lb.example.org") == {"hostname": "lb.example.org"}

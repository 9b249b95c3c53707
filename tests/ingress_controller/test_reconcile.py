import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pem
from eventually import until
from k8s_objects import MANIFESTS, Object, endpoint_slice, ingress, key_of, path, secret, service
from opentelemetry.trace import NoOpTracer, Tracer

from ingress_controller.model.problem import ObjectKey, Problem
from ingress_controller.reconcile import Reconciler
from ingress_controller.resolve import Resolver
from ingress_controller.routing.builder import Builder
from ingress_controller.traces import own_spans
from ingress_controller.traces.span import decode
from ingress_controller.watch.cache import Cache
from proxy.spans import SpanBatch
from proxy.table import Rejected, Update

WORLD = [ingress(path("/")), service(), endpoint_slice("api", "10.0.0.1")]


class FakeEngine:
    """Fakes the engine at the process edge: takes updates, rejects what it is told to."""

    def __init__(self) -> None:
        self.updates: list[Update] = []
        self.rejects: list[Rejected] = []

    def publish(self, update: Update) -> list[Rejected]:
        self.updates.append(update)
        return self.rejects


class FakeSource:
    """Fakes a source: says what the test wants it to."""

    def __init__(self) -> None:
        self.waits_for: tuple[str, ...] = ()
        self.asked_count = 0
        self.problems: tuple[Problem, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        self.asked_count += 1
        return self.waits_for

    async def run(self) -> None:
        """Nothing to do."""


class FakePause:
    """Fakes the pause between two tables: over at once, or when the test says so."""

    def __init__(self) -> None:
        self.count = 0
        self.is_over = asyncio.Event()
        self.is_over.set()

    async def __call__(self, _: float) -> None:
        self.count += 1
        await self.is_over.wait()


class World:
    def __init__(self, tracer: Tracer | None = None) -> None:
        self.pause = FakePause()
        self.cache = Cache()
        self.engine = FakeEngine()
        self.source = FakeSource()
        self.resolver = Resolver(self.cache.touch, allow_loopback=True)
        self.reconciler = Reconciler(
            self.cache,
            self.source,
            builder=Builder(MANIFESTS),
            resolver=self.resolver,
            engine=self.engine,
            tracer=tracer or NoOpTracer(),
            sleep=self.pause,
        )

    def put(self, *objects: Object) -> None:
        for raw in objects:
            self.cache.put(key_of(raw), raw)


@asynccontextmanager
async def running(world: World | None = None) -> AsyncIterator[World]:
    world = world or World()
    task = asyncio.ensure_future(world.reconciler.run())
    try:
        yield world
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_change_becomes_an_update_of_only_what_changed() -> None:
    async with running() as world:
        world.put(*WORLD)
        await until(lambda: len(world.engine.updates) == 1)
        await until(world.reconciler.is_published.is_set)

        world.put(endpoint_slice("api", "10.0.0.2"))
        await until(lambda: len(world.engine.updates) == 2)

        update = world.engine.updates[1]
        assert (update.base, update.generation) == (1, 2)
        assert update.hosts_upsert == ()
        assert [backend.key for backend in update.backends_upsert] == ["shop/api:80"]


async def test_a_change_is_published_at_once_and_those_in_the_pause_after_it_together() -> None:
    async with running() as world:
        world.pause.is_over.clear()
        world.put(*WORLD)
        await until(lambda: world.pause.count)
        assert len(world.engine.updates) == 1

        for number in range(100):
            world.put(endpoint_slice("api", f"10.0.0.{number}"))
            await asyncio.sleep(0)
        assert len(world.engine.updates) == 1
        world.pause.is_over.set()
        await until(lambda: len(world.engine.updates) == 2)

        endpoints = world.engine.updates[1].backends_upsert[0].endpoints
        assert [endpoint.address for endpoint in endpoints] == ["10.0.0.99"]


async def test_nothing_is_published_before_the_source_was_read_completely() -> None:
    async with running() as world:
        world.source.waits_for = ("services",)
        world.put(WORLD[0])
        await until(lambda: world.source.asked_count)
        assert world.engine.updates == []

        world.source.waits_for = ()
        world.put(*WORLD)
        await until(lambda: world.engine.updates)
        assert len(world.engine.updates) == 1


async def test_a_rejected_host_is_a_problem_of_its_ingress_and_tried_again_later() -> None:
    async with running() as world:
        world.engine.rejects = [Rejected("host", "shop.example", "too strange")]
        world.put(*WORLD)
        await until(world.reconciler.is_published.is_set)

        outcome = world.reconciler.outcome
        assert outcome.table.hosts == {}
        assert [str(problem) for problem in outcome.problems] == [
            "Ingress shop/web: The engine refuses host shop.example: too strange"
        ]

        world.engine.rejects = []
        world.put(endpoint_slice("api", "10.0.0.2"))
        await until(lambda: len(world.engine.updates) == 2)
        await until(lambda: world.reconciler.outcome.table.hosts)
        assert [host.name for host in world.engine.updates[1].hosts_upsert] == ["shop.example"]
        assert world.reconciler.outcome.problems == ()


async def test_what_was_rejected_is_no_problem_any_more_once_nobody_wants_it() -> None:
    async with running() as world:
        world.engine.rejects = [Rejected("listener", "127.0.0.1:1", "permission denied")]
        world.put(service(annotations={"spanway.io/listen": "80=127.0.0.1:1"}))
        await until(lambda: world.reconciler.outcome.rejected)

        world.engine.rejects = []
        world.put(service())
        await until(lambda: not world.reconciler.outcome.rejected)

        assert world.reconciler.outcome.problems == ()


async def test_each_kind_of_entry_that_is_rejected_is_sent_again() -> None:
    async with running() as world:
        world.engine.rejects = [
            Rejected("backend", "shop/api:80", "too strange"),
            Rejected("host", "shop.example", "its backend is missing"),
        ]
        world.put(*WORLD)
        await until(lambda: world.reconciler.outcome.rejected)
        assert world.reconciler.outcome.table.backends == {}

        world.engine.rejects = []
        world.cache.touch()
        await until(lambda: not world.reconciler.outcome.rejected)

        again = world.engine.updates[-1]
        assert [host.name for host in again.hosts_upsert] == ["shop.example"]
        assert [backend.key for backend in again.backends_upsert] == ["shop/api:80"]


async def test_an_outcome_stays_as_it_was_when_the_next_table_is_made() -> None:
    async with running() as world:
        world.put(*WORLD)
        await until(world.reconciler.is_published.is_set)
        first = world.reconciler.outcome

        world.put(ingress(path("/"), host="new.example"))
        await until(lambda: world.reconciler.outcome is not first)

        assert list(first.table.hosts) == ["shop.example"]
        assert list(world.reconciler.outcome.table.hosts) == ["new.example"]


async def test_a_rejected_table_leaves_the_old_one_as_the_base_of_the_next() -> None:
    async with running() as world:
        world.put(*WORLD)
        await until(world.reconciler.is_published.is_set)
        world.engine.rejects = [Rejected("table", "", "does not fit")]
        world.put(endpoint_slice("api", "10.0.0.2"))
        await until(lambda: world.reconciler.outcome.rejected)
        world.engine.rejects = []
        world.put(endpoint_slice("api", "10.0.0.3"))
        await until(lambda: len(world.engine.updates) == 3)

        assert [(u.base, u.generation) for u in world.engine.updates] == [(0, 1), (1, 2), (1, 2)]


async def test_a_rejected_policy_is_a_problem_of_its_ingress_and_keeps_the_last_good_one() -> None:
    def asks(rewrite: str) -> Object:
        return ingress(path("/"), annotations={"spanway.io/rewrite": rewrite})

    async with running() as world:
        world.put(asks("^/a => /b"), *WORLD[1:])
        await until(world.reconciler.is_published.is_set)
        good = world.reconciler.outcome.table.policies["shop/web"]
        world.engine.rejects = [Rejected("policy", "shop/web", "unclosed group")]
        world.put(asks("^/( => /b"))
        await until(lambda: world.reconciler.outcome.rejected)

        outcome = world.reconciler.outcome
        assert outcome.table.policies == {"shop/web": good}
        assert [str(problem) for problem in outcome.problems] == [
            "Ingress shop/web: The engine refuses policy shop/web: unclosed group"
        ]

        world.engine.rejects = []
        world.put(asks("^/c => /b"))
        await until(lambda: not world.reconciler.outcome.rejected)
        assert [key for key, _ in world.engine.updates[-1].policies_upsert] == ["shop/web"]


async def test_a_rejected_policy_of_a_service_listener_is_a_problem_of_the_service() -> None:
    async with running() as world:
        world.engine.rejects = [Rejected("policy", "service:shop/api", "too strange")]
        annotations = {"spanway.io/listen": "80=127.0.0.1:1", "spanway.io/read-timeout": "5s"}
        world.put(service(annotations=annotations), endpoint_slice("api", "10.0.0.1"))
        await until(world.reconciler.is_published.is_set)

        [problem] = world.reconciler.outcome.problems
        assert problem.object == ObjectKey("Service", "shop", "api")


async def test_a_rejected_certificate_is_a_problem_of_its_secret() -> None:
    async with running() as world:
        world.engine.rejects = [Rejected("certificate", "shop/cert", "unknown key type")]
        tls = [{"hosts": ["shop.example"], "secretName": "cert"}]
        world.put(ingress(path("/"), tls=tls), secret(pem.pair("shop.example")), *WORLD[1:])
        await until(world.reconciler.is_published.is_set)

        outcome = world.reconciler.outcome
        assert outcome.table.certificates == {}
        assert [str(problem) for problem in outcome.problems] == [
            "Secret shop/cert: The engine refuses certificate shop/cert: unknown key type"
        ]


async def test_a_listener_that_cannot_be_bound_is_a_problem_of_the_service_that_wants_it() -> None:
    async with running() as world:
        world.engine.rejects = [Rejected("listener", "127.0.0.1:1", "permission denied")]
        world.put(
            service(annotations={"spanway.io/listen": "80=127.0.0.1:1"}),
            endpoint_slice("api", "10.0.0.1"),
        )
        await until(world.reconciler.is_published.is_set)

        outcome = world.reconciler.outcome
        assert outcome.table.listeners == ()
        assert [str(problem) for problem in outcome.problems] == [
            "Service shop/api: The engine refuses listener 127.0.0.1:1: permission denied"
        ]


async def test_problems_of_the_source_are_told_too() -> None:
    async with running() as world:
        broken = Problem(key_of(service()), "", "broken")
        world.source.problems = (broken,)
        world.cache.touch()
        await until(world.reconciler.is_published.is_set)

        assert world.reconciler.outcome.problems == (broken,)


async def test_an_update_names_the_span_that_publishes_it() -> None:
    batches: list[SpanBatch] = []
    tracer = own_spans.tracer({"service.name": "edge"}, "1", batches.extend)
    async with running(World(tracer)) as world:
        world.put(*WORLD)
        await until(world.reconciler.is_published.is_set)

        (spans,) = (decode(batch.otlp) for batch in batches)
    publish = next(span for span in spans if span.name == "publish")
    (update,) = world.engine.updates
    assert update.published_by == f"00-{publish.trace_id}-{publish.span_id}-01"

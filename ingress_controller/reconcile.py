"""The one owner of the table: changes in; build; publish; tell what came of it.

Rules: only this loop applies changes, builds and publishes. Nothing is published before the source
has been read completely, since half a table would answer 404 for the other half. What the engine
rejects keeps its last good form, becomes a Problem, and is tried again with the next table. All
that a change costs here is in proportion to the change.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import ClassVar, Protocol

import msgspec
from opentelemetry.trace import (
    NoOpTracer,
    Span,
    StatusCode,
    Tracer,
    format_span_id,
    format_trace_id,
)

from ingress_controller.model.ingress import Ingress
from ingress_controller.model.problem import ObjectKey, Problem
from ingress_controller.model.values import Values
from ingress_controller.resolve import Resolver
from ingress_controller.routing.builder import Builder, Built
from ingress_controller.routing.problems import Problems
from ingress_controller.telemetry.events import Event, emit
from ingress_controller.watch.cache import Cache
from ingress_controller.watch.source import Source
from proxy.table import Rejected, Route, RouteTable, Update, applied

PAUSE_S = 0.05  # after a table: a rollout changes many slices in a row. istio: 100 ms, before it
RETRY_S = 5.0  # until a listener that could not be bound is tried again
LINES_MAX = 50  # problems logged at once; all of them are in /api/problems


class TablePublished(Event, frozen=True):
    """A table is in force."""

    generation: int
    hosts: int
    routes: int
    backends: int
    problems: int


class ProblemFound(Event, frozen=True):
    """A part of an object is not served, or needs a look."""

    level: ClassVar[int] = logging.WARNING
    severity: str
    object: str
    field: str
    message: str


class ProblemSolved(Event, frozen=True):
    """It is gone, with the object or by a correction."""

    object: str
    field: str


class ProblemsUnlogged(Event, frozen=True):
    """There are more than are logged."""

    level: ClassVar[int] = logging.WARNING
    count: int
    see: str = "/api/problems"


class Publisher(Protocol):
    """What of the engine is needed here."""

    def publish(self, update: Update) -> list[Rejected]:
        """Puts the update in force; blocks for some milliseconds."""


class Outcome(msgspec.Struct, frozen=True):
    """What is in force, what is wrong, and which Ingresses are ours.

    `own` are the objects of our own kinds, with the generation that was looked at.
    """

    table: RouteTable = RouteTable()
    problems: Problems = Problems()
    ours: Mapping[ObjectKey, Ingress] = {}
    rejected: tuple[Rejected, ...] = ()
    own: Mapping[ObjectKey, int] = {}


class Reconciler:
    """See the module. `is_published` is set once the first complete table is in force.

    A change is taken at once unless others were within the last `PAUSE_S`: a single one never
    waits, and those that come in a burst go out together.
    """

    def __init__(  # noqa: PLR0913 - sleep is for tests
        self,
        cache: Cache,
        source: Source,
        *,
        builder: Builder,
        resolver: Resolver,
        engine: Publisher,
        tracer: Tracer = NoOpTracer(),  # noqa: B008 - it has no state
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.outcome = Outcome()
        self.is_published = asyncio.Event()
        self.published_unix_s = 0.0
        self.publish_count = 0
        self.publish_rejected_count = 0
        self.on_outcome: Callable[[Outcome], None] = lambda _: None
        self._cache = cache
        self._source = source
        self._builder = builder
        self._resolver = resolver
        self._engine = engine
        self._tracer = tracer
        self._sleep = sleep
        self._values = Values()
        self._others: tuple[Problem, ...] = ()
        self._route_count = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._changed()
            if self._source.missing:
                self._apply_changes()
                continue
            with self._tracer.start_as_current_span("reconcile") as span:
                with self._tracer.start_as_current_span("apply changes") as applying:
                    applying.set_attribute("spanway.changes", self._apply_changes())
                await self._reconcile(span)
            await self._sleep(PAUSE_S)

    def _apply_changes(self) -> int:
        """How many objects have changed."""
        changes = self._cache.take()
        for key, raw in changes.items():
            self._values.apply(key, raw)
        return len(changes)

    async def _changed(self) -> None:
        try:
            async with asyncio.timeout(RETRY_S if self.outcome.rejected else None):
                await self._cache.wait()
        except TimeoutError:
            return  # only to try again what was rejected

    async def _reconcile(self, span: Span) -> None:
        previous = self.outcome.table
        now_unix_ms = time.time_ns() // 1_000_000
        with self._tracer.start_as_current_span("build"):
            built = self._builder.build(
                self._values, self._resolver.resolved, previous, now_unix_ms=now_unix_ms
            )
        self._resolver.want(built.external_names)
        table = previous
        rejected: tuple[Rejected, ...] = ()  # without an update all that is wanted is in force
        if built.update is not None:
            rejected = await self._publish(built.update)
            table = self._in_force(previous, built, rejected)
            self._builder.settle(table)
            self._count(table is not previous, rejected)
        others = (*self._source.problems, *_problems(built.table, rejected))
        problems = self.outcome.problems
        if built.appeared or built.gone or others != self._others:
            problems = built.problems.plus(others)
        outcome = Outcome(table, problems, built.ours, rejected, self._values.own)
        span.set_attribute("spanway.table.generation", table.generation)
        span.set_attribute("spanway.problems", len(problems))
        self._log(outcome, built, others)
        self.outcome, self._others = outcome, others
        self.is_published.set()
        self.on_outcome(outcome)

    async def _publish(self, update: Update) -> tuple[Rejected, ...]:
        with self._tracer.start_as_current_span("publish") as span:
            span.set_attribute("spanway.table.generation", update.generation)
            update = msgspec.structs.replace(update, published_by=_traceparent(span))
            rejected = tuple(await asyncio.to_thread(self._engine.publish, update))
            if rejected:
                span.set_status(StatusCode.ERROR, rejected[0].message)
                span.set_attribute("spanway.rejected", len(rejected))
            return rejected

    def _count(self, is_new: bool, rejected: Iterable[Rejected]) -> None:
        if is_new:
            self.published_unix_s = time.time()
            self.publish_count += 1
        self.publish_rejected_count += any(True for _ in rejected)

    def _in_force(
        self, previous: RouteTable, built: Built, rejected: Iterable[Rejected]
    ) -> RouteTable:
        """What the engine has now."""
        assert built.update is not None, "something was published"
        update = _accepted(built.update, rejected, previous)
        if update is None:
            return previous
        self._route_count += _routes_gained(previous, update)
        return built.table if update is built.update else applied(previous, update)

    def _log(self, outcome: Outcome, built: Built, others: tuple[Problem, ...]) -> None:
        known, now = set(self._others), set(others)
        appeared = (*built.appeared, *(p for p in others if p not in known))
        gone = (*built.gone, *(p for p in self._others if p not in now))
        lines: list[Event] = [
            ProblemFound(p.severity, str(p.object), p.field, p.text) for p in appeared
        ]
        lines += [ProblemSolved(str(p.object), p.field) for p in gone]
        for line in lines[:LINES_MAX]:
            emit(line)
        if len(lines) > LINES_MAX:
            emit(ProblemsUnlogged(len(lines) - LINES_MAX))
        table = outcome.table
        if table.generation != self.outcome.table.generation:
            counts = len(table.hosts), self._route_count, len(table.backends)
            emit(TablePublished(table.generation, *counts, len(outcome.problems)))


def _traceparent(span: Span) -> str:
    """By W3C Trace Context; empty where the span is not recorded."""
    context = span.get_span_context()
    if not span.is_recording():
        return ""
    return f"00-{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}-01"


def _accepted(update: Update, rejected: Iterable[Rejected], previous: RouteTable) -> Update | None:
    """What of `update` the engine took, whose table was `previous`; None if nothing."""
    refused: dict[str, set[str]] = {}
    for one in rejected:
        refused.setdefault(one.kind, set()).add(one.subject)
    if not refused:
        return update
    if "table" in refused:
        return None

    def is_taken(kind: str, subject: str) -> bool:
        return subject not in refused.get(kind, ())

    return msgspec.structs.replace(
        update,
        tracing=previous.tracing if "tracing" in refused else update.tracing,
        listeners=tuple(x for x in update.listeners if is_taken("listener", x.address)),
        hosts_upsert=tuple(x for x in update.hosts_upsert if is_taken("host", x.name)),
        backends_upsert=tuple(x for x in update.backends_upsert if is_taken("backend", x.key)),
        policies_upsert=tuple(x for x in update.policies_upsert if is_taken("policy", x[0])),
        certificates_upsert=tuple(
            x for x in update.certificates_upsert if is_taken("certificate", x[0])
        ),
    )


def _routes_gained(table: RouteTable, update: Update) -> int:
    """By how many routes `update` changes `table`; negative for a loss."""
    replaced = [*update.hosts_remove, *(host.name for host in update.hosts_upsert)]
    before = sum(len(table.hosts[name].routes) for name in replaced if name in table.hosts)
    return sum(len(host.routes) for host in update.hosts_upsert) - before


def _problems(table: RouteTable, rejected: Iterable[Rejected]) -> Iterator[Problem]:
    for one in rejected:
        for key in dict.fromkeys(_owners(table, one)):
            message = f"The engine refuses {one.kind} {one.subject}: {one.message}"
            yield Problem(key, "", message)


def _owners(table: RouteTable, rejected: Rejected) -> Iterator[ObjectKey]:
    """The objects that a rejected part comes from; the part itself where there is none."""
    subject = rejected.subject
    match rejected.kind:
        case "host" if subject in table.hosts:
            found = _ingresses(table.hosts[subject].routes)
        case "backend":
            found = _services(table, (subject,))
        case "policy":
            routes = (route for host in table.hosts.values() for route in host.routes)
            served = (x.backend for x in table.listeners if x.policy == subject)
            found = chain(
                _ingresses(route for route in routes if route.policy == subject),
                _services(table, served),
            )
        case "certificate" if "/" in subject:
            namespace, _, name = subject.partition("/")
            found = iter((ObjectKey("Secret", namespace, name),))
        case "listener":
            found = _services(table, (x.backend for x in table.listeners if x.address == subject))
        case _:
            found = iter(())
    owners = list(found)
    yield from owners or [ObjectKey(rejected.kind.capitalize(), "", subject)]


def _ingresses(routes: Iterable[Route]) -> Iterator[ObjectKey]:
    return (ObjectKey("Ingress", route.namespace, route.ingress) for route in routes)


def _services(table: RouteTable, backends: Iterable[str]) -> Iterator[ObjectKey]:
    for key in backends:
        if key in table.backends:
            found = table.backends[key]
            yield ObjectKey("Service", found.namespace, found.service)

"""The one owner of the table: changes in, debounced; build; publish; tell what came of it.

Rules: only this loop applies changes, builds and publishes. Nothing is published before the source
has been read completely, since half a table would answer 404 for the other half. What the engine
rejects keeps its last good form, becomes a Problem, and is tried again with the next table.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import ClassVar, Protocol, TypeVar

import msgspec

from ingress_controller.model.ingress import Ingress
from ingress_controller.model.problem import ObjectKey, Problem
from ingress_controller.model.values import Values
from ingress_controller.resolve import Resolver
from ingress_controller.routing.builder import Builder
from ingress_controller.telemetry.events import Event, emit
from ingress_controller.watch.cache import Cache
from ingress_controller.watch.source import Source
from proxy.table import ListenerKind, Rejected, RouteTable, Update, difference

_T = TypeVar("_T")

DEBOUNCE_S = 0.05  # a rollout changes a slice several times in a row; nobody notices 50 ms
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
    """What is in force, what is wrong, and which Ingresses are ours."""

    table: RouteTable = RouteTable()
    problems: tuple[Problem, ...] = ()
    ours: Mapping[ObjectKey, Ingress] = {}
    rejected: tuple[Rejected, ...] = ()


class Reconciler:
    """See the module. `is_published` is set once the first complete table is in force."""

    def __init__(
        self,
        cache: Cache,
        source: Source,
        *,
        builder: Builder,
        resolver: Resolver,
        engine: Publisher,
    ) -> None:
        self.outcome = Outcome()
        self.is_published = asyncio.Event()
        self.on_outcome: Callable[[Outcome], None] = lambda _: None
        self._cache = cache
        self._source = source
        self._builder = builder
        self._resolver = resolver
        self._engine = engine
        self._values = Values()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._changed()
            await asyncio.sleep(DEBOUNCE_S)
            for key, raw in self._cache.take().items():
                self._values.apply(key, raw)
            if not self._source.missing:
                await self._reconcile()

    async def _changed(self) -> None:
        try:
            async with asyncio.timeout(RETRY_S if self.outcome.rejected else None):
                await self._cache.wait()
        except TimeoutError:
            return  # only to try again what was rejected

    async def _reconcile(self) -> None:
        previous = self.outcome.table
        now_unix_ms = time.time_ns() // 1_000_000
        built = self._builder.build(
            self._values, self._resolver.resolved, previous, now_unix_ms=now_unix_ms
        )
        self._resolver.want(built.external_names)
        table, rejected = built.table, self.outcome.rejected
        if table is not previous:
            update = difference(previous, table)
            rejected = tuple(await asyncio.to_thread(self._engine.publish, update))
            table = _in_force(previous, built.table, rejected)
        problems = (*self._source.problems, *built.problems, *_problems(built.table, rejected))
        outcome = Outcome(table, problems, built.ours, rejected)
        self._log(outcome)
        self.outcome = outcome
        self.is_published.set()
        self.on_outcome(outcome)

    def _log(self, outcome: Outcome) -> None:
        old, new = self.outcome.problems, outcome.problems
        known, now = set(old), set(new)
        lines: list[Event] = [
            ProblemFound(p.severity, str(p.object), p.field, p.text) for p in new if p not in known
        ]
        lines += [ProblemSolved(str(p.object), p.field) for p in old if p not in now]
        for line in lines[:LINES_MAX]:
            emit(line)
        if len(lines) > LINES_MAX:
            emit(ProblemsUnlogged(len(lines) - LINES_MAX))
        table = outcome.table
        if table.generation != self.outcome.table.generation:
            hosts, backends = len(table.hosts), len(table.backends)
            emit(TablePublished(table.generation, hosts, table.route_count, backends, len(new)))


def _in_force(old: RouteTable, new: RouteTable, rejected: Iterable[Rejected]) -> RouteTable:
    """What the engine has after it took `new` but for what it rejected."""
    hosts, backends = dict(new.hosts), dict(new.backends)
    refused: set[str] = set()
    for one in rejected:
        match one.kind:
            case "table":
                return old
            case "host":
                _restore(hosts, old.hosts, one.subject)
            case "backend":
                _restore(backends, old.backends, one.subject)
            case _:
                refused.add(one.subject)
    listeners = tuple(x for x in new.listeners if x.address not in refused)
    return msgspec.structs.replace(new, hosts=hosts, backends=backends, listeners=listeners)


def _restore(now: dict[str, _T], old: Mapping[str, _T], key: str) -> None:
    now.pop(key, None)
    if key in old:
        now[key] = old[key]


def _problems(table: RouteTable, rejected: Iterable[Rejected]) -> Iterator[Problem]:
    for one in rejected:
        for key in dict.fromkeys(_owners(table, one)):
            message = f"The engine refuses {one.kind} {one.subject}: {one.message}"
            yield Problem(key, "", message)


def _owners(table: RouteTable, rejected: Rejected) -> Iterator[ObjectKey]:
    """The objects that a rejected part comes from."""
    subject = rejected.subject
    if rejected.kind == "host" and subject in table.hosts:
        for route in table.hosts[subject].routes:
            yield ObjectKey("Ingress", route.namespace, route.ingress)
        return
    backend = subject if rejected.kind == "backend" else ""
    for listener in table.listeners:
        if listener.address == subject and listener.kind is ListenerKind.SERVICE:
            backend = listener.backend
    if backend in table.backends:
        found = table.backends[backend]
        yield ObjectKey("Service", found.namespace, found.service)
    else:
        yield ObjectKey(rejected.kind.capitalize(), "", subject)

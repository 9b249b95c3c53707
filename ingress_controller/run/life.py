"""`spanway run`: starts and stops the parts in order.

Start: admin server, engine, sources, first table, listeners, ready line. Stop: not ready any more,
the engine finishes its requests, the last spans are exported, the rest ends. Where it takes over
from another process, sockets come first and the admin server last.
"""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from typing import Any, ClassVar, NamedTuple

import uvloop

from ingress_controller.plural import counted
from ingress_controller.run import kubernetes, parts, replacing
from ingress_controller.run.listening import start_admin
from ingress_controller.run.process import Process
from ingress_controller.settings import Settings, SettingsError, StartError, version
from ingress_controller.status.leader import Leader
from ingress_controller.telemetry.events import Event, emit
from ingress_controller.watch.cache import Cache
from proxy.table import ListenerKind

IDLE_S = 1.0  # for the requests that are on their way when it stops
FLUSH_DEADLINE_S = 5.0  # with the engine's deadline below the 30 s that Kubernetes gives
WAITING_LINE_S = 5.0  # after which a start that waits says for what


class OptionIgnored(Event, frozen=True):
    """A variable makes no sense."""

    level: ClassVar[int] = logging.WARNING
    reason: str


class TokensInTheClear(Event, frozen=True):
    """Whoever sees the packets of the admin address learns what lets in; --admin-cert ends that."""

    level: ClassVar[int] = logging.WARNING
    admin: str


class Waiting(Event, frozen=True):
    """The start takes long."""

    level: ClassVar[int] = logging.WARNING
    what: str


class Stopping(Event, frozen=True):
    """Requests under way are finished."""

    signal: str


def serve(settings: Settings) -> None:
    """`run` on an event loop of its own. Blocks. Raises StartError, SettingsError."""
    try:
        uvloop.run(run(settings))
    except BaseExceptionGroup as group:
        # A TaskGroup wraps what its body raises; the user's sentence is inside.
        for kind in (StartError, SettingsError):
            if found := group.subgroup(kind):
                raise _leaf(found) from None
        raise


def _leaf(err: BaseException) -> BaseException:
    while isinstance(err, BaseExceptionGroup):
        err = err.exceptions[0]
    return err


async def run(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, of which the second ends the process at once, or until
    another process has taken over.

    Raises:
        StartError: it could not start.
    """
    stop: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    _on_signals(stop)
    _warn(settings)
    async with AsyncExitStack() as stack:
        cache = Cache()
        api = await parts.api(settings, stack)
        source = parts.source(settings, api, cache)
        taken = await replacing.take(settings, stack)
        resource = parts.resource(settings)
        engine = parts.engine(settings, resource)
        stack.callback(engine.stop, deadline_s=0)
        # Who renamed the access log says so by this, as to nginx.
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, engine.reopen_access_log)
        process = Process(settings, engine, source, cache, resource=resource, api=api)
        stack.push_async_callback(process.stop_answering)
        if taken is None:
            await start_admin(process, settings.admin)
        else:
            replacing.adopt(engine, taken)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work, name=name) for name, work in _background(process)]

            def start(work: Coroutine[Any, Any, None]) -> None:
                tasks.append(group.create_task(work))

            leader = kubernetes.start_status(settings, api, process, start)
            if aggregated := await kubernetes.start_aggregated(settings, api, process):
                start(aggregated.run())
            exporting = None
            if process.exporters is not None:
                exporting = group.create_task(process.exporters.run(), name="exporters")
            if await _first_table(process, stop):
                gc.collect()
                gc.freeze()  # it stays: each full collection walked it, 30 ms at 10,000 hosts
                try:
                    giver = await replacing.go_live(settings, process, taken)
                except StartError:
                    # What was accepted meanwhile is finished: the process before serves on.
                    await _shut_down(process, exporting, _drain(settings, replacing.HANDED_OVER))
                    raise
                if giver is not None:
                    stack.callback(giver.close)
                    tasks.append(group.create_task(replacing.hand_over(giver, stop)))
                print(_ready_line(settings, process), flush=True)
            reason = await stop
            if reason == replacing.HANDED_OVER:
                await process.stop_answering()  # who asks gets the new process
            else:
                emit(Stopping(reason))
            releasing = group.create_task(_release(leader))
            await _shut_down(process, exporting, _drain(settings, reason))
            await releasing
            for task in tasks:
                task.cancel()


def _warn(settings: Settings) -> None:
    for reason in settings.warnings:
        emit(OptionIgnored(reason))
    if settings.sends_tokens_in_the_clear:
        emit(TokensInTheClear(settings.admin))


def _background(process: Process) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
    """What goes on all the time, with a name each."""
    yield "admin", process.admin.run()
    yield "source", process.source.run()
    yield "resolver", process.resolver.run()
    yield "reconciler", process.reconciler.run()
    if process.remote_sampling is not None:
        yield "remote sampling", process.remote_sampling.run()
    if process.store is not None:
        yield "store", process.store.run()


async def _release(leader: Leader | None) -> None:
    if leader is not None:
        await leader.release()


async def _first_table(process: Process, stop: asyncio.Future[str]) -> bool:
    """Waits for the first table; False if the process is told to stop before."""
    first = asyncio.ensure_future(process.reconciler.is_published.wait())
    said: tuple[str, ...] = ()
    while not first.done() and not stop.done():
        await asyncio.wait(
            (first, stop), timeout=WAITING_LINE_S, return_when=asyncio.FIRST_COMPLETED
        )
        if not first.done() and not stop.done() and process.missing != said:
            said = process.missing
            emit(Waiting(", ".join(said)))
    first.cancel()
    return process.reconciler.is_published.is_set()


class _Drain(NamedTuple):
    """How long it accepts on, then serves what was accepted, and waits for another request on a
    connection without one."""

    delay_s: float
    timeout_s: float
    idle_s: float


def _drain(settings: Settings, reason: str) -> _Drain:
    if reason == replacing.HANDED_OVER:
        # Nobody waits for this process: a client comes anew when it has its next answer.
        return _Drain(0, settings.drain_timeout_s, settings.drain_timeout_s)
    delay_s = settings.drain_delay_s if reason == signal.SIGTERM.name else 0
    return _Drain(delay_s, settings.drain_timeout_s - delay_s, IDLE_S)


async def _shut_down(process: Process, exporting: asyncio.Task[None] | None, drain: _Drain) -> None:
    process.is_stopping = True
    if process.reconciler.is_published.is_set():
        await asyncio.sleep(drain.delay_s)
    await asyncio.to_thread(process.engine.stop, deadline_s=drain.timeout_s, idle_s=drain.idle_s)
    if process.exporters is not None and exporting is not None:
        # What is being posted, or waits for its next attempt, is the flush's from now on.
        exporting.cancel()
        await asyncio.wait((exporting,))
        await process.exporters.flush(FLUSH_DEADLINE_S)


def _ready_line(settings: Settings, process: Process) -> str:
    outcome = process.outcome
    table = outcome.table
    service = [x.address for x in table.listeners if x.kind is ListenerKind.SERVICE]
    parts = [f"http {address}" for address in settings.http]
    parts += [f"https {address}" for address in settings.https]
    parts += [f"service {address}" for address in service]
    parts += [
        f"admin {process.admin_scheme}://{process.admin_address}",
        *([f"api https://{process.api_address}"] if process.api_address else []),
        f"{counted(table.route_count, 'route')} for {counted(len(table.hosts), 'host')}",
        counted(len(outcome.problems), "problem"),
    ]
    return f"spanway {version()} ready: {', '.join(parts)}"


def _on_signals(stop: asyncio.Future[str]) -> None:
    received: list[str] = []

    def receive(name: str) -> None:
        if received:
            os._exit(1)  # the operator does not want to wait for requests under way
        received.append(name)
        if not stop.done():  # after a hand-over it stops already
            stop.set_result(name)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, receive, number.name)

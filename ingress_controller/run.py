"""`spanway run`: builds the parts, wires them, starts and stops them in order.

Start: admin server, engine, sources, first table, listeners, ready line. Stop: not ready any more,
the engine finishes its requests, the last spans are exported, the rest ends. Where it takes over
from another process, sockets come first and the admin server last. With `forward.rs`, the only
place that sees everything.
"""

import asyncio
import gc
import logging
import os
import platform
import secrets
import signal
import socket
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import msgspec
import uvloop
from opentelemetry.trace import NoOpTracer, Tracer

from ingress_controller.admin.metrics import Controller
from ingress_controller.admin.readings import Readings
from ingress_controller.admin.server import AdminServer
from ingress_controller.aggregated.application import Resource
from ingress_controller.aggregated.node_performances import NodePerformances
from ingress_controller.aggregated.requests import Requests
from ingress_controller.aggregated.server import AggregatedServer
from ingress_controller.asking import Credentials
from ingress_controller.configuration import configuration
from ingress_controller.default_certificate import from_files, self_signed
from ingress_controller.kubernetes_api import ConnectError, KubernetesApi, connect
from ingress_controller.model.ingress import CONTROLLER
from ingress_controller.model.problem import ObjectKey
from ingress_controller.peers.live import LiveRequests
from ingress_controller.peers.peer import Identity
from ingress_controller.peers.peers import Peers
from ingress_controller.peers.stores import Stores
from ingress_controller.plural import counted
from ingress_controller.reconcile import Outcome, Reconciler
from ingress_controller.resolve import Resolver
from ingress_controller.routing.builder import Builder, Options
from ingress_controller.routing.listening import DefaultCertificate
from ingress_controller.serving.terms import server_name
from ingress_controller.settings import (
    CertificateFiles,
    ManifestsSource,
    Settings,
    SettingsError,
    StartError,
    version,
)
from ingress_controller.status.leader import Leader
from ingress_controller.status.recorder import EventRecorder
from ingress_controller.status.writer import Address, StatusWriter, address_of, addresses_of
from ingress_controller.takeover.channel import TakeoverError
from ingress_controller.takeover.giving import Giver, Listening, TakeoverFailed
from ingress_controller.takeover.taking import Taken, bound_address, take_over
from ingress_controller.telemetry.events import Event, emit
from ingress_controller.traces import own_spans
from ingress_controller.traces.export import making
from ingress_controller.traces.export.exporter import Exporter
from ingress_controller.traces.export.exporters import Exporters
from ingress_controller.traces.remote_sampling import RemoteSampling
from ingress_controller.traces.store.limits import StoreLimits
from ingress_controller.watch.cache import Cache
from ingress_controller.watch.kubernetes import KubernetesSource as KubernetesWatch
from ingress_controller.watch.manifests import ManifestsSource as ManifestsWatch
from ingress_controller.watch.source import Source
from proxy.engine import Engine, Match
from proxy.live import Query
from proxy.spans import QUEUE_BYTES_MAX
from proxy.table import Listener, ListenerKind, Locality, Rejected, Tracing, TracingPolicy

if TYPE_CHECKING:
    from ingress_controller.traces.store.store import Store

IDLE_S = 1.0  # for the requests that are on their way when it stops
FLUSH_DEADLINE_S = 5.0  # with the engine's deadline below the 30 s that Kubernetes gives
UNCOLLECTED_BYTES_MAX = 1024 * 1024  # of spans that nobody takes, since no endpoint is named
WAITING_LINE_S = 5.0  # after which a start that waits says for what
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm32"}  # as semconv has them
_HANDED_OVER = "hand-over"


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


class StoreInMemory(Event, frozen=True):
    """Traces are lost when the process ends, since there is no directory to keep them in."""

    level: ClassVar[int] = logging.WARNING
    directory: str
    reason: str


class Stopping(Event, frozen=True):
    """Requests under way are finished."""

    signal: str


class _Process:
    """The parts, and what the admin server shows of them."""

    def __init__(  # noqa: PLR0913 - all that is made before it meets here
        self,
        settings: Settings,
        engine: Engine,
        source: Source,
        cache: Cache,
        *,
        resource: Mapping[str, str],
        api: KubernetesApi | None,
    ) -> None:
        self.version = version()
        self.is_stopping = False
        self.config = configuration(settings)
        self.admin = AdminServer(self, settings.admin_access, api)
        self.admin_address = settings.admin
        self.admin_scheme = "https" if settings.admin_access.certificate else "http"
        self.aggregated: AggregatedServer | None = None
        self.api_address = ""
        self.cache = cache
        self.source = source
        self.engine = engine
        self.store = _store(settings)
        store_id = self.store.id if self.store is not None else ""
        self.own = Identity(secrets.token_hex(8), settings.pod, store_id)
        self.peers = _peers(settings, self.own)
        self.exporters = _exporters(settings, engine, self.store)
        self.tracer: Tracer = NoOpTracer()
        if self.exporters is not None:
            self.tracer = own_spans.tracer(resource, version(), self.exporters.offer)
        self.controller = _controller(settings)
        self.leader: Leader | None = None
        self.resolver = Resolver(
            cache.touch, allow_loopback=isinstance(settings.source, ManifestsSource)
        )
        builder = Builder(_options(settings))
        self.remote_sampling = _remote_sampling(settings, builder, cache)
        self.reconciler = Reconciler(
            cache,
            source,
            builder=builder,
            resolver=self.resolver,
            engine=engine,
            tracer=self.tracer,
        )

    @property
    def outcome(self) -> Outcome:
        return self.reconciler.outcome

    @property
    def missing(self) -> tuple[str, ...]:
        if self.is_stopping:
            return ("nothing more: it is stopping",)
        if self.source.missing:
            return self.source.missing
        if not self.reconciler.is_published.is_set():
            return ("the first table",)
        return tuple(f"the listener {r.subject}: {r.message}" for r in _unbound(self.outcome))

    def live(self, query: Query) -> bytes:
        return self.engine.live_json(query)

    def explain(self, host: str, path: str) -> Match | None:
        return self.engine.explain(host, path)

    async def stop_answering(self) -> None:
        """Whoever asks how it is gets no answer any more; twice is harmless."""
        await self.admin.stop()
        if self.aggregated is not None:
            await self.aggregated.stop()
        if self.peers is not None:
            await self.peers.close()

    @property
    def stats(self) -> Mapping[str, Any]:
        return {
            "generation": self.outcome.table.generation,
            "engine": self.engine.stats(),
            "exporters": self.exporters.stats if self.exporters is not None else [],
            "objects": self.cache.object_count,
            "objects_refused": self.cache.refused_count,
            "store": self.store.stats if self.store is not None else None,
        }

    @property
    def readings(self) -> Readings:
        reconciler = self.reconciler
        return Readings(
            version=self.version,
            engine=self.engine.stats(),
            outcome=self.outcome,
            exporters=self.exporters.stats if self.exporters is not None else (),
            missing=self.missing,
            objects=self.cache.object_count,
            objects_refused=self.cache.refused_count,
            published_unix_s=reconciler.published_unix_s,
            publish_count=reconciler.publish_count,
            publish_rejected_count=reconciler.publish_rejected_count,
            is_leader=self.leader.is_leader if self.leader is not None else None,
            lease=self.leader.lease if self.leader is not None else "",
            admin_refused=dict(self.admin.refused),
            api_refused=dict(self.aggregated.refused) if self.aggregated is not None else {},
        )

    def by_route(self, nginx: Mapping[str, str] | None, *, is_openmetrics: bool) -> bytes:
        return self.engine.metrics(is_openmetrics=is_openmetrics, nginx=nginx)


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
        api = await _api(settings, stack)
        source = _source(settings, api, cache)
        taken = await _taken(settings, stack)
        resource = _resource(settings)
        engine = _engine(settings, resource)
        stack.callback(engine.stop, deadline_s=0)
        # Who renamed the access log says so by this, as to nginx.
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, engine.reopen_access_log)
        process = _Process(settings, engine, source, cache, resource=resource, api=api)
        stack.push_async_callback(process.stop_answering)
        if taken is None:
            await _start_admin(process, settings.admin)
        else:
            _adopt(engine, taken)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work, name=name) for name, work in _background(process)]

            def start(work: Coroutine[Any, Any, None]) -> None:
                tasks.append(group.create_task(work))

            leader = _status(settings, api, process, start)
            if aggregated := await _aggregated(settings, api, process):
                start(aggregated.run())
            exporting = None
            if process.exporters is not None:
                exporting = group.create_task(process.exporters.run(), name="exporters")
            if await _first_table(process, stop):
                gc.collect()
                gc.freeze()  # it stays: each full collection walked it, 30 ms at 10,000 hosts
                try:
                    giver = await _go_live(settings, process, taken)
                except StartError:
                    # What was accepted meanwhile is finished: the process before serves on.
                    await _shut_down(process, exporting, _drain(settings, _HANDED_OVER))
                    raise
                if giver is not None:
                    stack.callback(giver.close)
                    tasks.append(group.create_task(_hand_over(giver, stop)))
                print(_ready_line(settings, process), flush=True)
            reason = await stop
            if reason == _HANDED_OVER:
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


def _background(process: _Process) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
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


async def _api(settings: Settings, stack: AsyncExitStack) -> KubernetesApi | None:
    source = settings.source
    if isinstance(source, ManifestsSource):
        return None
    try:
        return await connect(source.kubeconfig, source.context, stack)
    except ConnectError as err:
        raise SettingsError(str(err)) from err


def _engine(settings: Settings, resource: dict[str, str]) -> Engine:
    try:
        return Engine(
            workers=settings.workers,
            resource=resource,
            span_queue_bytes=QUEUE_BYTES_MAX
            if settings.exports or settings.store
            else UNCOLLECTED_BYTES_MAX,
            metrics_routes_max=settings.metrics_routes,
            access_log=settings.access_log,
        )
    except OSError as err:
        if settings.access_log is None:
            raise
        path, reason = settings.access_log.path, os.strerror(err.errno or 0).lower()
        raise StartError(f"--access-log {path} cannot be opened: {reason}; name another.") from err


def _source(settings: Settings, api: KubernetesApi | None, cache: Cache) -> Source:
    source = settings.source
    if isinstance(source, ManifestsSource):
        return ManifestsWatch(source.directory, cache)
    assert api is not None, "every source but the manifests has an API"
    return KubernetesWatch(api, cache, source.namespaces)


def _status(
    settings: Settings,
    api: KubernetesApi | None,
    process: _Process,
    start: Callable[[Coroutine[Any, Any, None]], None],
) -> Leader | None:
    """Starts what writes to Kubernetes, if there is one."""
    if api is None:
        return None
    identity = f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"
    leader = Leader(
        api,
        namespace=settings.lease_namespace,
        name=f"spanway-{settings.ingress_class}",
        identity=identity,
    )
    writer = StatusWriter(
        api,
        process.cache,
        leader=leader,
        recorder=EventRecorder(api, process.cache, identity),
        addresses=partial(_published, settings, process.cache),
        tracer=process.tracer,
    )
    process.leader = leader
    process.reconciler.on_outcome = lambda out: writer.submit(out.ours, out.problems, out.own)
    start(leader.run())
    start(writer.run())
    return leader


async def _aggregated(
    settings: Settings, api: KubernetesApi | None, process: _Process
) -> AggregatedServer | None:
    """The API of `kubectl get requests`, listening, if it is asked for."""
    if settings.api is None:
        return None
    assert api is not None, "settings allow it with a cluster only"
    server = AggregatedServer(
        api,
        partial(_resources, process, settings.pod),
        settings.api.certificate,
    )
    process.aggregated = server
    try:
        process.api_address = await server.start(settings.api.address)
    except ValueError as err:
        raise StartError(f"--api: {err}; name another pair with --api-cert and --api-key.") from err
    except OSError as err:
        raise _cannot_listen("The API server", "--api", settings.api.address, err) from err
    return server


def _resources(process: _Process, instance: str) -> list[Resource]:
    """What the API of `kubectl get requests` has: nodes only with traces to judge them by."""
    live = LiveRequests(process.live, own=process.own, peers=process.peers)
    resources: list[Resource] = [Requests(live, instance)]
    if process.store is not None:
        stores = Stores(process.store, process.peers)
        resources.append(NodePerformances(stores, instance))
    return resources


def _published(settings: Settings, cache: Cache) -> list[Address]:
    """What the Ingresses' status shows: what is told, else the listeners' own addresses."""
    if settings.publish.service is not None:
        return addresses_of(cache.get(ObjectKey("Service", *settings.publish.service)))
    listening = (ip_address(x.rpartition(":")[0].strip("[]")) for x in settings.http)
    own = [str(x) for x in listening if not (x.is_unspecified or x.is_loopback)]
    return [address_of(text) for text in settings.publish.addresses or own]


async def _first_table(process: _Process, stop: asyncio.Future[str]) -> bool:
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


async def _taken(settings: Settings, stack: AsyncExitStack) -> Taken | None:
    """The sockets of the process that is to be replaced, if there is one."""
    if settings.takeover is None:
        return None
    try:
        taken = await take_over(settings.takeover, version())
    except TakeoverError as err:
        raise _no_takeover(settings.takeover, err) from err
    if taken is not None:
        stack.callback(taken.close)
    return taken


def _adopt(engine: Engine, taken: Taken) -> None:
    for each in taken.sockets:
        if not each.is_admin:
            engine.adopt(each.address, each.socket)


async def _go_live(settings: Settings, process: _Process, taken: Taken | None) -> Giver | None:
    """Replaces the process before, since requests are served here by now, and waits for the next.

    Raises:
        StartError: and then the process before serves on.
    """
    _refuse_unbound(settings, process.outcome)
    path = settings.takeover
    if path is None:
        return None
    if taken is not None:
        await _start_admin(process, settings.admin, taken.take_admin(settings.admin))
        try:
            await taken.finish()
        except TakeoverError as err:
            raise _no_takeover(path, err) from err
        taken.close()
    giver = Giver(path, partial(_listening, process))
    try:
        giver.open()
    except TakeoverError as err:
        if taken is None:
            raise StartError(f"--takeover {path}: {err}; name another path.") from err
        emit(TakeoverFailed(str(err)))  # nobody else is left to serve
        return None
    return giver


def _listening(process: _Process) -> list[Listening]:
    sockets = [Listening(*each) for each in process.engine.listening()]
    if (admin := process.admin.duplicate()) is not None:
        sockets.append(Listening(bound_address(admin), admin, is_admin=True))
    return sockets


def _no_takeover(path: Path, err: TakeoverError) -> StartError:
    return StartError(
        f"The process at {path} cannot be replaced: {err};"
        " stop it first, or name another socket with --takeover."
    )


async def _hand_over(giver: Giver, stop: asyncio.Future[str]) -> None:
    await giver.run()
    giver.close()
    if not stop.done():
        stop.set_result(_HANDED_OVER)


class _Drain(NamedTuple):
    """How long it accepts on, then serves what was accepted, and waits for another request on a
    connection without one."""

    delay_s: float
    timeout_s: float
    idle_s: float


def _drain(settings: Settings, reason: str) -> _Drain:
    if reason == _HANDED_OVER:
        # Nobody waits for this process: a client comes anew when it has its next answer.
        return _Drain(0, settings.drain_timeout_s, settings.drain_timeout_s)
    delay_s = settings.drain_delay_s if reason == signal.SIGTERM.name else 0
    return _Drain(delay_s, settings.drain_timeout_s - delay_s, IDLE_S)


async def _shut_down(
    process: _Process, exporting: asyncio.Task[None] | None, drain: _Drain
) -> None:
    process.is_stopping = True
    if process.reconciler.is_published.is_set():
        await asyncio.sleep(drain.delay_s)
    await asyncio.to_thread(process.engine.stop, deadline_s=drain.timeout_s, idle_s=drain.idle_s)
    if process.exporters is not None and exporting is not None:
        # What is being posted, or waits for its next attempt, is the flush's from now on.
        exporting.cancel()
        await asyncio.wait((exporting,))
        await process.exporters.flush(FLUSH_DEADLINE_S)


async def _start_admin(
    process: _Process, address: str, listening: socket.socket | None = None
) -> None:
    try:
        process.admin_address = await process.admin.start(address, listening)
    except ValueError as err:
        raise StartError(f"--admin: {err}; name another file.") from err
    except OSError as err:
        raise _cannot_listen("The admin server", "--admin", address, err) from err


def _cannot_listen(what: str, flag: str, address: str, err: OSError) -> StartError:
    reason = os.strerror(err.errno).lower() if err.errno else str(err)
    return StartError(
        f"{what} cannot listen on {address}: {reason}; choose another address with {flag}."
    )


def _unbound(outcome: Outcome) -> list[Rejected]:
    return [one for one in outcome.rejected if one.kind == "listener"]


def _refuse_unbound(settings: Settings, outcome: Outcome) -> None:
    """A listener of the settings that cannot be bound ends the start; one of a Service does not."""
    flags = {listener.address: "--service" for listener in settings.service_listeners}
    flags |= dict.fromkeys(settings.http, "--http") | dict.fromkeys(settings.https, "--https")
    for one in _unbound(outcome):
        if flag := flags.get(one.subject):
            raise StartError(
                f"Requests cannot be accepted on {one.subject}: {one.message.rstrip('.')};"
                f" choose another address with {flag}."
            )


def _ready_line(settings: Settings, process: _Process) -> str:
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


def _options(settings: Settings) -> Options:
    return Options(
        ingress_class=settings.ingress_class,
        is_manifests=isinstance(settings.source, ManifestsSource),
        listeners=tuple(_listeners(settings)),
        service_listeners=settings.service_listeners,
        service_listener=_listener(settings, ListenerKind.SERVICE),
        tracing=_tracing(settings),
        locality=Locality(settings.zone, settings.node),
        default_certificate=_default_certificate(settings),
    )


def _tracing(settings: Settings) -> Tracing:
    policy = TracingPolicy(
        settings.sample_ratio,
        is_parent_based=settings.is_parent_based,
        traces_per_s_max=settings.sample_rate_limit,
        tail_spans_per_s=settings.tail_spans,
        phase_spans=settings.phase_spans,
    )
    return Tracing(
        policy,
        settings.tracing_enabled,
        settings.random_flag,
        settings.server_timing,
        settings.debug_key.text,
        settings.span_detail,
        settings.kernel_timestamps,
    )


def _listeners(settings: Settings) -> Iterator[Listener]:
    for has_tls, addresses in ((False, settings.http), (True, settings.https)):
        for address in addresses:
            yield msgspec.structs.replace(
                _listener(settings, ListenerKind.INGRESS),
                address=address,
                tls=has_tls,
                proxy_protocol=settings.proxy_protocol,
                trusted_proxies=settings.trusted_proxies,
                trust_context=settings.trust_context,
            )


def _listener(settings: Settings, kind: ListenerKind) -> Listener:
    """What all listeners of a kind have in common."""
    return Listener(
        "",
        kind,
        forwarded=settings.forwarded,
        extract=settings.extract,
        inject=settings.inject,
        head_timeout_ms=int(settings.head_timeout_s * 1_000),
        idle_timeout_ms=int(settings.idle_timeout_s * 1_000),
    )


def _default_certificate(settings: Settings) -> DefaultCertificate:
    wanted = settings.default_certificate
    if not settings.https:
        return DefaultCertificate()
    if isinstance(wanted, CertificateFiles):
        try:
            return DefaultCertificate(certificate=from_files(wanted.chain, wanted.private_key))
        except ValueError as err:
            raise StartError(f"--default-certificate cannot be used: {err}.") from err
    return DefaultCertificate(wanted, self_signed())


def _remote_sampling(settings: Settings, builder: Builder, cache: Cache) -> RemoteSampling | None:
    sampler = settings.sampling_remote
    if sampler is None or not settings.tracing_enabled:
        return None

    def change(policy: TracingPolicy) -> None:
        builder.tracing = msgspec.structs.replace(builder.tracing, policy=policy)
        cache.touch()

    service = _resource(settings)["service.name"]
    policy, interval_s = builder.tracing.policy, sampler.interval_s
    return RemoteSampling(sampler.url, service, policy, interval_s=interval_s, on_change=change)


def _peers(settings: Settings, own: Identity) -> Peers | None:
    """They are believed by the certificate that all replicas have, and shown it, and the token."""
    if not settings.peers:
        return None
    access = settings.admin_access
    credentials = Credentials(access.token, access.token_file)
    if (pair := access.certificate) is not None:
        try:
            name = server_name(pair)
        except ValueError as err:
            raise StartError(f"--admin-cert: {err}; name another file.") from err
        credentials = Credentials(access.token, access.token_file, pair, pair.chain, name)
    return Peers(settings.peers, own, credentials)


def _store(settings: Settings) -> "Store | None":
    wanted = settings.store
    if wanted is None:
        return None
    # Some 100 ms and 90 MB.
    from ingress_controller.traces.store.segments import Segments  # noqa: PLC0415
    from ingress_controller.traces.store.store import Store  # noqa: PLC0415

    limits = StoreLimits(bytes_max=wanted.bytes_max, age_s_max=wanted.age_s_max)
    segments = None
    if (directory := wanted.directory) is not None:
        try:
            segments = Segments(directory)
        except OSError as err:
            reason = os.strerror(err.errno or 0).lower()
            if wanted.is_asked_for:
                raise StartError(
                    f"--store {directory} cannot be used: {reason};"
                    " name another directory, memory or off."
                ) from err
            emit(StoreInMemory(str(directory), reason))
    return Store(segments, limits)


def _exporters(settings: Settings, engine: Engine, store: "Store | None") -> Exporters | None:
    """The store takes spans as every other destination does."""
    if not (settings.exports or store) or not settings.tracing_enabled:
        return None
    exporters: list[Exporter] = []
    for export in settings.exports:
        try:
            exporters.append(making.exporter(export, bridge_spans_max=settings.bridge_spans_max))
        except ValueError as err:
            raise StartError(f"Spans cannot be exported to {export.name}: {err}.") from err
    if store is not None:
        exporters.append(Exporter("store", store))
    return Exporters(
        engine.take_spans, engine.spans_fd(), exporters, linger_s=settings.export_linger_s
    )


def _controller(settings: Settings) -> Controller | None:
    if not settings.nginx_metrics:
        return None
    return Controller(settings.namespace, CONTROLLER, settings.pod)


def _resource(settings: Settings) -> dict[str, str]:
    """The resource of all spans; what OTEL_RESOURCE_ATTRIBUTES says wins."""
    machine = platform.machine()
    return {
        "service.version": version(),
        "service.instance.id": str(uuid.uuid4()),
        "host.name": socket.gethostname(),
        "host.arch": _ARCHITECTURES.get(machine, machine),
        "os.type": platform.system().lower(),
        "process.runtime.name": platform.python_implementation().lower(),
        "process.runtime.version": platform.python_version(),
        **settings.resource,
    }


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

"""The parts of a process, each made of the settings.

Raises, all of them: StartError or SettingsError, whose sentence names the flag.
"""

import logging
import os
import platform
import socket
import uuid
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, ClassVar

import msgspec

from ingress_controller.admin.metrics import Controller
from ingress_controller.asking import Credentials
from ingress_controller.kubernetes_api import ConnectError, KubernetesApi, connect
from ingress_controller.model.ingress import CONTROLLER
from ingress_controller.peers.peer import Identity
from ingress_controller.peers.peers import Peers
from ingress_controller.routing.builder import Builder
from ingress_controller.serving.terms import server_name
from ingress_controller.settings import (
    ManifestsSource,
    Settings,
    SettingsError,
    StartError,
    version,
)
from ingress_controller.telemetry.events import Event, emit
from ingress_controller.traces.export import making
from ingress_controller.traces.export.exporter import Exporter
from ingress_controller.traces.export.exporters import Exporters
from ingress_controller.traces.remote_sampling import RemoteSampling
from ingress_controller.traces.store.limits import StoreLimits
from ingress_controller.watch.cache import Cache
from ingress_controller.watch.kubernetes import KubernetesSource as KubernetesWatch
from ingress_controller.watch.manifests import ManifestsSource as ManifestsWatch
from ingress_controller.watch.source import Source
from proxy.engine import Engine
from proxy.spans import QUEUE_BYTES_MAX
from proxy.table import TracingPolicy

if TYPE_CHECKING:
    from ingress_controller.traces.store.store import Store

UNCOLLECTED_BYTES_MAX = 1024 * 1024  # of spans that nobody takes, since no endpoint is named
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm32"}  # as semconv has them


class StoreInMemory(Event, frozen=True):
    """Traces are lost when the process ends, since there is no directory to keep them in."""

    level: ClassVar[int] = logging.WARNING
    directory: str
    reason: str


async def api(settings: Settings, stack: AsyncExitStack) -> KubernetesApi | None:
    source = settings.source
    if isinstance(source, ManifestsSource):
        return None
    try:
        return await connect(source.kubeconfig, source.context, stack)
    except ConnectError as err:
        raise SettingsError(str(err)) from err


def engine(settings: Settings, resource: dict[str, str]) -> Engine:
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


def source(settings: Settings, api: KubernetesApi | None, cache: Cache) -> Source:
    source = settings.source
    if isinstance(source, ManifestsSource):
        return ManifestsWatch(source.directory, cache)
    assert api is not None, "every source but the manifests has an API"
    return KubernetesWatch(api, cache, source.namespaces)


def store(settings: Settings) -> "Store | None":
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


def peers(settings: Settings, own: Identity) -> Peers | None:
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


def exporters(settings: Settings, engine: Engine, store: "Store | None") -> Exporters | None:
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


def remote_sampling(settings: Settings, builder: Builder, cache: Cache) -> RemoteSampling | None:
    sampler = settings.sampling_remote
    if sampler is None or not settings.tracing_enabled:
        return None

    def change(policy: TracingPolicy) -> None:
        builder.tracing = msgspec.structs.replace(builder.tracing, policy=policy)
        cache.touch()

    service = settings.resource["service.name"]
    policy, interval_s = builder.tracing.policy, sampler.interval_s
    return RemoteSampling(sampler.url, service, policy, interval_s=interval_s, on_change=change)


def controller(settings: Settings) -> Controller | None:
    if not settings.nginx_metrics:
        return None
    return Controller(settings.namespace, CONTROLLER, settings.pod)


def resource(settings: Settings) -> dict[str, str]:
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

"""The parts of a running process together, and what the admin server shows of them."""

import secrets
from collections.abc import Mapping
from typing import Any

from opentelemetry.trace import NoOpTracer, Tracer

from ingress_controller.admin.readings import Readings
from ingress_controller.admin.server import AdminServer
from ingress_controller.aggregated.server import AggregatedServer
from ingress_controller.configuration import configuration
from ingress_controller.kubernetes_api import KubernetesApi
from ingress_controller.peers.peer import Identity
from ingress_controller.reconcile import Outcome, Reconciler
from ingress_controller.resolve import Resolver
from ingress_controller.routing.builder import Builder
from ingress_controller.run import parts
from ingress_controller.run.options import options
from ingress_controller.settings import ManifestsSource, Settings, version
from ingress_controller.status.leader import Leader
from ingress_controller.traces import own_spans
from ingress_controller.watch.cache import Cache
from ingress_controller.watch.source import Source
from proxy.engine import Engine, Match
from proxy.live import Query
from proxy.table import Rejected


class Process:
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
        self.store = parts.store(settings)
        store_id = self.store.id if self.store is not None else ""
        self.own = Identity(secrets.token_hex(8), settings.pod, store_id)
        self.peers = parts.peers(settings, self.own)
        self.exporters = parts.exporters(settings, engine, self.store)
        self.tracer: Tracer = NoOpTracer()
        if self.exporters is not None:
            self.tracer = own_spans.tracer(resource, version(), self.exporters.offer)
        self.controller = parts.controller(settings)
        self.leader: Leader | None = None
        self.resolver = Resolver(
            cache.touch, allow_loopback=isinstance(settings.source, ManifestsSource)
        )
        builder = Builder(options(settings))
        self.remote_sampling = parts.remote_sampling(settings, builder, cache)
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
        return tuple(f"the listener {r.subject}: {r.message}" for r in unbound(self.outcome))

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


def unbound(outcome: Outcome) -> list[Rejected]:
    return [one for one in outcome.rejected if one.kind == "listener"]

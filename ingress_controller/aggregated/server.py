"""The listener of the aggregated API: TLS, for the API server alone.

Rules: a change of the serving certificate, or of the authority whose clients are believed, is a
change of the server's terms (`serving/`). While the API server is away what it said last holds.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import msgspec

from ingress_controller.aggregated.application import Resource, application
from ingress_controller.aggregated.front_proxy import CONFIG_MAP, FrontProxy, front_proxy
from ingress_controller.credentials import CertificateFiles
from ingress_controller.delegated.access import Access
from ingress_controller.delegated.reviews import Reviewer
from ingress_controller.kubernetes_api import KubernetesApi
from ingress_controller.model.problem import ObjectKey
from ingress_controller.serving.refusals import ApiRefused, Reason, Refusals
from ingress_controller.serving.server import HttpServer, address_of, bound
from ingress_controller.serving.terms import FILES_S, Followed, content_of, server_context
from ingress_controller.telemetry.events import Event
from ingress_controller.watch.cache import Cache
from ingress_controller.watch.reflector import Reflector
from ingress_controller.watch.reflector import Resource as Watched

_NAMESPACE, _NAME = CONFIG_MAP
_TRUST = Watched(
    "ConfigMap", "", "configmaps", selectors=(("fieldSelector", f"metadata.name={_NAME}"),)
)


class ApiUnusable(Event, frozen=True):
    """`kubectl get requests` works no more, or as before, until this is solved."""

    level: ClassVar[int] = logging.WARNING
    reason: str


class ApiUsable(Event, frozen=True):
    """It is solved."""

    address: str


class _Terms(msgspec.Struct, frozen=True):
    """What connections are made by: the serving certificate, and whom to believe."""

    certificate: bytes
    front_proxy: FrontProxy | None


class AggregatedServer:
    """See the module. `resources` makes what is served; each new server has its own."""

    def __init__(
        self,
        api: KubernetesApi,
        resources: Callable[[], Sequence[Resource]],
        certificate: CertificateFiles,
    ) -> None:
        self._resources = resources
        self._certificate = certificate
        self._access = Access(Reviewer(api, "deploy/kubernetes/api.yaml"))
        self._cache = Cache()
        self._reflector = Reflector(api, _TRUST, _NAMESPACE, self._cache)
        self._refusals = Refusals(ApiRefused)
        self._http = HttpServer(self._refusals.note)
        self._address = ""
        self._followed = Followed[_Terms](
            self._serve, ApiUnusable, lambda: ApiUsable(self._address)
        )

    @property
    def refused(self) -> Mapping[Reason, int]:
        """How often somebody was not answered since the start, by why."""
        return self._refusals.counts

    async def start(self, address: str) -> str:
        """Listens on `address`, and returns it with the port that port 0 became.

        Raises:
            OSError: it cannot be bound. ValueError: the certificate cannot be used.
        """
        await self._followed.begin(_Terms(content_of(self._certificate), None))
        # The next process binds it while this one still serves (`--takeover`).
        listening = bound(address, reuse_port=True)
        self._address = address_of(address, listening)
        self._http.listen(listening)
        return self._address

    async def run(self) -> None:
        """Serves, and follows what the cluster and the files say, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._http.run())
            group.create_task(self._reflector.run())
            while True:
                self._cache.take()
                await self._followed.look(self._terms)
                # Not wait_for: before Python 3.12 it hears no end that comes with a change.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FILES_S):
                        await self._cache.wait()

    async def stop(self) -> None:
        """Ends watches, answers what is under way, then closes. Twice is harmless."""
        await self._http.stop()

    def _terms(self) -> _Terms:
        """As they are now. Raises ValueError."""
        config_map = self._cache.get(ObjectKey("ConfigMap", _NAMESPACE, _NAME))
        believed = front_proxy(config_map) if config_map is not None else None
        return _Terms(content_of(self._certificate), believed)

    async def _serve(self, terms: _Terms) -> None:
        """Raises ValueError: the terms cannot be used."""
        believed = terms.front_proxy
        context = server_context(self._certificate, believed.client_ca if believed else "")
        resources = self._resources()

        def stop() -> None:
            for resource in resources:
                resource.stop()

        app = application(resources, self._access, believed, self._refusals)
        await self._http.change(app, context, stop=stop)

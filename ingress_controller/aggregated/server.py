"""The listener of the aggregated API: TLS, for the API server alone.

Rules: a change of the serving certificate, or of the authority whose clients are believed, is a new
server on the same socket; connections of the old one end, and with them all trust in what they
showed. While the API server is away what it said last holds.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import msgspec
from aiohttp import web

from ingress_controller.aggregated.access import Access
from ingress_controller.aggregated.application import Resource, application
from ingress_controller.aggregated.front_proxy import CONFIG_MAP, FrontProxy, front_proxy
from ingress_controller.default_certificate import from_files
from ingress_controller.kubernetes_api import KubernetesApi
from ingress_controller.model.problem import ObjectKey
from ingress_controller.telemetry.events import Event, emit
from ingress_controller.watch.cache import Cache
from ingress_controller.watch.reflector import Reflector
from ingress_controller.watch.reflector import Resource as Followed

FILES_S = 10.0  # between two looks at the certificate's files; a kubelet renews them in a minute
IDLE_S = 120.0  # of a connection; longer than the 90 s after which kube-apiserver closes it
CONNECTIONS_MAX = 256  # more are closed: anybody may connect, and requests need sockets, too
HANDSHAKE_S = 10.0  # for TLS; asyncio: 60 s
SHUTDOWN_S = 2.0  # for answers under way

_BACKLOG = 128  # connections that wait to be accepted; aiohttp's own value
_NAMESPACE, _NAME = CONFIG_MAP
_TRUST = Followed(
    "ConfigMap", "", "configmaps", selectors=(("fieldSelector", f"metadata.name={_NAME}"),)
)


class ApiUnusable(Event, frozen=True):
    """`kubectl get requests` works no more, or as before, until this is solved."""

    level: ClassVar[int] = logging.WARNING
    reason: str


class ApiUsable(Event, frozen=True):
    """It is solved."""

    address: str


class ServingCertificate(NamedTuple):
    """Files of a certificate chain and its private key, both PEM."""

    chain: Path
    private_key: Path


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
        certificate: ServingCertificate,
    ) -> None:
        self._resources = resources
        self._certificate = certificate
        self._access = Access(api)
        self._cache = Cache()
        self._reflector = Reflector(api, _TRUST, _NAMESPACE, self._cache)
        self._socket: socket.socket | None = None
        self._address = ""
        self._changing = asyncio.Lock()
        self._serving: _Serving | None = None
        self._terms: _Terms | None = None
        self._trouble = ""

    async def start(self, address: str) -> str:
        """Listens on `address`, and returns it with the port that port 0 became.

        Raises:
            OSError: it cannot be bound. ValueError: the certificate cannot be used.
        """
        terms = _Terms(self._files(), None)
        host, _, port = address.rpartition(":")
        # The next process binds it while this one still serves (`--takeover`).
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server(
            (host.strip("[]"), int(port)), family=family, backlog=_BACKLOG, reuse_port=True
        )
        self._address = f"{host}:{self._socket.getsockname()[1]}"
        await self._serve(terms, self._socket)
        return self._address

    async def run(self) -> None:
        """Follows what the cluster and the files say, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._reflector.run())
            while True:
                self._cache.take()
                await self._follow()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._cache.wait(), FILES_S)

    async def stop(self) -> None:
        """Ends watches, answers what is under way, then closes. Twice is harmless."""
        async with self._changing:
            serving, self._serving = self._serving, None
            if serving is not None:
                await serving.end()
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    async def _follow(self) -> None:
        """Takes over what has changed; what cannot be used changes nothing."""
        config_map = self._cache.get(ObjectKey("ConfigMap", _NAMESPACE, _NAME))
        try:
            believed = front_proxy(config_map) if config_map is not None else None
            terms = _Terms(self._files(), believed)
            async with self._changing:
                if terms != self._terms and self._socket is not None:
                    await self._serve(terms, self._socket)
        except ValueError as err:
            self._tell(str(err))
        else:
            self._tell("")

    async def _serve(self, terms: _Terms, listening: socket.socket) -> None:
        """Raises ValueError: the terms cannot be used."""
        context = self._context(terms)
        resources = self._resources()
        app = application(resources, self._access, terms.front_proxy)
        runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=SHUTDOWN_S, keepalive_timeout=IDLE_S
        )
        await runner.setup()
        assert runner.server is not None, "it is set up"
        accepting = await asyncio.get_running_loop().create_server(
            _bounded(runner.server),
            sock=listening.dup(),
            ssl=context,
            ssl_handshake_timeout=HANDSHAKE_S,
            backlog=_BACKLOG,
        )
        before, self._serving = self._serving, _Serving(accepting, runner, resources)
        self._terms = terms
        if before is not None:
            await before.end()

    def _files(self) -> bytes:
        """What the certificate's files hold. Raises ValueError: it is of no use."""
        files = self._certificate
        try:
            pair = from_files(files.chain, files.private_key)
        except ValueError as err:
            raise ValueError(f"the serving certificate cannot be used: {err}") from err
        return (pair.chain + pair.private_key).encode()

    def _context(self, terms: _Terms) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self._certificate.chain, self._certificate.private_key)
        except (ssl.SSLError, OSError) as err:
            raise ValueError(f"the serving certificate cannot be used: {err}") from err
        if terms.front_proxy is not None:
            # A client without a certificate gets a health check's answer; one with a certificate
            # of somebody else's gets no connection.
            context.verify_mode = ssl.CERT_OPTIONAL
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            try:
                context.load_verify_locations(cadata=terms.front_proxy.client_ca)
            except (ssl.SSLError, ValueError) as err:
                raise ValueError(f"the authority of front proxies cannot be used: {err}") from err
        return context

    def _tell(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            emit(ApiUnusable(trouble))
        elif self._trouble and not trouble:
            emit(ApiUsable(self._address))
        self._trouble = trouble


class _Serving(NamedTuple):
    """A server that is running."""

    accepting: asyncio.Server
    runner: web.AppRunner
    resources: Sequence[Resource]

    async def end(self) -> None:
        """Accepts no more, ends watches, answers what is under way."""
        self.accepting.close()
        for resource in self.resources:
            resource.stop()
        await self.runner.cleanup()


def _bounded(server: web.Server) -> Callable[[], asyncio.Protocol]:
    """What makes the protocol of a new connection: none that serves, if there are too many."""

    def protocol() -> asyncio.Protocol:
        return server() if len(server.connections) < CONNECTIONS_MAX else _Refused()

    return protocol


class _Refused(asyncio.Protocol):
    """A connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()

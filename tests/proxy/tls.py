"""TLS for tests: an authority, certificates of it, and clients that trust it."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import msgspec
import trustme
from client import Client
from data_plane import ROUTE, DataPlane, backend, table
from message import DEADLINE_S
from upstream import Upstream

from proxy.table import (
    Backend,
    Certificate,
    ClientCertificates,
    Host,
    HostTls,
    RouteTable,
)

DEFAULT = "shop/default"
"""The key of the listener's certificate."""


class Authority:
    """Signs certificates for servers and for clients."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    @property
    def pem(self) -> str:
        return self._ca.cert_pem.bytes().decode()

    def certificate(self, *names: str, not_after: datetime | None = None) -> Certificate:
        leaf = self._ca.issue_cert(*names, not_after=not_after)
        chain = "".join(pem.bytes().decode() for pem in leaf.cert_chain_pems)
        return Certificate(chain, leaf.private_key_pem.bytes().decode())

    def server(self, name: str) -> trustme.LeafCert:
        return self._ca.issue_cert(name)

    def client(self, common_name: str) -> trustme.LeafCert:
        return self._ca.issue_cert(
            common_name=common_name, organization_name="Shop", organization_unit_name="Web"
        )

    def context(
        self,
        *,
        client: trustme.LeafCert | None = None,
        version: ssl.TLSVersion | None = None,
        alpn: Sequence[str] = (),
    ) -> ssl.SSLContext:
        """Trusts this authority and no other; `version` is the only one that is spoken."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._ca.configure_trust(context)
        if client is not None:
            client.configure_cert(context)
        if version is not None:
            context.minimum_version = context.maximum_version = version
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context


def host(name: str, tls: HostTls | None = None) -> Host:
    """Sends everything to `shop/api:80`."""
    return Host(name, (ROUTE,), tls)


def mutual(authority: Authority, mode: ClientCertificates, **changes: Any) -> HostTls:
    """Terms of a host whose clients are verified."""
    return HostTls(client_certificates=mode, client_ca=authority.pem, **changes)


def tls_table(
    data_plane: DataPlane,
    upstream: Upstream,
    certificates: dict[str, Certificate],
    *hosts: Host,
    backends: tuple[Backend, ...] = (),
    **listener: Any,
) -> RouteTable:
    """A table whose ingress listener has TLS, with the certificate `DEFAULT` if there is one."""
    ingress = msgspec.structs.replace(
        data_plane.ingress,
        tls=True,
        certificate=DEFAULT if DEFAULT in certificates else "",
        **listener,
    )
    served = table((ingress,), (backend(upstream), *backends), hosts or (host(""),))
    return msgspec.structs.replace(served, certificates=certificates)


async def connected(data_plane: DataPlane, context: ssl.SSLContext, name: str = "") -> Client:
    """Over TLS; without a name, none is asked for and none is checked."""
    if not name:
        context.check_hostname = False
    return await data_plane.client(tls=context, server_name=name)


def subject_names(client: Client) -> set[str]:
    """The names in the certificate that the client was shown."""
    shown = client.writer.get_extra_info("peercert")
    return {name for _, name in shown.get("subjectAltName", ())}


async def alert(data_plane: DataPlane, context: ssl.SSLContext, name: str = "") -> str:
    """The alert that ends the handshake, or what comes right after it: in TLS 1.3 a client is done
    before the server has looked at its certificate."""
    try:
        async with await connected(data_plane, context, name) as client:
            await client.get(host=name)
    except ssl.SSLError as err:
        return err.reason
    raise AssertionError("there was no alert")


def hello(context: ssl.SSLContext, name: str) -> bytes:
    """The ClientHello that asks for `name`."""
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


class Session:
    """A client that blocks, since asyncio shows no sessions. Its calls are made in a thread."""

    def __init__(self, address: str, context: ssl.SSLContext) -> None:
        self._address = address
        self._context = context
        self._session: ssl.SSLSession | None = None

    async def ask(self, name: str) -> bool:
        """Asks for `/` over a new connection; whether it resumed the session of the last one."""
        return await asyncio.to_thread(self._ask, name)

    def _ask(self, name: str) -> bool:
        ip, _, port = self._address.rpartition(":")
        raw = socket.create_connection((ip, int(port)), DEADLINE_S)
        with self._context.wrap_socket(
            raw, server_hostname=name, session=self._session, suppress_ragged_eofs=False
        ) as stream:
            stream.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: stream.recv(65536), b""))  # Ends with close_notify.
            assert answer.startswith(b"HTTP/1.1 200 "), answer
            self._session = stream.session
            return bool(stream.session_reused)

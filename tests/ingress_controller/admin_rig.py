"""An HTTP server as an admin address has it, with TLS or without; what asks it is the tests'."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trustme
from aiohttp import web

from ingress_controller.credentials import CertificateFiles


def certificate(authority: trustme.CA, directory: Path, *names: str) -> CertificateFiles:
    """Files of a new certificate for these names, of that authority."""
    issued = authority.issue_cert(*names)
    files = CertificateFiles(directory / f"{names[0]}.crt", directory / f"{names[0]}.key")
    issued.cert_chain_pems[0].write_to_path(files.chain)
    issued.private_key_pem.write_to_path(files.private_key)
    return files


def authority_file(authority: trustme.CA, directory: Path, name: str = "ca.crt") -> Path:
    """Its certificate."""
    authority.cert_pem.write_to_path(directory / name)
    return directory / name


def server_context(
    files: CertificateFiles, client_ca: Path | None = None, *, is_required: bool = True
) -> ssl.SSLContext:
    """Of a server that wants certificates of `client_ca`, if there is one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.chain, files.private_key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if is_required else ssl.CERT_OPTIONAL
    return context


@asynccontextmanager
async def answering(handler: object, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """One that answers every GET so; gives its `ADDR:PORT`."""
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)  # type: ignore[arg-type]
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()

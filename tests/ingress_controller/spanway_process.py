"""`spanway run` as a process of its own, a directory for it, and upstreams that answer."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from k8s_objects import Object

MAIN = "import sys; from ingress_controller.cli import main; sys.exit(main())"


_given: set[str] = set()


def free_address(host: str = "127.0.0.1") -> str:
    """One that nothing listens on now, and never the same twice."""
    while True:
        with socket.socket() as probe:
            probe.bind((host, 0))
            address = f"{host}:{probe.getsockname()[1]}"
        if address not in _given:
            _given.add(address)
            return address


def write(directory: Path, *objects: Object) -> None:
    """Replaces the manifests at once, as an editor does."""
    items = {"apiVersion": "v1", "kind": "List", "items": objects}
    (directory / "new").write_text(json.dumps(items))
    (directory / "new").replace(directory / "shop.json")


@asynccontextmanager
async def spanway(
    *argv: str, store: str = "memory", **variables: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`store` is not where the traces of whoever runs the tests are, unless a test says so."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "SPANWAY_"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", MAIN, "run", "--workers", "1", *argv),
        env={
            **environment,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "SPANWAY_STORE": store,
            **variables,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def upstream(
    answer: Callable[[web.Request], Awaitable[web.Response]],
) -> AsyncIterator[int]:
    """One that answers each GET so; gives its port."""
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def answering(text: str) -> AsyncIterator[int]:
    """An upstream that answers `text`; gives its port."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text)

    async with upstream(answer) as port:
        yield port

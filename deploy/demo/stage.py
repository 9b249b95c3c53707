"""What both demos stand on: a scene's exit code, our collector, requests of known traces."""

import asyncio
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web
from children import DemoError

from ingress_controller.traces.collector import Collector
from ingress_controller.traces.span import Span, SpanKind, SpanStatus
from ingress_controller.traces.tree import is_own_detail, tree
from ingress_controller.traces.where import SPANWAY as SPANWAY_SERVICE
from proxy.table import ListenerKind

SPANWAY = str(Path(sys.executable).with_name("spanway"))
"""The command as users have it: next to this interpreter."""

TRACE_S = 20.0
REQUEST_S = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one request."""

    status: int
    text: str


def new_trace_id() -> str:
    return secrets.token_hex(16)


def exit_code(scene: Coroutine[None, None, None]) -> int:
    """Plays the scene until it ends or Ctrl-C (0), or cannot go on (1, and says why)."""
    code = 0
    try:
        asyncio.run(_interruptible(scene))
    except* asyncio.CancelledError:
        print()  # the terminal has written ^C
    except* DemoError as group:
        code = 1
        for err in group.exceptions:
            print(err, file=sys.stderr)
    return code


async def _interruptible(scene: Coroutine[None, None, None]) -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await scene


@asynccontextmanager
async def receiving(collector: Collector, forward_to: str, *addresses: str) -> AsyncIterator[int]:
    """The port at which the collector takes spans, on loopback and these addresses.

    What applications send to `/apps/v1/traces` goes on to `forward_to`, too: Spanway's store.
    """
    async with aiohttp.ClientSession() as session:

        async def receive_and_forward(request: web.Request) -> web.Response:
            answer = await collector.receive(request)
            headers = {"Content-Type": request.content_type}
            with suppress(aiohttp.ClientError):  # it has ended, which is said elsewhere
                body = await request.read()
                async with session.post(forward_to, data=body, headers=headers):
                    pass
            return answer

        app = collector.app()
        app.router.add_post("/apps/v1/traces", receive_and_forward)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            port = 0  # a free one, then the same on the others
            for address in dict.fromkeys(("127.0.0.1", *addresses)):
                await web.TCPSite(runner, address, port, shutdown_timeout=1).start()
                port = runner.addresses[0][1]
            yield port
        finally:
            await runner.cleanup()


async def get(url: str, host: str, trace_id: str) -> Answer:
    """Asks as a client in a sampled trace that does not send its own span."""
    headers = {"Host": host, "traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}
    timeout = aiohttp.ClientTimeout(total=REQUEST_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, headers=headers) as response,
        ):
            return Answer(response.status, await response.text())
    except (aiohttp.ClientError, TimeoutError) as err:
        raise DemoError(f"{url} (host {host}) does not answer: {err}") from err


def is_complete(spans: list[Span]) -> bool:
    """One tree, at whose ends are no calls that the callee has yet to tell of."""
    branches = tree(spans).branches
    root_count = sum(branch.depth == 0 for branch in branches)
    told = {branch.parent_index for branch in branches if not is_own_detail(branch.span)}
    open_calls = (
        index
        for index, branch in enumerate(branches)
        if branch.span.kind is SpanKind.CLIENT and branch.span.status is not SpanStatus.ERROR
        if index not in told
    )
    return root_count == 1 and next(open_calls, None) is None


def is_edge(span: Span) -> bool:
    """Spanway's span of a request from outside, which ends last; not that of a service listener."""
    return (
        span.service == SPANWAY_SERVICE
        and span.kind is SpanKind.SERVER
        and span.attributes.get("spanway.listener") == ListenerKind.INGRESS
    )

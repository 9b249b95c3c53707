"""How long a client may take: each listener says it, and open connections hear of a change."""

import msgspec
from client import Client
from data_plane import DataPlane, backend, table
from message import HEAD_END, request
from upstream import Upstream

from proxy.table import Listener

SHORT_MS = 50
"""Passes within a test, and nothing here is done in less that needs it to."""


def _listen(data_plane: DataPlane, upstream: Upstream, **times: int) -> Listener:
    listener = msgspec.structs.replace(data_plane.ingress, **times)
    assert data_plane.publish(table((listener,), (backend(upstream),))) == []
    return listener


async def test_head_that_comes_too_slowly_is_answered_with_408(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    listener = _listen(data_plane, upstream, head_timeout_ms=SHORT_MS)

    async with await Client.connect(listener.address) as client:
        await client.send(request().removesuffix(HEAD_END))
        answer = await client.response()
        assert await client.rest() == b""

    assert answer.status == 408


async def test_connection_that_never_asks_is_closed_after_the_idle_time(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    listener = _listen(data_plane, upstream, idle_timeout_ms=SHORT_MS)

    async with await Client.connect(listener.address) as client:
        assert await client.rest() == b""


async def test_new_times_hold_for_connections_that_are_open(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    listener = _listen(data_plane, upstream)

    async with await Client.connect(listener.address) as client:
        await client.get()
        _listen(data_plane, upstream, idle_timeout_ms=SHORT_MS)
        await client.get()
        assert await client.rest() == b""

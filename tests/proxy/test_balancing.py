"""Which endpoint gets a request."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from data_plane import DataPlane
from message import request, within
from upstream import OK, Answer, Exchange, Upstream

from proxy.table import Balance


def holds_until(may_answer: asyncio.Event) -> Answer:
    async def hold(exchange: Exchange) -> None:
        await within(may_answer.wait())
        await OK(exchange)

    return hold


@pytest.mark.parametrize("count", [1, 2, 3, 7])
async def test_round_robin_gives_each_endpoint_its_turn(count: int, data_plane: DataPlane) -> None:
    async with AsyncExitStack() as open_:
        upstreams = [await open_.enter_async_context(Upstream()) for _ in range(count)]
        data_plane.serve(*upstreams)
        async with await data_plane.client() as client:
            for _ in range(10 * count):
                await client.get()

        assert [len(upstream.exchanges) for upstream in upstreams] == [10] * count


async def test_least_request_prefers_the_idle_endpoint(data_plane: DataPlane) -> None:
    may_answer = asyncio.Event()
    async with Upstream(holds_until(may_answer)) as busy, Upstream() as idle:
        data_plane.serve(busy)
        async with await data_plane.client() as holding, await data_plane.client() as client:
            await holding.send(request())
            await busy.wait_for(lambda busy: len(busy.exchanges) == 1)

            data_plane.serve(busy, idle, balance=Balance.LEAST_REQUEST)
            for _ in range(20):
                await client.get()
            may_answer.set()
            await holding.response()

        assert (len(busy.exchanges), len(idle.exchanges)) == (1, 20)


async def test_least_request_uses_every_idle_endpoint(data_plane: DataPlane) -> None:
    async with Upstream() as one, Upstream() as other:
        data_plane.serve(one, other, balance=Balance.LEAST_REQUEST)
        async with await data_plane.client() as client:
            for _ in range(60):
                await client.get()

        # By chance once in 10^17 runs.
        assert one.exchanges
        assert other.exchanges


async def test_removed_endpoint_gets_no_new_request_and_an_added_one_does(
    data_plane: DataPlane,
) -> None:
    async with Upstream() as kept, Upstream() as removed, Upstream() as added:
        data_plane.serve(kept, removed)
        async with await data_plane.client() as client:
            for _ in range(4):
                await client.get()
            before = len(kept.exchanges), len(removed.exchanges)

            data_plane.serve(kept, added)
            for _ in range(4):
                await client.get()

        assert before == (2, 2)
        assert len(removed.exchanges) == 2
        assert (len(kept.exchanges), len(added.exchanges)) == (4, 2)


async def test_request_under_way_at_a_removed_endpoint_is_finished(data_plane: DataPlane) -> None:
    may_answer = asyncio.Event()
    async with Upstream(holds_until(may_answer)) as removed, Upstream() as added:
        data_plane.serve(removed)
        async with await data_plane.client() as client:
            await client.send(request())
            await removed.wait_for(lambda removed: len(removed.exchanges) == 1)
            data_plane.serve(added)
            may_answer.set()
            answered = await client.response()

        assert (answered.status, len(added.exchanges)) == (200, 0)


async def test_kept_connections_to_a_removed_endpoint_are_closed(data_plane: DataPlane) -> None:
    async with Upstream() as removed, Upstream() as added:
        data_plane.serve(removed)
        async with await data_plane.client() as client:
            await client.get()
            data_plane.serve(added)

            await removed.wait_for(lambda removed: removed.connections_open == 0)


async def test_connections_to_endpoints_are_kept_and_shared(data_plane: DataPlane) -> None:
    async with Upstream() as upstream:
        data_plane.serve(upstream)
        for _ in range(10):
            async with await data_plane.client() as client:
                await client.get()

        assert upstream.connections_made == 1

"""Passive health: an endpoint that fails in a row is left out for a while, and comes back."""

import msgspec
import pytest
from data_plane import DataPlane, backend, table
from message import DEADLINE_S, response
from upstream import OK, Answer, Exchange, Upstream, closes, resets, says

from proxy.table import Endpoint, Health, Locality, Prefer, Retry, RoutePolicy

ONCE = RoutePolicy(retry=Retry(attempts=1))
UNAVAILABLE = says(response(503))
LONG = Health(errors_consecutive=3, ejection_ms=3_600_000, ejection_max_ms=3_600_000)


async def statuses(data_plane: DataPlane, count: int) -> list[int]:
    async with await data_plane.client() as client:
        return [(await client.get()).status for _ in range(count)]


@pytest.mark.parametrize(
    "answer", [UNAVAILABLE, says(response(502)), says(response(504)), closes, resets, says(b"?\n")]
)
async def test_failures_in_a_row_eject(answer: Answer, data_plane: DataPlane) -> None:
    async with Upstream(answer) as ill, Upstream() as well:
        data_plane.serve(ill, well, health=LONG, policy=ONCE)
        got = await statuses(data_plane, 20)

        assert (len(ill.exchanges), len(well.exchanges)) == (3, 17)
        assert got.count(200) == 17


async def test_failed_connections_eject_and_retries_hide_them(data_plane: DataPlane) -> None:
    async with Upstream() as well:
        refusing = Endpoint("127.0.0.1", data_plane.free_port().port)
        data_plane.serve(refusing, well, health=LONG)
        got = await statuses(data_plane, 20)
        stats = data_plane.engine.stats()

    assert got == [200] * 20
    assert (stats.attempts, stats.ejections, stats.endpoints_ejected) == (23, 1, 1)


@pytest.mark.parametrize("status", [200, 404, 500, 501])
async def test_other_statuses_tell_nothing_bad(status: int, data_plane: DataPlane) -> None:
    async with Upstream(says(response(status))) as one, Upstream(says(response(status))) as other:
        data_plane.serve(one, other, health=LONG, policy=ONCE)
        await statuses(data_plane, 20)

        assert (len(one.exchanges), len(other.exchanges)) == (10, 10)


async def test_ejected_endpoint_comes_back_after_its_time(data_plane: DataPlane) -> None:
    brief = Health(errors_consecutive=1, ejection_ms=1)
    async with Upstream(UNAVAILABLE) as restarted, Upstream() as well:
        data_plane.serve(restarted, well, health=brief, policy=ONCE)
        async with await data_plane.client() as client:
            while data_plane.engine.stats().ejections == 0:
                await client.get()
            restarted.answer = OK
            before = len(restarted.exchanges)
            while len(restarted.exchanges) < before + 3:
                await client.get()

    assert data_plane.engine.health() == []


async def test_one_success_makes_an_endpoint_well(data_plane: DataPlane) -> None:
    answers: list[Answer] = [UNAVAILABLE, UNAVAILABLE, OK] * 5

    async def answer(exchange: Exchange) -> None:
        await answers.pop()(exchange)

    async with Upstream(answer) as shaky, Upstream() as well:
        data_plane.serve(shaky, well, health=LONG, policy=ONCE)
        await statuses(data_plane, 30)

        assert len(shaky.exchanges) == 15
    assert data_plane.engine.stats().ejections == 0


async def test_finding_of_one_worker_serves_all() -> None:
    data_plane = DataPlane(workers=2)
    try:
        async with Upstream(UNAVAILABLE) as ill, Upstream() as well:
            data_plane.serve(ill, well, health=LONG, policy=ONCE)
            for _ in range(20):  # Each connection at a worker that the kernel draws.
                await statuses(data_plane, 2)

            assert len(ill.exchanges) == 3
    finally:
        data_plane.close()


async def test_when_too_many_are_ejected_all_are_used(data_plane: DataPlane) -> None:
    async with Upstream(UNAVAILABLE) as one, Upstream(UNAVAILABLE) as other:
        data_plane.serve(one, other, health=LONG, policy=ONCE)
        await statuses(data_plane, 20)

        assert len(one.exchanges) > 3
        assert len(other.exchanges) > 3
        assert data_plane.engine.stats().endpoints_ejected == 2


async def test_ejection_outlives_a_publish_but_not_its_endpoint(data_plane: DataPlane) -> None:
    async with Upstream(UNAVAILABLE) as ill, Upstream() as well, Upstream() as added:
        data_plane.serve(ill, well, health=LONG, policy=ONCE)
        await statuses(data_plane, 20)
        data_plane.serve(ill, well, added, health=LONG, policy=ONCE)
        after_one = await statuses(data_plane, 10), len(ill.exchanges)
        data_plane.serve(well, added, health=LONG, policy=ONCE)
        data_plane.serve(ill, well, added, health=LONG, policy=ONCE)
        await statuses(data_plane, 10)

        assert after_one == ([200] * 10, 3)
        assert len(ill.exchanges) > 3


async def test_health_names_who_is_not_well(data_plane: DataPlane) -> None:
    async with Upstream(UNAVAILABLE) as ill, Upstream() as well:
        data_plane.serve(ill, well, health=LONG, policy=ONCE)
        await statuses(data_plane, 20)
        (found,) = data_plane.engine.health()
        at = ill.endpoint

    assert (found.backend, found.endpoint) == ("shop/api:80", f"{at.address}:{at.port}")
    assert (found.is_ejected, found.errors_consecutive) == (True, 3)
    assert 3_600_000 - DEADLINE_S * 1000 < found.ejected_ms <= 3_600_000


async def test_span_counts_the_ejected_and_only_them(data_plane: DataPlane) -> None:
    async with Upstream(UNAVAILABLE) as ill, Upstream() as well:
        data_plane.serve(ill, well, health=LONG, policy=ONCE)
        await statuses(data_plane, 20)

        segments = await data_plane.segments()
        told = [each.balance and each.balance.attributes for each in segments]
        counts = [each and each.get("spanway.lb.endpoints_ejected") for each in told]
        assert counts[0] is None
        assert counts[-1] == 1
        assert [each and each["spanway.lb.endpoints_ready"] for each in told] == [2] * 20


async def test_near_endpoints_come_first_until_they_are_ejected(data_plane: DataPlane) -> None:
    async with Upstream(UNAVAILABLE) as near, Upstream() as far:
        here = msgspec.structs.replace(near.endpoint, zone="z1", node="n1")
        there = msgspec.structs.replace(far.endpoint, zone="z2", node="n2")
        served = table(
            (data_plane.ingress,),
            (backend(here, there, prefer=Prefer.ZONE, health=LONG),),
        )
        served = msgspec.structs.replace(served, locality=Locality(zone="z1", node="n1"))
        assert data_plane.publish(served) == []
        got = await statuses(data_plane, 6)

        assert got == [503] * 3 + [200] * 3
        segments = await data_plane.segments()
        told = [each.balance and each.balance.attributes for each in segments]
        places = [each and each["spanway.lb.locality"] for each in told]
        assert places == ["node"] * 3 + ["other"] * 3

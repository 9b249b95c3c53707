"""Tables are swapped under running requests, whole or not at all."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack

import msgspec
import pytest
from client import Client, refusal
from data_plane import ROUTE, DataPlane, backend, table
from message import within
from upstream import Upstream

from proxy.table import Host, Listener, ListenerKind, RouteTable, Tracing, Update

SWAPS = 1000


@pytest.fixture
def data_plane() -> Iterator[DataPlane]:
    """With two workers, which learn of a new table each for itself."""
    data_plane = DataPlane(workers=2)
    yield data_plane
    data_plane.close()


def swapped(listener: Listener, upstreams: list[Upstream], generation: int) -> RouteTable:
    """A table of which much is new and much is gone: its host beside `shop.example`, its backend,
    that backend's endpoints, and the Ingress that says so."""
    shop = backend(
        *(
            upstreams[(generation + offset) % len(upstreams)]
            for offset in range(generation % 2 + 1)
        ),
        service=f"api-{generation % 4}",
    )
    route = msgspec.structs.replace(ROUTE, backend=shop.key, ingress=f"web-{generation}")
    hosts = Host("shop.example", (route,)), Host(f"h{generation % 3}.example", (route,))
    return table((listener,), (shop,), hosts)


async def test_a_thousand_swaps_fail_no_request_and_none_sees_two_tables(
    data_plane: DataPlane, capfd: pytest.CaptureFixture[str]
) -> None:
    tables: dict[int, RouteTable] = {}
    answered = asyncio.Event()
    statuses: list[int] = []

    async def ask(client: Client) -> None:
        while len(tables) < SWAPS:
            statuses.append((await client.get()).status)
            answered.set()

    def swap(upstreams: list[Upstream]) -> None:
        generation = len(tables) + 1
        assert data_plane.publish(swapped(data_plane.ingress, upstreams, generation)) == []
        tables[generation] = data_plane.table

    async with AsyncExitStack() as open_:
        upstreams = [await open_.enter_async_context(Upstream()) for _ in range(3)]
        swap(upstreams)
        clients = [await open_.enter_async_context(await data_plane.client()) for _ in range(8)]
        async with asyncio.TaskGroup() as asking:
            for client in clients:
                asking.create_task(ask(client))
            for _ in range(1, SWAPS):
                answered.clear()
                await asyncio.to_thread(swap, upstreams)
                await within(answered.wait())
    segments = await data_plane.segments()

    assert set(statuses) == {200}
    assert len(statuses) == len(segments) > SWAPS
    for segment in segments:
        generation = int(str(segment.server.attributes["spanway.table.generation"]))
        (shop,) = tables[generation].backends.values()
        assert segment.server.attributes["spanway.ingress.name"] == f"web-{generation}"
        assert segment.balance is not None
        assert segment.balance.name == f"balance {shop.key}"
        assert segment.balance.attributes["spanway.lb.endpoints_ready"] == len(shop.endpoints)
        ports = {endpoint.port for endpoint in shop.endpoints}
        assert {attempt.attributes["server.port"] for attempt in segment.attempts} <= ports
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("base", "generation"), [(0, 2), (2, 3), (1, 1), (1, 0)])
async def test_update_of_another_table_is_rejected_whole(
    base: int, generation: int, data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream)
    update = Update(base=base, generation=generation, listeners=(), tracing=Tracing())

    (rejected,) = data_plane.engine.publish(update)

    assert (rejected.kind, rejected.subject) == ("table", "")
    assert "generation" in rejected.message
    async with await data_plane.client() as client:
        assert (await client.get()).status == 200


@pytest.mark.parametrize("address", ["localhost:80", "127.0.0.1", "127.0.0.1:0", ""])
async def test_listener_without_an_address_is_rejected_and_the_rest_is_served(
    address: str, data_plane: DataPlane, upstream: Upstream
) -> None:
    wrong = Listener(address, ListenerKind.INGRESS)

    (rejected,) = data_plane.publish(table((wrong, data_plane.ingress), (backend(upstream),)))

    assert (rejected.kind, rejected.subject) == ("listener", address)
    async with await data_plane.client() as client:
        assert (await client.get()).status == 200


async def test_occupied_port_is_rejected_until_it_is_free(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupying:
        address = "127.0.0.1:{1}".format(*occupying.getsockname())
        second = Listener(address, ListenerKind.INGRESS)
        wanted = table((data_plane.ingress, second), (backend(upstream),))

        (rejected,) = data_plane.publish(wanted)

        assert (rejected.kind, rejected.subject) == ("listener", address)
        assert "in use" in rejected.message
        async with await data_plane.client() as client:
            assert (await client.get()).status == 200

    assert data_plane.publish(wanted) == []
    async with await Client.connect(address) as client:
        assert (await client.get()).status == 200


@pytest.mark.parametrize(
    ("change", "rejected"),
    [
        ({"connect_timeout_ms": 0}, ("backend", "shop/api:80")),
        ({"connect_timeout_ms": -1}, ("backend", "shop/api:80")),
    ],
)
async def test_wrong_backend_is_rejected_and_the_old_one_serves(
    change: dict[str, int],
    rejected: tuple[str, str],
    data_plane: DataPlane,
    upstream: Upstream,
) -> None:
    data_plane.serve(upstream)

    (said,) = data_plane.publish(table((data_plane.ingress,), (backend(**change),)))

    assert (said.kind, said.subject) == rejected
    async with await data_plane.client() as client:
        assert (await client.get()).status == 200


async def test_listener_is_opened_and_closed_with_its_place_in_the_table(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    second = Listener(data_plane.free_port().address, ListenerKind.INGRESS)
    with pytest.raises(ConnectionRefusedError):
        await Client.connect(second.address)

    assert data_plane.publish(table((data_plane.ingress, second), (backend(upstream),))) == []
    async with await Client.connect(second.address) as kept:
        assert (await kept.get()).status == 200

        data_plane.serve(upstream)
        answered = await kept.get()
        rest = await kept.rest()

    assert answered.status == 503
    assert answered.head.one("connection") == "close"
    assert rest == b""
    await refusal(second.address)
    async with await data_plane.client() as client:
        assert (await client.get()).status == 200


async def test_listener_that_was_removed_can_come_back_at_once(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream)
    for _ in range(50):
        assert data_plane.publish(table((), (backend(upstream),))) == []
        data_plane.serve(upstream)

    async with await data_plane.client() as client:
        assert (await client.get()).status == 200


async def test_service_listener_leads_to_its_backend_whatever_the_host_and_path(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    shop = backend(upstream)
    listener = Listener(data_plane.free_port().address, ListenerKind.SERVICE, shop.key)
    assert data_plane.publish(table((data_plane.ingress, listener), (shop,), ())) == []

    async with await Client.connect(listener.address) as client:
        assert (await client.get("/any/path", host="any.example")).status == 200
    async with await data_plane.client() as client:
        assert (await client.get("/any/path", host="any.example")).status == 404


async def test_service_listener_of_an_unknown_backend_is_rejected(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    listener = Listener(data_plane.free_port().address, ListenerKind.SERVICE, "shop/none:80")

    (rejected,) = data_plane.publish(table((data_plane.ingress, listener), (backend(upstream),)))

    assert (rejected.kind, rejected.subject) == ("listener", listener.address)
    await refusal(listener.address)


async def test_route_to_an_unknown_backend_is_rejected_and_other_hosts_are_served(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    lost = msgspec.structs.replace(ROUTE, backend="shop/none:80")
    hosts = Host("lost.example", (lost,)), Host("shop.example", (ROUTE,))

    (rejected,) = data_plane.publish(table((data_plane.ingress,), (backend(upstream),), hosts))

    assert (rejected.kind, rejected.subject) == ("host", "lost.example")
    assert ROUTE.rule in rejected.message
    async with await data_plane.client() as client:
        assert (await client.get(host="lost.example")).status == 404
        assert (await client.get(host="shop.example")).status == 200

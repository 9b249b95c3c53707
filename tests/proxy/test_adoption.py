"""Listening sockets of another process: used where the table wants their address, else closed."""

import socket

import msgspec
import pytest
from client import Client
from data_plane import DataPlane, backend, table
from upstream import Upstream


def listening(address: str, count: int = 1) -> list[socket.socket]:
    host, port = address.rsplit(":", 1)
    return [
        socket.create_server((host, int(port)), reuse_port=True, backlog=128) for _ in range(count)
    ]


@pytest.mark.parametrize(
    ("workers", "adopted", "in_use"),
    [(1, 5, 5), (3, 2, 3)],
    ids=["fewer workers", "more workers"],
)
async def test_every_adopted_socket_is_accepted_on(
    upstream: Upstream, workers: int, adopted: int, in_use: int
) -> None:
    data_plane = DataPlane(workers=workers)
    address = data_plane.ingress.address
    sockets = listening(address, adopted)
    waiting = [await data_plane.client() for _ in range(40)]  # the kernel spreads them
    for each in sockets:
        data_plane.engine.adopt(address, each)
    data_plane.serve(upstream)

    for client in waiting:
        async with client:
            assert (await client.get()).status == 200
        await client.writer.wait_closed()
    duplicates = data_plane.engine.listening()
    for _, duplicate in duplicates:
        duplicate.close()
    data_plane.close()
    assert [each for each, _ in duplicates] == [address] * in_use


async def test_sockets_that_the_table_does_not_want_are_closed(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    unwanted = data_plane.free_port().address
    for each in listening(unwanted):
        data_plane.engine.adopt(unwanted, each)

    data_plane.serve(upstream)

    with pytest.raises(ConnectionRefusedError):
        await Client.connect(unwanted)


async def test_a_socket_of_another_address_is_refused_and_closed(data_plane: DataPlane) -> None:
    elsewhere = data_plane.free_port().address
    (adopted,) = listening(elsewhere)

    with pytest.raises(ValueError, match="invalid"):
        data_plane.engine.adopt(data_plane.ingress.address, adopted)

    with pytest.raises(ConnectionRefusedError):
        await Client.connect(elsewhere)


async def test_a_socket_that_was_handed_on_keeps_what_waits_in_it(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream)
    ((address, duplicate),) = data_plane.engine.listening()
    assert address == data_plane.ingress.address
    await data_plane.stop()
    successor = DataPlane()
    try:
        async with await Client.connect(address) as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")
            successor.engine.adopt(address, duplicate)
            ingress = msgspec.structs.replace(successor.ingress, address=address)
            assert successor.publish(table((ingress,), (backend(upstream),))) == []

            assert (await client.response()).status == 200
    finally:
        successor.close()


async def test_an_address_that_was_closed_is_not_offered(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream)
    assert data_plane.publish(table((), (backend(upstream),))) == []

    assert data_plane.engine.listening() == []
    await data_plane.stop()
    assert data_plane.engine.listening() == []

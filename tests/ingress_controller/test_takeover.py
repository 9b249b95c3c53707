"""Hand-over between real processes: no request fails, and what fails leaves the old one serving."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from eventually import until
from k8s_objects import endpoint_slice, ingress, path, service
from test_run import answering, free_address, spanway, write

from ingress_controller.takeover.channel import (
    MESSAGE_BYTES_MAX,
    PROTOCOL,
    Channel,
    ClosedError,
    Hello,
    Message,
    Offer,
    Offered,
    Ready,
    TakeoverError,
)
from ingress_controller.takeover.giving import Giver
from ingress_controller.takeover.taking import take_over

REQUEST = b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"
KEPT = 4  # connections that are kept, and clients that open a new one each time
Process = asyncio.subprocess.Process


@dataclass
class World:
    """A directory that is served at `http`, and where the process that serves it is replaced."""

    directory: Path
    http: str
    admin: str

    @property
    def takeover(self) -> Path:
        return self.directory / "takeover"

    @asynccontextmanager
    async def process(self, *argv: str) -> AsyncIterator[Process]:
        flags = ["--manifests", str(self.directory), "--http", self.http, "--admin", self.admin]
        async with spanway(*flags, "--takeover", str(self.takeover), *argv) as process:
            yield process

    async def get(self) -> bytes:
        """A whole response on a connection of its own."""
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(*host_and_port(self.http))
            writer.write(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            answer = await reader.read()
            writer.close()
        return answer


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with answering("hello") as port:
        ports = [{"port": port}]
        objects = ingress(path("/")), service(), endpoint_slice("api", "127.0.0.1", ports=ports)
        write(tmp_path, *objects)
        yield World(tmp_path, free_address(), free_address())


async def ready(process: Process) -> str:
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    assert " ready: " in line, line
    return line


async def last_line(process: Process) -> str:
    """Of stderr, once it has ended."""
    _, stderr = await process.communicate()
    return stderr.decode().splitlines()[-1]


async def logged(process: Process, text: str) -> str:
    assert process.stderr is not None
    while text not in (line := (await process.stderr.readline()).decode()):
        assert line, f"it ended and never said {text}"
    return line


def host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


class Traffic:
    """Clients that never pause; what goes wrong is kept. A kept connection is left only when an
    answer says so."""

    def __init__(self, world: World) -> None:
        self.answered = 0
        self.reconnected = 0
        self.failed: list[str] = []
        self._world = world
        self._is_over = False

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as clients:
            for _ in range(KEPT):
                clients.create_task(self._until_over(self._fresh))
                clients.create_task(self._until_over(self._kept))
            try:
                yield
            finally:
                self._is_over = True

    async def answers(self, count: int) -> None:
        """Returns after so many more."""
        count += self.answered
        await until(lambda: self.answered >= count)

    async def _until_over(self, use: Callable[[], Awaitable[None]]) -> None:
        while not self._is_over:
            try:
                await use()
            except (OSError, EOFError, TimeoutError) as err:
                self.failed.append(repr(err))

    async def _fresh(self) -> None:
        answer = await self._world.get()
        self._count(answer)

    async def _kept(self) -> None:
        reader, writer = await asyncio.open_connection(*host_and_port(self._world.http))
        try:
            while not self._is_over:
                writer.write(REQUEST)
                async with asyncio.timeout(10):
                    head = await reader.readuntil(b"\r\n\r\n")
                    self._count(head + await reader.readexactly(len("hello")))
                if b"\r\nconnection: close\r\n" in head.lower():
                    self.reconnected += 1
                    return
        finally:
            writer.close()

    def _count(self, answer: bytes) -> None:
        self.answered += 1
        if not answer.startswith(b"HTTP/1.1 200 ") or not answer.endswith(b"hello"):
            self.failed.append(repr(answer))


async def test_no_request_fails_while_processes_replace_each_other(world: World) -> None:
    traffic = Traffic(world)
    async with AsyncExitStack() as stack:
        before = await stack.enter_async_context(world.process("--workers", "2"))
        await ready(before)
        async with traffic.flowing():
            for workers in "1", "3", "2":
                after = await stack.enter_async_context(world.process("--workers", workers))
                await ready(after)
                assert await before.wait() == 0
                before = after
            await traffic.answers(100)

    assert traffic.failed == []
    assert traffic.reconnected >= 3 * KEPT


async def test_the_process_before_finishes_and_the_admin_address_moves(world: World) -> None:
    async with world.process() as first:
        await ready(first)
        async with world.process() as second:
            line = await ready(second)

            assert f"admin http://{world.admin}" in line
            assert await first.wait() == 0
            assert await logged(first, "TakenOver")
            reader, writer = await asyncio.open_connection(*host_and_port(world.admin))
            writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.0 200 ")
            writer.close()
            assert world.takeover.is_socket()


async def test_who_was_taken_over_leaves_the_path_to_its_successor(tmp_path: Path) -> None:
    """The successor puts its own socket there at any time, also while this one looks at it."""
    path = tmp_path / "takeover"
    giver = Giver(path, list)
    giver.open()
    giving = asyncio.ensure_future(giver.run())
    taken = await take_over(path, "1")
    assert taken is not None
    await taken.finish()
    await giving

    giver.close()

    assert path.is_socket()
    taken.close()


async def test_only_the_addresses_that_are_wanted_again_move(world: World) -> None:
    gone, new = free_address(), free_address()
    async with world.process("--http", gone) as first:
        await ready(first)
        async with world.process("--http", new) as second:
            assert f"http {new}" in await ready(second)
            assert await first.wait() == 0

            assert b"hello" in await world.get()
            world.http = new
            assert b"hello" in await world.get()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*host_and_port(gone))


async def test_a_file_that_a_dead_process_left_is_replaced(world: World) -> None:
    async with world.process() as first:
        await ready(first)
        first.kill()
        await first.wait()
    assert world.takeover.is_socket()

    async with world.process() as second:
        await ready(second)
        assert b"hello" in await world.get()
        second.send_signal(signal.SIGTERM)
        assert await second.wait() == 0
    assert not world.takeover.exists()


async def test_a_file_that_is_no_socket_is_left_alone(world: World) -> None:
    world.takeover.write_text("mine")

    async with world.process() as process:
        line = await last_line(process)

    assert process.returncode == 1
    assert line == (
        f"spanway: The process at {world.takeover} cannot be replaced: this is a file, not a"
        " socket; stop it first, or name another socket with --takeover."
    )
    assert world.takeover.read_text() == "mine"


def connected(takeover: Path) -> socket.socket:
    connecting = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connecting.setblocking(False)
    connecting.connect(str(takeover))
    return connecting


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"garbage", "the other process speaks something else"),
        (b'{"type":"Hello"}', "the other process speaks something else"),
        (msgspec.json.encode(Ready()), "the other process said Ready out of turn"),
        (b" " * (MESSAGE_BYTES_MAX + 1), "a message or its sockets did not fit"),
        (
            msgspec.json.encode(Hello(PROTOCOL + 1, "9.9.9")),
            f"it speaks version {PROTOCOL} of the hand-over and the new one {PROTOCOL + 1}",
        ),
        (b"", "the other process closed the connection"),
    ],
    ids=["garbage", "half", "turn", "long", "version", "nothing"],
)
async def test_what_is_no_hand_over_changes_nothing(
    world: World, packet: bytes, reason: str
) -> None:
    async with world.process() as process:
        await ready(process)

        with connected(world.takeover) as stranger:
            if packet:
                stranger.send(packet)
            stranger.shutdown(socket.SHUT_WR)
            line = await logged(process, "TakeoverFailed")

        assert reason in line
        assert b"hello" in await world.get()
        async with world.process() as second:
            await ready(second)
            assert await process.wait() == 0


async def test_a_new_process_that_dies_on_the_way_changes_nothing(world: World) -> None:
    async with world.process() as process:
        await ready(process)
        taken = await take_over(world.takeover, "0")
        assert taken is not None
        assert sorted(each.address for each in taken.sockets) == sorted([world.http, world.admin])

        taken.close()

        await logged(process, "TakeoverFailed")
        assert b"hello" in await world.get()


async def test_the_sockets_of_a_process_that_dies_on_the_way_are_kept(world: World) -> None:
    async with world.process() as process:
        await ready(process)
        taken = await take_over(world.takeover, "0")
        assert taken is not None
        process.kill()
        await process.wait()

        await taken.finish()

        reader, writer = await asyncio.open_connection(*host_and_port(world.http))
        writer.close()
        taken.close()
        del reader


async def test_a_new_process_that_cannot_start_leaves_the_old_one_serving(world: World) -> None:
    traffic = Traffic(world)
    with socket.create_server(("127.0.0.1", 0)) as used:
        address = f"127.0.0.1:{used.getsockname()[1]}"
        async with world.process() as process:
            await ready(process)
            async with traffic.flowing():
                async with world.process("--http", address) as second:
                    line = await last_line(second)
                await traffic.answers(100)
            assert process.returncode is None

    assert line.startswith(f"spanway: Requests cannot be accepted on {address}: ")
    assert second.returncode == 1
    assert traffic.failed == []


AS_NOBODY = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
connecting = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
try:
    connecting.connect(sys.argv[1])
except PermissionError:
    sys.exit("denied")
print(connecting.recv(4096).decode())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's process needs root to start")
async def test_another_users_process_gets_nothing(world: World) -> None:
    def ask() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", AS_NOBODY, str(world.takeover)]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)

    async with world.process() as process:
        await ready(process)
        assert world.takeover.stat().st_mode & 0o777 == 0o600
        assert (await asyncio.to_thread(ask)).stderr == "denied\n"

        world.takeover.chmod(0o666)
        for parent in world.takeover.parents[:3]:
            parent.chmod(parent.stat().st_mode | 0o011)
        asked = await asyncio.to_thread(ask)

        assert "the other process is user 65534's" in asked.stdout
        assert b"hello" in await world.get()


class Old:
    """A fake process that serves now: it says what it is told to."""

    def __init__(self, at: Path) -> None:
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listening.bind(str(at))
        self._listening.listen()

    def __enter__(self) -> "Old":
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    async def say(self, *messages: tuple[Message, list[socket.socket]]) -> None:
        channel = Channel((await asyncio.to_thread(self._listening.accept))[0])
        await channel.receive(Hello)
        for message, sockets in messages:
            await channel.send(message, sockets)
        channel.close()


async def test_what_does_not_listen_at_its_address_is_not_taken(tmp_path: Path) -> None:
    at = tmp_path / "takeover"
    with (
        Old(at) as old,
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.socket() as idle,
    ):
        for sockets, address, reason in (
            ([listening], "127.0.0.1:1", "is bound to"),
            ([idle], "127.0.0.1:1", "does not listen"),
            ([], "127.0.0.1:1", "offers no sockets"),
        ):
            saying = asyncio.ensure_future(old.say((Offer(address), sockets)))
            with pytest.raises(TakeoverError, match=reason):
                await take_over(at, "0")
            await saying


async def test_sockets_that_are_missing_are_noticed(tmp_path: Path) -> None:
    at = tmp_path / "takeover"
    with Old(at) as old:
        saying = asyncio.ensure_future(old.say((Offered(1), [])))
        with pytest.raises(TakeoverError, match="0 of 1 sockets arrived"):
            await take_over(at, "0")
        await saying
        saying = asyncio.ensure_future(old.say())
        with pytest.raises(ClosedError):
            await take_over(at, "0")
        await saying

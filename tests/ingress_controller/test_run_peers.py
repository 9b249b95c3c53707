"""Replicas of `spanway run` answer as one."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from eventually import DEADLINE_S
from k8s_objects import endpoint_slice, ingress, path, service
from replicas import Replica, replicas
from spanway_process import upstream, write

from ingress_controller.admin.live import PEERS_S_MAX
from ingress_controller.asking import AdminAddress
from ingress_controller.peers.peer import Peer
from ingress_controller.top.client import AdminClient
from ingress_controller.top.command import _top


class Held:
    """An app that answers when it may."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self._has_come = asyncio.Semaphore(0)
        self._asking: list[asyncio.Task[str]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self._has_come.release()
        if "held" in request.path:
            await self.may_answer.wait()
        return web.Response(text=request.path)

    async def ask(self, replica: Replica, path: str) -> None:
        """A request that waits for the app from then on."""
        self._asking.append(asyncio.create_task(replica.get(path)))
        async with asyncio.timeout(DEADLINE_S):
            await self._has_come.acquire()

    async def end(self) -> None:
        self.may_answer.set()
        await asyncio.gather(*self._asking, return_exceptions=True)


@asynccontextmanager
async def shop(directory: Path) -> AsyncIterator[Held]:
    """The app behind shop.example, and the manifests that say so."""
    held = Held()
    async with upstream(held.answer) as port:
        write(
            directory,
            ingress(path("/")),
            service(),
            endpoint_slice("api", "127.0.0.1", ports=[{"port": port}]),
        )
        yield held
        await held.end()


async def live(replica: Replica, **query: str) -> dict[str, Any]:
    """What it says of requests that wait, once both are in that phase."""
    status, answer = await replica.ask("/api/live", **query)
    assert status == 200
    return dict(answer)


async def test_any_replica_tells_what_is_inside_all_of_them(tmp_path: Path, capsys: Any) -> None:
    async with shop(tmp_path) as app, replicas(tmp_path, "one", "two") as [one, two]:
        await app.ask(one, "/held/1")
        await app.ask(two, "/held/2")

        for replica, other in ((one, two), (two, one)):
            answer = await live(replica)
            assert (answer["live"], answer["matched"]) == (2, 2)
            assert answer["services"][0]["count"] == 2
            assert {(row["path"], row["instance"]) for row in answer["requests"]} == {
                ("/held/1", "one"),
                ("/held/2", "two"),
            }
            assert answer["peers"] == [other.as_peer()]
        alone = await live(one, peers="false")
        assert [row["path"] for row in alone["requests"]] == ["/held/1"]
        assert alone["peers"] == []
        assert (await live(two, limit="1", sort="age"))["requests"][0]["path"] == "/held/1"
        assert (await one.ask("/api/live", peers="no"))[1]["error"] == (
            'peers: "no" is neither true nor false.'
        )
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"http://{two.admin}/api/live?watch=1") as watching,
        ):
            await watching.content.readline()
            event = json.loads((await watching.content.readline()).removeprefix(b"data: "))
            assert (event["live"], event["peers"]) == (2, [one.as_peer()])
        await _top(AdminClient(AdminAddress(f"http://{one.admin}/")), {}, once=True, interval_s=1)

    printed = capsys.readouterr().out.splitlines()
    assert printed[0].endswith("REPLICA")
    assert sorted(line.split()[-1] for line in printed[1:3]) == ["one", "two"]


async def test_replicas_that_are_dead_or_hang_are_named_and_the_others_are_told(
    tmp_path: Path, capsys: Any
) -> None:
    names = ("one", "two", "three", "four")
    async with shop(tmp_path) as app, replicas(tmp_path, *names) as [one, two, three, four]:
        await app.ask(one, "/held/1")
        await app.ask(four, "/held/4")
        await live(one)
        await two.end()
        three.process.send_signal(signal.SIGSTOP)

        answer = await live(one)
        await _top(AdminClient(AdminAddress(f"http://{one.admin}/")), {}, once=True, interval_s=1)

    assert {row["instance"] for row in answer["requests"]} == {"one", "four"}
    assert answer["peers"] == [
        two.as_peer("connection refused"),
        three.as_peer(f"no answer within {PEERS_S_MAX:g} s"),
        four.as_peer(),
    ]
    printed = capsys.readouterr().out
    assert f"; without replica two ({two.admin}), three ({three.admin})\n" in printed
    dead = Peer(two.admin, two.name)
    assert f"What replica {dead} knows is missing: connection refused." in printed


async def test_a_replica_with_another_token_is_named_with_what_to_do(tmp_path: Path) -> None:
    tokens = {"one": "0123456789abcdef", "two": "fedcba9876543210"}
    for name, token in tokens.items():
        (tmp_path / name).write_text(token)
    flags = {name: ("--admin-token-file", str(tmp_path / name)) for name in tokens}
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    async with replicas(manifests, *tokens, flags=flags) as [one, two]:
        status, answer = await one.ask("/api/live", token=tokens["one"])

    assert status == 200
    assert answer["peers"] == [
        {
            "address": two.admin,
            "instance": "",
            "error": "it wants another token; give all replicas one --admin-token-file",
        }
    ]

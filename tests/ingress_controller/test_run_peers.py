"""Replicas of `spanway run` answer as one."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from eventually import DEADLINE_S
from k8s_objects import endpoint_slice, ingress, path, service
from replicas import Replica, replicas
from spanway_process import upstream, write

from ingress_controller.asking import AdminAddress
from ingress_controller.peers.live import PEERS_S_MAX
from ingress_controller.peers.peer import Peer
from ingress_controller.report.command import report
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


TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


@asynccontextmanager
async def edge_and_inner(directory: Path) -> AsyncIterator[list[Replica]]:
    """Two replicas; the endpoint of `edge.example` is the other one, which serves `api.example`
    there by an app. A request through the first has spans in both. That host is new, so that who
    gets an answer from it has it from these manifests."""
    async with shop(directory), replicas(directory, "edge", "inner") as [edge, inner]:
        app = json.loads((directory / "shop.json").read_text())["items"][2]
        port = int(inner.http.rpartition(":")[2])
        host = {"spanway.io/request-headers-set": "Host: api.example"}
        write(
            directory,
            ingress(path("/"), host="edge.example", annotations=host),
            service(),
            endpoint_slice("api", "127.0.0.1", ports=[{"port": port}]),
            ingress(path("/", "inner"), host="api.example", name="inner"),
            service("inner"),
            {**app, "metadata": endpoint_slice("inner")["metadata"]},
        )
        async with asyncio.timeout(DEADLINE_S):
            while await edge.get("/warm", host="edge.example") != "/warm":  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # it is behind a socket
        yield [edge, inner]


async def spans_of(replica: Replica, count: int, **query: str) -> dict[str, Any]:
    """The trace, once it has so many hops of Spanway: spans come after the response."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            _, answer = await replica.ask(f"/api/traces/{TRACE_ID}", **query)
            spans = answer.get("spans", ())
            if sum(span["kind"] == "server" for span in spans) >= count:
                return dict(answer)
            await asyncio.sleep(0.01)


async def test_a_trace_through_two_replicas_is_one_waterfall_and_found_by_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with edge_and_inner(tmp_path) as [edge, inner]:
        parent = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
        assert await edge.get("/cart", host="edge.example", traceparent=parent) == "/cart"

        for replica, other in ((edge, inner), (inner, edge)):
            trace = await spans_of(replica, 2)
            assert trace["peers"] == [other.as_peer()]
            by_id = {span["span_id"]: span for span in trace["spans"]}
            first, second = [span for span in trace["spans"] if span["kind"] == "server"]
            hosts = [span["attributes"]["server.address"] for span in (first, second)]
            assert hosts == ["edge.example", "api.example"]
            assert by_id[second["parent_id"]]["kind"] == "client"
            assert by_id[by_id[second["parent_id"]]["parent_id"]]["parent_id"] == first["span_id"]
            assert len(trace["resources"]) == 2

            _, alone = await replica.ask(f"/api/traces/{TRACE_ID}", peers="false")
            assert (alone["peers"], len(alone["spans"])) == ([], len(trace["spans"]) // 2)
            _, found = await replica.ask("/api/traces", host="edge.example", service="shop/inner")
            summary = next(one for one in found["traces"] if one["trace_id"] == TRACE_ID)
            assert (summary["span_count"], summary["name"]) == (len(trace["spans"]), "GET /")
            _, found = await replica.ask("/api/values", of="host")
            assert {"edge.example", "api.example"} <= set(found["values"])
            _, told = await replica.ask("/jaeger/api/traces/" + TRACE_ID)
            assert len(told["data"][0]["spans"]) == len(trace["spans"])
            _, found = await replica.ask("/api/analysis/path", trace=TRACE_ID)
            assert found["trace_id"] == TRACE_ID
            _, found = await replica.ask("/api/analysis/latency", by="service")
            assert {row["name"] for row in found["rows"]} == {"shop/api", "shop/inner"}
            assert found["peers"] == [other.as_peer()]

        client = AdminClient(AdminAddress(f"http://{edge.admin}/"))
        await asyncio.to_thread(report, client, "trace", {"id": TRACE_ID}, is_json=False)
        assert capsys.readouterr().out.count("balance shop/") == 2


async def test_what_a_dead_replica_knew_of_traces_is_said_to_be_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with edge_and_inner(tmp_path) as [edge, inner]:
        parent = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
        await edge.get("/cart", host="edge.example", traceparent=parent)
        await spans_of(edge, 2)
        await inner.end()
        dead = [inner.as_peer("connection refused")]
        sentence = f"What replica {Peer(**dead[0])} knows is missing: connection refused."

        for path_, query in (
            ("/api/traces", {"host": "edge.example"}),
            (f"/api/traces/{TRACE_ID}", {}),
            ("/api/values", {"of": "host"}),
            ("/api/live", {"at": str(time.time())}),
            ("/api/analysis/graph", {}),
            ("/api/analysis/path", {"trace": TRACE_ID}),
        ):
            status, answer = await edge.ask(path_, **query)
            assert (status, answer["peers"]) == (200, dead), path_
        status, answer = await edge.ask(f"/api/traces/{TRACE_ID[::-1]}")
        assert (status, answer["error"].endswith(sentence)) == (404, True)
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{edge.admin}/jaeger/api/services") as told,
        ):
            assert (await told.json())["data"] == ["spanway", "spanway-controller"]
            assert told.headers["Warning"] == f'299 - "{sentence}"'
        client = AdminClient(AdminAddress(f"http://{edge.admin}/"))
        for name, query in (("traces", {}), ("latency", {}), ("trace", {"id": TRACE_ID})):
            await asyncio.to_thread(report, client, name, query, is_json=False)
            assert sentence in " ".join(capsys.readouterr().out.split())


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

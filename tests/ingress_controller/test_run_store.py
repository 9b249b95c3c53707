"""`spanway run` and the traces that it keeps."""

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from eventually import DEADLINE_S
from k8s_objects import endpoint_slice, ingress, path, service
from spanway_process import answering, free_address, spanway, upstream, write

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


async def get(url: str, **headers: str) -> Any:
    async with aiohttp.ClientSession() as client, client.get(url, headers=headers) as answer:
        is_json = answer.content_type == "application/json"
        return await (answer.json() if is_json else answer.text())


async def found(search: str, count: int) -> list[Any]:
    """The traces, once there are so many: spans come a moment after the response."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            traces = (await get(search))["traces"]
            if len(traces) >= count:
                return list(traces)
            await asyncio.sleep(0.01)  # it is behind a socket


async def waiting(live: str) -> None:
    """Returns once the only live request waits for its endpoint, which may have it before."""
    async with asyncio.timeout(DEADLINE_S):
        while (await get(live))["requests"][0]["phase"] != "wait":  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # it is behind a socket


async def test_a_request_is_found_in_the_store_and_after_a_restart(tmp_path: Path) -> None:
    http, admin = free_address(), free_address()
    flags = ["--manifests", str(tmp_path), "--http", http, "--admin", admin]
    flags += ["--store", str(tmp_path / "traces")]
    search = f"http://{admin}/api/traces?host=shop.example&service=shop/api&status=200"
    async with answering("hello") as port:
        write(
            tmp_path,
            ingress(path("/")),
            service(),
            endpoint_slice("api", "127.0.0.1", ports=[{"port": port}]),
        )
        async with spanway(*flags) as process:
            assert process.stdout is not None
            await process.stdout.readline()
            parent = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
            await get(f"http://{http}/cart", Host="shop.example", traceparent=parent)
            [summary] = await found(search, 1)
            shown = await get(f"http://{admin}/api/traces/{TRACE_ID}")
            process.send_signal(signal.SIGTERM)
            await process.wait()
        async with spanway(*flags) as process:
            assert process.stdout is not None
            await process.stdout.readline()
            again = await get(search)

    assert summary["trace_id"] == TRACE_ID
    assert (summary["name"], summary["span_count"]) == ("GET /", 6)
    names = [span["name"] for span in shown["spans"]]
    assert names[:3] == ["GET /", "balance shop/api:80", "GET"]
    assert sorted(names[3:]) == ["app.respond", "net.deliver", "net.return"]
    assert again["traces"] == [summary]


async def test_who_was_inside_at_a_moment_is_told_while_it_is_and_when_it_is_over(
    tmp_path: Path,
) -> None:
    http, admin = free_address(), free_address()
    flags = ["--manifests", str(tmp_path), "--http", http, "--admin", admin]
    has_come, may_answer = asyncio.Event(), asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        has_come.set()
        await may_answer.wait()
        return web.Response()

    async with upstream(answer) as port, spanway(*flags) as process:
        write(
            tmp_path,
            ingress(path("/")),
            service(),
            endpoint_slice("api", "127.0.0.1", ports=[{"port": port}]),
        )
        assert process.stdout is not None
        await process.stdout.readline()
        request = asyncio.create_task(get(f"http://{http}/cart", Host="shop.example"))
        await has_come.wait()
        await waiting(f"http://{admin}/api/live?host=shop.example")
        now = f"http://{admin}/api/live?at={time.time()}&host=shop.example"
        inside = await get(now)
        may_answer.set()
        await request
        await found(f"http://{admin}/api/traces?host=shop.example", 1)
        over = await get(now)

    assert (inside["live"], over["live"]) == (1, 1)
    for answered in (inside, over):
        [row] = answered["requests"]
        assert (row["phase"], row["service"]) == ("wait", "shop/api:80")
        assert row["route"] == "shop.example/"
    assert inside["requests"][0]["id"] == over["requests"][0]["id"]


async def test_a_store_that_was_asked_for_and_cannot_be_used_ends_the_start(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    async with spanway("--manifests", str(tmp_path), "--store", str(tmp_path / "file")) as process:
        _, errors = await process.communicate()

    assert process.returncode == 1
    assert errors.decode().endswith(
        f"spanway: --store {tmp_path / 'file'} cannot be used: file exists;"
        " name another directory, memory or off.\n"
    )


async def test_without_a_place_for_it_the_store_is_in_memory_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spanway").touch()  # in the way
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "manifests").mkdir()
    admin = free_address()
    flags = ["--manifests", str(tmp_path / "manifests"), "--http", free_address(), "--admin", admin]
    async with spanway(*flags, store="") as process:
        assert process.stdout is not None
        await process.stdout.readline()
        stats = await get(f"http://{admin}/api/stats")
        process.send_signal(signal.SIGTERM)
        _, errors = await process.communicate()

    assert stats["store"]["directory"] == ""
    assert "WARN  StoreInMemory" in errors.decode()


async def test_traces_go_on_in_the_directory_of_the_process_that_was_taken_over(
    tmp_path: Path,
) -> None:
    http, admin = free_address(), free_address()
    (tmp_path / "manifests").mkdir()
    write(tmp_path / "manifests", ingress(path("/")))
    flags = ["--manifests", str(tmp_path / "manifests"), "--http", http, "--admin", admin]
    flags += ["--store", str(tmp_path / "traces"), "--takeover", str(tmp_path / "socket")]
    search = f"http://{admin}/api/traces?limit=10&host=shop.example"
    async with spanway(*flags) as before:
        assert before.stdout is not None
        await before.stdout.readline()
        await get(f"http://{http}/before", Host="shop.example")
        async with spanway(*flags) as after:
            assert after.stdout is not None
            await after.stdout.readline()
            await before.wait()
            await get(f"http://{http}/after", Host="shop.example")
            traces = await found(search, 2)
    assert {trace["status"] for trace in traces} == {503}

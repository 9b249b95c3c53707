"""`spanway top --once` of a real process, and what it says where there is none."""

import asyncio
import os
import sys
from pathlib import Path

from k8s_objects import endpoint_slice, ingress, path, service
from spanway_process import MAIN, free_address, spanway, write


async def top(*argv: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", MAIN, "top", *argv),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_once_prints_what_waits_and_refuses_what_is_no_question(tmp_path: Path) -> None:
    async def never(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set()
        await over.wait()
        writer.close()

    came, over = asyncio.Event(), asyncio.Event()
    upstream = await asyncio.start_server(never, "127.0.0.1", 0)
    port = upstream.sockets[0].getsockname()[1]
    write(
        tmp_path,
        ingress(path("/")),
        service(),
        endpoint_slice("api", "127.0.0.1", ports=[{"port": port}]),
    )
    http, admin = free_address(), free_address()
    async with spanway("--manifests", str(tmp_path), "--http", http, "--admin", admin) as process:
        assert process.stdout is not None
        await process.stdout.readline()
        host, _, http_port = http.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(http_port))
        writer.write(b"GET /slow HTTP/1.1\r\nHost: shop.example\r\n\r\n")
        await asyncio.wait_for(came.wait(), 10)

        code, out, err = await top("--admin", admin, "--once", "phase=wait")
        refused = await top("--admin", admin, "--once", "phase=x")
        over.set()
        await reader.read(1)
        writer.close()
    upstream.close()

    assert (code, err) == (0, "")
    assert out.splitlines()[0].split()[:4] == ["AGE", "PHASE", "METHOD", "REQUEST"]
    assert "shop.example/slow  shop/api:80" in out
    assert out.splitlines()[-1] == "1 live: 1 wait"
    assert refused[0] == 2
    assert 'phase: "x" is none of head, route,' in refused[2]


async def test_nobody_at_the_address_is_one_sentence_and_exit_code_1() -> None:
    address = free_address()

    for once in ((), ("--once",)):
        code, out, err = await top("--admin", address, *once)
        assert (code, out) == (1, "")
        assert err == (
            f"spanway: No Spanway answers at {address} (connection refused);"
            " start one, or name its admin address with --admin.\n"
        )


async def test_word_that_is_no_parameter_is_refused() -> None:
    code, _, err = await top("--once", "wait")

    assert code == 2
    assert err == 'spanway: "wait" is not NAME=VALUE, for example phase=wait.\n'

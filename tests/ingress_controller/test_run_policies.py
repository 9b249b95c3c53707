"""Annotations and Secrets of a directory, as clients of the running process meet them."""

import asyncio
import json
from pathlib import Path

import aiohttp
import pem
from k8s_objects import Object, endpoint_slice, ingress, path, secret, service, tracing_policy
from spanway_process import answering, free_address, spanway, write

HOST = {"Host": "shop.example"}


def world(port: int, annotations: dict[str, str] | None = None, **spec: object) -> list[Object]:
    return [
        ingress(path("/"), annotations=annotations, **spec),
        service(),
        endpoint_slice("api", "127.0.0.1", ports=[{"port": port}]),
    ]


async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An upstream that reads and never answers."""
    await reader.read()
    writer.close()


async def test_a_read_timeout_of_an_ingress_ends_the_wait_for_its_endpoint(tmp_path: Path) -> None:
    http = free_address()
    flags = ["--manifests", str(tmp_path), "--http", http, "--admin", free_address()]
    async with await asyncio.start_server(hold, "127.0.0.1") as silent:
        port = silent.sockets[0].getsockname()[1]
        write(tmp_path, *world(port, {"spanway.io/read-timeout": "50ms"}))
        async with spanway(*flags) as process, aiohttp.ClientSession(headers=HOST) as client:
            assert process.stdout is not None
            await process.stdout.readline()
            async with client.get(f"http://{http}/") as answer:
                assert answer.status == 504


async def test_clients_have_the_time_that_the_flags_give_them(tmp_path: Path) -> None:
    http, served = free_address(), free_address()
    write(tmp_path, *world(1))
    flags = ["--manifests", str(tmp_path), "--http", http, "--service", f"shop/api:http={served}"]
    times = ["--admin", free_address(), "--head-timeout", "0.05", "--idle-timeout", "0.05"]
    async with spanway(*flags, *times) as process:
        assert process.stdout is not None
        await process.stdout.readline()
        for address in (http, served):
            for sent, status_line in ((b"", b""), (b"GET / HTTP/1.1\r\n", b"HTTP/1.1 408")):
                host, _, port = address.rpartition(":")
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(sent)
                assert (await reader.read())[:12] == status_line
                writer.close()


async def test_the_admin_server_shows_what_is_sampled_and_no_key(tmp_path: Path) -> None:
    manifests, key = tmp_path / "manifests", tmp_path / "key"
    manifests.mkdir()
    key.write_text("a key of sixteen bytes and more")
    said = {"spanway.io/tracing-policy": "quiet"}
    write(manifests, *world(1, said), tracing_policy(ratio=0.1, tail=5))
    admin = free_address()
    flags = ["--manifests", str(manifests), "--http", free_address(), "--admin", admin]
    sampling = ["--sample-ratio", "0.5", "--debug-key-file", str(key)]
    async with spanway(*flags, *sampling) as process, aiohttp.ClientSession() as client:
        assert process.stdout is not None
        await process.stdout.readline()
        async with client.get(f"http://{admin}/api/routes") as answer:
            text = await answer.text()
    shown = json.loads(text)

    assert shown["tracing"]["policy"]["ratio"] == 0.5
    assert shown["tracing"]["debug_key"] == "given"
    assert "sixteen" not in text
    own = shown["policies"]["shop/web"]["tracing"]
    assert (own["ratio"], own["tail_spans_per_s"]) == (0.1, 5.0)


async def test_the_admin_server_shows_what_tls_is_served_and_no_key(tmp_path: Path) -> None:
    https, admin = free_address(), free_address()
    flags = ["--manifests", str(tmp_path), "--http", free_address(), "--admin", admin]
    chain, private_key = pem.pair("shop.example")
    write(tmp_path, *world(1, tls=[{"secretName": "cert"}]), secret((chain, private_key)))
    async with spanway(*flags, "--https", https) as process, aiohttp.ClientSession() as client:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        assert f", https {https}, admin " in line
        async with client.get(f"http://{admin}/api/routes") as answer:
            shown = await answer.json()

        listener = next(one for one in shown["listeners"] if one["address"] == https)
        assert (listener["tls"], listener["certificate"]) == (True, "+default")
        assert shown["certificates"] == ["+default", "shop/cert"]
        assert "PRIVATE" not in json.dumps(shown)


async def test_annotations_of_a_directory_are_followed(tmp_path: Path) -> None:
    http, admin = free_address(), free_address()
    flags = ["--manifests", str(tmp_path), "--http", http, "--admin", admin]
    edits = {"spanway.io/response-headers-set": "X-Served: $host"}
    async with answering("one") as port:
        write(tmp_path, *world(port, edits))
        async with spanway(*flags) as process, aiohttp.ClientSession(headers=HOST) as client:
            assert process.stdout is not None
            await process.stdout.readline()

            async def get() -> tuple[int, str | None]:
                async with client.get(f"http://{http}/", allow_redirects=False) as answer:
                    return answer.status, answer.headers.get("X-Served")

            assert await get() == (200, "shop.example")

            write(tmp_path, *world(port, {"spanway.io/redirect": "302 /elsewhere"}))
            async with asyncio.timeout(10):
                while (answer := await get()) != (302, None):
                    assert answer == (200, "shop.example")

            write(tmp_path, *world(port, {"spanway.io/allow": "office"}))
            async with asyncio.timeout(10):
                while (answer := await get()) != (403, None):
                    assert answer == (302, None)


async def test_a_pattern_that_the_engine_refuses_is_a_problem_of_its_ingress(
    tmp_path: Path,
) -> None:
    http, admin = free_address(), free_address()
    flags = ["--manifests", str(tmp_path), "--http", http, "--admin", admin]
    write(tmp_path, *world(1, {"spanway.io/rewrite": "^/( => /x", "spanway.io/allow": "10.0.0.1"}))
    async with spanway(*flags) as process, aiohttp.ClientSession() as client:
        assert process.stdout is not None
        assert b", 1 problem\n" in await process.stdout.readline()
        async with client.get(f"http://{admin}/api/problems") as answer:
            [problem] = (await answer.json())["problems"]
        async with client.get(f"http://{http}/", headers=HOST) as answer:
            status = answer.status

    assert (problem["kind"], problem["name"]) == ("Ingress", "web")
    assert "The engine refuses policy shop/web: " in problem["text"]
    assert status == 503

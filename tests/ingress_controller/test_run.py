"""`spanway run` as a process of its own, with the real engine."""

import asyncio
import json
import signal
import socket
from pathlib import Path

import aiohttp
import pytest
from eventually import until
from k8s_objects import Object, endpoint_slice, ingress, path, service
from spanway_process import answering, free_address, spanway, write


async def test_a_directory_is_served_and_followed_until_sigterm(tmp_path: Path) -> None:
    http, admin = free_address(), free_address()

    def world(port: int) -> list[Object]:
        ports = [{"port": port}]
        return [
            ingress(path("/")),
            service(),
            endpoint_slice("api", "127.0.0.1", ports=ports),
        ]

    async with (
        answering("one") as one,
        answering("two") as two,
        aiohttp.ClientSession(headers={"Host": "shop.example"}) as client,
    ):
        write(tmp_path, *world(one))
        flags = ["--manifests", str(tmp_path), "--http", http, "--admin", admin]
        async with spanway(*flags) as process:
            assert process.stdout is not None
            line = (await process.stdout.readline()).decode()
            assert line.endswith(
                f" ready: http {http}, admin http://{admin}, 1 route for 1 host, 0 problems\n"
            )

            async def get(url: str) -> tuple[int, str]:
                async with client.get(url) as answer:
                    return answer.status, await answer.text()

            assert await get(f"http://{admin}/readyz") == (200, "ok\n")
            assert await get(f"http://{http}/x") == (200, "one")

            write(tmp_path, *world(two))
            async with asyncio.timeout(10):
                while (answer := await get(f"http://{http}/x")) != (200, "two"):
                    assert answer == (200, "one")

            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0


async def test_requests_are_accepted_until_others_know_that_it_is_not_ready(tmp_path: Path) -> None:
    http, admin = free_address(), free_address()
    async with answering("hello") as port, aiohttp.ClientSession() as client:
        ports = [{"port": port}]
        write(
            tmp_path, ingress(path("/")), service(), endpoint_slice("api", "127.0.0.1", ports=ports)
        )
        flags = ["--manifests", str(tmp_path), "--http", http, "--admin", admin]
        async with spanway(*flags, "--drain-delay", "20") as process:
            assert process.stdout is not None
            assert b" ready: " in await process.stdout.readline()

            process.send_signal(signal.SIGTERM)
            assert process.stderr is not None
            while b"Stopping" not in await process.stderr.readline():
                pass

            async with client.get(f"http://{admin}/readyz") as answer:
                assert answer.status == 503
            headers = {"Host": "shop.example"}
            async with client.get(f"http://{http}/", headers=headers) as answer:
                assert (answer.status, await answer.text()) == (200, "hello")
            process.send_signal(signal.SIGTERM)  # who sends a second one does not want to wait
            assert await process.wait() == 1


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--http", "spanway: Requests cannot be accepted on {address}: "),
        ("--admin", "spanway: The admin server cannot listen on {address}: "),
    ],
)
async def test_an_address_in_use_ends_the_start_with_a_sentence(
    tmp_path: Path, flag: str, message: str
) -> None:
    addresses = {"--http": free_address(), "--admin": free_address()}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        addresses[flag] = f"127.0.0.1:{taken.getsockname()[1]}"
        flags = [text for pair in addresses.items() for text in pair]
        async with spanway("--manifests", str(tmp_path), *flags) as process:
            _, stderr = await process.communicate()

    last = stderr.decode().splitlines()[-1]
    assert process.returncode == 1
    assert last.startswith(message.format(address=addresses[flag]))
    assert last.endswith(f"; choose another address with {flag}.")


async def test_a_start_that_waits_for_its_cluster_ends_cleanly(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(
        json.dumps(
            {
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": f"http://{free_address()}"}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "users": [{"name": "u", "user": {}}],
                "current-context": "c",
            }
        )
    )
    admin = free_address()
    flags = ["--kubeconfig", str(kubeconfig), "--http", free_address(), "--admin", admin]
    async with spanway(*flags) as process, aiohttp.ClientSession() as client:
        statuses: list[int] = []

        async def ask() -> None:
            while not statuses:
                try:
                    async with client.get(f"http://{admin}/readyz") as answer:
                        statuses.append(answer.status)
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.01)

        asking = asyncio.ensure_future(ask())
        await until(lambda: statuses)
        await asking
        process.send_signal(signal.SIGTERM)

        assert statuses == [503]
        assert await process.wait() == 0

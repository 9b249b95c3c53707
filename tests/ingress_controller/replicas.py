"""Several `spanway run` that know of each other, with the same manifests: replicas of one."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from spanway_process import free_address, spanway


@dataclass
class Replica:
    """A running one; `http` and `admin` are its addresses."""

    name: str
    http: str
    admin: str
    process: asyncio.subprocess.Process

    async def get(self, path: str, *, host: str = "shop.example", **headers: str) -> str:
        """A request through it."""
        async with (
            aiohttp.ClientSession(headers={"Host": host, **headers}) as client,
            client.get(f"http://{self.http}{path}") as answer,
        ):
            return await answer.text()

    async def ask(self, path: str, *, token: str = "", **query: str) -> tuple[int, Any]:
        """Status and answer of its admin address."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with (
            aiohttp.ClientSession(headers=headers) as client,
            client.get(f"http://{self.admin}{path}", params=query) as answer,
        ):
            return answer.status, await answer.json()

    async def end(self) -> None:
        """It is killed, and gone when this returns."""
        self.process.kill()
        await self.process.wait()

    def as_peer(self, error: str = "") -> Mapping[str, str]:
        """How others' answers name it."""
        return {"address": self.admin, "instance": self.name, "error": error}


@asynccontextmanager
async def replicas(
    manifests: Path,
    *names: str,
    others: Sequence[str] = (),
    flags: Mapping[str, Sequence[str]] | None = None,
) -> AsyncIterator[list[Replica]]:
    """Ready ones. Each is told of all, itself too, as by a headless Service, and of `others`;
    `flags` are of one of them."""
    admins = {name: free_address(f"127.0.0.{place}") for place, name in enumerate(names, 2)}
    peers = ",".join((*admins.values(), *others))

    async def start(name: str, running: AsyncExitStack) -> Replica:
        http = free_address()
        process = await running.enter_async_context(
            spanway(
                *("--manifests", str(manifests), "--http", http, "--admin", admins[name]),
                *("--peers", peers, *(flags or {}).get(name, ())),
                POD_NAME=name,
            )
        )
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        assert " ready: " in line, line
        return Replica(name, http, admins[name], process)

    async with AsyncExitStack() as running:
        yield list(await asyncio.gather(*(start(name, running) for name in names)))

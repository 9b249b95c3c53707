"""Clients with a kept connection each, as a program: they ask one request after the other.

    load.py ADDRESS PORT PATH COUNT CONNECTIONS REQUEST

COUNT requests in all, to PATH/0, PATH/1 … REQUEST is JSON: `fields` to send, `body_bytes`, and how
many requests a connection is `kept` for. It prints a line of JSON for each answer: `path`,
`status`, `took_us` as the client saw it and `app_us` as the app did.
"""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

HOST = "shop.example"


@dataclass(frozen=True)
class Request:
    """What to ask, and for how many requests a connection is kept."""

    fields: dict[str, str]
    body_bytes: int
    kept: int

    def encode(self, path: str) -> bytes:
        method = "POST" if self.body_bytes else "GET"
        fields = {"Host": HOST, "Content-Length": str(self.body_bytes), **self.fields}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + bytes(self.body_bytes)


async def ask_on(address: str, port: str, paths: Iterator[str], request: Request) -> None:
    """One connection after the other, until there are no paths left."""
    while first := next(paths, None):
        reader, writer = await asyncio.open_connection(address, int(port))
        for path in itertools.chain([first], itertools.islice(paths, request.kept - 1)):
            start = time.monotonic()
            writer.write(request.encode(path))
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
            answer = dict(line.split(": ", 1) for line in lines[1:] if line)
            await reader.readexactly(int(answer["content-length"]))
            told = {
                "path": path,
                "status": int(lines[0].split()[1]),
                "took_us": round((time.monotonic() - start) * 1e6),
                "app_us": int(answer.get("x-took-us", 0)),
            }
            sys.stdout.write(json.dumps(told) + "\n")
        writer.close()


async def main(
    address: str, port: str, path: str, count: str, connections: str, request: str
) -> None:
    paths = (f"{path}/{index}" for index in range(int(count)))
    wanted = Request(**json.loads(request))
    async with asyncio.TaskGroup() as group:
        for _ in range(int(connections)):
            group.create_task(ask_on(address, port, paths, wanted))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

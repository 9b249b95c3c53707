"""An app on one thread, as a program: it does what a request's fields tell it to.

    app.py ADDRESS PORT

| field | |
|---|---|
| `x-sleep-ms` | it waits so long before it answers, and takes other requests meanwhile |
| `x-work-ms` | it is busy so long, with this request alone |
| `x-answer-bytes` | so long is its answer |

`x-took-us` of its answer says how long it had the request, in microseconds.
"""

import asyncio
import sys
import time


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
            fields = dict(line.split(": ", 1) for line in lines[1:] if line)
            await reader.readexactly(int(fields.get("content-length", 0)))
            start = time.monotonic()
            if sleep_ms := float(fields.get("x-sleep-ms", 0)):
                await asyncio.sleep(sleep_ms / 1000)
            if work_ms := float(fields.get("x-work-ms", 0)):
                time.sleep(work_ms / 1000)  # noqa: ASYNC251, the other requests have to wait
            body = bytes(int(fields.get("x-answer-bytes", 2)))
            took_us = round((time.monotonic() - start) * 1e6)
            writer.write(
                b"HTTP/1.1 200 OK\r\nx-took-us: %d\r\nContent-Length: %d\r\n\r\n"
                % (took_us, len(body))
                + body
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main(address: str, port: str) -> None:
    async with await asyncio.start_server(serve, address, int(port), backlog=128) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

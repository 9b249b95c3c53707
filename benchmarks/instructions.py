"""`python -m benchmarks.instructions`: what a request costs the engine, in instructions.

Where a machine is too noisy for microseconds, these are the same in every run. One client on one
connection asks the engine under callgrind, twice, the second time more often: the difference is
that of requests alone, without start, stop and Python. The kernel's instructions are not in it.

Rules: loopback only; the engine is the installed one, so `make build` says how it was optimised.
"""

import re
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress

from benchmarks.children import BenchError, free_port, program
from proxy.engine import Engine
from proxy.table import (
    Backend,
    Endpoint,
    Host,
    Listener,
    ListenerKind,
    PathKind,
    Route,
    RoutePolicy,
    RouteTable,
    difference,
)

FEW, MANY = 500, 1_500  # requests of the two runs
RUN_S_MAX = 300.0  # under callgrind all is fifty times slower
READ_BYTES = 64 * 1024
HOST = "bench.example"
REQUEST = f"GET /api/items?x=1 HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: bench\r\n\r\n".encode()
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
_COLLECTED = re.compile(r"Collected : (\d+)")


def main() -> int:
    """0, or 1 where nothing could be measured."""
    if sys.argv[1:2] == ["serve"]:
        serve(*map(int, sys.argv[2:]))
        return 0
    try:
        cost = (collected(MANY) - collected(FEW)) / (MANY - FEW)
    except BenchError as err:
        print(f"instructions: {err}", file=sys.stderr)
        return 1
    print(f"{cost:,.0f} instructions in user space per request (HTTP/1.1, three spans)")
    return 0


def collected(requests: int) -> int:
    """Instructions of a process that serves so many requests.

    Raises:
        BenchError: it does not serve them.
    """
    with socket.create_server(("127.0.0.1", 0)) as origin, tempfile.TemporaryFile("w+") as said:
        threading.Thread(target=accept, args=(origin,), daemon=True).start()
        port = free_port()
        argv = [program("valgrind"), "--tool=callgrind", "--callgrind-out-file=/dev/null"]
        argv += [sys.executable, "-m", "benchmarks.instructions", "serve"]
        argv += [str(port), str(origin.getsockname()[1])]
        with subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
        ) as served:
            assert served.stdout is not None
            if served.stdout.readline() == "ready\n":
                ask(port, requests)
            served.communicate("", RUN_S_MAX)
        said.seek(0)
        words = said.read()
    if (found := _COLLECTED.search(words)) is None:
        raise BenchError(f"callgrind said: {words[-500:]}")
    return int(found[1])


def serve(port: int, origin: int) -> None:
    """An engine with three spans a request, until standard input ends."""
    engine = Engine(workers=1, resource={"service.name": "bench"})
    route = Route(PathKind.PREFIX, "/api", "shop/api:80", "shop", "web", "rule", "policy")
    backend = Backend("shop", "api", "80", (Endpoint("127.0.0.1", origin, "api-0", "node-1"),))
    table = RouteTable(
        generation=1,
        listeners=(Listener(f"127.0.0.1:{port}", ListenerKind.INGRESS),),
        hosts={HOST: Host(HOST, (route,))},
        backends={backend.key: backend},
        policies={"policy": RoutePolicy()},
    )
    assert engine.publish(difference(RouteTable(), table)) == [], "the table is in order"
    print("ready", flush=True)
    sys.stdin.read()
    engine.stop(deadline_s=0)


def ask(port: int, requests: int) -> None:
    with socket.create_connection(("127.0.0.1", port), RUN_S_MAX) as client:
        for _ in range(requests):
            client.sendall(REQUEST)
            received = b""
            while not received.endswith(b"\r\n\r\nok"):
                if not (piece := client.recv(READ_BYTES)):
                    raise BenchError(f"it answers {received[:80]!r}")
                received += piece


def accept(origin: socket.socket) -> None:
    """Answers on every connection until `origin` is closed; the engine may want a new one."""
    with suppress(OSError):
        while True:
            connection, _ = origin.accept()
            threading.Thread(target=answer, args=(connection,), daemon=True).start()


def answer(connection: socket.socket) -> None:
    with connection, suppress(OSError):
        while connection.recv(READ_BYTES):
            connection.sendall(RESPONSE)


if __name__ == "__main__":
    sys.exit(main())

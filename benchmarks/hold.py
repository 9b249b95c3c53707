"""Idle connections: `python -m benchmarks.hold PORT COUNT`.

Each has had one request, as an idle keep-alive connection has. They come from several addresses of
loopback, so that no range of local ports runs out. The program says "held" when all are open, and
keeps them until its standard input ends.
"""

import select
import socket
import sys

from benchmarks.stage import HOST, RESPONSE_BYTES

HELD = "held"
SOURCES = 8
TIMEOUT_S = 10.0
READ_BYTES = 16 * 1024
STATUS = b"HTTP/1.1 200"
REQUEST = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


def hold(port: int, count: int) -> list[socket.socket]:
    """`count` connections, each of which had its response.

    Raises:
        OSError: one was refused, or closed again.
    """
    held = [_connect(port, f"127.0.0.{2 + index % SOURCES}") for index in range(count)]
    poll = select.poll()
    for connection in held:
        poll.register(connection, select.POLLIN)
    if closed := len(poll.poll(0)):
        raise ConnectionError(f"{closed} of {count} connections were closed by the server")
    return held


def _connect(port: int, source: str) -> socket.socket:
    address = ("127.0.0.1", port)
    connection = socket.create_connection(address, TIMEOUT_S, source_address=(source, 0))
    connection.sendall(REQUEST)
    received = connection.recv(READ_BYTES)
    while not is_answer(received):
        if not (more := connection.recv(READ_BYTES)):
            raise ConnectionError("the server closed a connection")
        received += more
    return connection


def is_answer(received: bytes) -> bool:
    """Whether the origin's response is complete.

    Raises:
        ConnectionError: it is not the origin's.
    """
    if not received.startswith(STATUS[: len(received)]):
        raise ConnectionError(f"not the origin's response: {received[:80]!r}")
    _, end, body = received.partition(b"\r\n\r\n")
    return bool(end) and len(body) >= RESPONSE_BYTES


def main() -> int:
    port, count = (int(one) for one in sys.argv[1:])
    try:
        held = hold(port, count)
    except OSError as err:
        print(err, flush=True)
        return 1
    print(HELD, flush=True)
    sys.stdin.read()
    del held
    return 0


if __name__ == "__main__":
    sys.exit(main())

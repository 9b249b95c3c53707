"""Resumed TLS handshakes: `python -m benchmarks.handshakes PORT SECONDS`.

A few threads connect, ask once, read to the end and begin again, each with the session (TLS 1.3:
the newest ticket) of its connection before. A handshake that was not resumed is a failure.
Prints `{"count": …, "seconds": …}`.
"""

import json
import socket
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.stage import HOST

THREADS = 8
"""Enough that the server, on another core, seldom waits for this program."""

READ_BYTES = 16 * 1024
TIMEOUT_S = 10.0
REQUEST = f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()


class NotResumedError(Exception):
    """The server made a full handshake although it was offered a session."""


def resume(port: int, seconds: float) -> int:
    """Resumed handshakes of one thread.

    Raises:
        NotResumedError: the server does not resume.
        OSError: a connection failed.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    session = ask(context, port, None)
    count, deadline_s = 0, time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        session = ask(context, port, session)
        count += 1
    return count


def ask(context: ssl.SSLContext, port: int, session: ssl.SSLSession | None) -> ssl.SSLSession:
    """One connection with one request; the session for the next one."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=HOST, session=session) as connection,
    ):
        # Else the request waits for the acknowledgement of the handshake's last message.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if session is not None and not connection.session_reused:
            raise NotResumedError("the server does not resume sessions")
        connection.sendall(REQUEST)
        response = b""
        while received := connection.recv(READ_BYTES):
            response += received
        if not response.startswith(b"HTTP/1.1 200") or connection.session is None:
            raise ConnectionError(f"not the origin's response: {response[:80]!r}")
        return connection.session


def main() -> int:
    port, seconds = int(sys.argv[1]), float(sys.argv[2])
    begun_s = time.monotonic()
    with ThreadPoolExecutor(THREADS) as threads:
        running = [threads.submit(resume, port, seconds) for _ in range(THREADS)]
    try:
        count = sum(one.result() for one in running)
    except (NotResumedError, OSError) as err:
        print(err, file=sys.stderr)
        return 1
    json.dump({"count": count, "seconds": time.monotonic() - begun_s}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())

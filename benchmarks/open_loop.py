"""Load at a fixed rate: `python -m benchmarks.open_loop PORT RATE SECONDS CONNECTIONS`.

An open loop: a request is due when the schedule says so, whether or not the server has answered the
ones before. It goes out on any free connection, and its latency counts from when it was due, not
from when it could be sent: what a server delays by being slow is part of its latency (no
"coordinated omission"). That this program itself may be late is in there too, for every server
alike, and is told as `late_us`.

Arrivals are a Poisson process with a fixed seed: the same for every server, and unlike an even beat
never in step with anything.
"""

import ctypes
import gc
import json
import random
import select
import socket
import sys
import time
from collections import deque
from typing import Any

from benchmarks.servers import HOST, RESPONSE_BYTES

SEED = 1
WARM_UP_S = 0.3
READ_BYTES = 16 * 1024
STALL_S = 10.0
"""A server that answers nothing for so long has failed."""

REQUEST = f"GET / HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: open-loop\r\nAccept: */*\r\n\r\n".encode()
_PR_SET_TIMERSLACK = 29


class Connection:
    """One keep-alive connection. `due_ns` is that of the request under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due_ns = 0
        self._received = b""

    def fileno(self) -> int:
        return self.socket.fileno()

    def is_answered(self) -> bool:
        """Reads what is there; whether that completes the response.

        Raises:
            ConnectionError: the connection ended, or the response is not the origin's.
        """
        received = self.socket.recv(READ_BYTES)
        if not received:
            raise ConnectionError("the server closed a connection")
        self._received += received
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator or len(body) < RESPONSE_BYTES:
            return False
        if not head.startswith(b"HTTP/1.1 200 ") or len(body) > RESPONSE_BYTES:
            raise ConnectionError(f"not the origin's response: {head[:80]!r}")
        self._received = b""
        return True


def offer(port: int, *, rate: float, seconds: float, connections: int) -> dict[str, Any]:
    """`request_count` of all, `latency_us` and `late_us` of each one after the warm-up."""
    schedule = _schedule_ns(rate, seconds + WARM_UP_S)
    free = deque(Connection(port) for _ in range(connections))
    busy: list[Connection] = []
    latency_us: list[float] = []
    late_us: list[float] = []
    clock = time.perf_counter_ns
    start_ns = clock()
    due = deque(start_ns + offset_ns for offset_ns in schedule)
    counted_from_ns = start_ns + int(WARM_UP_S * 1e9)
    while due or busy:
        now_ns = clock()
        while due and due[0] <= now_ns and free:
            connection = free.popleft()
            connection.due_ns = due.popleft()
            connection.socket.send(REQUEST)
            busy.append(connection)
            if connection.due_ns >= counted_from_ns:
                late_us.append((now_ns - connection.due_ns) / 1e3)
            now_ns = clock()
        wait_s = max(0.0, (due[0] - clock()) / 1e9) if due and free else STALL_S
        readable: list[Connection] = select.select(busy, (), (), wait_s)[0]
        if not readable and wait_s == STALL_S:
            raise TimeoutError(f"no answer within {STALL_S:g} s")
        for connection in readable:
            if connection.is_answered():
                done_ns = clock()
                busy.remove(connection)
                free.append(connection)
                if connection.due_ns >= counted_from_ns:
                    latency_us.append((done_ns - connection.due_ns) / 1e3)
    return {"request_count": len(schedule), "latency_us": latency_us, "late_us": late_us}


def _schedule_ns(rate: float, seconds: float) -> list[int]:
    chance = random.Random(SEED)
    offsets: list[int] = []
    at_s = 0.0
    while (at_s := at_s + chance.expovariate(rate)) < seconds:
        offsets.append(int(at_s * 1e9))
    return offsets


def main() -> None:
    port, rate, seconds, connections = sys.argv[1:]
    # Without it, a wait ends up to 50 µs late.
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    gc.disable()
    result = offer(
        int(port), rate=float(rate), seconds=float(seconds), connections=int(connections)
    )
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()

"""A path between two network namespaces, as a program.

    relay.py NAME

It makes two TUN devices, `NAME-a` and `NAME-b`; packets that go into one come, later or never, out
of the other. It says `ready`, and then takes a command a line:

    {"delay_s": 0.01, "loss": 0.05, "bytes_per_s": 1e6}   from now on, in each direction
    report                                                what has happened since, as JSON

and answers each with a line: the caller writes no second one before. It ends with its input.
Rules: one thread; packets of one direction stay in order; what would wait behind
`QUEUE_PACKETS_MAX` others is dropped, as a router does.

The kernel could do it with netem, which not every kernel has.
"""

import contextlib
import fcntl
import heapq
import json
import os
import random
import select
import statistics
import struct
import sys
import time
from collections import deque
from dataclasses import dataclass, field

TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
PACKET_BYTES_MAX = 2048
COMMAND_BYTES_MAX = 4096
NICENESS = -15
QUEUE_PACKETS_MAX = 1000
"""`txqueuelen` of a network card."""
DELAYS_MAX = 20_000
"""So many of the last packets are reported about."""


@dataclass
class Conditions:
    """What happens to a packet."""

    delay_s: float = 0.0
    loss: float = 0.0
    bytes_per_s: float = 0.0
    """0: as fast as it goes."""


@dataclass
class Direction:
    """From one device to the other."""

    source: int
    target: int
    waiting: int = 0
    free_at_s: float = 0.0
    """When the last packet before the next one will have been sent."""
    last_due_s: float = 0.0
    dropped: int = 0
    delays_s: deque[float] = field(default_factory=lambda: deque(maxlen=DELAYS_MAX))


class Relay:
    def __init__(self, name: str) -> None:
        a, b = (_tun(f"{name}-{end}") for end in "ab")
        self.directions = {a: Direction(a, b), b: Direction(b, a)}
        self.conditions = Conditions()
        self._random = random.Random(1)  # the same packets are lost in each run
        self._due: list[tuple[float, int, float, Direction, bytes]] = []
        self._count = 0

    def run(self) -> None:
        """Until standard input ends."""
        sources = [*self.directions, sys.stdin.fileno()]
        say("ready")
        while True:
            now = time.monotonic()
            wait_s = max(0.0, self._due[0][0] - now) if self._due else None
            readable, _, _ = select.select(sources, [], [], wait_s)
            for source in readable:
                if direction := self.directions.get(source):
                    self._receive(direction)
                elif command := os.read(source, COMMAND_BYTES_MAX):
                    say(self._answer(command.decode()))
                else:
                    return
            self._send_due()

    def _answer(self, command: str) -> str:
        directions = self.directions.values()
        if command.strip() == "report":
            medians_s = [statistics.median(one.delays_s or [0.0]) for one in directions]
            dropped = sum(one.dropped for one in directions)
            return json.dumps({"dropped": dropped, "delays_s": medians_s})
        self.conditions = Conditions(**json.loads(command))
        for direction in directions:
            direction.dropped = 0
            direction.delays_s.clear()
        return "ok"

    def _receive(self, direction: Direction) -> None:
        try:
            packet = os.read(direction.source, PACKET_BYTES_MAX)
        except BlockingIOError:
            return
        now, conditions = time.monotonic(), self.conditions
        is_lost = conditions.loss > 0 and self._random.random() < conditions.loss
        if is_lost or direction.waiting >= QUEUE_PACKETS_MAX:
            direction.dropped += 1
            return
        due = now
        if conditions.bytes_per_s:
            due = max(now, direction.free_at_s) + len(packet) / conditions.bytes_per_s
            direction.free_at_s = due
        due = max(due + conditions.delay_s, direction.last_due_s)
        direction.last_due_s = due
        direction.waiting += 1
        self._count += 1
        heapq.heappush(self._due, (due, self._count, now, direction, packet))

    def _send_due(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            _, _, came_s, direction, packet = heapq.heappop(self._due)
            direction.waiting -= 1
            try:
                os.write(direction.target, packet)
            except OSError:  # the other end is not up, or takes no more: lost, like on a wire
                direction.dropped += 1
            direction.delays_s.append(time.monotonic() - came_s)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _tun(name: str) -> int:
    try:
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    except OSError as err:
        sys.exit(f"no TUN device {name}: {err.strerror}")
    return device


if __name__ == "__main__":
    # A wire does not wait for a CPU. Whoever may make TUN devices nearly always may do this.
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    Relay(sys.argv[1]).run()

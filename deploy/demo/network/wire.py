"""The path between this namespace and another one, and what it does to packets."""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from network.namespace import Namespace, NetworkError, last_line, run

RELAY = Path(__file__).with_name("relay.py")


@dataclass(frozen=True)
class Conditions:
    """What happens to packets, in each direction."""

    delay_s: float = 0.0
    loss: float = 0.0
    """The share that never arrives."""
    bytes_per_s: float = 0.0
    """0: as fast as it goes."""


@dataclass(frozen=True)
class Report:
    """What has happened since the conditions were set."""

    dropped: int
    delays_s: list[float]
    """The median of each direction, from a packet's coming to its going."""


class Wire:
    """Two addresses that reach each other, ours and that of `other`. A context manager."""

    def __init__(self, name: str, ours: str, theirs: str, other: Namespace) -> None:
        """`name` is what its two devices begin with. Raises: NetworkError."""
        self._relay = subprocess.Popen(
            [sys.executable, RELAY, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for whoever started it
        )
        if self._line() != "ready":
            raise NetworkError(last_line(self._relay.communicate()[1]))
        near, far = f"{name}-a", f"{name}-b"
        try:
            _ip(f"link set {far} netns {other.pid}")
            _ip(f"address add {ours} peer {theirs} dev {near}")
            other.ip(f"address add {theirs} peer {ours} dev {far}")
            _ip(f"link set {near} up")
            other.ip(f"link set {far} up")
        except NetworkError:
            self.__exit__()
            raise

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self._relay.communicate()  # ends its input

    def set(self, conditions: Conditions) -> None:
        """From now on. Raises: NetworkError: the relay has ended."""
        assert self._ask(json.dumps(asdict(conditions))) == "ok"

    def report(self) -> Report:
        return Report(**json.loads(self._ask("report")))

    def _ask(self, command: str) -> str:
        assert self._relay.stdin is not None
        try:
            self._relay.stdin.write(f"{command}\n")
            self._relay.stdin.flush()
        except BrokenPipeError:
            pass  # it will not answer either
        answer = self._line()
        if not answer:
            raise NetworkError("the relay of a network path has ended")
        return answer

    def _line(self) -> str:
        assert self._relay.stdout is not None
        return self._relay.stdout.readline().strip()


def _ip(arguments: str) -> None:
    run(["ip", *arguments.split()])

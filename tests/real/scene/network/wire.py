"""The path between this namespace and another one, and what it does to packets."""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from scene.network.namespaces import PROGRAMS, Namespace
from scene.parts import PartMissingError


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
        """Raises: PartMissingError: this machine lets nobody make TUN devices."""
        if reason := why_no_tun():
            raise PartMissingError(reason)
        self._relay = subprocess.Popen(
            [sys.executable, PROGRAMS / "relay.py", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._line() == "ready"
        near, far = f"{name}-a", f"{name}-b"
        _ip(f"link set {far} netns {other.pid}")
        _ip(f"address add {ours} peer {theirs} dev {near}")
        other.ip(f"address add {theirs} peer {ours} dev {far}")
        _ip(f"link set {near} up")
        other.ip(f"link set {far} up")

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self._relay.communicate()  # ends its input

    def set(self, conditions: Conditions) -> None:
        """From now on."""
        assert self._ask(json.dumps(asdict(conditions))) == "ok"

    def report(self) -> Report:
        return Report(**json.loads(self._ask("report")))

    def _ask(self, command: str) -> str:
        assert self._relay.stdin is not None
        self._relay.stdin.write(f"{command}\n")
        self._relay.stdin.flush()
        return self._line()

    def _line(self) -> str:
        assert self._relay.stdout is not None
        return self._relay.stdout.readline().strip()


def why_no_tun() -> str | None:
    """The sentence to skip with, or None where TUN devices can be made."""
    try:
        Path("/dev/net/tun").open("r+b", buffering=0).close()
    except OSError as err:
        return f"no network path between namespaces can be made here: {err}"
    return None


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)

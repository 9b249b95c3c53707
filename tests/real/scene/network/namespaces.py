"""Network namespaces without names: each lives as long as a process, which ends with the tests."""

import subprocess
import sys
from pathlib import Path

from scene.process import wait_until

PROGRAMS = Path(__file__).parent
START_DEADLINE_S = 10.0


class Namespace:
    """One, with its loopback up. A context manager; `pid` is that of the process that holds it."""

    def __init__(self) -> None:
        # `cat` waits for nothing but the end of its input, which comes with ours.
        self._holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE)
        self.pid = self._holder.pid
        own = Path("/proc/self/ns/net").readlink()
        wait_until(
            lambda: Path(f"/proc/{self.pid}/ns/net").readlink() != own,
            "there is a network namespace",
            deadline_s=START_DEADLINE_S,
        )
        self.ip("link set lo up")

    def __enter__(self) -> "Namespace":
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.communicate()  # ends its input

    def ip(self, arguments: str) -> None:
        """`ip` in it."""
        subprocess.run(self._inside("ip", *arguments.split()), check=True)

    def program(self, name: str, *arguments: str | int) -> list[str]:
        """What runs one of the programs of this folder in it."""
        file = PROGRAMS / f"{name}.py"
        return self._inside(sys.executable, str(file), *map(str, arguments))

    def _inside(self, *command: str) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *command]

"""Network namespaces without names: each lives as long as a process, which ends with ours."""

import subprocess
from collections.abc import Sequence


class NetworkError(Exception):
    """This machine does not let us; the message says why, in one line."""


class Namespace:
    """One, with its loopback up. A context manager; `pid` is that of the process that holds it.

    Raises: NetworkError.
    """

    def __init__(self) -> None:
        # `cat` waits for nothing but the end of its input, which comes with ours.
        try:
            self._holder = subprocess.Popen(
                ["unshare", "--net", "sh", "-c", "echo && exec cat"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for whoever started it
            )
        except OSError as err:
            raise NetworkError(f"unshare: {err.strerror}") from err
        self.pid = self._holder.pid
        assert self._holder.stdout is not None
        if not self._holder.stdout.readline():
            _, said = self._holder.communicate()
            raise NetworkError(last_line(said.decode()))
        self.ip("link set lo up")

    def __enter__(self) -> "Namespace":
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.communicate()  # ends its input

    def ip(self, arguments: str) -> None:
        """`ip` in it."""
        run(self.inside("ip", *arguments.split()))

    def inside(self, *command: str) -> list[str]:
        """What runs a command in it."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *command]


def run(command: Sequence[str]) -> None:
    """To its end. Raises: NetworkError, with what it said."""
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except OSError as err:
        raise NetworkError(f"{command[0]}: {err.strerror}") from err
    except subprocess.CalledProcessError as err:
        raise NetworkError(last_line(err.stderr) or str(err)) from err


def last_line(said: str) -> str:
    """Of what a program printed."""
    return said.strip().rpartition("\n")[2]

"""Clients of the proxy: one request, or many without a pause.

Unlike `http.py`, whose answers are JSON of a part, an answer here is what a browser would get.
"""

import contextlib
import http.client
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from scene.process import wait_until

ANSWER_DEADLINE_S = 15.0
PAUSE_S = 0.001
"""Between two requests of one client, so that the machine has time for everybody else."""


@dataclass(frozen=True)
class Answer:
    """What came back; names of `fields` are in lower case."""

    status: int
    text: str
    fields: Mapping[str, str]


def ask(
    address: str,
    path: str = "/",
    *,
    host: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
) -> Answer:
    """One request to `address` (`IP:PORT`) on a connection of its own, for the virtual `host`.

    Raises:
        OSError or http.client.HTTPException: there was no whole answer.
    """
    with contextlib.closing(_connection(address)) as connection:
        fields = {"Host": host, **(headers or {})}
        connection.request(method, path, content, fields)
        return _answer(connection)


class Traffic:
    """Clients that ask again and again, each on its own kept connection. A context manager.

    `failures` are the answers that are not 200, and broken connections, in words.
    """

    def __init__(self, address: str, path: str = "/", *, host: str, clients: int = 2) -> None:
        self.failures: list[str] = []
        self.answered_by: list[str] = []
        self._address = address
        self._path = path
        self._host = host
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask_on) for _ in range(clients)]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self, count: int = 50) -> None:
        """Returns when so many more requests have been answered, or some have failed."""
        enough = len(self.answered_by) + count
        wait_until(
            lambda: len(self.answered_by) >= enough or self.failures,
            f"{count} more requests are answered",
            deadline_s=ANSWER_DEADLINE_S,
        )

    def _ask_on(self) -> None:
        with contextlib.closing(_connection(self._address)) as connection:
            while not self._end.wait(PAUSE_S):
                try:
                    connection.request("GET", self._path, headers={"Host": self._host})
                    answer = _answer(connection)
                except (OSError, http.client.HTTPException) as err:
                    connection.close()  # the next request makes a new one
                    self.failures.append(repr(err))
                    continue
                if answer.status == http.client.OK:
                    self.answered_by.append(answer.text)
                else:
                    self.failures.append(f"{answer.status}: {answer.text}")


def _connection(address: str) -> http.client.HTTPConnection:
    host, _, port = address.rpartition(":")
    return http.client.HTTPConnection(host, int(port), timeout=ANSWER_DEADLINE_S)


def _answer(connection: http.client.HTTPConnection) -> Answer:
    response = connection.getresponse()
    text = response.read().decode()
    fields = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, text, fields)

"""One thread that makes one call after the other, for what blocks.

It is a daemon: a call that never returns keeps neither the loop's executor nor the process alive.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

_T = TypeVar("_T")


class CallingThread:
    """Starts with the first call."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    async def call(self, function: Callable[[], _T]) -> _T:
        """What `function` returns or raises. Cancelled, it does not end a call that has begun."""
        if not self._thread.is_alive():
            self._thread.start()
        result: Future[_T] = Future()

        def make() -> None:
            if not result.set_running_or_notify_cancel():
                return
            try:
                result.set_result(function())
            except BaseException as err:  # noqa: BLE001 - it is raised where it was called
                result.set_exception(err)

        self._calls.put(make)
        return await asyncio.wrap_future(result)

    def close(self) -> None:
        """Ends the thread after the calls that were made."""
        self._calls.put(None)

    def _run(self) -> None:
        while (make := self._calls.get()) is not None:
            make()

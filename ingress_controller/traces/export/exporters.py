"""Takes the engine's batches and offers each to every exporter.

Rules: batches are never decoded here, and are shared, not copied. They are let grow for a moment
before they are taken: to be woken for each, and to post it, costs half a millisecond of CPU
whatever its length. An exporter that is slow fills its own queue and holds up no other.
"""

import asyncio
from collections.abc import Callable, Sequence

from ingress_controller.traces.export.exporter import Exporter
from ingress_controller.traces.export.losses import ExportStats
from proxy.spans import SpanBatch

LINGER_S = 0.05
"""A batch waits for others: 1 MB at 20,000 requests/s. OpenTelemetry's batch processor: 5 s."""

LINGER_S_MAX = 1.0
"""What OTEL_BSP_SCHEDULE_DELAY may ask for: the engine's queue has room for three times as much at
20,000 requests/s."""


class Exporters:
    """Takes batches whenever `fd` is readable.

    `take` returns and removes what waits in the engine and makes `fd` unreadable again; it must
    not block.
    """

    def __init__(
        self,
        take: Callable[[], list[SpanBatch]],
        fd: int,
        exporters: Sequence[Exporter],
        *,
        linger_s: float = LINGER_S,
    ) -> None:
        self._take = take
        self._fd = fd
        self._exporters = exporters
        self._linger_s = linger_s
        self._pause: asyncio.TimerHandle | None = None

    @property
    def stats(self) -> list[ExportStats]:
        return [exporter.stats for exporter in self._exporters]

    def offer(self, batches: Sequence[SpanBatch]) -> None:
        """Has them exported too. Never blocks."""
        for exporter in self._exporters:
            exporter.offer(batches)

    async def run(self) -> None:
        """Until cancelled; what was not delivered then stays for `flush`."""
        self._watch()
        try:
            async with asyncio.TaskGroup() as group:
                for exporter in self._exporters:
                    group.create_task(exporter.run(), name=f"exporter {exporter.name}")
        finally:
            asyncio.get_running_loop().remove_reader(self._fd)
            if self._pause is not None:
                self._pause.cancel()

    async def flush(self, deadline_s: float) -> None:
        """Exports what is left, after `run` has ended; `deadline_s` is for all together."""
        self.offer(self._take())
        async with asyncio.TaskGroup() as group:
            for exporter in self._exporters:
                group.create_task(exporter.flush(deadline_s))

    def _watch(self) -> None:
        asyncio.get_running_loop().add_reader(self._fd, self._linger)

    def _linger(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._fd)
        self._pause = loop.call_later(self._linger_s, self._look_again)

    def _look_again(self) -> None:
        self.offer(self._take())
        self._watch()

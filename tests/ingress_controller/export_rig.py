"""An engine's queue of batches and exporters that take from it, as tests of exporters need them."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ingress_controller.traces.export.destination import Spill
from ingress_controller.traces.export.exporter import Exporter, ExportLimits
from ingress_controller.traces.export.exporters import Exporters
from ingress_controller.traces.export.sender import Sender
from proxy.spans import SpanBatch

NAME = "backend"
LIMITS = ExportLimits()


class ExportRig:
    """A queue whose descriptor is readable while batches wait.

    `waits` are the seconds that exporters asked to wait between attempts; of these `time_scale`
    pass.
    """

    def __init__(self, *, time_scale: float = 0.0) -> None:
        self._time_scale = time_scale
        self.waits: list[float] = []
        self._fd = os.eventfd(0, os.EFD_NONBLOCK)
        self._batches: list[SpanBatch] = []

    def put(self, *batches: SpanBatch) -> None:
        self._batches += batches
        os.eventfd_write(self._fd, 1)

    def exporters(self, *exporters: Exporter) -> Exporters:
        return Exporters(self._take, self._fd, exporters, linger_s=0.001)

    def exporter(
        self,
        sender: Sender,
        limits: ExportLimits = LIMITS,
        *,
        name: str = NAME,
        spill: Spill | None = None,
    ) -> Exporter:
        return Exporter(name, sender, spill=spill, limits=limits, sleep=self._note_wait)

    def close(self) -> None:
        os.close(self._fd)

    def _take(self) -> list[SpanBatch]:
        if self._batches:
            os.eventfd_read(self._fd)
        taken, self._batches = self._batches, []
        return taken

    async def _note_wait(self, wait_s: float) -> None:
        self.waits.append(wait_s)
        await asyncio.sleep(wait_s * self._time_scale)


@asynccontextmanager
async def running(exporters: Exporters) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(exporters.run())
        yield
        task.cancel()

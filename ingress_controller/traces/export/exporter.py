"""One destination's queue, bounded in bytes, and the attempts to send what is in it.

Rules: nothing waits for a destination but its own tasks. The spill, if there is one, relieves the
queue long before it is full; what does not fit is dropped, counted by reason and logged once per
interval. What is new is sent first, what is on disk whenever nothing new waits. A batch that was
cut off is repeated, so a destination may see it twice, which OTLP allows. Source: OpenTelemetry
Protocol 1.x, "OTLP/HTTP Throttling", "OTLP/gRPC Throttling".
"""

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from ingress_controller.telemetry.events import Event, emit
from ingress_controller.traces.export.destination import QUEUE_BYTES, Spill
from ingress_controller.traces.export.losses import DropReason, ExportStats, Losses
from ingress_controller.traces.export.sender import Answer, Outcome, Sender
from ingress_controller.traces.export.spill import SpilledBatch, SpillFiles
from ingress_controller.traces.export.thread import CallingThread
from proxy.spans import SpanBatch

SPILL_RETRY_S = 10.0
"""Until a directory that cannot be written, or is another process's, is tried again."""

SPILL_LAST_S = 2.0
"""For what is in memory at the end to be written, after the last flush: 32 MiB take 0.2 s."""

RELIEF_FROM, RELIEF_UNTIL = 1 / 4, 1 / 8
"""Shares of the queue that may wait: above the first one batches are put on disk, until the second
is reached. The rest is for when a busy disk takes nothing: 1.5 s at 7,000 requests/s of 1.7 KiB."""


class SpillUnusable(Event, frozen=True):
    """It is tried again; until then the queue in memory has to suffice."""

    level: ClassVar[int] = logging.WARNING
    exporter: str
    reason: str


@dataclass(frozen=True, slots=True)
class ExportLimits:
    """Every bound of an exporter.

    Seven attempts with these waits take about a minute, which is what the Go SDK allows
    (otlptracehttp: MaxElapsedTime 1 min, MaxInterval 30 s).
    """

    queue_bytes_max: int = QUEUE_BYTES
    attempts_max: int = 7
    backoff_first_s: float = 1.0
    backoff_s_max: float = 30.0


class Exporter:
    """Sends what it is offered by `sender`, with `spill` for what there is no room for.

    `name` is for people and counters.

    `sleep` waits between attempts (tests replace it).
    """

    def __init__(
        self,
        name: str,
        sender: Sender,
        *,
        spill: Spill | None = None,
        limits: ExportLimits = ExportLimits(),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.name = name
        self._sender = sender
        self._limits = limits
        self._sleep = sleep
        self._is_open = False
        self._waiting: deque[SpanBatch] = deque()
        self._waiting_bytes = 0
        self._busy_bytes = 0  # of batches that are being sent or written
        self._arrived = asyncio.Event()
        self._sent_spans = 0
        self._retry_count = 0
        self._losses = Losses(name)
        self._spill = None if spill is None else SpillFiles(spill, self._losses.count)
        self._disk = CallingThread(f"spill of {name}")
        self._is_crowded = asyncio.Event()
        self._is_drained = asyncio.Event()
        self._is_drained.set()
        self._has_spilled = asyncio.Event()
        self._spill_failure = ""

    @property
    def stats(self) -> ExportStats:
        return ExportStats(
            self.name,
            self._sent_spans,
            dict(self._losses.spans),
            self._retry_count,
            queue_bytes=self._held_bytes,
            spill_bytes=0 if self._spill is None else self._spill.byte_count,
        )

    def offer(self, batches: Iterable[SpanBatch]) -> None:
        """Takes them into the queue; the oldest go if it is full. Never blocks."""
        for batch in batches:
            self._waiting.append(batch)
            self._waiting_bytes += len(batch.otlp)
        # The oldest goes first: in an outage, people look at what happens now.
        while self._waiting and self._held_bytes > self._limits.queue_bytes_max:
            self._drop_oldest(DropReason.QUEUE_FULL, "it is too slow for what is offered")
        if self._waiting:
            self._arrived.set()
            self._is_drained.clear()
        if self._waiting_bytes > RELIEF_FROM * self._limits.queue_bytes_max:
            self._is_crowded.set()

    async def run(self) -> None:
        """Sends until cancelled; what was not delivered then stays for `flush`."""
        await self._open()
        async with asyncio.TaskGroup() as group:
            for _ in range(self._sender.in_flight_max):
                group.create_task(self._send_forever())
            if self._spill is not None:
                group.create_task(self._spill_forever(self._spill))

    async def flush(self, deadline_s: float) -> None:
        """Sends what is in memory, after `run` has ended. What `deadline_s` does not suffice for is
        spilled or dropped; what is on disk stays there.

        Returns as soon as nothing is left, and is the last that is called.
        """
        try:
            async with asyncio.timeout(deadline_s):
                await self._open()
                async with asyncio.TaskGroup() as group:
                    for _ in range(self._sender.in_flight_max):
                        group.create_task(self._send_waiting())
        except TimeoutError:
            await self._give_up(f"no answer within {deadline_s:g} s")
        await self._sender.close()
        if self._spill is not None:
            self._spill.close()
        self._disk.close()
        self._losses.log_now()

    async def _open(self) -> None:
        if not self._is_open:
            await self._sender.open()
            self._is_open = True

    async def _give_up(self, why: str) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SPILL_LAST_S):
                if self._spill is not None and await self._has_opened(self._spill):
                    while self._waiting and await self._put_aside(self._pop_oldest()):
                        pass
        while self._waiting:
            self._drop_oldest(DropReason.SHUTDOWN, why)

    @property
    def _held_bytes(self) -> int:
        return self._waiting_bytes + self._busy_bytes

    def _pop_oldest(self) -> SpanBatch:
        batch = self._waiting.popleft()
        self._waiting_bytes -= len(batch.otlp)
        return batch

    def _put_back(self, batch: SpanBatch) -> None:
        self._waiting.appendleft(batch)
        self._waiting_bytes += len(batch.otlp)

    def _drop_oldest(self, reason: DropReason, why: str) -> None:
        self._losses.count(reason, self._pop_oldest().span_count, why)

    @contextlib.contextmanager
    def _busy(self, batch: SpanBatch) -> Iterator[None]:
        """Its bytes count while it is in no queue."""
        self._busy_bytes += len(batch.otlp)
        try:
            yield
        finally:
            self._busy_bytes -= len(batch.otlp)

    async def _spill_forever(self, spill: SpillFiles) -> None:
        while not await self._has_opened(spill):
            await self._sleep(SPILL_RETRY_S)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._relieve_forever())
            group.create_task(self._recover_forever(spill))

    async def _relieve_forever(self) -> None:
        while True:
            await self._is_crowded.wait()
            self._is_crowded.clear()
            while self._waiting_bytes > RELIEF_UNTIL * self._limits.queue_bytes_max:
                if not await self._put_aside(self._pop_oldest()):
                    await self._sleep(SPILL_RETRY_S)
                    break

    async def _recover_forever(self, spill: SpillFiles) -> None:
        """One at a time: a destination that is just back has enough to do."""
        while True:
            if not spill.has_some:
                self._has_spilled.clear()
            await self._has_spilled.wait()
            await self._is_drained.wait()
            oldest = await self._disk.call(spill.oldest)
            if oldest is not None:
                await self._recover(spill, oldest)

    async def _recover(self, spill: SpillFiles, oldest: SpilledBatch) -> None:
        with self._busy(oldest.batch):
            last = await self._deliver(oldest.batch)
        if last is None:
            await self._disk.call(lambda: spill.remove(oldest.turn))

    async def _has_opened(self, spill: SpillFiles) -> bool:
        try:
            if await self._disk.call(spill.open):
                self._has_spilled.set()  # perhaps, from an earlier process
                return True
        except OSError as err:
            self._note_spill_failure(err.strerror or str(err))
        else:
            self._note_spill_failure("another process has it")
        return False

    async def _put_aside(self, batch: SpanBatch) -> bool:
        """Writes it to disk; False, with it back in the queue, where that is not possible."""
        spill = self._spill
        try:
            if spill is not None and spill.is_open:
                with self._busy(batch):
                    await self._disk.call(lambda: spill.put(batch))
                self._spill_failure = ""
                self._has_spilled.set()
                return True
        except OSError as err:
            self._note_spill_failure(err.strerror or str(err))
        except asyncio.CancelledError:
            self._put_back(batch)
            raise
        self._put_back(batch)
        return False

    def _note_spill_failure(self, reason: str) -> None:
        if reason != self._spill_failure:
            emit(SpillUnusable(self.name, reason))
        self._spill_failure = reason

    async def _send_forever(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            await self._send_waiting()

    async def _send_waiting(self) -> None:
        while self._waiting:
            batch = self._pop_oldest()
            try:
                with self._busy(batch):
                    last = await self._deliver(batch)
            except asyncio.CancelledError:
                self._put_back(batch)
                raise
            if last is not None and not await self._put_aside(batch):
                self._drop_oldest(DropReason.UNREACHABLE, last.message)
        self._is_drained.set()

    async def _deliver(self, batch: SpanBatch) -> Answer | None:
        """Sends until the batch is accepted or refused: None; or the last attempt's answer."""
        for attempt in range(1, self._limits.attempts_max + 1):
            answer = await self._sender.send(batch)
            if answer.outcome is not Outcome.UNAVAILABLE:
                self._settle(batch, answer)
                return None
            if attempt < self._limits.attempts_max:
                self._retry_count += 1
                await self._sleep(max(answer.retry_after_s, self._backoff_s(attempt)))
        return answer

    def _settle(self, batch: SpanBatch, answer: Answer) -> None:
        if answer.outcome is Outcome.REFUSED:
            self._losses.count(DropReason.REJECTED, batch.span_count, answer.message)
            return
        self._sent_spans += batch.span_count - answer.rejected_spans
        if answer.rejected_spans or answer.message:
            self._losses.count(DropReason.REJECTED, answer.rejected_spans, answer.message)

    def _backoff_s(self, attempt: int) -> float:
        wait_s: float = self._limits.backoff_first_s * 2 ** (attempt - 1)
        return min(wait_s, self._limits.backoff_s_max) * random.uniform(0.5, 1.0)

"""One destination's queue, bounded in bytes, and the attempts to send what is in it.

Rules: nothing waits for a destination but its own tasks. What does not fit the queue goes to the
spill, if there is one, else it is dropped, counted by reason and logged once per interval. A batch
that was cut off is repeated, so a destination may see it twice, which OTLP allows. Source:
OpenTelemetry Protocol 1.x, "OTLP/HTTP Throttling", "OTLP/gRPC Throttling".
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from ingress_controller.traces.export.destination import QUEUE_BYTES
from ingress_controller.traces.export.losses import DropReason, ExportStats, Losses
from ingress_controller.traces.export.sender import Answer, Outcome, Sender
from proxy.spans import SpanBatch


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
    """Sends what it is offered by `sender`. `name` is for people and counters.

    `sleep` waits between attempts (tests replace it).
    """

    def __init__(
        self,
        name: str,
        sender: Sender,
        *,
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
        self._sending_bytes = 0
        self._arrived = asyncio.Event()
        self._sent_spans = 0
        self._retry_count = 0
        self._losses = Losses(name)

    @property
    def stats(self) -> ExportStats:
        held_bytes = self._waiting_bytes + self._sending_bytes
        return ExportStats(
            self.name, self._sent_spans, dict(self._losses.spans), self._retry_count, held_bytes
        )

    def offer(self, batches: Iterable[SpanBatch]) -> None:
        """Takes them into the queue; the oldest go if it is full. Never blocks."""
        for batch in batches:
            self._waiting.append(batch)
            self._waiting_bytes += len(batch.otlp)
        # The oldest goes first: in an outage, people look at what happens now.
        room_bytes = self._limits.queue_bytes_max - self._sending_bytes
        while self._waiting and self._waiting_bytes > room_bytes:
            self._drop_oldest(DropReason.QUEUE_FULL, "it is too slow for what is offered")
        if self._waiting:
            self._arrived.set()

    async def run(self) -> None:
        """Sends until cancelled; what was not delivered then stays for `flush`."""
        await self._open()
        async with asyncio.TaskGroup() as group:
            for _ in range(self._sender.in_flight_max):
                group.create_task(self._send_forever())

    async def flush(self, deadline_s: float) -> None:
        """Sends what is left, after `run` has ended; drops what `deadline_s` does not suffice for.

        Returns as soon as nothing is left, and is the last that is called.
        """
        try:
            async with asyncio.timeout(deadline_s):
                await self._open()
                async with asyncio.TaskGroup() as group:
                    for _ in range(self._sender.in_flight_max):
                        group.create_task(self._send_waiting())
        except TimeoutError:
            while self._waiting:
                self._drop_oldest(DropReason.SHUTDOWN, f"no answer within {deadline_s:g} s")
        await self._sender.close()
        self._losses.log_now()

    async def _open(self) -> None:
        if not self._is_open:
            await self._sender.open()
            self._is_open = True

    def _pop_oldest(self) -> SpanBatch:
        batch = self._waiting.popleft()
        self._waiting_bytes -= len(batch.otlp)
        return batch

    def _put_back(self, batch: SpanBatch) -> None:
        self._waiting.appendleft(batch)
        self._waiting_bytes += len(batch.otlp)

    def _drop_oldest(self, reason: DropReason, why: str) -> None:
        self._losses.count(reason, self._pop_oldest().span_count, why)

    async def _send_forever(self) -> None:
        while True:
            await self._arrived.wait()
            await self._send_waiting()
            self._arrived.clear()

    async def _send_waiting(self) -> None:
        while self._waiting:
            batch = self._pop_oldest()
            self._sending_bytes += len(batch.otlp)
            try:
                await self._deliver(batch)
            except asyncio.CancelledError:
                self._put_back(batch)
                raise
            finally:
                self._sending_bytes -= len(batch.otlp)

    async def _deliver(self, batch: SpanBatch) -> None:
        """Sends until the batch is accepted, refused, or out of attempts."""
        for attempt in range(1, self._limits.attempts_max + 1):
            answer = await self._sender.send(batch)
            if answer.outcome is not Outcome.UNAVAILABLE:
                self._settle(batch, answer)
                return
            if attempt < self._limits.attempts_max:
                self._retry_count += 1
                await self._sleep(max(answer.retry_after_s, self._backoff_s(attempt)))
        self._losses.count(DropReason.UNREACHABLE, batch.span_count, answer.message)

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

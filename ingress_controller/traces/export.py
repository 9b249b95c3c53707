"""Posts the engine's span batches to an OTLP/HTTP endpoint, as they are.

Rules: nothing here waits for a tracing backend but its own tasks. What does not fit the bounded
queue is dropped, counted by reason and logged once per interval. Batches are never decoded, and are
let grow for a moment before they are taken: a post costs half a millisecond of CPU whatever its
length. One that was cut off is repeated, so a backend may see a batch twice, which OTLP allows.
Source: OpenTelemetry Protocol 1.x, "OTLP/HTTP Response" and "OTLP/HTTP Throttling".
"""

import asyncio
import logging
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TypeVar

import aiohttp
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from yarl import URL

from proxy.spans import SpanBatch

log = logging.getLogger(__name__)

LOG_INTERVAL_S = 10.0
"""Losses of one kind are logged at most this often; the line has their sum."""

RESPONSE_BYTES_MAX = 64 * 1024
"""What is read of an answer: enough for its message."""

RETRY_AFTER_S_MAX = 300.0
"""A backend that asks for more is asked again after this."""

_RETRYABLE = frozenset({429, 502, 503, 504})

_M = TypeVar("_M", bound=Message)


@dataclass(frozen=True, slots=True)
class ExportLimits:
    """Every bound of an exporter.

    Seven attempts with these waits take about a minute, which is what the Go SDK allows
    (otlptracehttp: MaxElapsedTime 1 min, MaxInterval 30 s).
    """

    queue_bytes_max: int = 32 * 1024 * 1024  # 1.6 s at 20,000 requests/s of 1 KiB of spans
    linger_s: float = 0.05  # a batch waits for others; 1 MB at 20,000 requests/s
    in_flight_max: int = 4
    timeout_s: float = 10.0  # OTEL_EXPORTER_OTLP_TIMEOUT
    attempts_max: int = 7
    backoff_first_s: float = 1.0
    backoff_s_max: float = 30.0


class DropReason(StrEnum):
    """Why spans were not delivered."""

    QUEUE_FULL = "queue_full"
    REJECTED = "rejected"  # the backend refused the batch or some of its spans
    UNREACHABLE = "unreachable"  # every attempt failed
    SHUTDOWN = "shutdown"  # the deadline of the last flush passed


@dataclass(frozen=True, slots=True)
class ExportStats:
    """Counts since the start. `queue_bytes` is held now, including what is being posted."""

    sent_spans: int
    dropped_spans: Mapping[DropReason, int]
    retry_count: int
    queue_bytes: int


class Exporter:
    """Takes batches whenever `fd` is readable and posts each to the traces URL `endpoint`.

    `take` returns and removes what waits in the engine and makes `fd` unreadable again; it must
    not block. `sleep` waits between attempts (tests replace it).
    """

    def __init__(  # noqa: PLR0913 - the sixth is the clock, which only tests replace
        self,
        take: Callable[[], list[SpanBatch]],
        fd: int,
        endpoint: str,
        *,
        headers: Mapping[str, str] | None = None,
        limits: ExportLimits = ExportLimits(),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._take = take
        self._fd = fd
        self._endpoint = URL(endpoint)
        self._headers = {**(headers or {}), "Content-Type": "application/x-protobuf"}
        self._limits = limits
        self._sleep = sleep
        self._waiting: deque[SpanBatch] = deque()
        self._waiting_bytes = 0
        self._posting_bytes = 0
        self._arrived = asyncio.Event()
        self._pause: asyncio.TimerHandle | None = None
        self._sent_spans = 0
        self._retry_count = 0
        self._losses = _Losses()

    @property
    def stats(self) -> ExportStats:
        held_bytes = self._waiting_bytes + self._posting_bytes
        return ExportStats(
            self._sent_spans, dict(self._losses.spans), self._retry_count, held_bytes
        )

    async def run(self) -> None:
        """Takes and posts until cancelled; what was not delivered then stays for `flush`."""
        self._watch()
        try:
            async with self._session() as session, asyncio.TaskGroup() as group:
                for _ in range(self._limits.in_flight_max):
                    group.create_task(self._post_forever(session))
        finally:
            asyncio.get_running_loop().remove_reader(self._fd)
            if self._pause is not None:
                self._pause.cancel()

    async def flush(self, deadline_s: float) -> None:
        """Posts what is left, after `run` has ended; drops what `deadline_s` does not suffice for.

        Returns as soon as nothing is left.
        """
        self._collect()
        try:
            async with (
                asyncio.timeout(deadline_s),
                self._session() as session,
                asyncio.TaskGroup() as group,
            ):
                for _ in range(self._limits.in_flight_max):
                    group.create_task(self._post_waiting(session))
        except TimeoutError:
            while self._waiting:
                self._drop_oldest(DropReason.SHUTDOWN, f"no answer within {deadline_s:g} s")
        self._losses.log_now()

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=self._limits.timeout_s),
            connector=aiohttp.TCPConnector(limit=self._limits.in_flight_max),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    def _watch(self) -> None:
        asyncio.get_running_loop().add_reader(self._fd, self._linger)

    def _linger(self) -> None:
        """Looks away for `linger_s`: to be woken for each batch costs more than to post it."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._fd)
        self._pause = loop.call_later(self._limits.linger_s, self._look_again)

    def _look_again(self) -> None:
        self._collect()
        self._watch()

    def _collect(self) -> None:
        for batch in self._take():
            self._waiting.append(batch)
            self._waiting_bytes += len(batch.otlp)
        # The oldest goes first: in an outage, people look at what happens now.
        room_bytes = self._limits.queue_bytes_max - self._posting_bytes
        while self._waiting and self._waiting_bytes > room_bytes:
            self._drop_oldest(DropReason.QUEUE_FULL, f"{self._endpoint} is too slow")
        if self._waiting:
            self._arrived.set()

    def _pop_oldest(self) -> SpanBatch:
        batch = self._waiting.popleft()
        self._waiting_bytes -= len(batch.otlp)
        return batch

    def _drop_oldest(self, reason: DropReason, why: str) -> None:
        self._losses.count(reason, self._pop_oldest().span_count, why)

    async def _post_forever(self, session: aiohttp.ClientSession) -> None:
        while True:
            await self._arrived.wait()
            await self._post_waiting(session)
            self._arrived.clear()

    async def _post_waiting(self, session: aiohttp.ClientSession) -> None:
        while self._waiting:
            await self._post(session, self._pop_oldest())

    async def _post(self, session: aiohttp.ClientSession, batch: SpanBatch) -> None:
        self._posting_bytes += len(batch.otlp)
        try:
            await self._deliver(session, batch)
        except asyncio.CancelledError:
            self._waiting.appendleft(batch)
            self._waiting_bytes += len(batch.otlp)
            raise
        finally:
            self._posting_bytes -= len(batch.otlp)

    async def _deliver(self, session: aiohttp.ClientSession, batch: SpanBatch) -> None:
        """Posts until the batch is accepted, refused, or out of attempts."""
        for attempt in range(1, self._limits.attempts_max + 1):
            answer = await self._attempt(session, batch)
            if answer.status == _OK:
                self._sent_spans += batch.span_count - answer.rejected_spans
                if answer.rejected_spans or answer.message:
                    self._losses.count(DropReason.REJECTED, answer.rejected_spans, answer.message)
                return
            if answer.status not in _RETRYABLE:
                self._losses.count(DropReason.REJECTED, batch.span_count, answer.message)
                return
            if attempt < self._limits.attempts_max:
                self._retry_count += 1
                await self._sleep(max(answer.retry_after_s, self._backoff_s(attempt)))
        self._losses.count(DropReason.UNREACHABLE, batch.span_count, answer.message)

    async def _attempt(self, session: aiohttp.ClientSession, batch: SpanBatch) -> "_Answer":
        post = session.post(self._endpoint, data=batch.otlp, allow_redirects=False)
        try:
            async with post as response:
                return await _read_answer(response)
        except (aiohttp.ClientError, TimeoutError) as err:
            return _Answer(_NO_ANSWER, f"no answer: {str(err) or type(err).__name__}")

    def _backoff_s(self, attempt: int) -> float:
        wait_s: float = self._limits.backoff_first_s * 2 ** (attempt - 1)
        return min(wait_s, self._limits.backoff_s_max) * random.uniform(0.5, 1.0)


_OK = 200
_NO_ANSWER = 503
"""A connection error or timeout is retried as an unavailable backend is."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    message: str
    retry_after_s: float = 0.0
    rejected_spans: int = 0


async def _read_answer(response: aiohttp.ClientResponse) -> _Answer:
    body = bytearray()
    while len(body) < RESPONSE_BYTES_MAX and (piece := await response.content.readany()):
        body += piece[: RESPONSE_BYTES_MAX - len(body)]
    is_protobuf = response.content_type == "application/x-protobuf"
    if 200 <= response.status < 300:  # noqa: PLR2004 - "successful" by RFC 9110, section 15.3
        if not is_protobuf:
            return _Answer(_OK, "")
        partial = _parsed(ExportTraceServiceResponse, body).partial_success
        return _Answer(_OK, partial.error_message, rejected_spans=partial.rejected_spans)
    # An error carries a google.rpc.Status, whose fields 1 (code) and 2 (message) have the numbers
    # and types of this message's; that saves the dependency on googleapis-common-protos.
    text = (
        _parsed(ExportTracePartialSuccess, body).error_message
        if is_protobuf
        else body.decode(errors="replace")
    )
    message = f"HTTP {response.status} {text.strip() or response.reason or ''}".strip()
    return _Answer(response.status, message, _retry_after_s(response.headers.get("Retry-After")))


def _parsed(message: type[_M], body: bytearray) -> _M:
    """`body` as a message; an empty one where it is not: an answer is no reason to lose spans."""
    try:
        return message.FromString(bytes(body))
    except DecodeError:
        return message()


def _retry_after_s(value: str | None) -> float:
    """Seconds from a Retry-After header, either of its forms; 0 where absent or unreadable.

    Source: RFC 9110, section 10.2.3.
    """
    if value is None:
        return 0.0
    try:
        wait_s = float(value) if value.isdecimal() else _seconds_until(value)
    except ValueError:
        return 0.0
    return min(max(wait_s, 0.0), RETRY_AFTER_S_MAX)


def _seconds_until(http_date: str) -> float:
    return parsedate_to_datetime(http_date).timestamp() - time.time()


class _Losses:
    """Counts lost spans and logs them: the first at once, then one line an interval and reason."""

    def __init__(self) -> None:
        self.spans: Counter[DropReason] = Counter()
        self._unlogged: Counter[DropReason] = Counter()
        self._why: dict[DropReason, str] = {}
        self._quiet_until_s: dict[DropReason, float] = {}

    def count(self, reason: DropReason, span_count: int, why: str) -> None:
        self.spans[reason] += span_count
        self._unlogged[reason] += span_count
        self._why[reason] = why
        if time.monotonic() >= self._quiet_until_s.get(reason, 0.0):
            self._log(reason)

    def log_now(self) -> None:
        for reason in [reason for reason, count in self._unlogged.items() if count]:
            self._log(reason)

    def _log(self, reason: DropReason) -> None:
        self._quiet_until_s[reason] = time.monotonic() + LOG_INTERVAL_S
        span_count = self._unlogged.pop(reason)
        log.error("Lost %d spans (%s): %s", span_count, reason, self._why[reason])

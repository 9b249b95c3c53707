"""The exporter against a real HTTP server on loopback."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceResponse,
)

from ingress_controller.traces.export import DropReason, Exporter, ExportLimits
from proxy.spans import SpanBatch

BATCH = SpanBatch(b"three spans", 3)
PROTOBUF = "application/x-protobuf"
ONE_AT_A_TIME = ExportLimits(in_flight_max=1, linger_s=0.001)

Answer = Callable[[], Awaitable[web.Response]]


class Rig:
    """An engine's queue whose descriptor is readable while batches wait, and a tracing backend.

    The backend gives `answers` in turn, then always 200. `waits` are the seconds that exporters
    asked to wait between attempts, none of which passed.
    """

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.bodies: list[bytes] = []
        self.headers: dict[str, str] = {}
        self.waits: list[float] = []
        self.url = ""
        self._fd = os.eventfd(0, os.EFD_NONBLOCK)
        self._batches: list[SpanBatch] = []
        self._arrived = asyncio.Condition()

    def put(self, *batches: SpanBatch) -> None:
        self._batches += batches
        os.eventfd_write(self._fd, 1)

    def exporter(
        self, limits: ExportLimits = ONE_AT_A_TIME, *, endpoint: str = "", secret: str = ""
    ) -> Exporter:
        return Exporter(
            self._take,
            self._fd,
            endpoint or self.url,
            headers={"Authorization": secret},
            limits=limits,
            sleep=self._note_wait,
        )

    async def received(self, count: int) -> list[bytes]:
        async with asyncio.timeout(5), self._arrived:
            await self._arrived.wait_for(lambda: len(self.bodies) >= count)
        return self.bodies

    async def receive(self, request: web.Request) -> web.Response:
        async with self._arrived:
            self.bodies.append(await request.read())
            self.headers = dict(request.headers)
            self._arrived.notify_all()
        return await self.answers.pop(0)() if self.answers else web.Response()

    def close(self) -> None:
        os.close(self._fd)

    def _take(self) -> list[SpanBatch]:
        if self._batches:
            os.eventfd_read(self._fd)
        taken, self._batches = self._batches, []
        return taken

    async def _note_wait(self, wait_s: float) -> None:
        self.waits.append(wait_s)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    app = web.Application(client_max_size=8 * 1024 * 1024)
    app.router.add_post("/v1/traces", rig.receive)
    async with TestServer(app) as server:
        rig.url = str(server.make_url("/v1/traces"))
        yield rig
    rig.close()


@asynccontextmanager
async def running(exporter: Exporter) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(exporter.run())
        yield
        task.cancel()


def answer(status: int = 200, *, body: bytes = b"too much", **headers: str) -> Answer:
    async def give() -> web.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=body, headers=named)

    return give


async def never() -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError("nothing sets this event")


async def test_a_batch_is_posted_as_it_is_when_the_descriptor_is_readable(rig: Rig) -> None:
    exporter = rig.exporter(secret="Bearer abc")
    async with running(exporter):
        rig.put(SpanBatch(b"first", 1))
        assert await rig.received(1) == [b"first"]
        rig.put(SpanBatch(b"second", 2))
        assert await rig.received(2) == [b"first", b"second"]
    await exporter.flush(5)
    assert rig.headers["Content-Type"] == "application/x-protobuf"
    assert rig.headers["Authorization"] == "Bearer abc"
    assert exporter.stats.sent_spans == 3
    assert exporter.stats.queue_bytes == 0


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_an_overloaded_backend_is_asked_again(rig: Rig, status: int) -> None:
    rig.answers = [answer(status)]
    rig.put(BATCH)
    exporter = rig.exporter()
    await exporter.flush(5)
    assert rig.bodies == [BATCH.otlp, BATCH.otlp]
    assert (exporter.stats.sent_spans, exporter.stats.retry_count) == (3, 1)
    assert exporter.stats.dropped_spans == {}


async def test_waits_between_attempts_grow_up_to_their_bound(rig: Rig) -> None:
    rig.answers = [answer(503)] * 6
    rig.put(BATCH)
    await rig.exporter(ExportLimits(backoff_first_s=1, backoff_s_max=4)).flush(5)
    for wait_s, longest_s in zip(rig.waits, [1, 2, 4, 4, 4, 4], strict=True):
        assert longest_s / 2 <= wait_s <= longest_s


async def test_retry_after_in_seconds_is_honoured(rig: Rig) -> None:
    rig.answers = [answer(429, Retry_After="17")]
    rig.put(BATCH)
    await rig.exporter().flush(5)
    assert rig.waits == [17.0]


async def test_retry_after_as_a_date_is_honoured(rig: Rig) -> None:
    rig.answers = [answer(503, Retry_After=formatdate(time.time() + 120, usegmt=True))]
    rig.put(BATCH)
    await rig.exporter().flush(5)
    assert len(rig.waits) == 1
    assert 60 < rig.waits[0] <= 120


@pytest.mark.parametrize("value", ["soon", "-5", "", "²", "Mon, 99 Foo 2020 00:00:00 GMT"])
async def test_an_unreadable_retry_after_is_ignored(rig: Rig, value: str) -> None:
    rig.answers = [answer(503, Retry_After=value)]
    rig.put(BATCH)
    exporter = rig.exporter()
    await exporter.flush(5)
    assert exporter.stats.sent_spans == 3


@pytest.mark.parametrize("status", [302, 400, 401, 404, 413, 500])
async def test_a_refused_batch_is_not_repeated_and_the_reason_is_logged(
    rig: Rig, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    rig.answers = [answer(status)]
    rig.put(BATCH)
    exporter = rig.exporter()
    await exporter.flush(5)
    assert len(rig.bodies) == 1
    assert exporter.stats.dropped_spans == {DropReason.REJECTED: 3}
    assert caplog.messages == [f"Lost 3 spans (rejected): HTTP {status} too much"]


async def test_a_protobuf_status_is_logged_as_its_message(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    status = b"\x08\x03\x12\x0aspan too x"  # google.rpc.Status{code: 3, message: "span too x"}
    rig.answers = [answer(400, body=status, Content_Type=PROTOBUF)]
    rig.put(BATCH)
    await rig.exporter().flush(5)
    assert caplog.messages == ["Lost 3 spans (rejected): HTTP 400 span too x"]


async def test_spans_of_a_partial_success_are_counted_and_not_repeated(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    partial = ExportTraceServiceResponse()
    partial.partial_success.rejected_spans = 2
    partial.partial_success.error_message = "too old"
    rig.answers = [answer(body=partial.SerializeToString(), Content_Type=PROTOBUF)]
    rig.put(BATCH)
    exporter = rig.exporter()
    await exporter.flush(5)
    assert len(rig.bodies) == 1
    assert exporter.stats.sent_spans == 1
    assert exporter.stats.dropped_spans == {DropReason.REJECTED: 2}
    assert caplog.messages == ["Lost 2 spans (rejected): too old"]


async def test_a_garbled_answer_to_a_success_loses_nothing(rig: Rig) -> None:
    rig.answers = [answer(body=b"\xff\xff", Content_Type=PROTOBUF)]
    rig.put(BATCH)
    exporter = rig.exporter()
    await exporter.flush(5)
    assert exporter.stats.sent_spans == 3


async def test_a_backend_that_never_answers_is_asked_again(rig: Rig) -> None:
    rig.answers = [never]
    rig.put(BATCH)
    exporter = rig.exporter(ExportLimits(in_flight_max=1, timeout_s=0.05))
    await exporter.flush(5)
    assert len(rig.bodies) == 2
    assert exporter.stats.sent_spans == 3


async def test_spans_are_given_up_when_every_attempt_is_refused_a_connection(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    rig.put(BATCH)
    exporter = rig.exporter(
        ExportLimits(attempts_max=3), endpoint=f"http://127.0.0.1:{port}/v1/traces"
    )
    await exporter.flush(5)
    assert exporter.stats.retry_count == 2
    assert exporter.stats.dropped_spans == {DropReason.UNREACHABLE: 3}
    assert f"127.0.0.1:{port}" in caplog.messages[0]


async def test_a_full_queue_drops_the_oldest(rig: Rig) -> None:
    rig.put(*(SpanBatch(bytes([number]) * 10, 1) for number in range(5)))
    exporter = rig.exporter(ExportLimits(in_flight_max=1, queue_bytes_max=30))
    await exporter.flush(5)
    assert rig.bodies == [bytes([number]) * 10 for number in (2, 3, 4)]
    assert exporter.stats.dropped_spans == {DropReason.QUEUE_FULL: 2}


async def test_losses_of_one_kind_are_one_line_an_interval_with_their_sum(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.put(*(SpanBatch(b"x" * 10, 1) for _ in range(5)))
    await rig.exporter(ExportLimits(queue_bytes_max=10)).flush(5)
    assert [message.split(":")[0] for message in caplog.messages] == [
        "Lost 1 spans (queue_full)",
        "Lost 3 spans (queue_full)",
    ]


async def test_what_a_cancelled_run_was_posting_is_flushed(rig: Rig) -> None:
    rig.answers = [never]
    exporter = rig.exporter()
    async with running(exporter):
        rig.put(BATCH)
        await rig.received(1)
    assert exporter.stats.queue_bytes == len(BATCH.otlp)
    await exporter.flush(5)
    assert len(rig.bodies) == 2
    assert exporter.stats.sent_spans == 3
    assert exporter.stats.queue_bytes == 0


async def test_a_flush_ends_at_its_deadline_and_counts_what_it_left(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.answers = [never, never]
    rig.put(BATCH, BATCH)
    exporter = rig.exporter()
    await exporter.flush(0.05)
    assert exporter.stats.dropped_spans == {DropReason.SHUTDOWN: 6}
    assert exporter.stats.queue_bytes == 0
    assert "no answer within 0.05 s" in caplog.messages[-1]

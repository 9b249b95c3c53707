"""A tracing backend that is away for ten minutes at 5,000 requests/s, at a thousandth of the bytes.

The backend is a real HTTP server; a second is a millisecond.
"""

import asyncio
import fcntl
import gzip
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from eventually import until
from export_rig import ExportRig, running

from ingress_controller.traces.export.destination import OtlpHttp, Spill
from ingress_controller.traces.export.exporter import Exporter, ExportLimits
from ingress_controller.traces.export.losses import DropReason, ExportStats
from ingress_controller.traces.export.otlp_http import OtlpHttpSender
from proxy.spans import SpanBatch

SECONDS = 600
BATCHES = 1  # in a second
BATCH_BYTES = 8_500  # 5,000 requests of 1.7 KiB a second, by 1,000
BATCH_SPANS = 15
ALL_SPANS = (SECONDS + 1) * BATCHES * BATCH_SPANS
NOISE = os.urandom(BATCH_BYTES)  # it is not to shrink on disk
FILE_BYTES = len(gzip.compress(NOISE, 1))
LIMITS = ExportLimits(queue_bytes_max=128 * 1024)
SPILL_BYTES_MAX = 512 * 1024


class Backend:
    """Takes nothing until `is_there`."""

    def __init__(self) -> None:
        self.is_there = False
        self.received: list[int] = []
        self.url = ""

    async def receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        if not self.is_there:
            return web.Response(status=503)
        self.received.append(int(body[:6]))
        return web.Response()


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    backend = Backend()
    app = web.Application()
    app.router.add_post("/v1/traces", backend.receive)
    async with TestServer(app) as server:
        backend.url = str(server.make_url("/v1/traces"))
        yield backend


def second(number: int) -> list[SpanBatch]:
    """Its batches; each says its number."""
    numbers = range(number * BATCHES, (number + 1) * BATCHES)
    return [SpanBatch(b"%06d" % each + NOISE[6:], BATCH_SPANS) for each in numbers]


def is_relieved(exporter: Exporter, limits: ExportLimits = LIMITS) -> bool:
    """Beside what is being sent there is not more than a quarter."""
    sending = OtlpHttpSender.in_flight_max * BATCH_BYTES
    return exporter.stats.queue_bytes <= sending + limits.queue_bytes_max // 4


def in_directory(directory: Path) -> int:
    """Bytes of batches; one may be delivered and removed meanwhile."""
    total = 0
    for path in directory.glob("*.otlp.gz"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


async def through_outage(
    rig: ExportRig, backend: Backend, spill: Spill | None
) -> tuple[Exporter, list[ExportStats]]:
    """The exporter, after all has been settled, and its stats second by second."""
    exporter = rig.exporter(OtlpHttpSender(OtlpHttp(url=backend.url)), LIMITS, spill=spill)
    exporters = rig.exporters(exporter)
    seen = []
    async with running(exporters):
        if spill is not None:
            await until((spill.directory / "lock").exists)
        for number in range(SECONDS):
            exporters.offer(second(number))
            seen.append(exporter.stats)
            if spill is None:
                await asyncio.sleep(0)
                continue
            # A real disk has a second for these.
            await until(lambda: is_relieved(exporter))
            if number % 50 == 0:
                assert in_directory(spill.directory) <= SPILL_BYTES_MAX
        backend.is_there = True
        exporters.offer(second(SECONDS))
        await until(lambda: exporter.stats.queue_bytes == exporter.stats.spill_bytes == 0)
    await exporters.flush(5)
    return exporter, seen


def lock_is_free(directory: Path) -> bool:
    with (directory / "lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def lost(stats: ExportStats) -> int:
    return sum(stats.dropped_spans.values())


async def test_without_a_spill_memory_is_bounded_and_the_newest_are_delivered(
    backend: Backend,
) -> None:
    rig = ExportRig(time_scale=0.001)
    exporter, seen = await through_outage(rig, backend, None)

    assert max(stats.queue_bytes for stats in seen) <= LIMITS.queue_bytes_max
    assert exporter.stats.sent_spans + lost(exporter.stats) == ALL_SPANS
    assert max(backend.received) == (SECONDS + 1) * BATCHES - 1
    assert exporter.stats.dropped_spans[DropReason.QUEUE_FULL] > 0
    rig.close()


async def test_with_a_spill_what_it_has_room_for_comes_back(
    backend: Backend, tmp_path: Path
) -> None:
    rig = ExportRig(time_scale=0.001)
    exporter, seen = await through_outage(rig, backend, Spill(tmp_path, SPILL_BYTES_MAX))

    assert max(stats.queue_bytes for stats in seen) <= LIMITS.queue_bytes_max
    assert max(stats.spill_bytes for stats in seen) <= SPILL_BYTES_MAX
    assert exporter.stats.sent_spans + lost(exporter.stats) == ALL_SPANS
    assert set(exporter.stats.dropped_spans) == {DropReason.SPILL_FULL}
    kept = SPILL_BYTES_MAX // FILE_BYTES
    assert len(set(backend.received)) >= kept
    assert max(backend.received) == (SECONDS + 1) * BATCHES - 1
    assert in_directory(tmp_path) == 0
    rig.close()


async def test_a_spill_with_room_for_all_loses_nothing(backend: Backend, tmp_path: Path) -> None:
    rig = ExportRig(time_scale=0.001)
    roomy = Spill(tmp_path, 16 * 1024 * 1024)
    exporter = rig.exporter(OtlpHttpSender(OtlpHttp(url=backend.url)), LIMITS, spill=roomy)
    exporters = rig.exporters(exporter)
    async with running(exporters):
        await until((tmp_path / "lock").exists)
        for number in range(60):
            exporters.offer(second(number))
            await until(lambda: is_relieved(exporter))
        backend.is_there = True
        await until(lambda: exporter.stats.queue_bytes == exporter.stats.spill_bytes == 0)
    await exporters.flush(5)

    assert set(backend.received) == set(range(60 * BATCHES))
    assert exporter.stats.dropped_spans == {}
    rig.close()


async def test_with_a_spill_only_a_quarter_of_the_queue_waits_and_the_rest_is_for_a_busy_disk(
    backend: Backend, tmp_path: Path
) -> None:
    rig = ExportRig(time_scale=1)  # so that no batch is given up meanwhile
    limits = ExportLimits(queue_bytes_max=256 * 1024)
    sender = OtlpHttpSender(OtlpHttp(url=backend.url))
    exporter = rig.exporter(sender, limits, spill=Spill(tmp_path))
    async with running(rig.exporters(exporter)):
        for number in range(60):
            exporter.offer(second(number))
            await until(lambda: is_relieved(exporter, limits))
    await exporter.flush(0)

    assert exporter.stats.dropped_spans == {}
    assert in_directory(tmp_path) == exporter.stats.spill_bytes > 50 * FILE_BYTES
    rig.close()


async def test_what_is_in_memory_at_the_end_is_spilled_and_sent_by_the_next_process(
    backend: Backend, tmp_path: Path
) -> None:
    rig = ExportRig(time_scale=0.001)

    def of_process() -> Exporter:
        sender = OtlpHttpSender(OtlpHttp(url=backend.url))
        return Exporter("backend", sender, spill=Spill(tmp_path))

    first = of_process()
    async with running(rig.exporters(first)):
        first.offer(second(0))
    await first.flush(0.05)
    assert first.stats.dropped_spans == {}
    assert in_directory(tmp_path) == BATCHES * FILE_BYTES

    backend.is_there = True
    next_one = of_process()
    async with running(rig.exporters(next_one)):
        await until(lambda: next_one.stats.sent_spans == BATCHES * BATCH_SPANS)
    await next_one.flush(5)
    assert sorted(set(backend.received)) == list(range(BATCHES))
    rig.close()


async def test_a_directory_that_another_process_has_is_taken_when_it_is_free(
    backend: Backend, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = ExportRig(time_scale=0.001)
    backend.is_there = True
    sender = OtlpHttpSender(OtlpHttp(url=backend.url))
    old = rig.exporter(sender, name="old", spill=Spill(tmp_path))
    new = rig.exporter(OtlpHttpSender(OtlpHttp(url=backend.url)), spill=Spill(tmp_path))
    async with running(rig.exporters(old)):
        await until((tmp_path / "lock").exists)
        async with running(rig.exporters(new)):
            await until(lambda: caplog.messages)
            new.offer(second(0))
            await until(lambda: new.stats.sent_spans)  # without it for now
            await old.flush(5)
            await until(lambda: not lock_is_free(tmp_path))  # by the new one
    await new.flush(5)

    assert caplog.messages == ['SpillUnusable exporter=backend reason="another process has it"']
    rig.close()

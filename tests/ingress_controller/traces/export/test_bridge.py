"""Exporters of the OpenTelemetry SDK, as strangers write them, behind the bridge."""

import threading
from collections.abc import Iterator, Sequence

import pytest
from eventually import until
from export_rig import ExportRig, running
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from sample_spans import batch

from ingress_controller.traces.export.bridge import BridgeSender
from ingress_controller.traces.export.destination import (
    Console,
    PythonFactory,
    Zipkin,
)
from ingress_controller.traces.export.exporter import ExportLimits
from ingress_controller.traces.export.exporters import Exporters
from ingress_controller.traces.export.losses import DropReason
from ingress_controller.traces.export.sdk_exporters import sdk_exporter
from proxy.spans import SpanBatch


class Stranger(SpanExporter):
    """Does in turn what `acts` say: gives a result or raises; then always succeeds."""

    def __init__(self, *acts: SpanExportResult | Exception) -> None:
        self.acts = list(acts)
        self.calls: list[list[ReadableSpan]] = []
        self.threads: set[int] = set()
        self.shut_downs = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.threads.add(threading.get_ident())
        act = self.acts.pop(0) if self.acts else SpanExportResult.SUCCESS
        if isinstance(act, Exception):
            raise act
        self.calls.append(list(spans))
        return act

    def shutdown(self) -> None:
        self.shut_downs += 1


class Hanging(SpanExporter):
    def __init__(self) -> None:
        self.is_freed = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002
        self.is_freed.wait()
        return SpanExportResult.SUCCESS


@pytest.fixture
def rig() -> Iterator[ExportRig]:
    rig = ExportRig()
    yield rig
    rig.close()


def bridged(
    rig: ExportRig, exporter: SpanExporter, *, spans_max: int | None = None, attempts_max: int = 7
) -> Exporters:
    sender = BridgeSender(exporter, spans_max=spans_max)
    return rig.exporters(rig.exporter(sender, ExportLimits(attempts_max=attempts_max)))


async def test_spans_are_exported_in_a_thread_some_at_a_time(rig: ExportRig) -> None:
    stranger = Stranger()
    rig.put(batch(5), batch(1))
    exporters = bridged(rig, stranger, spans_max=2)

    await exporters.flush(5)

    assert [len(spans) for spans in stranger.calls] == [2, 2, 1, 1]
    assert stranger.threads.isdisjoint({threading.get_ident()})
    assert exporters.stats[0].sent_spans == 6
    assert stranger.shut_downs == 1


async def test_a_failure_is_final_and_counted(rig: ExportRig) -> None:
    rig.put(batch(3))
    exporters = bridged(rig, Stranger(SpanExportResult.FAILURE), spans_max=2)

    await exporters.flush(5)

    assert exporters.stats[0].sent_spans == 1
    assert exporters.stats[0].dropped_spans == {DropReason.REJECTED: 2}
    assert exporters.stats[0].retry_count == 0


async def test_what_is_raised_is_tried_again_without_what_was_exported(rig: ExportRig) -> None:
    stranger = Stranger(SpanExportResult.SUCCESS, ConnectionError("away"))
    rig.put(batch(3))
    exporters = bridged(rig, stranger, spans_max=2)

    await exporters.flush(5)

    assert [len(spans) for spans in stranger.calls] == [2, 1]
    assert exporters.stats[0].sent_spans == 3
    assert exporters.stats[0].retry_count == 1


async def test_what_is_always_raised_is_given_up(
    rig: ExportRig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.put(batch(3))
    exporters = bridged(rig, Stranger(*[ConnectionError("away")] * 3), attempts_max=3)

    await exporters.flush(5)

    assert exporters.stats[0].dropped_spans == {DropReason.UNREACHABLE: 3}
    assert "ConnectionError: away" in caplog.messages[0]


async def test_an_exporter_that_hangs_holds_up_neither_others_nor_the_end(rig: ExportRig) -> None:
    hanging, stranger = Hanging(), Stranger()
    exporters = rig.exporters(
        rig.exporter(BridgeSender(hanging), name="hanging"),
        rig.exporter(BridgeSender(stranger), name="stranger"),
    )
    async with running(exporters):
        rig.put(batch(3))
        await until(lambda: exporters.stats[1].sent_spans == 3)
    await exporters.flush(0.05)
    hanging.is_freed.set()

    assert exporters.stats[0].dropped_spans == {DropReason.SHUTDOWN: 3}


async def test_what_is_no_otlp_is_refused_at_once(rig: ExportRig) -> None:
    rig.put(SpanBatch(b"\xff", 3))
    exporters = bridged(rig, Stranger())

    await exporters.flush(5)

    assert exporters.stats[0].dropped_spans == {DropReason.REJECTED: 3}


async def test_the_console_gets_each_span(
    rig: ExportRig, capsys: pytest.CaptureFixture[str]
) -> None:
    rig.put(batch(2))

    await bridged(rig, sdk_exporter(Console())).flush(5)

    assert capsys.readouterr().out.count('"name": "GET /"') == 2


def test_a_factory_gives_any_exporter() -> None:
    module = "opentelemetry.sdk.trace.export.in_memory_span_exporter"

    made = sdk_exporter(PythonFactory(module, "InMemorySpanExporter"))

    assert type(made).__name__ == "InMemorySpanExporter"


@pytest.mark.parametrize(
    ("module", "name", "message"),
    [
        ("not_there", "make", "not_there:make fails with ModuleNotFoundError"),
        ("json", "not_there", "json:not_there fails with AttributeError"),
        ("json", "loads", "json:loads fails with TypeError"),
        ("collections", "Counter", "gives Counter, which is no SpanExporter"),
    ],
)
def test_a_factory_that_gives_none_says_so(module: str, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sdk_exporter(PythonFactory(module, name))


def test_zipkin_is_the_exporter_of_opentelemetry() -> None:
    made = sdk_exporter(Zipkin("http://z/api/v2/spans", 2.5))

    assert (made.endpoint, made.timeout) == ("http://z/api/v2/spans", 2.5)

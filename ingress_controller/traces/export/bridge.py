"""Any SpanExporter of the OpenTelemetry SDK as a sender: the slow path.

Rules: spans are decoded and exported in a thread of the exporter's own, some hundred at a time, so
that neither its I/O nor its Python holds up the event loop. One that hangs fills its own queue and
dies with the process. Only what an exporter raises is tried again: FAILURE means "dropped".
Source: OpenTelemetry 1.x, "Tracing SDK", Span Exporter.
"""

import asyncio
import logging
from typing import ClassVar

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ingress_controller.telemetry.events import Event, emit
from ingress_controller.traces.export.readable_spans import readable_spans
from ingress_controller.traces.export.sender import Answer, Outcome
from ingress_controller.traces.export.thread import CallingThread
from ingress_controller.traces.span import MalformedSpansError
from proxy.spans import SpanBatch

CLOSE_S = 2.0
"""For an exporter to shut down, after all was exported; one that hangs ends with the process."""

SPANS_MAX = 512
"""Spans of one call, unless OTEL_BSP_MAX_EXPORT_BATCH_SIZE says otherwise, whose default this is;
Python converts them in some 10 ms."""


class NotShutDown(Event, frozen=True):
    """What it had of its own may be lost."""

    level: ClassVar[int] = logging.WARNING
    exporter: str
    error: str


class BridgeSender:
    """Exports by `exporter`, which is shut down in the end."""

    in_flight_max = 1

    def __init__(self, exporter: SpanExporter, *, spans_max: int | None = None) -> None:
        self._exporter = exporter
        self._spans_max = spans_max or SPANS_MAX
        self._thread = CallingThread(type(exporter).__name__)
        self._begun: SpanBatch | None = None
        self._done_spans = 0
        self._failed_spans = 0

    async def open(self) -> None:
        """Exporters connect by themselves."""

    async def send(self, batch: SpanBatch) -> Answer:
        """Goes on where an earlier attempt at the same batch has ended."""
        if self._begun is not batch:
            self._begun, self._done_spans, self._failed_spans = batch, 0, 0
        try:
            await self._thread.call(lambda: self._export(batch))
        except MalformedSpansError as err:
            return Answer(Outcome.REFUSED, str(err))
        except Exception as err:  # noqa: BLE001 - whatever a stranger's exporter raises
            return Answer(Outcome.UNAVAILABLE, f"{type(err).__name__}: {err}")
        self._begun = None
        message = f"{type(self._exporter).__name__} says FAILURE" if self._failed_spans else ""
        return Answer(Outcome.DELIVERED, message, self._failed_spans)

    async def close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._thread.call(self._exporter.shutdown)
        except Exception as err:  # noqa: BLE001 - as above
            emit(NotShutDown(type(self._exporter).__name__, repr(err)))
        self._thread.close()

    def _export(self, batch: SpanBatch) -> None:
        begin = 0
        for spans in readable_spans(batch.otlp):
            for index in range(0, len(spans), self._spans_max):
                piece = spans[index : index + self._spans_max]
                begin += len(piece)
                if begin > self._done_spans:
                    self._export_piece(piece)
                    self._done_spans = begin

    def _export_piece(self, spans: list[ReadableSpan]) -> None:
        if self._exporter.export(spans) is not SpanExportResult.SUCCESS:
            self._failed_spans += len(spans)

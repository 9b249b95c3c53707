"""Destination → an exporter of the OpenTelemetry SDK, from the package that has it.

Rule: packages are imported when they are asked for; what is missing is a ValueError that names the
extra of ours that brings it.
"""

import importlib
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter, SpanExportResult

from ingress_controller.traces.export.destination import (
    Console,
    JaegerAgent,
    JaegerCollector,
    PythonFactory,
    Zipkin,
)

SdkDestination = Console | JaegerAgent | JaegerCollector | PythonFactory | Zipkin


def sdk_exporter(destination: SdkDestination) -> SpanExporter:
    """The exporter for it.

    Raises:
        ValueError: its package is missing, or its factory fails.
    """
    match destination:
        case Console():
            return ConsoleSpanExporter(out=sys.stdout)
        case Zipkin():
            return _zipkin(destination)
        case PythonFactory():
            return _of_factory(destination)
        case _:
            return _jaeger(destination)


def _zipkin(destination: Zipkin) -> SpanExporter:
    try:
        from opentelemetry.exporter.zipkin.json import ZipkinExporter  # noqa: PLC0415
    except ImportError as err:
        raise ValueError(_missing("zipkin", err)) from err
    timeout_s = destination.timeout_s
    return ZipkinExporter(endpoint=destination.url, timeout=timeout_s)  # type: ignore[arg-type]


def _jaeger(destination: JaegerAgent | JaegerCollector) -> SpanExporter:
    try:
        from opentelemetry.exporter.jaeger.thrift import JaegerExporter  # noqa: PLC0415
    except ImportError as err:
        # It needs an SDK below 1.40, and says that by the name that it does not find.
        raise ValueError(_missing("jaeger-thrift", err)) from err

    class CollectorExporter(JaegerExporter):  # type: ignore[misc]
        """Says what became of the spans: its base logs an error of HTTP and says SUCCESS."""

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            super().export(spans)
            code = self._collector_http_client.http_transport.code
            is_success = 200 <= code < 300  # noqa: PLR2004 - RFC 9110, section 15.3
            return SpanExportResult.SUCCESS if is_success else SpanExportResult.FAILURE

    kind = JaegerExporter if isinstance(destination, JaegerAgent) else CollectorExporter
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated since Jaeger reads OTLP
        # Values that are given keep it from reading variables, whose values are in them already.
        made = kind(agent_host_name="-", agent_port=1, timeout=1, udp_split_oversized_batches=True)
    if isinstance(destination, JaegerAgent):
        made._agent_client.address = (destination.host, destination.port)
        made.collector_endpoint = None
    else:
        made.collector_endpoint = destination.url
        made.username, made.password = destination.user or None, destination.password
        made._timeout = destination.timeout_s
    return made


def _of_factory(destination: PythonFactory) -> SpanExporter:
    shown = f"{destination.module}:{destination.name}"
    try:
        found: Any = importlib.import_module(destination.module)
        for part in destination.name.split("."):
            found = getattr(found, part)
        made = found()
    except Exception as err:  # a stranger's code
        raise ValueError(f"{shown} fails with {type(err).__name__}: {err}") from err
    if not isinstance(made, SpanExporter):
        kind = type(made).__name__
        raise ValueError(f"{shown} gives {kind}, which is no SpanExporter")  # noqa: TRY004
    return made


def _missing(extra: str, err: ImportError) -> str:
    return f"a package is missing ({err}); pip install 'spanway[{extra}]' brings it"

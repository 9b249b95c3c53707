"""Destination → exporter. What only some destinations need is imported for them alone."""

from ingress_controller.traces.export.destination import (
    Destination,
    Export,
    JsonFile,
    OtlpGrpc,
    OtlpHttp,
)
from ingress_controller.traces.export.exporter import Exporter, ExportLimits
from ingress_controller.traces.export.json_file import JsonFileSender
from ingress_controller.traces.export.otlp_http import OtlpHttpSender
from ingress_controller.traces.export.sender import Sender


def exporter(export: Export, *, bridge_spans_max: int | None = None) -> Exporter:
    """An exporter that sends nothing yet.

    Raises:
        ValueError: its certificates cannot be used, or a package that it needs is missing.
    """
    limits = ExportLimits(queue_bytes_max=export.queue_bytes_max)
    sender = _sender(export.destination, bridge_spans_max)
    return Exporter(export.name, sender, spill=export.spill, limits=limits)


def _sender(destination: Destination, bridge_spans_max: int | None) -> Sender:
    match destination:
        case OtlpHttp():
            return OtlpHttpSender(destination)
        case OtlpGrpc():
            return _otlp_grpc(destination)
        case JsonFile():
            return JsonFileSender(destination)
        case _:
            # Some 50 ms of imports.
            from ingress_controller.traces.export.bridge import BridgeSender  # noqa: PLC0415
            from ingress_controller.traces.export.sdk_exporters import sdk_exporter  # noqa: PLC0415

            return BridgeSender(sdk_exporter(destination), spans_max=bridge_spans_max)


def _otlp_grpc(destination: OtlpGrpc) -> Sender:
    try:
        from ingress_controller.traces.export.otlp_grpc import OtlpGrpcSender  # noqa: PLC0415
    except ImportError as err:
        raise ValueError(
            f"a package is missing ({err}); pip install 'spanway[grpc]' brings it"
        ) from err
    return OtlpGrpcSender(destination)

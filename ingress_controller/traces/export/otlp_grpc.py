"""OTLP over gRPC: a batch is the message of a call, as it is.

Rule: imported only where it is asked for: grpcio is 20 MB and not everybody's. Source:
OpenTelemetry Protocol 1.x, "OTLP/gRPC Response" and "OTLP/gRPC Throttling".
"""

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from ingress_controller.traces.export.destination import OtlpGrpc
from ingress_controller.traces.export.sender import DELIVERED, Answer, Outcome
from proxy.spans import SpanBatch

IN_FLIGHT_MAX = 4
"""Calls at once, on one connection; as for OTLP/HTTP."""

RETRY_DELAY_S_MAX = 300.0
"""A backend that asks for more is asked again after this."""

RECONNECT_MS_MAX = 5_000
"""The longest pause between attempts to connect; gRPC's own is two minutes, and a backend that is
back would wait for as long."""

RESPONSE_BYTES_MAX = 64 * 1024
"""What is read of an answer: enough for its message."""

_METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_DETAILS = "grpc-status-details-bin"
_RETRYABLE = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
_OPTIONS = (
    ("grpc.enable_retries", 0),  # the exporter's own are counted
    ("grpc.max_reconnect_backoff_ms", RECONNECT_MS_MAX),
    ("grpc.max_receive_message_length", RESPONSE_BYTES_MAX),
    ("grpc.use_local_subchannel_pool", 1),  # two exporters to one address share nothing
)


class OtlpGrpcSender:
    """Calls `destination`. Raises ValueError if its certificates cannot be used."""

    in_flight_max = IN_FLIGHT_MAX

    def __init__(self, destination: OtlpGrpc) -> None:
        self._destination = destination
        self._credentials = _credentials(destination) if destination.has_tls else None
        self._metadata = tuple((name.lower(), value) for name, value in destination.headers.items())
        self._compression = grpc.Compression.Gzip if destination.gzip else None
        self._channel: grpc.aio.Channel | None = None
        self._export: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] | None = None

    async def open(self) -> None:
        address = self._destination.address
        if self._credentials is None:
            self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(address, self._credentials, options=_OPTIONS)
        self._export = self._channel.unary_unary(_METHOD)  # without serializers: bytes as they are

    async def close(self) -> None:
        assert self._channel is not None, "it was opened"
        await self._channel.close()

    async def send(self, batch: SpanBatch) -> Answer:
        assert self._export is not None, "it was opened"
        try:
            body = await self._export(
                batch.otlp,
                timeout=self._destination.timeout_s,
                metadata=self._metadata,
                compression=self._compression,
            )
        except grpc.aio.AioRpcError as err:
            return _failed(err)
        try:
            partial = ExportTraceServiceResponse.FromString(body).partial_success
        except DecodeError:  # an answer is no reason to lose spans
            return DELIVERED
        return Answer(Outcome.DELIVERED, partial.error_message, partial.rejected_spans)


def _credentials(destination: OtlpGrpc) -> grpc.ChannelCredentials:
    tls = destination.tls
    pems = []
    for path in (tls.ca, tls.private_key, tls.certificate):
        try:
            pems.append(path.read_bytes() if path is not None else None)
        except OSError as err:
            raise ValueError(f"{path} cannot be used for TLS: {err.strerror}") from err
    return grpc.ssl_channel_credentials(*pems)


def _failed(err: grpc.aio.AioRpcError) -> Answer:
    """Exhausted resources are worth another attempt only if the backend says when."""
    retry_after_s = _retry_delay_s(err)
    is_exhausted = err.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and retry_after_s is not None
    is_retryable = err.code() in _RETRYABLE or is_exhausted
    return Answer(
        Outcome.UNAVAILABLE if is_retryable else Outcome.REFUSED,
        f"{err.code().name} {err.details() or ''}".strip(),
        retry_after_s=retry_after_s or 0.0,
    )


def _retry_delay_s(err: grpc.aio.AioRpcError) -> float | None:
    """Of the RetryInfo among the status' details; None if there is none."""
    for name, value in err.trailing_metadata() or ():
        if name != _DETAILS or not isinstance(value, bytes):
            continue
        try:
            for detail in Status.FromString(value).details:
                info = RetryInfo()
                if detail.Unpack(info):
                    delay_s: float = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
                    return min(max(delay_s, 0.0), RETRY_DELAY_S_MAX)
        except DecodeError:
            return None
    return None

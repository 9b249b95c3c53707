"""The exporter against a real gRPC server on loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import trustme
from export_rig import LIMITS, ExportRig, running
from google.protobuf.any_pb2 import Any as Packed
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from ingress_controller.traces.export.destination import OtlpGrpc, Tls
from ingress_controller.traces.export.exporter import ExportLimits
from ingress_controller.traces.export.exporters import Exporters
from ingress_controller.traces.export.losses import DropReason
from ingress_controller.traces.export.otlp_grpc import OtlpGrpcSender
from proxy.spans import SpanBatch

BATCH = SpanBatch(b"three spans", 3)
METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

Context = grpc.aio.ServicerContext[bytes, bytes]


@dataclass(frozen=True)
class Refusal:
    code: grpc.StatusCode
    retry_delay_s: float | None = None


@dataclass
class Backend:
    """Gives `answers` in turn, then always an empty one."""

    address: str = ""
    answers: list[bytes | Refusal] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    metadata: dict[str, str | bytes] = field(default_factory=dict)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def export(self, body: bytes, context: Context) -> bytes:
        self.bodies.append(body)
        self.metadata = dict(context.invocation_metadata() or ())
        self.arrived.set()
        answer = self.answers.pop(0) if self.answers else b""
        if isinstance(answer, bytes):
            return answer
        details: tuple[tuple[str, bytes], ...] = ()
        if answer.retry_delay_s is not None:
            info = RetryInfo()
            info.retry_delay.FromNanoseconds(int(answer.retry_delay_s * 1e9))
            packed = Packed()
            packed.Pack(info)
            status = Status(code=answer.code.value[0], details=[packed]).SerializeToString()
            details = (("grpc-status-details-bin", status),)
        await context.abort(answer.code, "too much", details)
        raise AssertionError("abort raises")


async def served(backend: Backend, credentials: grpc.ServerCredentials | None) -> grpc.aio.Server:
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(backend.export)
    service, _, method = METHOD[1:].rpartition("/")
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: handler}),)
    )
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    backend.address = f"127.0.0.1:{port}"
    await server.start()
    return server


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    backend = Backend()
    server = await served(backend, None)
    yield backend
    await server.stop(None)


@pytest.fixture
def rig() -> Any:
    rig = ExportRig()
    yield rig
    rig.close()


To = Callable[..., Exporters]


@pytest.fixture
def to(rig: ExportRig, backend: Backend) -> To:
    """Exporters to the backend, one call at a time."""

    def make(limits: ExportLimits = LIMITS, *, address: str = "", **options: Any) -> Exporters:
        sender = OtlpGrpcSender(OtlpGrpc(address=address or backend.address, **options))
        sender.in_flight_max = 1
        return rig.exporters(rig.exporter(sender, limits))

    return make


async def test_a_batch_is_the_message_as_it_is_and_headers_are_metadata(
    rig: ExportRig, backend: Backend, to: To
) -> None:
    exporters = to(headers={"Authorization": "Bearer abc"})
    async with running(exporters):
        rig.put(BATCH)
        async with asyncio.timeout(5):
            await backend.arrived.wait()
    await exporters.flush(5)
    assert backend.bodies[0] == BATCH.otlp
    assert backend.metadata["authorization"] == "Bearer abc"
    assert exporters.stats[0].sent_spans == 3


async def test_a_compressed_batch_arrives_and_says_so(
    rig: ExportRig, backend: Backend, to: To
) -> None:
    batch = SpanBatch(b"x" * 10_000, 3)
    rig.put(batch)
    await to(gzip=True).flush(5)
    assert backend.bodies == [batch.otlp]


@pytest.mark.parametrize(
    "code",
    ["CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"],
)
async def test_what_may_pass_is_tried_again(
    rig: ExportRig, backend: Backend, to: To, code: str
) -> None:
    backend.answers = [Refusal(grpc.StatusCode[code])]
    rig.put(BATCH)
    exporters = to()
    await exporters.flush(5)
    assert backend.bodies == [BATCH.otlp] * 2
    assert (exporters.stats[0].sent_spans, exporters.stats[0].retry_count) == (3, 1)


@pytest.mark.parametrize(
    "code",
    [
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "PERMISSION_DENIED",
        "FAILED_PRECONDITION",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAUTHENTICATED",
        "RESOURCE_EXHAUSTED",
    ],
)
async def test_what_will_not_pass_is_not_repeated_and_the_reason_is_logged(
    rig: ExportRig, backend: Backend, to: To, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    backend.answers = [Refusal(grpc.StatusCode[code])]
    rig.put(BATCH)
    exporters = to()
    await exporters.flush(5)
    assert len(backend.bodies) == 1
    assert exporters.stats[0].dropped_spans == {DropReason.REJECTED: 3}
    assert caplog.messages == [
        f'SpansLost exporter=backend spans=3 reason=rejected why="{code} too much"'
    ]


async def test_exhausted_resources_are_tried_again_when_the_backend_says(
    rig: ExportRig, backend: Backend, to: To
) -> None:
    backend.answers = [
        Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, 17.5),
        Refusal(grpc.StatusCode.UNAVAILABLE, 1e6),
    ]
    rig.put(BATCH)
    exporters = to()
    await exporters.flush(5)
    assert rig.waits == [17.5, 300.0]
    assert exporters.stats[0].sent_spans == 3


async def test_spans_of_a_partial_success_are_counted_and_not_repeated(
    rig: ExportRig, backend: Backend, to: To
) -> None:
    partial = ExportTraceServiceResponse()
    partial.partial_success.rejected_spans = 2
    partial.partial_success.error_message = "too old"
    backend.answers = [partial.SerializeToString()]
    rig.put(BATCH)
    exporters = to()
    await exporters.flush(5)
    assert len(backend.bodies) == 1
    assert exporters.stats[0].sent_spans == 1
    assert exporters.stats[0].dropped_spans == {DropReason.REJECTED: 2}


async def test_a_garbled_answer_to_a_success_loses_nothing(
    rig: ExportRig, backend: Backend, to: To
) -> None:
    backend.answers = [b"\xff\xff"]
    rig.put(BATCH)
    exporters = to()
    await exporters.flush(5)
    assert exporters.stats[0].sent_spans == 3


async def test_spans_are_given_up_when_nobody_listens(rig: ExportRig, to: To) -> None:
    rig.put(BATCH)
    exporters = to(ExportLimits(attempts_max=3), address="127.0.0.1:1")
    await exporters.flush(5)
    assert exporters.stats[0].retry_count == 2
    assert exporters.stats[0].dropped_spans == {DropReason.UNREACHABLE: 3}


async def test_authority_and_client_certificate_are_those_of_the_files(
    rig: ExportRig, to: To, tmp_path: Path
) -> None:
    authority = trustme.CA()
    server_cert = authority.issue_cert("127.0.0.1")
    client_cert = authority.issue_cert("client.example")
    authority.cert_pem.write_to_path(tmp_path / "ca")
    client_cert.cert_chain_pems[0].write_to_path(tmp_path / "cert")
    client_cert.private_key_pem.write_to_path(tmp_path / "key")
    credentials = grpc.ssl_server_credentials(
        [(server_cert.private_key_pem.bytes(), server_cert.cert_chain_pems[0].bytes())],
        root_certificates=authority.cert_pem.bytes(),
        require_client_auth=True,
    )
    backend = Backend()
    server = await served(backend, credentials)
    rig.put(BATCH)
    files = Tls(tmp_path / "ca", tmp_path / "cert", tmp_path / "key")
    exporters = to(address=backend.address, has_tls=True, tls=files)
    await exporters.flush(5)
    assert exporters.stats[0].sent_spans == 3

    rig.put(BATCH)
    unknown = to(ExportLimits(attempts_max=1), address=backend.address, has_tls=True)
    await unknown.flush(5)
    assert unknown.stats[0].dropped_spans == {DropReason.UNREACHABLE: 3}
    await server.stop(None)

"""The exporter against a real HTTP server on loopback."""

import asyncio
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import formatdate
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer
from eventually import until
from export_rig import LIMITS, ExportRig, running
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceResponse,
)
from sample_spans import batch

from ingress_controller.traces.export.destination import OtlpHttp, Tls
from ingress_controller.traces.export.exporter import ExportLimits
from ingress_controller.traces.export.exporters import Exporters
from ingress_controller.traces.export.losses import DropReason
from ingress_controller.traces.export.otlp_http import OtlpHttpSender
from proxy.spans import SpanBatch

BATCH = SpanBatch(b"three spans", 3)
SYSTEM = Tls()
PROTOBUF = "application/x-protobuf"

Answer = Callable[[], Awaitable[web.Response]]


class Rig(ExportRig):
    """A tracing backend, too, that gives `answers` in turn, then always 200."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[Answer] = []
        self.bodies: list[bytes] = []
        self.headers: dict[str, str] = {}
        self.url = ""
        self._arrived = asyncio.Condition()

    def to_backend(
        self,
        limits: ExportLimits = LIMITS,
        *,
        endpoint: str = "",
        secret: str = "",
        timeout_s: float = 5,
        compressed: bool = False,
        is_json: bool = False,
        tls: Tls = SYSTEM,
    ) -> Exporters:
        destination = OtlpHttp(
            url=endpoint or self.url,
            headers={"Authorization": secret},
            timeout_s=timeout_s,
            gzip=compressed,
            is_json=is_json,
            tls=tls,
        )
        sender = OtlpHttpSender(destination)
        sender.in_flight_max = 1  # so that what arrives has an order
        return self.exporters(self.exporter(sender, limits))

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


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    app = web.Application(client_max_size=8 * 1024 * 1024)
    app.router.add_post("/v1/traces", rig.receive)
    async with TestServer(app) as server:
        rig.url = str(server.make_url("/v1/traces"))
        yield rig
    rig.close()


def answer(status: int = 200, *, body: bytes = b"too much", **headers: str) -> Answer:
    async def give() -> web.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=body, headers=named)

    return give


async def never() -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError("nothing sets this event")


async def test_a_batch_is_posted_as_it_is_when_the_descriptor_is_readable(rig: Rig) -> None:
    exporter = rig.to_backend(secret="Bearer abc")
    async with running(exporter):
        rig.put(SpanBatch(b"first", 1))
        assert await rig.received(1) == [b"first"]
        rig.put(SpanBatch(b"second", 2))
        assert await rig.received(2) == [b"first", b"second"]
    await exporter.flush(5)
    assert rig.headers["Content-Type"] == "application/x-protobuf"
    assert rig.headers["Authorization"] == "Bearer abc"
    assert exporter.stats[0].sent_spans == 3
    assert exporter.stats[0].queue_bytes == 0


@pytest.mark.parametrize("compressed", [False, True])
async def test_a_batch_is_posted_as_json_where_that_is_asked_for(
    rig: Rig, compressed: bool
) -> None:
    rig.put(batch(2, service="shop"))
    exporter = rig.to_backend(is_json=True, compressed=compressed)
    await exporter.flush(5)
    (body,) = rig.bodies
    (resource,) = json.loads(body)["resourceSpans"]
    assert rig.headers["Content-Type"] == "application/json"
    assert rig.headers.get("Content-Encoding") == ("gzip" if compressed else None)
    assert len(resource["scopeSpans"][0]["spans"]) == 2
    assert exporter.stats[0].sent_spans == 2


async def test_what_is_no_otlp_is_not_made_json_of_and_counted(rig: Rig) -> None:
    rig.put(BATCH)
    exporter = rig.to_backend(is_json=True)
    await exporter.flush(5)
    assert rig.bodies == []
    assert exporter.stats[0].dropped_spans == {DropReason.REJECTED: 3}


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_an_overloaded_backend_is_asked_again(rig: Rig, status: int) -> None:
    rig.answers = [answer(status)]
    rig.put(BATCH)
    exporter = rig.to_backend()
    await exporter.flush(5)
    assert rig.bodies == [BATCH.otlp, BATCH.otlp]
    assert (exporter.stats[0].sent_spans, exporter.stats[0].retry_count) == (3, 1)
    assert exporter.stats[0].dropped_spans == {}


async def test_waits_between_attempts_grow_up_to_their_bound(rig: Rig) -> None:
    rig.answers = [answer(503)] * 6
    rig.put(BATCH)
    await rig.to_backend(ExportLimits(backoff_first_s=1, backoff_s_max=4)).flush(5)
    for wait_s, longest_s in zip(rig.waits, [1, 2, 4, 4, 4, 4], strict=True):
        assert longest_s / 2 <= wait_s <= longest_s


async def test_retry_after_in_seconds_is_honoured(rig: Rig) -> None:
    rig.answers = [answer(429, Retry_After="17")]
    rig.put(BATCH)
    await rig.to_backend().flush(5)
    assert rig.waits == [17.0]


async def test_retry_after_as_a_date_is_honoured(rig: Rig) -> None:
    rig.answers = [answer(503, Retry_After=formatdate(time.time() + 120, usegmt=True))]
    rig.put(BATCH)
    await rig.to_backend().flush(5)
    assert len(rig.waits) == 1
    assert 60 < rig.waits[0] <= 120


@pytest.mark.parametrize("value", ["soon", "-5", "", "²", "Mon, 99 Foo 2020 00:00:00 GMT"])
async def test_an_unreadable_retry_after_is_ignored(rig: Rig, value: str) -> None:
    rig.answers = [answer(503, Retry_After=value)]
    rig.put(BATCH)
    exporter = rig.to_backend()
    await exporter.flush(5)
    assert exporter.stats[0].sent_spans == 3


@pytest.mark.parametrize("status", [302, 400, 401, 404, 413, 500])
async def test_a_refused_batch_is_not_repeated_and_the_reason_is_logged(
    rig: Rig, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    rig.answers = [answer(status)]
    rig.put(BATCH)
    exporter = rig.to_backend()
    await exporter.flush(5)
    assert len(rig.bodies) == 1
    assert exporter.stats[0].dropped_spans == {DropReason.REJECTED: 3}
    assert caplog.messages == [
        f'SpansLost exporter=backend spans=3 reason=rejected why="HTTP {status} too much"'
    ]


async def test_a_protobuf_status_is_logged_as_its_message(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    status = b"\x08\x03\x12\x0aspan too x"  # google.rpc.Status{code: 3, message: "span too x"}
    rig.answers = [answer(400, body=status, Content_Type=PROTOBUF)]
    rig.put(BATCH)
    await rig.to_backend().flush(5)
    assert caplog.messages == [
        'SpansLost exporter=backend spans=3 reason=rejected why="HTTP 400 span too x"'
    ]


@pytest.mark.parametrize("kind", [PROTOBUF, "application/json; charset=utf-8"])
async def test_spans_of_a_partial_success_are_counted_and_not_repeated(
    rig: Rig, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    partial = ExportTraceServiceResponse()
    partial.partial_success.rejected_spans = 2
    partial.partial_success.error_message = "too old"
    body = partial.SerializeToString() if kind == PROTOBUF else MessageToJson(partial).encode()
    rig.answers = [answer(body=body, Content_Type=kind)]
    rig.put(BATCH)
    exporter = rig.to_backend()
    await exporter.flush(5)
    assert len(rig.bodies) == 1
    assert exporter.stats[0].sent_spans == 1
    assert exporter.stats[0].dropped_spans == {DropReason.REJECTED: 2}
    assert caplog.messages == ['SpansLost exporter=backend spans=2 reason=rejected why="too old"']


@pytest.mark.parametrize("kind", [PROTOBUF, "application/json", "text/html"])
@pytest.mark.parametrize("body", [b"\xff\xff", b"[" * 60_000], ids=["bytes", "deep"])
async def test_a_garbled_answer_to_a_success_loses_nothing(
    rig: Rig, kind: str, body: bytes
) -> None:
    rig.answers = [answer(body=body, Content_Type=kind)]
    rig.put(BATCH)
    exporter = rig.to_backend()
    await exporter.flush(5)
    assert exporter.stats[0].sent_spans == 3


async def test_a_backend_that_never_answers_is_asked_again(rig: Rig) -> None:
    rig.answers = [never]
    rig.put(BATCH)
    exporter = rig.to_backend(timeout_s=0.05)
    await exporter.flush(5)
    assert len(rig.bodies) == 2
    assert exporter.stats[0].sent_spans == 3


async def test_spans_are_given_up_when_every_attempt_is_refused_a_connection(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    rig.put(BATCH)
    exporter = rig.to_backend(
        ExportLimits(attempts_max=3), endpoint=f"http://127.0.0.1:{port}/v1/traces"
    )
    await exporter.flush(5)
    assert exporter.stats[0].retry_count == 2
    assert exporter.stats[0].dropped_spans == {DropReason.UNREACHABLE: 3}
    assert f"127.0.0.1:{port}" in caplog.messages[0]


async def test_a_full_queue_drops_the_oldest(rig: Rig) -> None:
    rig.put(*(SpanBatch(bytes([number]) * 10, 1) for number in range(5)))
    exporter = rig.to_backend(ExportLimits(queue_bytes_max=30))
    await exporter.flush(5)
    assert rig.bodies == [bytes([number]) * 10 for number in (2, 3, 4)]
    assert exporter.stats[0].dropped_spans == {DropReason.QUEUE_FULL: 2}


async def test_losses_of_one_kind_are_one_line_an_interval_with_their_sum(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.put(*(SpanBatch(b"x" * 10, 1) for _ in range(5)))
    await rig.to_backend(ExportLimits(queue_bytes_max=10)).flush(5)
    assert [message.split(" why=")[0] for message in caplog.messages] == [
        "SpansLost exporter=backend spans=1 reason=queue_full",
        "SpansLost exporter=backend spans=3 reason=queue_full",
    ]


async def test_what_a_cancelled_run_was_posting_is_flushed(rig: Rig) -> None:
    rig.answers = [never]
    exporter = rig.to_backend()
    async with running(exporter):
        rig.put(BATCH)
        await rig.received(1)
    assert exporter.stats[0].queue_bytes == len(BATCH.otlp)
    await exporter.flush(5)
    assert len(rig.bodies) == 2
    assert exporter.stats[0].sent_spans == 3
    assert exporter.stats[0].queue_bytes == 0


async def test_a_flush_ends_at_its_deadline_and_counts_what_it_left(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.answers = [never, never]
    rig.put(BATCH, BATCH)
    exporter = rig.to_backend()
    await exporter.flush(0.05)
    assert exporter.stats[0].dropped_spans == {DropReason.SHUTDOWN: 6}
    assert exporter.stats[0].queue_bytes == 0
    assert "no answer within 0.05 s" in caplog.messages[-1]


async def test_a_compressed_batch_is_gzip_and_says_so(rig: Rig) -> None:
    rig.put(BATCH)
    exporter = rig.to_backend(compressed=True)
    await exporter.flush(5)
    assert rig.headers["Content-Encoding"] == "gzip"
    assert rig.bodies == [BATCH.otlp]  # the server has decompressed it
    assert exporter.stats[0].sent_spans == 3


async def test_a_backend_that_hangs_holds_up_no_other(rig: Rig) -> None:
    rig.answers = [never]
    hanging = OtlpHttpSender(OtlpHttp(url=rig.url))
    async with TestServer(web.Application()) as other:
        refusing = OtlpHttpSender(OtlpHttp(url=str(other.make_url("/not-there"))))
        both = rig.exporters(
            rig.exporter(hanging, name="hanging"), rig.exporter(refusing, name="refusing")
        )
        async with running(both):
            rig.put(BATCH)
            await rig.received(1)
            await until(lambda: both.stats[1].dropped_spans)
        assert both.stats[0].queue_bytes == len(BATCH.otlp)
        assert both.stats[1].dropped_spans == {DropReason.REJECTED: 3}
        rig.answers = []
        await both.flush(5)
    assert both.stats[0].sent_spans == 3


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def tls_url(rig: Rig, authority: trustme.CA) -> AsyncIterator[str]:
    """A backend that wants a client's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    app = web.Application()
    app.router.add_post("/v1/traces", rig.receive)
    server = TestServer(app, scheme="https")
    await server.start_server(ssl=context)
    yield str(server.make_url("/v1/traces"))
    await server.close()


@pytest.fixture(scope="module")
def files(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Tls:
    directory = tmp_path_factory.mktemp("tls")
    client = authority.issue_cert("client.example")
    authority.cert_pem.write_to_path(directory / "ca.pem")
    client.cert_chain_pems[0].write_to_path(directory / "cert.pem")
    client.private_key_pem.write_to_path(directory / "key.pem")
    return Tls(directory / "ca.pem", directory / "cert.pem", directory / "key.pem")


async def test_authority_and_client_certificate_are_those_of_the_files(
    rig: Rig, tls_url: str, files: Tls
) -> None:
    rig.put(BATCH)
    exporter = rig.to_backend(endpoint=tls_url, tls=files)
    await exporter.flush(5)
    assert exporter.stats[0].sent_spans == 3


async def test_a_backend_of_an_unknown_authority_gets_nothing(
    rig: Rig, tls_url: str, files: Tls, caplog: pytest.LogCaptureFixture
) -> None:
    rig.put(BATCH)
    limits = ExportLimits(attempts_max=2)
    of_system = Tls(None, files.certificate, files.private_key)
    exporter = rig.to_backend(limits, endpoint=tls_url, tls=of_system)
    await exporter.flush(5)
    assert rig.bodies == []
    assert exporter.stats[0].dropped_spans == {DropReason.UNREACHABLE: 3}
    assert "certificate verify failed" in caplog.messages[0]


async def test_without_verification_any_certificate_will_do(
    rig: Rig, tls_url: str, files: Tls
) -> None:
    rig.put(BATCH)
    unverified = Tls(None, files.certificate, files.private_key, verify=False)
    exporter = rig.to_backend(endpoint=tls_url, tls=unverified)
    await exporter.flush(5)
    assert exporter.stats[0].sent_spans == 3


def test_a_certificate_that_is_none_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ValueError, match=r"ca\.pem cannot be used for TLS"):
        OtlpHttpSender(OtlpHttp(url="https://h/v1/traces", tls=Tls(tmp_path / "ca.pem")))

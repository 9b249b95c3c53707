"""Spans of applications, by OTLP/HTTP, into a real store."""

import gzip
import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from sample_spans import TRACE_ID, request

from ingress_controller.admin.otlp_receiver import JSON_BYTES_MAX, REQUEST_BYTES_MAX
from ingress_controller.traces.export.otlp_json import as_json
from ingress_controller.traces.span import Span, decode
from ingress_controller.traces.store.queries import spans_of
from ingress_controller.traces.store.store import Store

Client = TestClient[web.Request, web.Application]
PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}


async def stored(store: Store) -> list[Span]:
    found = await store.ask(lambda asked: spans_of(asked, TRACE_ID.hex()))
    return sorted(found, key=lambda span: span.span_id)


@pytest.mark.parametrize("is_gzipped", [False, True], ids=["plain", "gzip"])
async def test_spans_in_protobuf_are_kept(store: Store, client: Client, is_gzipped: bool) -> None:
    body = request(2).SerializeToString()
    headers = PROTOBUF | ({"Content-Encoding": "gzip"} if is_gzipped else {})

    sent = gzip.compress(body) if is_gzipped else body
    async with client.post("/v1/traces", data=sent, headers=headers) as answer:
        assert (answer.status, answer.content_type) == (200, PROTOBUF["Content-Type"])
        assert await answer.read() == b""

    assert await stored(store) == decode(body)


async def test_spans_that_are_sent_again_are_taken_and_kept_once(
    store: Store, client: Client
) -> None:
    for _ in range(2):  # as if the first answer had been lost
        body = request(2).SerializeToString()
        async with client.post("/v1/traces", data=body, headers=PROTOBUF) as answer:
            assert (answer.status, await answer.read()) == (200, b"")

    assert (store.stats.stored_spans, store.stats.repeated_spans) == (2, 2)


async def test_spans_in_json_are_kept(store: Store, client: Client) -> None:
    made = request(2)

    async with client.post(
        "/v1/traces", data=as_json(made.SerializeToString()), headers=JSON
    ) as answer:
        assert (answer.status, await answer.json()) == (200, {})

    assert await stored(store) == decode(made.SerializeToString())


async def test_refused_spans_are_counted_for_their_sender(client: Client) -> None:
    made = request(3)
    made.resource_spans[0].scope_spans[0].spans[0].span_id = b""

    body = made.SerializeToString()
    async with client.post("/v1/traces", data=body, headers=PROTOBUF) as answer:
        said = ExportTraceServiceResponse.FromString(await answer.read()).partial_success
        assert (answer.status, said.rejected_spans) == (200, 1)
        assert said.error_message == "their trace id or span id is not valid"
    async with client.post(
        "/v1/traces", data=as_json(made.SerializeToString()), headers=JSON
    ) as answer:
        assert (await answer.json())["partialSuccess"]["rejectedSpans"] == "1"


@pytest.mark.parametrize(
    ("headers", "body", "status", "message"),
    [
        (PROTOBUF, b"\xff", 400, "the body is no ExportTraceServiceRequest in protobuf"),
        (JSON, b"[]", 400, "the body is no ExportTraceServiceRequest in JSON"),
        (JSON, b'{"resourceSpans": 7}', 400, "the body is no ExportTraceServiceRequest in JSON"),
        (
            JSON,
            json.dumps(
                {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "x"}]}]}]}
            ).encode(),
            400,
            "the body is no ExportTraceServiceRequest in JSON",
        ),
        (JSON, b'{"x":' + b"[" * 100_000, 400, "the body's JSON is nested too deeply"),
        (
            JSON | {"Content-Encoding": "gzip"},
            gzip.compress(b" " * (JSON_BYTES_MAX + 1)),
            400,
            "the body has more than 2097152 bytes",
        ),
        ({"Content-Type": "text/plain"}, b"", 415, "write application/x-protobuf or"),
        (PROTOBUF | {"Content-Encoding": "gzip"}, b"no gzip", 400, ""),
        (
            PROTOBUF | {"Content-Encoding": "gzip"},
            gzip.compress(bytes(REQUEST_BYTES_MAX + 1)),
            400,
            "the body has more than 16777216 bytes",
        ),
    ],
)
async def test_what_is_no_spans_is_refused_with_a_sentence(
    store: Store, client: Client, headers: dict[str, str], body: bytes, status: int, message: str
) -> None:
    async with client.post("/v1/traces", data=body, headers=headers) as answer:
        assert answer.status == status
        assert message in (await answer.read()).decode(errors="replace")
    assert store.stats.newest_rows == 0

"""The collector, through its HTTP handler."""

import gzip
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp.test_utils import TestClient, TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from ingress_controller.traces.collector import PROTOBUF, REQUEST_BYTES_MAX, Collector
from ingress_controller.traces.span import Span, SpanKind, SpanStatus

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
HEADERS = {"Content-Type": PROTOBUF}

Client = TestClient  # type: ignore[type-arg]


def _keep(span: SpanMessage) -> None:
    del span


@pytest.fixture
def collector() -> Collector:
    return Collector()


@pytest.fixture
async def client(collector: Collector) -> AsyncIterator[Client]:
    async with TestClient(TestServer(collector.app())) as client:
        yield client


def request_of(change: Callable[[SpanMessage], None] = _keep) -> bytes:
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    service = resource_spans.resource.attributes.add(key="service.name")
    service.value.string_value = "recommend"
    span = resource_spans.scope_spans.add().spans.add(
        trace_id=bytes.fromhex(TRACE_ID),
        span_id=bytes.fromhex("b7ad6b7169203331"),
        parent_span_id=bytes.fromhex("00f067aa0ba902b7"),
        name="GET /recommend",
        kind=SpanMessage.SPAN_KIND_SERVER,
        start_time_unix_nano=1_000,
        end_time_unix_nano=3_000,
    )
    span.status.code = span.status.STATUS_CODE_ERROR
    span.status.message = "out of ideas"
    span.attributes.add(key="http.response.status_code").value.int_value = 500
    span.attributes.add(key="error.type").value.string_value = "500"
    tags = span.attributes.add(key="tags").value.array_value.values
    tags.add(bool_value=True)
    tags.add(double_value=0.5)
    tags.add(bytes_value=b"\xff")
    change(span)
    return request.SerializeToString()


async def test_a_posted_span_is_kept_as_a_value(client: Client, collector: Collector) -> None:
    response = await client.post("/v1/traces", data=request_of(), headers=HEADERS)
    assert (response.status, response.content_type) == (200, PROTOBUF)
    assert collector.trace(TRACE_ID) == [
        Span(
            trace_id=TRACE_ID,
            span_id="b7ad6b7169203331",
            parent_id="00f067aa0ba902b7",
            name="GET /recommend",
            kind=SpanKind.SERVER,
            service="recommend",
            start_unix_ns=1_000,
            end_unix_ns=3_000,
            attributes={
                "http.response.status_code": 500,
                "error.type": "500",
                "tags": (True, 0.5, "ff"),
            },
            status=SpanStatus.ERROR,
            status_message="out of ideas",
            resource={"service.name": "recommend"},
        )
    ]


async def test_a_compressed_body_is_read(client: Client, collector: Collector) -> None:
    headers = {**HEADERS, "Content-Encoding": "gzip"}
    response = await client.post("/v1/traces", data=gzip.compress(request_of()), headers=headers)
    assert response.status == 200
    assert len(collector.trace(TRACE_ID)) == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{}", "This is no ExportTraceServiceRequest"),
        (request_of(lambda span: span.ClearField("span_id")), "has an id of the wrong length"),
        (request_of(lambda span: setattr(span, "trace_id", b"1")), "an id of the wrong length"),
        (request_of(lambda span: setattr(span, "parent_span_id", b"1")), "a parent id"),
        (request_of(lambda span: setattr(span, "kind", 99)), "99 is not a valid SpanKind"),
    ],
)
async def test_a_bad_body_is_refused_with_the_reason(
    client: Client, collector: Collector, body: bytes, reason: str
) -> None:
    response = await client.post("/v1/traces", data=body, headers=HEADERS)
    assert response.status == 400
    assert reason in await response.text()
    assert collector.trace(TRACE_ID) == []


async def test_a_body_that_is_not_gzip_as_it_says_is_refused(client: Client) -> None:
    headers = {**HEADERS, "Content-Encoding": "gzip"}
    response = await client.post("/v1/traces", data=request_of(), headers=headers)
    assert response.status == 400


async def test_a_body_that_inflates_beyond_the_bound_is_refused(client: Client) -> None:
    headers = {**HEADERS, "Content-Encoding": "gzip"}
    bomb = gzip.compress(bytes(REQUEST_BYTES_MAX + 1))
    response = await client.post("/v1/traces", data=bomb, headers=headers)
    assert response.status == 413


async def test_json_is_refused_as_unsupported(client: Client) -> None:
    response = await client.post("/v1/traces", json={})
    assert response.status == 415


async def test_waiting_ends_when_the_trace_is_complete(
    client: Client, collector: Collector
) -> None:
    collector.add([])
    await client.post("/v1/traces", data=request_of(), headers=HEADERS)
    spans = await collector.wait_for(TRACE_ID, lambda spans: len(spans) == 1, deadline_s=5)
    assert [span.name for span in spans] == ["GET /recommend"]


async def test_waiting_in_vain_says_which_spans_came(collector: Collector, client: Client) -> None:
    await client.post("/v1/traces", data=request_of(), headers=HEADERS)
    with pytest.raises(TimeoutError, match=r"has only: recommend 'GET /recommend'"):
        await collector.wait_for(TRACE_ID, lambda spans: len(spans) == 2, deadline_s=0.01)

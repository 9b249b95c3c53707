"""What spans say on demand: phases, header fields, queries. `docs/SPANS.md` is the claim."""

from typing import Any

import msgspec
import pytest
from client import Client
from data_plane import DataPlane
from message import request, response
from upstream import Upstream, closes, says

from proxy.table import Endpoint, PhaseSpans, SpanDetail, Tracing, TracingPolicy


def tracing(**detail: Any) -> Tracing:
    return Tracing(detail=SpanDetail(**detail))


def phases(wanted: PhaseSpans) -> Tracing:
    return Tracing(TracingPolicy(phase_spans=wanted))


async def test_phases_are_spans_where_that_is_wanted(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, tracing=phases(PhaseSpans.ALWAYS))
    async with await data_plane.client() as client:
        await client.get()
    segment = await data_plane.segment()

    (attempt,) = segment.attempts
    below = {span.name: span for span in segment.phases}
    assert below["socket connect"].parent_id == attempt.span_id
    assert below["HTTP wait_for_response"].parent_id == attempt.span_id
    for span in segment.phases:
        phase = span.attributes["spanway.phase"]
        parent = {attempt.span_id: attempt, segment.server.span_id: segment.server}[span.parent_id]
        told_us = int(str(parent.attributes[f"spanway.phase.{phase}_us"]))
        assert abs(span.duration_ns // 1000 - told_us) <= 1
        assert parent.start_unix_ns <= span.start_unix_ns <= span.end_unix_ns
        assert span.end_unix_ns <= parent.end_unix_ns


async def test_request_that_failed_has_phases_as_spans_and_others_have_none(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    refusing = Endpoint("127.0.0.1", data_plane.free_port().port)
    data_plane.serve(refusing)
    async with await data_plane.client() as client:
        await client.get()
        data_plane.serve(upstream)
        await client.get()
    failed, well = await data_plane.segments()

    assert [span.attributes["error.type"] for span in failed.phases if span.status] == [
        "connect_refused"
    ]
    assert well.phases == ()


async def test_failure_has_no_phases_as_spans_where_nobody_wants_them(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    upstream.answer = closes
    data_plane.serve(upstream, tracing=phases(PhaseSpans.NEVER))
    async with await data_plane.client() as client:
        await client.get()
    segment = await data_plane.segment()

    assert segment.flag == "upstream_closed"
    assert segment.phases == ()


async def test_fields_that_are_asked_for_are_recorded_and_no_others(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    upstream.answer = says(response(200, "X-Shard: 7", "Set-Cookie: secret", "X-Other: 1"))
    data_plane.serve(
        upstream,
        tracing=tracing(request_headers=("X-Tenant",), response_headers=("x-shard", "x-absent")),
    )
    async with await data_plane.client() as client:
        fields = ("x-tenant: blue", "X-Tenant: green", "Cookie: secret", "X-Other: 1")
        await client.get("/", *fields)
    segment = await data_plane.segment()

    recorded = {
        name: value for name, value in segment.server.attributes.items() if ".header." in name
    }
    assert recorded == {
        "http.request.header.x-tenant": ("blue", "green"),
        "http.response.header.x-shard": ("7",),
    }


async def test_answer_of_ours_has_no_fields_of_an_endpoint(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    upstream.answer = says(response(200, "X-Shard: 7"))
    wanted = tracing(response_headers=("x-shard",))
    data_plane.serve(upstream, tracing=wanted)
    async with await data_plane.client() as client:
        await client.get()
        data_plane.serve(tracing=wanted)
        await client.get()
    first, second = await data_plane.segments()

    assert "http.response.header.x-shard" in first.server.attributes
    assert "http.response.header.x-shard" not in second.server.attributes


async def test_query_is_recorded_with_the_values_that_are_asked_for(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, tracing=tracing(query_keys=("page",)))
    async with await data_plane.client() as client:
        await client.get("/?page=2&token=secret")
        await client.get("/")
    first, second = await data_plane.segments()

    assert first.server.attributes["url.query"] == "page=2&token=REDACTED"
    assert "url.query" not in second.server.attributes


@pytest.mark.parametrize(
    ("detail", "part"),
    [
        (SpanDetail(request_headers=("Authorization",)), "request_headers"),
        (SpanDetail(response_headers=("Set-Cookie",)), "response_headers"),
        (SpanDetail(query_keys=("X-Goog-Signature",)), "query_keys"),
    ],
)
async def test_secret_that_is_asked_for_is_rejected_and_never_recorded(
    detail: SpanDetail, part: str, data_plane: DataPlane, client: Client
) -> None:
    wanted = msgspec.structs.replace(data_plane.table, tracing=Tracing(detail=detail))
    (rejected,) = data_plane.publish(wanted)
    await client.ask(request("GET", "/?X-Goog-Signature=s", "Authorization: s"))
    segment = await data_plane.segment()

    assert rejected.message.startswith(f"tracing.detail.{part} has ")
    assert "never recorded" in rejected.message
    assert not [name for name in segment.server.attributes if ".header." in name]
    assert "url.query" not in segment.server.attributes

"""Asks a Jaeger for traces, by its query API v3, whose answers are OTLP in JSON."""

import asyncio
import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import aiohttp
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ingress_controller.traces.span import Span, decode

POLL_S = 0.2
"""Jaeger cannot be waited for, only asked again."""

TRACES_MAX = 100
ID_FIELDS = ("traceId", "spanId", "parentSpanId")
NOT_FOUND = 404


class Jaeger:
    """The Jaeger at `url`, the base of its query API and page. Raises aiohttp.ClientError."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    async def trace(self, trace_id: str) -> list[Span]:
        """What it has by now."""
        return await self._spans(f"/api/v3/traces/{trace_id}", {})

    async def whole_trace(
        self, trace_id: str, is_whole: Callable[[list[Span]], bool], *, deadline_s: float
    ) -> list[Span]:
        """Raises TimeoutError, which says what came, if it is not whole within `deadline_s`."""
        spans: list[Span] = []
        try:
            async with asyncio.timeout(deadline_s):
                while not is_whole(spans := await self.trace(trace_id)):  # noqa: ASYNC110
                    await asyncio.sleep(POLL_S)
        except TimeoutError as err:
            services = ", ".join(sorted({span.service for span in spans})) or "nobody"
            raise TimeoutError(
                f"Trace {trace_id} has {len(spans)} spans, of {services}, and is not whole."
            ) from err
        return spans

    async def recent_traces(self, service: str, since: timedelta) -> dict[str, list[Span]]:
        """Traces by id in which `service` had a span lately."""
        now = datetime.now(UTC)
        query = {
            "query.service_name": service,
            "query.start_time_min": _rfc3339(now - since),
            "query.start_time_max": _rfc3339(now),
            "query.num_traces": str(TRACES_MAX),
        }
        spans = sorted(await self._spans("/api/v3/traces", query), key=lambda span: span.trace_id)
        return {trace_id: list(of) for trace_id, of in groupby(spans, lambda s: s.trace_id)}

    async def _spans(self, path: str, query: dict[str, str]) -> list[Span]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.url + path, params={**query, "query.raw_traces": "true"}) as response,
        ):
            if response.status == NOT_FOUND:
                return []
            response.raise_for_status()
            answer = await response.json(content_type=None)  # it says text/plain
        return decode(_otlp(answer["result"]["resourceSpans"]))


def _otlp(resource_spans: list[dict[str, Any]]) -> bytes:
    """The JSON form as protobuf: OTLP writes ids in hex where protobuf's JSON has base64.

    Source: OTLP specification, "JSON Protobuf Encoding".
    """
    for group in resource_spans:
        for scope in group["scopeSpans"]:
            for span in scope["spans"]:
                ids = {f: bytes.fromhex(span[f]) for f in ID_FIELDS if f in span}
                span.update({f: base64.b64encode(value).decode() for f, value in ids.items()})
                span.pop("links", None)  # the only other place of ids; no drawing needs it
    request = ExportTraceServiceRequest()
    json_format.ParseDict({"resourceSpans": resource_spans}, request, ignore_unknown_fields=True)
    return request.SerializeToString()


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")

"""Jaeger's query APIs under `/jaeger`, over the store, so that Grafana and others can open it.

Rules: paths, parameters and answers are Jaeger's; where they cannot be had, a sentence says so.
Source: jaeger-query 1.76: `/api/*` is what its page and Grafana's data source ask, `/api/v3/*` its
stable API (jaeger-idl, api_v3/query_service.proto).
"""

import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from aiohttp import web

from ingress_controller.admin.parameters import (
    HEADERS,
    SINCE_S,
    ParameterError,
    cut,
    duration_ns,
    time_ns,
    trace_id_of,
    whole_number,
)
from ingress_controller.admin.traces import DURATION_S_MAX, NO_STORE, asked_stores
from ingress_controller.peers.peer import Peer, together, warnings
from ingress_controller.peers.stores import Answered, Stores
from ingress_controller.traces.jaeger_json import jaeger_trace, otlp_traces
from ingress_controller.traces.span import Span, SpanKind
from ingress_controller.traces.store.queries import (
    ATTRIBUTES_MAX,
    TRACES_MAX,
    Field,
    QuestionTooLargeError,
    Search,
    calls,
    spans_of,
)

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

PREFIX = "/jaeger"
LIMIT = 20  # traces where nothing is said, as there
SPANS_MAX = 20_000  # of all traces of one answer; of those that do not fit the summaries are wrong

_TAG = "query.attributes["
_PEERS = web.RequestKey("peers", tuple[Peer, ...])
_T = TypeVar("_T")
_Handler = Callable[[web.Request], Any]


class NotFoundError(Exception):
    """There is no such trace."""


class JaegerApi:
    """Answers from `stores`, if there is one here."""

    def __init__(self, stores: Stores | None) -> None:
        self._stores = stores

    def add_to(self, app: web.Application) -> None:
        """Adds the routes."""
        get = app.router.add_get
        get(f"{PREFIX}/api/services", self._old(self.services))
        get(f"{PREFIX}/api/services/{{service}}/operations", self._old(self.operation_names))
        get(f"{PREFIX}/api/operations", self._old(self.operations))
        get(f"{PREFIX}/api/traces", self._old(self.traces))
        get(f"{PREFIX}/api/traces/{{id}}", self._old(self.trace))
        get(f"{PREFIX}/api/dependencies", self._old(self.dependencies))
        get(f"{PREFIX}/api/v3/services", self._v3(self.services_v3))
        get(f"{PREFIX}/api/v3/operations", self._v3(self.operations_v3))
        get(f"{PREFIX}/api/v3/traces", self._v3(self.traces_v3))
        get(f"{PREFIX}/api/v3/traces/{{id}}", self._v3(self.trace_v3))

    async def services(self, request: web.Request) -> list[Any]:
        return await self._ask(request, lambda stores: stores.services())

    async def operation_names(self, request: web.Request) -> list[Any]:
        service = request.match_info["service"]
        found = await self._ask(request, lambda stores: stores.operations(service))
        return sorted({name for name, _ in found})

    async def operations(self, request: web.Request) -> list[Any]:
        return await self._operations(request, "spanKind")

    async def traces(self, request: web.Request) -> list[Any]:
        if texts := request.query.getall("traceID", []):
            ids = [trace_id_of("traceID", text) for text in texts[:TRACES_MAX]]
            found = await self._traces(request, ids)
            if not all(found) and sum(map(len, found)) >= SPANS_MAX:
                fix = f"and the others have {SPANS_MAX} spans or more; ask for fewer traces"
                raise ParameterError("traceID", cut(texts[0]), fix)
            if not all(found):
                raise NotFoundError("trace not found")
        else:
            found = await self._search(request, read_search(request.query))
        return [jaeger_trace(spans) for spans in found]

    async def trace(self, request: web.Request) -> list[Any]:
        return [jaeger_trace(await self._spans(request, request.match_info["id"]))]

    async def dependencies(self, request: web.Request) -> list[Any]:
        end_ns = _unix_ns(request.query, "endTs", 1_000_000, time.time_ns())
        text = request.query.get("lookback", str(int(SINCE_S * 1_000)))
        lookback_ms = whole_number("lookback", text, 0, 999_999_999)
        start_ns = max(0, end_ns - lookback_ms * 1_000_000)
        found = await self._ask(
            request,
            lambda stores: stores.report(lambda of: calls(of, start_ns, end_ns), start_ns, end_ns),
        )
        return [
            {"parent": caller, "child": callee, "callCount": count}
            for caller, callee, count in found
        ]

    async def services_v3(self, request: web.Request) -> Any:
        return {"services": await self.services(request)}

    async def operations_v3(self, request: web.Request) -> Any:
        return {"operations": await self._operations(request, "span_kind")}

    async def trace_v3(self, request: web.Request) -> Any:
        return {"result": otlp_traces(await self._spans(request, request.match_info["id"]))}

    async def traces_v3(self, request: web.Request) -> Any:
        found = await self._search(request, read_search_v3(request.query))
        if not found:
            raise NotFoundError("No traces found")
        return {"result": otlp_traces(span for spans in found for span in spans)}

    async def _operations(self, request: web.Request, kind_parameter: str) -> list[Any]:
        service = _required(request.query, "service")
        kind = request.query.get(kind_parameter, "")
        found = await self._ask(request, lambda stores: stores.operations(service))
        named = [{"name": name, "spanKind": _kind(kind)} for name, kind in found]
        return [one for one in named if kind in ("", one["spanKind"])]

    async def _spans(self, request: web.Request, text: str) -> list[Span]:
        [spans] = await self._traces(request, [trace_id_of("traceID", text)])
        if not spans:
            raise NotFoundError("trace not found")
        return spans

    async def _search(self, request: web.Request, wanted: Search) -> list[list[Span]]:
        found = await self._ask(request, lambda stores: stores.find(wanted))
        room = SPANS_MAX
        ids: list[str] = []
        for summary in found.traces:
            room -= summary.span_count
            if ids and room < 0:
                break
            ids.append(summary.trace_id)
        return await self._traces(request, ids)

    async def _traces(self, request: web.Request, ids: Sequence[str]) -> list[list[Span]]:
        """The spans of each."""
        if not ids:
            return []
        return await self._ask(
            request,
            lambda stores: stores.of_traces(lambda of: _spans_of(of, ids), ids),
        )

    async def _ask(
        self, request: web.Request, question: Callable[[Stores], Awaitable[Answered[_T]]]
    ) -> _T:
        """The request remembers which replicas did not answer."""
        if self._stores is None:
            raise NotFoundError(NO_STORE)
        answered = await question(asked_stores(self._stores, request.query))
        request[_PEERS] = together(request.get(_PEERS, ()), answered.peers)
        return answered.answer

    def _old(self, handler: Callable[[web.Request], Any]) -> _Handler:
        """Jaeger's structuredResponse around lists; `total` is 0 for traces, as there."""

        def failed(status: int, message: str) -> web.Response:
            error = {"code": status, "msg": message}
            return _json(status, _structured(None, 0, [error]))

        async def respond(request: web.Request) -> web.Response:
            data = await handler(request)
            total = 0 if "traces" in request.path else len(data)
            return _json(200, _structured(data, total, None))

        return _answering(respond, failed)

    def _v3(self, handler: Callable[[web.Request], Any]) -> _Handler:
        def failed(status: int, message: str) -> web.Response:
            return _json(status, {"error": {"httpCode": status, "message": message}})

        async def respond(request: web.Request) -> web.Response:
            return _json(200, await handler(request))

        return _answering(respond, failed)


def _spans_of(connection: "DuckDBPyConnection", ids: Iterable[str]) -> list[list[Span]]:
    """Of each trace, until there are as many as an answer may have."""
    room = SPANS_MAX
    found: list[list[Span]] = []
    for one in ids:
        found.append(spans_of(connection, one) if room > 0 else [])
        room -= len(found[-1])
    return found


def read_search(query: Mapping[str, str]) -> Search:
    """Of `/api/traces`; times are microseconds. Raises ParameterError."""
    end_ns = _unix_ns(query, "end", 1_000, time.time_ns())
    start_ns = _unix_ns(query, "start", 1_000, end_ns - int(SINCE_S * 1e9))
    try:
        tags = msgspec.json.decode(query.get("tags") or "{}", type=dict[str, str])
    except msgspec.MsgspecError as err:
        fix = 'is no JSON of texts; write {"error":"true"}'
        raise ParameterError("tags", cut(query["tags"]), fix) from err
    return Search(
        start_ns=start_ns,
        end_ns=end_ns,
        service=_required(query, "service"),
        fields=_operation(query.get("operation")),
        duration_ns_min=_duration(query, "minDuration"),
        duration_ns_max=_duration(query, "maxDuration"),
        limit=_limit(query.get("limit")),
        **_tagged(tags),
    )


def read_search_v3(query: Mapping[str, str]) -> Search:
    """Of `/api/v3/traces`; times are RFC 3339. Raises ParameterError."""
    tags = {name[len(_TAG) : -1]: query[name] for name in query if name.startswith(_TAG)}
    return Search(
        start_ns=time_ns("query.start_time_min", _required(query, "query.start_time_min")),
        end_ns=time_ns("query.start_time_max", _required(query, "query.start_time_max")),
        service=query.get("query.service_name"),
        fields=_operation(query.get("query.operation_name")),
        duration_ns_min=_duration(query, "query.duration_min"),
        duration_ns_max=_duration(query, "query.duration_max"),
        limit=_limit(query.get("query.search_depth") or query.get("query.num_traces")),
        **_tagged(tags),
    )


def _tagged(tags: Mapping[str, str]) -> dict[str, Any]:
    """`error` is no attribute of a span but its status."""
    is_failed = {"true": True, "false": False}.get(tags.get("error", ""))
    attributes = {name: value for name, value in tags.items() if name != "error"}
    if len(attributes) > ATTRIBUTES_MAX:
        fix = f"and so on are too many; give at most {ATTRIBUTES_MAX}"
        raise ParameterError("tags", cut(next(iter(attributes))), fix)
    return {"attributes": attributes, "is_failed": is_failed}


def _operation(name: str | None) -> Mapping[Field, str]:
    return {Field.OPERATION: name} if name else {}


def _limit(text: str | None) -> int:
    return whole_number("limit", text or str(LIMIT), 1, TRACES_MAX)


def _answering(
    respond: Callable[[web.Request], Any], failed: Callable[[int, str], web.Response]
) -> _Handler:
    async def answer(request: web.Request) -> web.Response:
        try:
            answered: web.Response = await respond(request)
            for warning in warnings(request.get(_PEERS, ())):
                answered.headers.add("Warning", warning)
        except ParameterError as err:
            return failed(400, str(err))
        except NotFoundError as err:
            return failed(404, str(err))
        except QuestionTooLargeError as err:
            return failed(503, f"{err}; ask for a shorter time.")
        return answered

    return answer


def _structured(data: list[Any] | None, total: int, errors: list[Any] | None) -> dict[str, Any]:
    return {"data": data, "total": total, "limit": 0, "offset": 0, "errors": errors}


def _json(status: int, message: Any) -> web.Response:
    body = msgspec.json.encode(message)
    return web.Response(status=status, body=body, content_type="application/json", headers=HEADERS)


def _required(query: Mapping[str, str], name: str) -> str:
    if not (text := query.get(name, "")):
        raise ParameterError(name, "", "is missing; write one")
    return text


def _unix_ns(query: Mapping[str, str], name: str, unit_ns: int, default_ns: int) -> int:
    text = query.get(name, "")
    if not text:
        return default_ns
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) * unit_ns >= 2**63:
        raise ParameterError(name, cut(text), "is no time since 1970")
    return int(text) * unit_ns


def _duration(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "")
    return duration_ns(name, text, DURATION_S_MAX) if text else None


def _kind(kind: SpanKind) -> str:
    return "" if kind is SpanKind.UNSPECIFIED else kind.name.lower()

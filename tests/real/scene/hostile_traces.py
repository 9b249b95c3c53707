"""Requests whose every name would like to be markup, as spans that a stranger sends."""

import time
from collections.abc import Iterator

from scene.http import Json

REQUESTS = 60
"""As many as reports want before they say anything."""

_SERVER, _INTERNAL, _CLIENT = 2, 1, 3
_MS = 1_000_000


def export(name: str) -> Json:
    """For `POST /v1/traces`: `name` stands for whatever may be named, and is as slow as may be."""
    spans = [span for number in range(REQUESTS) for span in _request(number, name)]
    resource = {"service.name": "spanway", "k8s.node.name": name, "host.name": name}
    told = {"scope": {"name": "spanway"}, "spans": spans}
    of_app = {"spans": [_app_span(number, name) for number in range(REQUESTS)]}
    return {
        "resourceSpans": [
            {"resource": {"attributes": _attributes(resource)}, "scopeSpans": [told]},
            {
                "resource": {"attributes": _attributes({"service.name": name})},
                "scopeSpans": [of_app],
            },
        ]
    }


def trace_id(number: int) -> str:
    return f"{0xE71 * 1_000 + number:032x}"


def _request(number: int, name: str) -> Iterator[Json]:
    """A SERVER span, its balance and an attempt; every tenth takes ten times as long."""
    app_us = 500_000 if number % 10 == 0 else 50_000
    begin_ns = time.time_ns() - 120_000 * _MS + number * 1_000 * _MS
    end_ns = begin_ns + app_us * 1_000
    of_request = {
        "http.request.method": name,
        "http.route": name,
        "http.response.status_code": 503,
        "url.path": name,
        "server.address": name,
        "client.address": name,
        "user_agent.original": name,
        "error.type": name,
        "k8s.namespace.name": name,
        "spanway.ingress.name": name,
        "spanway.route": name,
        "spanway.listener": "ingress",
        "spanway.flags": name,
        "spanway.verdict": "app",
        "spanway.time.app_us": app_us,
        "spanway.phase.wait_us": app_us,
    }
    of_balance = {"k8s.namespace.name": name, "k8s.service.name": name}
    of_attempt = {
        "http.request.method": name,
        "k8s.pod.name": name,
        "k8s.node.name": name,
        "network.peer.address": name,
        "spanway.phase.wait_us": app_us,
    }
    times = begin_ns, end_ns
    yield _span(number, 1, _SERVER, name, times, of_request)
    yield _span(number, 2, _INTERNAL, f"balance {name}/{name}:http", times, of_balance)
    yield _span(number, 3, _CLIENT, name, times, of_attempt)


def _app_span(number: int, name: str) -> Json:
    begin_ns = time.time_ns() - 120_000 * _MS + number * 1_000 * _MS
    times = begin_ns + 2 * _MS, begin_ns + 45 * _MS
    return _span(number, 4, _SERVER, name, times, {"custom": name, name: name})


def _span(
    number: int, index: int, kind: int, name: str, times: tuple[int, int], attributes: Json
) -> Json:
    return {
        "traceId": trace_id(number),
        "spanId": f"{number * 10 + index:016x}",
        "parentSpanId": f"{number * 10 + index - 1:016x}" if index > 1 else "",
        "name": name,
        "kind": kind,
        "startTimeUnixNano": str(times[0]),
        "endTimeUnixNano": str(times[1]),
        "attributes": _attributes(attributes),
        "status": {"code": 2, "message": name},
        "events": [{"timeUnixNano": str(times[0]), "name": name}],
    }


def _attributes(of: Json) -> Json:
    return [
        {"key": key, "value": {"intValue": str(value)}}
        if isinstance(value, int)
        else {"key": key, "value": {"stringValue": value}}
        for key, value in of.items()
    ]

"""Jaeger's query APIs of Spanway say of the same spans what the real Jaeger says."""

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from scene.http import HttpError, Json, request
from scene.jaeger import Jaeger
from scene.objects import write_manifests
from scene.process import wait_until
from scene.spanway import Spanway

TRACE_ID = "000102030405060708090a0b0c0d0e0f"
NOW_NS = time.time_ns() // 1_000_000 * 1_000_000
MS = 1_000_000


def attribute(key: str, **value: object) -> Json:
    return {"key": key, "value": value}


def span(name: str, number: int, parent: int, kind: int, *, start_ms: int, ms: int) -> Json:
    return {
        "traceId": TRACE_ID,
        "spanId": f"{number:016x}",
        "parentSpanId": f"{parent:016x}" if parent else "",
        "name": name,
        "kind": kind,
        "startTimeUnixNano": str(NOW_NS + start_ms * MS),
        "endTimeUnixNano": str(NOW_NS + (start_ms + ms) * MS),
        "attributes": [
            attribute("http.request.method", stringValue="GET"),
            attribute("http.response.status_code", intValue="503"),
            attribute("tls.resumed", boolValue=True),
            attribute("ratio", doubleValue=0.5),
            attribute("user.id", stringValue="7"),
        ],
    }


def sent() -> Json:
    root = span("GET /cart", 1, 0, 2, start_ms=0, ms=20) | {
        "traceState": "vendor=1",
        "status": {"code": 2, "message": "no stock"},
        "events": [
            {
                "timeUnixNano": str(NOW_NS + MS),
                "name": "noted",
                "attributes": [attribute("why", stringValue="because")],
            }
        ],
        "links": [{"traceId": TRACE_ID[::-1], "spanId": "00000000000000ff"}],
    }
    shop = [root, span("GET", 2, 1, 3, start_ms=1, ms=18)]
    stock = [span("GET /stock", 3, 2, 2, start_ms=2, ms=16)]
    return {
        "resourceSpans": [
            {
                "resource": {
                    "attributes": [
                        attribute("service.name", stringValue=service),
                        attribute("host.name", stringValue="node-1"),
                    ]
                },
                "scopeSpans": [{"scope": {"name": "lib"}, "spans": spans}],
            }
            for service, spans in (("shop", shop), ("stock", stock))
        ]
    }


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory, jaeger: Jaeger) -> Iterator[tuple[str, str]]:
    """Of Jaeger, and of Spanway as one; both have the same spans."""
    directory = tmp_path_factory.mktemp("jaeger-api")
    write_manifests(directory / "manifests/shop.yaml", [])
    with Spanway(directory, "--manifests", directory / "manifests") as spanway:
        spanway.wait_until_ready()
        request("POST", f"http://{spanway.admin}/v1/traces", sent())
        request("POST", f"{jaeger.otlp_url}/v1/traces", sent())
        wait_until(lambda: jaeger.trace(TRACE_ID), "Jaeger has the trace", deadline_s=10)
        yield jaeger.url, f"http://{spanway.admin}/jaeger"


TIMES = f"start={NOW_NS // 1_000 - 1_000_000}&end={NOW_NS // 1_000 + 1_000_000}"
TIMES_V3 = "&".join(
    f"query.start_time_{which}={time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(NOW_NS / 1e9 + s))}"
    for which, s in (("min", -2), ("max", 2))
)


@pytest.mark.parametrize(
    "path",
    [
        "/api/services/shop/operations",
        "/api/operations?service=shop",
        "/api/operations?service=shop&spanKind=client",
        f"/api/traces/{TRACE_ID}",
        f"/api/traces/{TRACE_ID.lstrip('0')}",
        f"/api/traces?traceID={TRACE_ID}",
        f"/api/traces?service=shop&{TIMES}",
        f"/api/traces?service=stock&operation=GET%20%2Fstock&{TIMES}&limit=5",
        f"/api/traces?service=shop&minDuration=19ms&{TIMES}",
        f"/api/traces?service=shop&minDuration=21ms&{TIMES}",
        f"/api/traces?service=shop&tags={quote(json.dumps({'user.id': '7'}))}&{TIMES}",
        f"/api/traces?service=shop&tags={quote(json.dumps({'user.id': '8'}))}&{TIMES}",
        f"/api/v3/traces/{TRACE_ID}",
        f"/api/v3/traces?query.service_name=shop&query.num_traces=9&{TIMES_V3}",
        "/api/v3/operations?service=shop",
    ],
)
def test_answer_is_jaegers(urls: tuple[str, str], path: str) -> None:
    theirs, ours = (request("GET", f"{url}{path}") for url in urls)

    assert _comparable(ours) == _comparable(theirs)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/traces", 400),
        ("/api/traces/xyz", 400),
        (f"/api/traces/{'9' * 32}", 404),
        (f"/api/v3/traces/{'9' * 32}", 404),
    ],
)
def test_errors_have_jaegers_status(urls: tuple[str, str], path: str, status: int) -> None:
    for url in urls:
        with pytest.raises(HttpError) as raised:
            request("GET", f"{url}{path}")
        assert raised.value.status == status


_NOT_KEPT = {"warnings", "flags", "processes", "processID"}


def _comparable(answer: Any, key: str = "") -> Any:
    """Without warnings and flags, which are not kept; lists in an order of their own."""
    match answer:
        case dict():
            return {
                name: _comparable(value, name)
                for name, value in answer.items()
                if name not in _NOT_KEPT
            }
        case list():
            return sorted((_comparable(one, key) for one in answer), key=repr)
        case _:
            return answer

"""A line for each request: what it says, and what a client cannot make of it."""

import asyncio
import json
import random
import re
import string
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from client import turn
from data_plane import DataPlane
from message import request, response
from upstream import Exchange, Upstream, says

from proxy.access_log import AccessLog, AccessLogFormat
from proxy.table import Retry, RetryOn, RoutePolicy, Tracing, TracingPolicy

UPSTREAM_LINE = re.compile(
    r'(?P<client>\S+) - - \[(?P<time>\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000)\] "(?P<request>[^"]*)"'
    r' (?P<status>\d{3}) (?P<bytes>\d+) "(?P<referer>[^"]*)" "(?P<agent>[^"]*)" (?P<length>\d+)'
    r" (?P<took>\d+\.\d{3}) \[(?P<upstream>[^\]]*)\] \[\]"
    r" (?P<addresses>[\d.]+:\d+(?:, [\d.]+:\d+)*|-)"
    r" (?P<lengths>[-\d]+(?:, [-\d]+)*) (?P<times>[-\d.]+(?:, [-\d.]+)*)"
    r" (?P<statuses>[-\d]+(?:, [-\d]+)*) (?P<id>\S+) (?P<trace>[0-9a-f]{32})"
    r" (?P<flag>\S+) (?P<verdict>\S+)"
)
"""ingress-nginx `upstreaminfo`, with trace id, flag and verdict behind it."""


class Logged:
    """A data plane and the file that it logs to."""

    def __init__(self, path: Path, form: AccessLogFormat) -> None:
        self.path = path
        self.data_plane = DataPlane(access_log=AccessLog(str(path), form))

    async def lines(self) -> list[str]:
        """All of them; stops the engine."""
        await self.data_plane.stop()
        text = self.path.read_bytes().decode("ascii", errors="surrogateescape")
        assert text == "" or text.endswith("\n")
        return text.split("\n")[:-1]


@pytest.fixture
async def logged(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Logged]:
    logged = Logged(tmp_path / "access.log", getattr(request, "param", AccessLogFormat.JSON))
    yield logged
    logged.data_plane.close()


def in_format(form: AccessLogFormat) -> Any:
    return pytest.mark.parametrize("logged", [form], indirect=True)


def address_of(upstream: Upstream) -> str:
    return f"{upstream.endpoint.address}:{upstream.endpoint.port}"


async def ask(logged: Logged, *requests: bytes) -> None:
    async with await logged.data_plane.client() as client:
        for each in requests:
            await client.ask(each)


async def test_json_says_what_the_spans_say(logged: Logged, upstream: Upstream) -> None:
    logged.data_plane.serve(upstream)
    fields = (
        "User-Agent: curl/8",
        "Referer: http://a.example/b?token=secret#c",
        "X-Request-ID: mine",
    )
    secrets = ("Cookie: secret", "Authorization: Basic c2VjcmV0")
    await ask(logged, request("POST", "/x?token=secret", *fields, *secrets, body=b"hello"))

    (line,) = await logged.lines()

    assert "secret" not in line
    assert "c2VjcmV0" not in line
    told = json.loads(line)
    segment = await logged.data_plane.segment()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", told.pop("time"))
    phases = told.pop("phases_us")
    assert sum(phases.values()) == told.pop("duration_us") == segment.server.duration_ns // 1000
    assert told.pop("request_bytes") > len("POST /x")
    assert told == {
        "trace_id": segment.server.trace_id,
        "span_id": segment.server.span_id,
        "sampled": True,
        "client": "127.0.0.1",
        "method": "POST",
        "scheme": "http",
        "host": "shop.example",
        "path": "/x",
        "protocol": "1.1",
        "status": 200,
        "response_body_bytes": 2,
        "namespace": "shop",
        "ingress": "web",
        "rule": "spec.rules[0].http.paths[0]",
        "route": "/",
        "service": "api",
        "port": "80",
        "endpoint": address_of(upstream),
        "endpoint_status": 200,
        "attempts": 1,
        "referer": "http://a.example/b",
        "user_agent": "curl/8",
        "request_id": "mine",
        "generation": 1,
    }


@pytest.mark.parametrize("tracing", [Tracing(TracingPolicy(0.0)), Tracing(enabled=False)])
async def test_requests_that_leave_no_span_are_logged(
    logged: Logged, upstream: Upstream, tracing: Tracing
) -> None:
    logged.data_plane.serve(upstream, tracing=tracing)
    await ask(logged, request("GET", "/"))

    (line,) = await logged.lines()

    assert json.loads(line)["sampled"] is False


async def test_a_failure_is_logged_with_its_flag(logged: Logged) -> None:
    logged.data_plane.serve()
    await ask(logged, request("GET", "/"))

    (line,) = await logged.lines()

    told = json.loads(line)
    assert (told["status"], told["flag"], told["attempts"]) == (503, "no_endpoints", 0)


@in_format(AccessLogFormat.UPSTREAM)
async def test_upstream_is_read_by_what_reads_ingress_nginx(
    logged: Logged, upstream: Upstream
) -> None:
    logged.data_plane.serve(upstream)
    await ask(logged, request("GET", "/x?q=1", "User-Agent: curl/8", "X-Request-ID: mine"))

    (line,) = await logged.lines()

    found = UPSTREAM_LINE.fullmatch(line)
    assert found is not None, line
    segment = await logged.data_plane.segment()
    assert found["client"] == "127.0.0.1"
    assert found["request"] == "GET /x HTTP/1.1"
    assert (found["status"], found["bytes"]) == ("200", "2")
    assert (found["referer"], found["agent"]) == ("-", "curl/8")
    assert found["upstream"] == "shop-api-80"
    assert (found["addresses"], found["lengths"]) == (address_of(upstream), "2")
    assert (found["statuses"], found["id"]) == ("200", "mine")
    assert found["trace"] == segment.server.trace_id
    assert (found["flag"], found["verdict"]) == ("-", "none")


@in_format(AccessLogFormat.UPSTREAM)
async def test_upstream_has_every_attempt(logged: Logged, upstream: Upstream) -> None:
    retry = Retry(attempts=2, on=(RetryOn.STATUS_503,))
    async with Upstream() as second:
        upstream.answer = second.answer = says(response(503, body=b"no"))
        logged.data_plane.serve(upstream, second, policy=RoutePolicy(retry=retry))
        await ask(logged, request("GET", "/"))
        addresses = {address_of(upstream), address_of(second)}

        (line,) = await logged.lines()

    found = UPSTREAM_LINE.fullmatch(line)
    assert found is not None, line
    assert set(found["addresses"].split(", ")) == addresses
    assert found["statuses"] == "503, 503"
    assert found["lengths"] == "0, 2"


@in_format(AccessLogFormat.COMBINED)
async def test_combined_is_nginx_combined(logged: Logged, upstream: Upstream) -> None:
    logged.data_plane.serve(upstream)
    await ask(logged, request("GET", "/", "User-Agent: a b", "Referer: http://x.example/"))

    (line,) = await logged.lines()

    assert re.fullmatch(
        r'127\.0\.0\.1 - - \[[^]]+\] "GET / HTTP/1\.1" 200 2 "http://x\.example/" "a b"', line
    )


@in_format(AccessLogFormat.UPSTREAM)
async def test_who_leaves_before_a_status_is_logged_as_499(
    logged: Logged, upstream: Upstream
) -> None:
    logged.data_plane.serve(upstream)
    arrived = asyncio.Event()

    async def never(exchange: Exchange) -> None:
        arrived.set()
        await exchange.gone()

    upstream.answer = never
    async with await logged.data_plane.client() as client:
        await client.send(request("GET", "/"))
        await arrived.wait()
    await upstream.wait_for(lambda upstream: upstream.connections_open == 0)

    (line,) = await logged.lines()

    found = UPSTREAM_LINE.fullmatch(line)
    assert found is not None, line
    assert (found["status"], found["flag"]) == ("499", "client_gone")


@pytest.mark.parametrize("logged", list(AccessLogFormat), indirect=True)
async def test_no_client_can_forge_a_line_or_a_field(
    logged: Logged, upstream: Upstream, request_seed: int
) -> None:
    logged.data_plane.serve(upstream)
    chance = random.Random(request_seed)
    alphabet = f'{string.ascii_letters}{string.punctuation}"\\ \t\x80\x9b\xe2\x80\xa8\xff'
    values = [
        "".join(chance.choices(alphabet, k=chance.randrange(1, 80))).strip() for _ in range(60)
    ]
    requests = [
        request(
            "GET", "/", f"User-Agent: x{value}", f"Referer: y{value}", f"X-Request-ID: z{value}"
        )
        for value in values
    ]
    await ask(logged, *requests)

    lines = await logged.lines()

    assert len(lines) == len(values)
    for line, value in zip(lines, values, strict=True):
        check_line(line, value)


@pytest.fixture
def request_seed() -> int:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    return seed


def check_line(line: str, value: str) -> None:
    if line.startswith("{"):
        text = line.encode("ascii", errors="surrogateescape").decode()
        told = json.loads(text)
        raw = value.encode("latin-1").decode("utf-8", errors="replace")
        assert told["user_agent"] == f"x{raw}"
        assert not any(ord(sign) < 0x20 or 0x7F <= ord(sign) < 0xA0 for sign in text)
        return
    assert all(" " <= sign <= "~" for sign in line)
    assert line.count('"') == 6
    if line.rsplit('"', maxsplit=1)[-1]:
        assert UPSTREAM_LINE.fullmatch(line) is not None, line


async def test_a_renamed_file_is_left_when_it_is_said(logged: Logged, upstream: Upstream) -> None:
    logged.data_plane.serve(upstream)
    await ask(logged, request("GET", "/before"))
    await written(logged, 1)
    old = logged.path.rename(logged.path.with_suffix(".1"))

    logged.data_plane.engine.reopen_access_log()
    async with asyncio.timeout(10):
        while not logged.path.exists():
            await turn()
    await ask(logged, request("GET", "/after"))

    (line,) = await logged.lines()
    assert json.loads(line)["path"] == "/after"
    assert json.loads(old.read_text())["path"] == "/before"


async def written(logged: Logged, count: int) -> None:
    async with asyncio.timeout(10):
        while logged.data_plane.engine.stats().log_lines < count:
            await turn()


async def test_a_file_that_takes_nothing_costs_lines_and_no_request(upstream: Upstream) -> None:
    data_plane = DataPlane(access_log=AccessLog("/dev/full", AccessLogFormat.JSON))
    data_plane.serve(upstream)
    async with await data_plane.client() as client:
        assert (await client.ask(request("GET", "/"))).status == 200
    await data_plane.stop()

    stats = data_plane.engine.stats()
    assert (stats.log_lines, stats.log_lines_dropped) == (0, 1)
    data_plane.close()


async def test_a_file_that_cannot_be_opened_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        DataPlane(access_log=AccessLog(str(tmp_path / "none" / "x"), AccessLogFormat.JSON))

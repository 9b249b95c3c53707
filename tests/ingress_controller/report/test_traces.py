"""`spanway traces` and `spanway trace`: their text, and asking a real process."""

import asyncio
import json
import os
import sys
from pathlib import Path

import aiohttp
import pytest
from live_rows import HOSTILE
from sample_spans import TRACE_ID, request
from spanway_process import MAIN, free_address, spanway, write

from ingress_controller.admin.traces import Found, shown_trace
from ingress_controller.report.traces import found_text, trace_text
from ingress_controller.traces.span import decode
from ingress_controller.traces.store.queries import TraceSummary

SUMMARY = TraceSummary(
    trace_id=TRACE_ID.hex(),
    name="GET /cart",
    service="spanway",
    start_unix_us=1_700_000_000_000_000,
    duration_us=203_000,
    span_count=3,
    services=("spanway",),
    is_failed=True,
    method="GET",
    host="shop.example",
    route="/cart",
    status=503,
    flags="no_endpoints",
    verdict="none",
)


def test_a_trace_is_a_line_with_what_opens_it() -> None:
    text = found_text(Found((SUMMARY,), False, 0, 0), 120)

    head, line, _, last = text.splitlines()
    assert head.split() == ["START", "TOOK", "STATUS", "SPANS", "TRACE", "REQUEST"]
    assert line.split()[1:] == [
        *("203ms", "503", "3", TRACE_ID.hex(), "GET", "shop.example/cart", "(no_endpoints)")
    ]
    assert last == "spanway trace TRACE shows one."
    assert "since=1d" in found_text(Found((), False, 0, 0), 80)


@pytest.mark.parametrize("in_colour", [False, True])
def test_a_strangers_names_reach_a_terminal_as_characters_only(in_colour: bool) -> None:
    sent = request(1)
    [span] = sent.resource_spans[0].scope_spans[0].spans
    span.name = HOSTILE
    trace = shown_trace(decode(sent.SerializeToString()))

    drawn = trace_text(trace, 100, in_colour=in_colour)

    assert "\u202e" not in drawn
    assert ("\x1b[31m\n" in drawn) is False
    assert "Where the time went: " in drawn


async def command(*argv: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", MAIN, *argv),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "120"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_a_trace_is_found_and_drawn_by_asking_a_running_process(tmp_path: Path) -> None:
    write(tmp_path)
    admin = free_address()
    flags = ["--manifests", str(tmp_path), "--http", free_address(), "--admin", admin]
    async with spanway(*flags) as process:
        assert process.stdout is not None
        await process.stdout.readline()
        sent = request(2)
        sent.resource_spans[0].scope_spans[0].spans[0].attributes.add(
            key="note", value={"string_value": HOSTILE + "\x9b31m"}
        )
        await _post(f"http://{admin}/v1/traces", sent.SerializeToString())
        asked = ["--admin", admin]
        found = await command("traces", *asked, "from=1700000000", "to=1700000001", "service=shop")
        drawn = await command("trace", *asked, TRACE_ID.hex())
        as_json = await command("trace", *asked, "--json", TRACE_ID.hex())
        wrong = await command("traces", *asked, "status=x")
        missing = await command("trace", *asked, "f" * 32)

    assert (found[0], TRACE_ID.hex() in found[1]) == (0, True)
    assert drawn[1].count("GET / 503 ✗ no endpoints") == 2
    assert json.loads(as_json[1])["trace_id"] == TRACE_ID.hex()
    assert json.loads(as_json[1])["spans"][0]["attributes"]["note"] == HOSTILE + "\x9b31m"
    assert as_json[1].replace("\n", "").isprintable()
    assert (wrong[0], wrong[2]) == (2, 'spanway: status: "x" is no status; write 503 or 5xx.\n')
    assert missing[0] == 1
    assert missing[2].startswith("spanway: No span of trace ffff")


async def _post(url: str, body: bytes) -> None:
    headers = {"Content-Type": "application/x-protobuf"}
    async with aiohttp.ClientSession() as client, client.post(url, data=body, headers=headers) as r:
        assert r.status == 200

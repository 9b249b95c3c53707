"""Requests that are hostile or odd, from `tests/vectors/hostile_requests.json`.

Whatever comes in, the upstream gets whole requests that are strict (`Upstream` sees to it), the
engine goes on serving, and nothing panics (`data_plane` sees to it).
"""

import json
from pathlib import Path
from typing import Any

import pytest
from client import Client, Response
from data_plane import DataPlane
from message import request
from upstream import Upstream

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "hostile_requests.json").read_text())

PIECES_MAX = 4096
"""A system call each."""

PROBE = request("GET", "/probe", host="probe.example")


def _bytes(said: str | list[Any]) -> bytes:
    parts = [said] if isinstance(said, str) else said
    return "".join(
        part if isinstance(part, str) else part["repeat"] * part["times"] for part in parts
    ).encode("latin-1")


@pytest.mark.parametrize("sending", ["at_once", "in_pieces"])
@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
async def test_request_is_treated_as_the_vector_says(
    case: dict[str, Any], sending: str, data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream)
    sent, want = _bytes(case["send"]), case["want"]
    piece_bytes = len(sent) if sending == "at_once" else -(-len(sent) // PIECES_MAX)

    async with await data_plane.client() as client:
        for start in range(0, len(sent), piece_bytes):
            await client.send(sent[start : start + piece_bytes])
        responses = [await _response(client, sent) for _ in range(want.get("responses", 1))]
        is_closed = await _is_closed(client, responses[-1])
    async with await data_plane.client() as another:
        assert (await another.ask(PROBE)).status == 200
    await data_plane.stop()
    await upstream.wait_for(lambda upstream: upstream.connections_open == 0)

    assert [response.status for response in responses[:-1]] == [200] * (len(responses) - 1)
    assert responses[-1].status == want["status"]
    assert is_closed or want["status"] == 200
    wanted = want.get("upstream", [])
    _assert_got(upstream, wanted if isinstance(wanted, list) else [wanted])


async def _response(client: Client, sent: bytes) -> Response:
    return await client.response("HEAD" if sent.startswith(b"HEAD") else "GET")


async def _is_closed(client: Client, last: Response) -> bool:
    """Nothing more is answered: the connection is closed, or the next answer is to the probe."""
    if last.head.one("connection") == "close":
        assert await client.rest() == b""
        return True
    assert (await client.ask(PROBE)).status == 200
    return False


def _assert_got(upstream: Upstream, wanted: list[dict[str, Any]]) -> None:
    got = [each for each in upstream.complete() if each.head.one("host") != "probe.example"]
    assert [each.line for each in got] == [
        _bytes(w["request_line"]).decode("latin-1") for w in wanted
    ]
    for each, want in zip(got, wanted, strict=True):
        fields = [f"{name}: {value}" for name, value in each.head.fields]
        for field in want.get("has", []):
            name, _, value = field.partition(": ")
            assert f"{name.lower()}: {value}" in fields
        assert not {name.lower() for name in want.get("lacks", [])} & dict(each.head.fields).keys()
        assert each.request_body == _bytes(want["body"])

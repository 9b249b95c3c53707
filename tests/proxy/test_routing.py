"""Manifests in, requests over a socket, and the backend that each was balanced over."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from data_plane import DataPlane
from k8s_objects import build

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "routing.json").read_text())


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
async def test_request_reaches_the_backend_of_the_vector(
    case: dict[str, Any], data_plane: DataPlane
) -> None:
    built = build(case["manifests"]).table
    # Without endpoints, which are somebody's addresses here: the backend's own span is the answer.
    backends = {
        key: msgspec.structs.replace(backend, endpoints=())
        for key, backend in built.backends.items()
    }
    wanted = msgspec.structs.replace(built, listeners=(data_plane.ingress,), backends=backends)
    assert data_plane.publish(wanted) == []

    async with await data_plane.client() as client:
        for asked in case["requests"]:
            await client.get(asked["path"], host=asked["host"])
    segments = await data_plane.segments()

    balanced = [
        segment.balance.name.removeprefix("balance ") if segment.balance else None
        for segment in segments
    ]
    assert balanced == [asked["want"] for asked in case["requests"]]

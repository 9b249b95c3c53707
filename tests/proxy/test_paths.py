"""One normal form of a path: what routes are matched with is what the endpoint gets.

`tests/vectors/paths.json` drives the codec in Rust, too.
"""

import json
from pathlib import Path

import msgspec
import pytest
from data_plane import ROUTE, DataPlane, backend, table
from upstream import Upstream

from proxy.table import ANY_HOST, Host, PathKind

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "paths.json").read_text())


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["target"])
async def test_target_is_routed_and_forwarded_as_the_vector_says(
    case: dict[str, str], data_plane: DataPlane, upstream: Upstream
) -> None:
    matched = case.get("matched", "/")
    kind = PathKind.EXACT if "matched" in case else PathKind.PREFIX
    route = msgspec.structs.replace(ROUTE, kind=kind, path=matched)
    served = table((data_plane.ingress,), (backend(upstream),), (Host(ANY_HOST, (route,)),))
    assert data_plane.publish(served) == []

    async with await data_plane.client() as client:
        answer = await client.get(case["target"])

    assert answer.status == (200 if "matched" in case else 400)
    assert [exchange.line for exchange in upstream.exchanges] == (
        [f"GET {case['forwarded']} HTTP/1.1"] if "matched" in case else []
    )

"""The engine over real sockets on loopback, between a recording upstream and a raw client."""

from collections.abc import AsyncIterator, Iterator

import pytest
from client import Client
from data_plane import DataPlane
from upstream import Upstream


@pytest.fixture
def data_plane(capfd: pytest.CaptureFixture[str]) -> Iterator[DataPlane]:
    """An engine with one worker that serves nothing yet, and must leave nothing on stderr: that is
    where a panic would be."""
    data_plane = DataPlane()
    yield data_plane
    data_plane.close()
    assert capfd.readouterr().err == ""


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """Answers 200 `ok`, until told otherwise."""
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture
async def client(data_plane: DataPlane, upstream: Upstream) -> AsyncIterator[Client]:
    """Connected to the data plane, which sends everything to `upstream`."""
    data_plane.serve(upstream)
    async with await data_plane.client() as client:
        yield client

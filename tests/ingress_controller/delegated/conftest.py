"""An API server that is asked, and a clock that stands still."""

from collections.abc import AsyncIterator

import pytest
from fake_apiserver import FakeApiserver, running
from standing_clock import StandingClock

from ingress_controller.delegated.reviews import Reviewer


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
async def apiserver() -> AsyncIterator[tuple[FakeApiserver, Reviewer]]:
    async with running() as (server, api):
        yield server, Reviewer(api, "deploy/kubernetes/api.yaml")

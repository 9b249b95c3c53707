"""A store in memory, and what the admin server answers of it."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from ingress_controller.admin.otlp_receiver import OtlpReceiver
from ingress_controller.admin.traces import TracesApi
from ingress_controller.peers.stores import Stores
from ingress_controller.traces.store.limits import StoreLimits
from ingress_controller.traces.store.store import Store


@pytest.fixture
def store() -> Store:
    return Store(None, StoreLimits(age_s_max=1e9))


@pytest.fixture
async def client(store: Store) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    app = web.Application()
    OtlpReceiver(store).add_to(app)
    TracesApi(Stores(store)).add_to(app)
    async with TestClient(TestServer(app)) as client:
        yield client

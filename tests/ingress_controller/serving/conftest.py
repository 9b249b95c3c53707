"""Each test here runs on uvloop, too, on which Spanway runs: it has transports of its own."""

import asyncio
from collections.abc import Callable, Mapping

import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """By the names that tests have then."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

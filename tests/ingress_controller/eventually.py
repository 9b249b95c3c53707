"""Waiting for a condition in a test, without a guess of how long it takes."""

import asyncio
from collections.abc import Callable

DEADLINE_S = 10.0  # only a failing test takes that long


async def until(condition: Callable[[], object]) -> None:
    """Lets the event loop run until `condition` holds."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110
            # Polled, because what is waited for has no event: it is behind a socket or a file.
            await asyncio.sleep(0.001)

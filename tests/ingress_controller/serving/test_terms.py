import logging

import pytest

from ingress_controller.serving.terms import Followed
from ingress_controller.telemetry.events import Event


class Told(Event, frozen=True):
    reason: str = ""


async def test_what_cannot_be_used_changes_nothing_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    taken: list[int] = []

    async def take(terms: int) -> None:
        if terms < 0:
            raise ValueError("negative")
        taken.append(terms)

    def unreadable() -> int:
        raise ValueError("gone")

    followed = Followed(take, Told, Told)
    await followed.begin(1)
    with caplog.at_level(logging.INFO, "spanway"):
        for read in (lambda: 1, lambda: -1, lambda: -1, unreadable, lambda: 2, lambda: 2):
            await followed.look(read)

    assert taken == [1, 2]
    assert [record.message for record in caplog.records] == [
        "Told reason=negative",
        "Told reason=gone",
        'Told reason=""',
    ]

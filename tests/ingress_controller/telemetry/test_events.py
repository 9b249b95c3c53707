"""Lines of the log, which a terminal may read."""

import logging

import pytest
from live_rows import HOSTILE

from ingress_controller.telemetry.events import Event, emit, set_up_logging


class Told(Event, frozen=True):
    name: str


def test_line_of_the_log_is_one_line_of_characters(capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.root.handlers[:]
    try:
        set_up_logging()
        emit(Told(HOSTILE))
        emit(Told("\x1b[31m"))
        logging.getLogger("aiohttp.server").error("of %s", HOSTILE)
    finally:
        logging.root.handlers[:] = before

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
    assert lines[1].endswith(r"INFO  Told name=\x1b[31m")

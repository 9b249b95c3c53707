"""The `spanway` command: dispatch, exit codes, and no traceback for a user.

Exit codes: 0 clean, 2 usage or configuration, 1 otherwise.
"""

import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from ingress_controller.readable import printable

EXIT_CLEAN = 0
EXIT_FAILED = 1
EXIT_USAGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    # `run` has nothing to finish yet; any other command has not given its answer.
    is_run = arguments[:1] == ["run"]
    ended = EXIT_CLEAN if is_run else EXIT_FAILED
    with _ended_by_signals(ended, at_once=is_run):
        try:
            return _run(argv)
        except KeyboardInterrupt:
            return ended


@contextmanager
def _ended_by_signals(code: int, *, at_once: bool) -> Iterator[None]:
    """Until an event loop handles them, SIGTERM ends the process as Ctrl-C does; and so does that
    itself where a shell that started this in the background has it ignored.

    `at_once` is for who starts: an exception gets lost where it comes in a destructor, in a
    callback or in an import that goes on without what it could not have, and the process would
    start although it was told to end.
    """

    def end(*_: object) -> None:
        os._exit(code)

    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [
        signal.signal(number, end if at_once else signal.default_int_handler) for number in numbers
    ]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _run(argv: Sequence[str] | None) -> int:
    if reason := foreign_proxy():
        return _fail(reason, EXIT_USAGE)
    # Only now, because they import `proxy`, which was not ours until here.
    from ingress_controller.commands import run_command  # noqa: PLC0415
    from ingress_controller.settings import SettingsError, StartError, read_settings  # noqa: PLC0415
    from ingress_controller.telemetry.events import set_up_logging  # noqa: PLC0415

    set_up_logging()

    try:
        return run_command(read_settings(argv))
    except SettingsError as err:
        return _fail(str(err), EXIT_USAGE)
    except StartError as err:
        return _fail(str(err), EXIT_FAILED)
    except BrokenPipeError:  # `spanway check | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except Exception as err:  # noqa: BLE001 - the last place: a user gets a sentence
        return _internal(err)


def foreign_proxy() -> str:
    """Why the import package `proxy` is not ours; empty if it is.

    proxy.py on PyPI installs a package of the same name, over ours or instead of it.
    """
    try:
        metadata.distribution("proxy.py")
    except metadata.PackageNotFoundError:
        if find_spec("proxy.table") is not None:
            return ""
        owners = ", ".join(metadata.packages_distributions().get("proxy", ["another package"]))
    else:
        owners = "proxy.py"
    return (
        f'The import package "proxy" belongs to {owners} in this Python environment;'
        " install spanway in an environment of its own."
    )


def _fail(message: str, code: int) -> int:
    """A message may hold what a stranger's server or file said."""
    print(f"spanway: {printable(message)}", file=sys.stderr)
    return code


def _internal(err: BaseException) -> int:
    while isinstance(err, BaseExceptionGroup) and len(err.exceptions) == 1:
        err = err.exceptions[0]
    return _fail(f"Internal error, please report it: {_with_place(err)}", EXIT_FAILED)


def _with_place(err: BaseException) -> str:
    """The error and the line that raised it, which is what a report needs."""
    frames = traceback.extract_tb(err.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(err).__name__}: {err}{place}"

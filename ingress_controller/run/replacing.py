"""Taking the place of the process before, and giving one's own to the next (docs/LIFECYCLE.md)."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from ingress_controller.run.listening import refuse_unbound, start_admin
from ingress_controller.run.process import Process
from ingress_controller.settings import Settings, StartError, version
from ingress_controller.takeover.channel import TakeoverError
from ingress_controller.takeover.giving import Giver, Listening, TakeoverFailed
from ingress_controller.takeover.taking import Taken, bound_address, take_over
from ingress_controller.telemetry.events import emit
from proxy.engine import Engine

HANDED_OVER = "hand-over"


async def take(settings: Settings, stack: AsyncExitStack) -> Taken | None:
    """The sockets of the process that is to be replaced, if there is one."""
    if settings.takeover is None:
        return None
    try:
        taken = await take_over(settings.takeover, version())
    except TakeoverError as err:
        raise _no_takeover(settings.takeover, err) from err
    if taken is not None:
        stack.callback(taken.close)
    return taken


def adopt(engine: Engine, taken: Taken) -> None:
    for each in taken.sockets:
        if not each.is_admin:
            engine.adopt(each.address, each.socket)


async def go_live(settings: Settings, process: Process, taken: Taken | None) -> Giver | None:
    """Replaces the process before, since requests are served here by now, and waits for the next.

    Raises:
        StartError: and then the process before serves on.
    """
    refuse_unbound(settings, process.outcome)
    path = settings.takeover
    if path is None:
        return None
    if taken is not None:
        await start_admin(process, settings.admin, taken.take_admin(settings.admin))
        try:
            await taken.finish()
        except TakeoverError as err:
            raise _no_takeover(path, err) from err
        taken.close()
    giver = Giver(path, partial(_listening, process))
    try:
        giver.open()
    except TakeoverError as err:
        if taken is None:
            raise StartError(f"--takeover {path}: {err}; name another path.") from err
        emit(TakeoverFailed(str(err)))  # nobody else is left to serve
        return None
    return giver


def _listening(process: Process) -> list[Listening]:
    sockets = [Listening(*each) for each in process.engine.listening()]
    if (admin := process.admin.duplicate()) is not None:
        sockets.append(Listening(bound_address(admin), admin, is_admin=True))
    return sockets


def _no_takeover(path: Path, err: TakeoverError) -> StartError:
    return StartError(
        f"The process at {path} cannot be replaced: {err};"
        " stop it first, or name another socket with --takeover."
    )


async def hand_over(giver: Giver, stop: asyncio.Future[str]) -> None:
    await giver.run()
    giver.close()
    if not stop.done():
        stop.set_result(HANDED_OVER)

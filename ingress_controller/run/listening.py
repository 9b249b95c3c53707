"""An address that cannot be bound ends the start, with a sentence that names its flag."""

import os
import socket

from ingress_controller.reconcile import Outcome
from ingress_controller.run.process import Process, unbound
from ingress_controller.settings import Settings, StartError


async def start_admin(
    process: Process, address: str, listening: socket.socket | None = None
) -> None:
    try:
        process.admin_address = await process.admin.start(address, listening)
    except ValueError as err:
        raise StartError(f"--admin: {err}; name another file.") from err
    except OSError as err:
        raise cannot_listen("The admin server", "--admin", address, err) from err


def cannot_listen(what: str, flag: str, address: str, err: OSError) -> StartError:
    reason = os.strerror(err.errno).lower() if err.errno else str(err)
    return StartError(
        f"{what} cannot listen on {address}: {reason}; choose another address with {flag}."
    )


def refuse_unbound(settings: Settings, outcome: Outcome) -> None:
    """A listener of the settings that cannot be bound ends the start; one of a Service does not."""
    flags = {listener.address: "--service" for listener in settings.service_listeners}
    flags |= dict.fromkeys(settings.http, "--http") | dict.fromkeys(settings.https, "--https")
    for one in unbound(outcome):
        if flag := flags.get(one.subject):
            raise StartError(
                f"Requests cannot be accepted on {one.subject}: {one.message.rstrip('.')};"
                f" choose another address with {flag}."
            )

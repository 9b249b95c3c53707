"""Why something is not answered, as Kubernetes says it: a Status.

Rules: `reason` is one of the API's own words, by which clients decide what to do next; the message
is for people, who see it after "Error from server (Reason):".
Source: Kubernetes API conventions, "Response Status Kind".
"""

from typing import Any

import msgspec
from aiohttp import web

from ingress_controller.delegated.access import NotAllowedError
from ingress_controller.delegated.reviews import UndecidedError

GROUP = "live.spanway.io"
VERSION = "v1"


class StatusError(Exception):
    """The answer is a Status. `message` is for the user."""

    def __init__(self, code: int, reason: str, message: str, **details: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    @property
    def status(self) -> dict[str, Any]:
        """The Status."""
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        return status | ({"details": self.details} if self.details else {})

    def response(self) -> web.Response:
        """The same over HTTP."""
        return web.Response(
            status=self.code, body=msgspec.json.encode(self.status), content_type="application/json"
        )


def bad_request(message: str) -> StatusError:
    """The question is wrong; the message names what of it, and the fix."""
    return StatusError(400, "BadRequest", message)


def not_found(resource: str, name: str, hint: str) -> StatusError:
    """There is no such object, or no more."""
    message = f'{resource}.{GROUP} "{name}" not found: {hint}'
    return StatusError(404, "NotFound", message, group=GROUP, kind=resource, name=name)


def expired(message: str) -> StatusError:
    """What was told is forgotten; clients ask for all anew."""
    return StatusError(410, "Expired", message)


def forbidden(err: NotAllowedError) -> StatusError:
    """Whoever asks may not."""
    asked = err.asked
    if not asked.resource:
        return StatusError(403, "Forbidden", f"forbidden: {err}")
    name = f' "{asked.name}"' if asked.name else ""
    message = f"{asked.resource}.{asked.group}{name} is forbidden: {err}"
    return StatusError(
        403, "Forbidden", message, group=asked.group, kind=asked.resource, name=asked.name
    )


def undecided(err: UndecidedError) -> StatusError:
    """Whether it may, nobody knows."""
    message = f"whether this is allowed cannot be found out now: {err}"
    return StatusError(503, "ServiceUnavailable", message)

"""Whether somebody may ask something: delegated authorization. The API server decides, by RBAC.

Rules: each question is put to it as a SubjectAccessReview, and its answer holds for some seconds.
What cannot be decided is not answered. The API server's own identity, system:masters, is asked
about by nobody, as in k8s.io/apiserver: it would ask itself.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec

from ingress_controller.aggregated.front_proxy import User
from ingress_controller.aggregated.status_error import GROUP, VERSION, StatusError
from ingress_controller.kubernetes_api import INTERRUPTIONS, ApiError, KubernetesApi, reason_of

DECISION_S = 10.0  # k8s.io/apiserver's own for both answers
DECISIONS_MAX = 1_024  # the oldest gives way; some 10 MiB with a hundred groups each
REVIEWS_MAX = 16  # at once; more wait

_PATH = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_MASTERS = "system:masters"
_FORBIDDEN = 403


class Asked(msgspec.Struct, frozen=True):
    """What somebody wants: an action on a resource, or, without a resource, a path.

    Of a resource `namespace` is empty for all namespaces, `name` for all objects.
    """

    verb: str
    resource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def text(self) -> str:
        """In the words of the API server's own refusals."""
        if not self.resource:
            return f'{self.verb} path "{self.path}"'
        scope = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        return f'{self.verb} resource "{self.resource}" in API group "{GROUP}" {scope}'


class _Decision(msgspec.Struct, frozen=True):
    is_allowed: bool
    reason: str
    until_s: float


class Access:
    """See the module."""

    def __init__(self, api: KubernetesApi, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._decisions: dict[tuple[User, Asked], _Decision] = {}
        self._reviews = asyncio.Semaphore(REVIEWS_MAX)

    async def check(self, user: User, asked: Asked) -> None:
        """Returns if `user` may do it.

        Raises:
            StatusError: not so, or it cannot be found out.
        """
        if _MASTERS in user.groups:
            return
        decision = self._decisions.get((user, asked))
        if decision is None or self._clock() >= decision.until_s:
            decision = await self._review(user, asked)
            self._keep((user, asked), decision)
        if not decision.is_allowed:
            raise _forbidden(user, asked, decision.reason)

    def _keep(self, key: tuple[User, Asked], decision: _Decision) -> None:
        self._decisions.pop(key, None)
        self._decisions[key] = decision
        if len(self._decisions) > DECISIONS_MAX:
            del self._decisions[next(iter(self._decisions))]

    async def _review(self, user: User, asked: Asked) -> _Decision:
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": _subject(user) | _attributes(asked),
        }
        until_s = self._clock() + DECISION_S
        try:
            async with self._reviews:
                answer = await self._api.request("POST", _PATH, body=review)
        except ApiError as err:
            if err.status != _FORBIDDEN:
                raise _undecided(str(err)) from err
            raise _undecided(
                "Spanway's account may not ask the API server who is allowed what; apply"
                " deploy/kubernetes/api.yaml"
            ) from err
        except INTERRUPTIONS as err:
            raise _undecided(reason_of(err)) from err
        status = answer.get("status") or {}
        is_allowed = status.get("allowed") is True
        return _Decision(is_allowed, str(status.get("reason") or ""), until_s)


def _subject(user: User) -> dict[str, Any]:
    extra = {name: list(values) for name, values in user.extra}
    return {"user": user.name, "uid": user.uid, "groups": list(user.groups), "extra": extra}


def _attributes(asked: Asked) -> dict[str, Any]:
    if not asked.resource:
        return {"nonResourceAttributes": {"verb": asked.verb, "path": asked.path}}
    resource = {"group": GROUP, "version": VERSION, "resource": asked.resource}
    scope = {"verb": asked.verb, "namespace": asked.namespace, "name": asked.name}
    return {"resourceAttributes": resource | scope}


def _forbidden(user: User, asked: Asked, reason: str) -> StatusError:
    what = f'User "{user.name}" cannot {asked.text}' + (f": {reason}" if reason else "")
    if not asked.resource:
        return StatusError(403, "Forbidden", f"forbidden: {what}")
    name = f' "{asked.name}"' if asked.name else ""
    message = f"{asked.resource}.{GROUP}{name} is forbidden: {what}"
    return StatusError(403, "Forbidden", message, group=GROUP, kind=asked.resource, name=asked.name)


def _undecided(reason: str) -> StatusError:
    message = f"whether this is allowed cannot be found out now: {reason}"
    return StatusError(503, "ServiceUnavailable", message)

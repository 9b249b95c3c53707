"""Whether somebody may ask something: delegated authorization. The API server decides, by RBAC.

Rules: each question is put to it as a SubjectAccessReview. What cannot be decided is not answered.
The API server's own identity, system:masters, is asked about by nobody, as in k8s.io/apiserver: it
would ask itself.
"""

import time
from collections.abc import Callable
from typing import Any

import msgspec

from ingress_controller.delegated.reviews import Remembered, Reviewer
from ingress_controller.delegated.user import MASTERS, User


class Asked(msgspec.Struct, frozen=True):
    """What somebody wants: an action on a resource, or, without a resource, a path.

    Of a resource `namespace` is empty for all namespaces, `name` for all objects.
    """

    verb: str
    resource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    group: str = ""
    version: str = ""

    @property
    def text(self) -> str:
        """In the words of the API server's own refusals."""
        if not self.resource:
            return f'{self.verb} path "{self.path}"'
        scope = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        return f'{self.verb} resource "{self.resource}" in API group "{self.group}" {scope}'

    @property
    def attributes(self) -> dict[str, Any]:
        """As a SubjectAccessReview has them."""
        if not self.resource:
            return {"nonResourceAttributes": {"verb": self.verb, "path": self.path}}
        names = ("verb", "group", "version", "resource", "namespace", "name")
        return {"resourceAttributes": {name: getattr(self, name) for name in names}}


class NotAllowedError(Exception):
    """`user` may not do what is `asked`; the message is in the words of the API server."""

    def __init__(self, user: User, asked: Asked, reason: str) -> None:
        why = f": {reason}" if reason else ""
        super().__init__(f'User "{user.name}" cannot {asked.text}{why}')
        self.asked = asked


class _Decision(msgspec.Struct, frozen=True):
    is_allowed: bool
    reason: str


class Access:
    """See the module."""

    def __init__(self, reviewer: Reviewer, clock: Callable[[], float] = time.monotonic) -> None:
        self._reviewer = reviewer
        self._clock = clock
        self._decisions = Remembered[tuple[User, Asked], _Decision](clock)

    async def check(self, user: User, asked: Asked) -> None:
        """Returns if `user` may do it.

        Raises:
            NotAllowedError: it may not. UndecidedError: it cannot be found out.
        """
        if MASTERS in user.groups:
            return
        decision = self._decisions.get((user, asked)) or await self._review(user, asked)
        if not decision.is_allowed:
            raise NotAllowedError(user, asked, decision.reason)

    async def _review(self, user: User, asked: Asked) -> _Decision:
        since_s = self._clock()
        status = await self._reviewer.ask(
            "authorization.k8s.io", "SubjectAccessReview", _subject(user) | asked.attributes
        )
        is_allowed = status.get("allowed") is True
        decision = _Decision(is_allowed, str(status.get("reason") or ""))
        self._decisions.put((user, asked), decision, since_s, is_good=is_allowed)
        return decision


def _subject(user: User) -> dict[str, Any]:
    extra = {name: list(values) for name, values in user.extra}
    return {"user": user.name, "uid": user.uid, "groups": list(user.groups), "extra": extra}

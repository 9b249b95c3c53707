"""Whose a token is: delegated authentication. The API server says so, by a TokenReview.

Rules: of a token that has been asked about its hash is kept.
Source: Kubernetes, TokenReview v1: `audiences` of the spec and of the status.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from ingress_controller.delegated.reviews import Remembered, Reviewer
from ingress_controller.delegated.user import User

_NOBODY = User("")


class Tokens:
    """`audience` is for whom tokens have to be; empty for the API server itself."""

    def __init__(
        self,
        reviewer: Reviewer,
        audience: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reviewer = reviewer
        self._audience = audience
        self._clock = clock
        self._users = Remembered[bytes, User](clock)

    async def user(self, token: str) -> User | None:
        """Whose it is; None if it is nobody's, or not for us.

        Raises:
            UndecidedError: it cannot be found out.
        """
        key = hashlib.sha256(token.encode(errors="surrogateescape")).digest()
        user = self._users.get(key) or await self._review(key, token)
        return user if user != _NOBODY else None

    async def _review(self, key: bytes, token: str) -> User:
        since_s = self._clock()
        wanted = {"audiences": [self._audience]} if self._audience else {}
        status = await self._reviewer.ask(
            "authentication.k8s.io",
            "TokenReview",
            {"token": token.encode(errors="replace").decode(errors="replace"), **wanted},
        )
        user = self._user(status)
        self._users.put(key, user, since_s, is_good=user != _NOBODY)
        return user

    def _user(self, status: Mapping[str, Any]) -> User:
        # A server that knows nothing of audiences leaves them out: then the token is for itself.
        is_ours = not self._audience or self._audience in (status.get("audiences") or ())
        said = status.get("user") or {}
        if status.get("authenticated") is not True or not is_ours or not said.get("username"):
            return _NOBODY
        extra = (said.get("extra") or {}).items()
        return User(
            str(said["username"]),
            str(said.get("uid") or ""),
            tuple(said.get("groups") or ()),
            tuple((name, tuple(values)) for name, values in sorted(extra)),
        )

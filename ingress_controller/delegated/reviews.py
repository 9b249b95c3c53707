"""Questions to the API server about who somebody is and what it may, and answers that hold.

Rules: what cannot be decided is an error, and is not kept. Few questions are under way at once, and
of what is kept the oldest gives way.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ingress_controller.kubernetes_api import INTERRUPTIONS, ApiError, KubernetesApi, reason_of

ALLOWED_S = 10.0  # that somebody is somebody, or may do something; k8s.io/apiserver's own
DENIED_S = 2.0  # that it is nobody, or may not: who has just been given a right need not wait long
ANSWERS_MAX = 1_024  # of each kind; some 10 MiB with a hundred groups each
REVIEWS_MAX = 16  # questions at once; more wait

_FORBIDDEN = 403
_K = TypeVar("_K")
_V = TypeVar("_V")


class UndecidedError(Exception):
    """Nobody knows now; the message says why."""


class Reviewer:
    """Asks the API server; `manifest` is what gives Spanway's account the right to."""

    def __init__(self, api: KubernetesApi, manifest: str) -> None:
        self._api = api
        self._manifest = manifest
        self._turns = asyncio.Semaphore(REVIEWS_MAX)

    async def ask(self, group: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
        """The status of a review, for example of `authorization.k8s.io` a `SubjectAccessReview`.

        Raises:
            UndecidedError: there is no answer.
        """
        path = f"/apis/{group}/v1/{kind.lower()}s"
        body = {"apiVersion": f"{group}/v1", "kind": kind, "spec": spec}
        try:
            async with self._turns:
                answer = await self._api.request("POST", path, body=body)
        except ApiError as err:
            if err.status != _FORBIDDEN:
                raise UndecidedError(str(err)) from err
            raise UndecidedError(
                f"Spanway's account may not ask the API server for a {kind}; apply {self._manifest}"
            ) from err
        except INTERRUPTIONS as err:
            raise UndecidedError(reason_of(err)) from err
        return answer.get("status") or {}


class Remembered(Generic[_K, _V]):
    """Answers, for some seconds each."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._answers: dict[_K, tuple[_V, float]] = {}

    def get(self, key: _K) -> _V | None:
        """None if there is none that still holds."""
        answer, until_s = self._answers.get(key, (None, 0.0))
        return answer if self._clock() < until_s else None

    def put(self, key: _K, answer: _V, since_s: float, *, is_good: bool) -> None:
        """Keeps it from `since_s` on, which is when it was asked for."""
        self._answers.pop(key, None)
        self._answers[key] = answer, since_s + (ALLOWED_S if is_good else DENIED_S)
        if len(self._answers) > ANSWERS_MAX:
            del self._answers[next(iter(self._answers))]

"""`status.conditions` of objects of our own kinds: whether each is in force as it is.

Rules: only what differs is written, by a patch of the status alone; conditions of others stay. What
it says is about the generation that was looked at, not about a newer one that is there already.
Source: Kubernetes API conventions, "Typical status properties".
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from ingress_controller.kubernetes_api import ApiError, KubernetesApi
from ingress_controller.model.problem import ObjectKey, Problem, Severity
from ingress_controller.model.values import API_VERSIONS, OWN_KINDS
from ingress_controller.watch.cache import Cache

ACCEPTED = "Accepted"
MESSAGE_CHARS_MAX = 4_096  # the API server takes 32,768; a person reads less

_NOT_FOUND = 404
_PLURALS = {"TracingPolicy": "tracingpolicies"}
_SAYS = ("status", "reason", "message", "observedGeneration")

Condition = dict[str, Any]


class Conditions:
    """See the module."""

    def __init__(self, api: KubernetesApi, cache: Cache) -> None:
        self._api = api
        self._cache = cache

    async def write(self, own: Mapping[ObjectKey, int], problems: Collection[Problem]) -> None:
        """Tells each of `own`, of which the generation is given, what of `problems` is its own.

        Raises:
            ApiError, or one of INTERRUPTIONS; those before were written.
        """
        if not own:
            return
        found: dict[ObjectKey, list[Problem]] = defaultdict(list)
        for problem in problems:
            if problem.object.kind in OWN_KINDS:
                found[problem.object].append(problem)
        for key, generation in own.items():
            await self._tell(key, accepted(found[key], generation))

    async def _tell(self, key: ObjectKey, wanted: Condition) -> None:
        raw = self._cache.get(key)
        if raw is None:
            return  # it is gone
        shown: list[Condition] = (raw.get("status") or {}).get("conditions") or []
        old = next((each for each in shown if each.get("type") == ACCEPTED), {})
        if all(old.get(name) == wanted[name] for name in _SAYS):
            return
        is_same = old.get("status") == wanted["status"]
        since = old.get("lastTransitionTime") if is_same else None
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        others = [each for each in shown if each.get("type") != ACCEPTED]
        told = [*others, {**wanted, "lastTransitionTime": since or now}]
        try:
            await self._api.request("PATCH", _path(key), body={"status": {"conditions": told}})
        except ApiError as err:
            if err.status != _NOT_FOUND:  # deleted meanwhile, or a CRD without a status
                raise


def accepted(problems: Collection[Problem], generation: int) -> Condition:
    """The condition of an object with these Problems, but for the time."""
    is_wrong = any(problem.severity is Severity.ERROR for problem in problems)
    said = [f"{problem.field}: {problem.text}" if problem.field else problem.text
            for problem in problems]  # fmt: skip
    if is_wrong:
        said.append("Its last good version, if there is one, stays in force.")
    return {
        "type": ACCEPTED,
        "status": "False" if is_wrong else "True",
        "reason": "Invalid" if is_wrong else "Accepted",
        "message": " ".join(said)[:MESSAGE_CHARS_MAX],
        "observedGeneration": generation,
    }


def _path(key: ObjectKey) -> str:
    where = f"/apis/{API_VERSIONS[key.kind]}/namespaces/{key.namespace}"
    return f"{where}/{_PLURALS[key.kind]}/{key.name}/status"

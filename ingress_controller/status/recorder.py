"""Problems as Warning Events, so that `kubectl describe` shows them on the object.

Rules: a Problem is reported once while it lasts; what is remembered and what is sent at a time is
bounded, the rest stays in `/api/problems`. An Event that is refused does not keep back the others.
"""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from ingress_controller.kubernetes_api import ApiError, KubernetesApi
from ingress_controller.model.ingress import CONTROLLER
from ingress_controller.model.problem import Problem, Severity
from ingress_controller.model.values import API_VERSIONS
from ingress_controller.watch.cache import Cache

REPORTED_MAX = 4_096  # client-go's event cache
AT_ONCE_MAX = 25  # client-go's burst for one object
MESSAGE_CHARS_MAX = 1_024  # the API server refuses longer notes

_NOT_FOUND, _CONFLICT = 404, 409
_TERMINATING = "NamespaceTerminating"  # 403: nothing new can be made in it


class EventRecorder:
    """See the module."""

    def __init__(self, api: KubernetesApi, cache: Cache, identity: str) -> None:
        self._api = api
        self._cache = cache
        self._identity = identity
        self._reported: set[Problem] = set()
        self._unsent: dict[Problem, datetime] = {}  # of those that last: when tried first

    async def report(self, problems: Iterable[Problem]) -> bool:
        """Sends Events for what is new; whether all were sent.

        Raises:
            ApiError, after the others were sent; or one of INTERRUPTIONS, at once.
            What was sent is remembered.
        """
        now = list(filter(_is_for_event, problems))
        self._reported.intersection_update(now)
        new = [problem for problem in now if problem not in self._reported]
        self._unsent = {problem: at for problem in new if (at := self._unsent.get(problem))}
        new.sort(key=self._unsent.__contains__)
        refusal: ApiError | None = None
        for problem in new[:AT_ONCE_MAX]:
            try:
                await self._send(problem)
            except ApiError as err:
                refusal = err
                continue
            if len(self._reported) < REPORTED_MAX:
                self._reported.add(problem)
        if refusal is not None:
            raise refusal
        return len(new) <= AT_ONCE_MAX or len(self._reported) >= REPORTED_MAX

    async def _send(self, problem: Problem) -> None:
        at = self._unsent.setdefault(problem, datetime.now(UTC))
        namespace = problem.object.namespace or "default"  # as client-go does
        body = dict(self._event(problem, namespace, at))
        try:
            await self._api.request("POST", f"/api/v1/namespaces/{namespace}/events", body=body)
        except ApiError as err:
            is_gone = err.status == _NOT_FOUND or _TERMINATING in err.causes
            if not is_gone and err.status != _CONFLICT:  # it is already there
                raise
        del self._unsent[problem]

    def _event(self, problem: Problem, namespace: str, at: datetime) -> Iterator[tuple[str, Any]]:
        raw = self._cache.get(problem.object) or {}
        digest = hashlib.sha256(f"{problem}{at.timestamp()}".encode()).hexdigest()[:16]
        where = f"{problem.field}: " if problem.field else ""
        yield "apiVersion", "v1"
        yield "kind", "Event"
        yield "metadata", {"namespace": namespace, "name": f"{problem.object.name}.{digest}"}
        yield (
            "involvedObject",
            {
                "apiVersion": API_VERSIONS[problem.object.kind],
                "kind": problem.object.kind,
                "namespace": problem.object.namespace,
                "name": problem.object.name,
                "uid": raw.get("metadata", {}).get("uid", ""),
            },
        )
        yield "type", "Warning"
        yield "reason", "NotServed" if problem.severity is Severity.ERROR else "ServedWithWarning"
        yield "message", f"{where}{problem.text}"[:MESSAGE_CHARS_MAX]
        yield "count", 1
        yield "firstTimestamp", at.strftime("%Y-%m-%dT%H:%M:%SZ")
        yield "lastTimestamp", at.strftime("%Y-%m-%dT%H:%M:%SZ")
        yield "source", {"component": "spanway"}
        yield "reportingComponent", CONTROLLER
        yield "reportingInstance", self._identity


def _is_for_event(problem: Problem) -> bool:
    """Errors, and warnings of Ingresses; a Service without slices yet is too common to report."""
    kind = problem.object.kind
    return kind in API_VERSIONS and (problem.severity is Severity.ERROR or kind == "Ingress")

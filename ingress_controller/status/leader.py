"""Which replica writes to Kubernetes: the one that holds a Lease.

Rules: the Lease is changed with the version that was read, so of two replicas one fails. Time is
our own monotonic clock only: another's Lease has expired when it was not seen to change for its
duration. Leadership ends before the Lease does, also when the API server is away.
Source: client-go's leaderelection, whose durations these are. kubernetes-asyncio's own election
(36.1) stores local time as UTC and ends at the first broken connection, so it is not used.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, ClassVar

from ingress_controller.kubernetes_api import INTERRUPTIONS, ApiError, KubernetesApi, reason_of
from ingress_controller.telemetry.events import Event, emit

LEASE_S = 15  # client-go: 15 s
RENEW_DEADLINE_S = 10.0  # client-go: 10 s
RETRY_S = 2.0  # client-go: 2 s

_FORBIDDEN, _NOT_FOUND, _CONFLICT = 403, 404, 409


class LeaderElected(Event, frozen=True):
    """This replica writes to Kubernetes from now on."""

    lease: str
    identity: str


class LeaderLost(Event, frozen=True):
    """This replica does not any more."""

    level: ClassVar[int] = logging.WARNING
    lease: str


class LeaseUnusable(Event, frozen=True):
    """Nothing is written to Kubernetes until this is solved."""

    level: ClassVar[int] = logging.WARNING
    lease: str
    reason: str


class LeaseUsable(Event, frozen=True):
    """It is solved."""

    lease: str


class Leader:
    """See the module. `on_change` is called when leadership is won or lost."""

    def __init__(  # noqa: PLR0913 - clock and sleep are for tests
        self,
        api: KubernetesApi,
        *,
        namespace: str,
        name: str,
        identity: str,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self._api = api
        self._denied = (
            f"access is denied (403): a Role in namespace {namespace} needs the rule apiGroups:"
            " [coordination.k8s.io], resources: [leases], verbs: [get, create, update]"
        )
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._name = name
        self._lease = f"{namespace}/{name}"
        self._identity = identity
        self._clock = clock
        self._sleep = sleep
        self._asking = asyncio.Lock()
        self._holds = False  # as far as the server's last answer told
        self._leads_until = 0.0
        self._seen: tuple[str, float] = ("", 0.0)  # the Lease's version, and when it was new
        self._was_leader = False
        self._is_released = False
        self._failure = ""

    @property
    def lease(self) -> str:
        """Namespace and name of the Lease."""
        return self._lease

    @property
    def is_leader(self) -> bool:
        """Whether this replica may write now."""
        return self._clock() < self._leads_until

    async def run(self) -> None:
        """Until cancelled or released."""
        while not self._is_released:
            begun = self._clock()
            failure = ""
            try:
                async with asyncio.timeout(RENEW_DEADLINE_S), self._asking:
                    self._holds = await self._acquire()
                    if self._holds and not self._is_released:
                        self._leads_until = begun + RENEW_DEADLINE_S
            except ApiError as err:
                failure = self._denied if err.status == _FORBIDDEN else str(err)
            except INTERRUPTIONS as err:
                failure = reason_of(err)
            self._tell(failure)
            await self._sleep(RETRY_S)

    async def release(self) -> None:
        """Leads no more and lets another replica do so at once; best effort."""
        self._is_released = True
        self._leads_until = 0.0
        try:
            # A try to take it may be under way, and be granted only now.
            async with asyncio.timeout(RETRY_S), self._asking:
                if not self._holds:
                    return
                lease = await self._api.request("GET", f"{self._path}/{self._name}")
                if lease["spec"].get("holderIdentity") == self._identity:
                    lease["spec"]["holderIdentity"] = ""
                    await self._api.request("PUT", f"{self._path}/{self._name}", body=lease)
        except (ApiError, *INTERRUPTIONS) as err:
            emit(LeaseUnusable(self._lease, f"not released: {reason_of(err)}"))

    async def _acquire(self) -> bool:
        """One try to take or keep the Lease; False if another has it."""
        try:
            lease = await self._api.request("GET", f"{self._path}/{self._name}")
        except ApiError as err:
            if err.status != _NOT_FOUND:
                raise
            return await self._write("POST", self._path, {"metadata": {"name": self._name}})
        version = str(lease["metadata"].get("resourceVersion", ""))
        if version != self._seen[0]:
            self._seen = (version, self._clock())
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        duration_s = spec.get("leaseDurationSeconds") or LEASE_S
        if holder not in ("", self._identity) and self._clock() < self._seen[1] + duration_s:
            return False
        return await self._write("PUT", f"{self._path}/{self._name}", lease)

    async def _write(self, method: str, path: str, lease: dict[str, Any]) -> bool:
        old = lease.get("spec") or {}
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        is_new = old.get("holderIdentity") != self._identity
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": LEASE_S,
            "acquireTime": now if is_new else old.get("acquireTime") or now,
            "renewTime": now,
            "leaseTransitions": (old.get("leaseTransitions") or 0) + (1 if old and is_new else 0),
        }
        head = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
        try:
            await self._api.request(method, path, body={**head, **lease, "spec": spec})
        except ApiError as err:
            if err.status == _CONFLICT:
                return False  # another was faster
            raise
        return True

    def _tell(self, failure: str) -> None:
        if failure and failure != self._failure:
            emit(LeaseUnusable(self._lease, failure))
        elif self._failure and not failure:
            emit(LeaseUsable(self._lease))
        self._failure = failure
        if self.is_leader != self._was_leader:
            self._was_leader = self.is_leader
            elected = LeaderElected(self._lease, self._identity)
            emit(elected if self.is_leader else LeaderLost(self._lease))
            self.on_change()

"""Writes `status.loadBalancer` of our Ingresses, conditions of objects of our own kinds, and Events
for Problems, while this replica leads.

Rules: only what differs is written, by a patch of the status alone, so that a conflict with another
writer of the object cannot occur; what fails is tried again. An Ingress that stops being ours loses
the addresses that this process wrote.
"""

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from opentelemetry.context import Context, get_current
from opentelemetry.trace import NoOpTracer, Tracer

from ingress_controller.kubernetes_api import INTERRUPTIONS, ApiError, KubernetesApi, reason_of
from ingress_controller.model.decode import HeldObject
from ingress_controller.model.ingress import Ingress
from ingress_controller.model.problem import ObjectKey, Problem
from ingress_controller.status.conditions import Conditions
from ingress_controller.status.recorder import EventRecorder
from ingress_controller.telemetry.events import Event, emit
from ingress_controller.watch.cache import Cache

RETRY_S = 5.0  # after a write that failed
KEYS_AT_ONCE = 500  # looked at before others run: below 1 ms
_NOT_FOUND = 404
_DENIED = 403

Address = dict[str, str]
"""One entry of `status.loadBalancer.ingress`: `ip` or `hostname`."""


class StatusWritten(Event, frozen=True):
    """An Ingress shows our addresses."""

    ingress: str
    addresses: str


class StatusUnwritten(Event, frozen=True):
    """Kubernetes does not take what we say; requests are served all the same."""

    level: ClassVar[int] = logging.WARNING
    reason: str


class Leads(Protocol):
    """Whether this replica may write."""

    on_change: Callable[[], None]

    @property
    def is_leader(self) -> bool: ...


class StatusWriter:
    """See the module. `addresses` is asked at each pass, since a Service's may change."""

    def __init__(  # noqa: PLR0913 - sleep is for tests
        self,
        api: KubernetesApi,
        cache: Cache,
        *,
        leader: Leads,
        recorder: EventRecorder,
        addresses: Callable[[], Sequence[Address]],
        tracer: Tracer = NoOpTracer(),  # noqa: B008 - it has no state
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._api = api
        self._cache = cache
        self._leader = leader
        self._recorder = recorder
        self._addresses = addresses
        self._tracer = tracer
        self._cause: Context | None = None
        self._sleep = sleep
        self._ours: Mapping[ObjectKey, Ingress] = {}
        self._own: Mapping[ObjectKey, int] = {}
        self._conditions = Conditions(api, cache)
        self._problems: Collection[Problem] = ()
        self._reported: Collection[Problem] | None = None
        self._looked_at: dict[ObjectKey, tuple[HeldObject | None, list[Address]]] = {}
        self._written: set[ObjectKey] = set()
        self._is_due = asyncio.Event()
        self._failure = ""
        leader.on_change = self._is_due.set

    def submit(
        self,
        ours: Mapping[ObjectKey, Ingress],
        problems: Collection[Problem],
        own: Mapping[ObjectKey, int],
    ) -> None:
        """The newest state; an older one that was not written yet is dropped.

        Args:
            own: objects of our own kinds, with the generation that was looked at.

        What is written for it is a child of the span that is current now.
        """
        self._cause = get_current()
        self._ours = ours
        self._problems = problems
        self._own = own
        self._is_due.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._is_due.wait()
            self._is_due.clear()
            failure = ""
            try:
                is_done = await self._write_all()
            except ApiError as err:
                is_done, failure = False, _explained(err)
            except INTERRUPTIONS as err:
                is_done, failure = False, reason_of(err)
            if failure and failure != self._failure:
                emit(StatusUnwritten(failure))
            self._failure = failure
            if not is_done:
                await self._sleep(RETRY_S)
                self._is_due.set()

    async def _write_all(self) -> bool:
        if not self._leader.is_leader:
            return True  # `on_change` starts a pass as soon as it is
        cause, self._cause = self._cause, None
        with self._tracer.start_as_current_span("write status", context=cause) as span:
            is_done = await self._write_changed()
            span.set_attribute("spanway.status.complete", is_done)
            return is_done

    async def _write_changed(self) -> bool:
        is_done, refusal = True, None
        for write in (self._write_addresses, self._report, self._write_conditions):
            try:
                is_done &= await write()
            except ApiError as err:  # what is refused does not keep back the rest
                refusal = err
        if refusal is not None:
            raise refusal
        return is_done

    async def _write_addresses(self) -> bool:
        wanted = list(self._addresses())
        for index, key in enumerate(list(self._ours) if wanted else ()):
            if index % KEYS_AT_ONCE == 0:
                await asyncio.sleep(0)
            if self._shown(key) != wanted:
                await self._write(key, wanted)
        for key in [key for key in self._written if key not in self._ours]:
            if self._shown(key):
                await self._write(key, [])
            self._written.discard(key)
        for key in [key for key in self._looked_at if key not in self._ours]:
            del self._looked_at[key]
        return True

    async def _report(self) -> bool:
        problems = self._problems
        if problems is self._reported:
            return True
        is_done = await self._recorder.report(problems)
        self._reported = problems if is_done else None
        return is_done

    async def _write_conditions(self) -> bool:
        await self._conditions.write(self._own, self._problems)
        return True

    def _shown(self, key: ObjectKey) -> list[Address]:
        """What the Ingress shows now, ports left out; parsed once for each version of it."""
        held = self._cache.held(key)
        known = self._looked_at.get(key)
        if known is None or known[0] is not held:
            known = self._looked_at[key] = (held, addresses_of(self._cache.get(key)))
        return known[1]

    async def _write(self, key: ObjectKey, addresses: Sequence[Address]) -> None:
        path = f"/apis/networking.k8s.io/v1/namespaces/{key.namespace}/ingresses/{key.name}/status"
        body = {"status": {"loadBalancer": {"ingress": list(addresses)}}}
        try:
            await self._api.request("PATCH", path, body=body)
        except ApiError as err:
            if err.status == _NOT_FOUND:
                return  # deleted meanwhile
            raise
        if addresses:
            self._written.add(key)
        shown = ", ".join(value for address in addresses for value in address.values())
        emit(StatusWritten(key.path, shown or "none"))


def address_of(text: str) -> Address:
    """An IP address or host name as an entry of the status."""
    try:
        return {"ip": str(ipaddress.ip_address(text))}
    except ValueError:
        return {"hostname": text}


def addresses_of(raw: Mapping[str, Any] | None) -> list[Address]:
    """`status.loadBalancer.ingress` of an Ingress or a Service of type LoadBalancer."""
    status = (raw or {}).get("status") or {}
    entries = (status.get("loadBalancer") or {}).get("ingress") or []
    return [{k: e[k] for k in ("ip", "hostname") if e.get(k)} for e in entries]


def _explained(err: ApiError) -> str:
    if err.status != _DENIED:
        return str(err)
    return (
        f"{err.message}: the ClusterRole needs the rules apiGroups: [networking.k8s.io],"
        " resources: [ingresses/status], verbs: [patch]; apiGroups: [spanway.io],"
        " resources: [tracingpolicies/status], verbs: [patch]; apiGroups: [''],"
        " resources: [events], verbs: [create]"
    )

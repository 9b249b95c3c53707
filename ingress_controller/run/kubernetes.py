"""What a process in a cluster does besides watching: it writes statuses and events, and answers
`kubectl get requests`."""

import socket
import uuid
from collections.abc import Callable, Coroutine
from functools import partial
from ipaddress import ip_address
from typing import Any

from ingress_controller.aggregated.application import Resource
from ingress_controller.aggregated.node_performances import NodePerformances
from ingress_controller.aggregated.requests import Requests
from ingress_controller.aggregated.server import AggregatedServer
from ingress_controller.kubernetes_api import KubernetesApi
from ingress_controller.model.problem import ObjectKey
from ingress_controller.peers.live import LiveRequests
from ingress_controller.peers.stores import Stores
from ingress_controller.run.listening import cannot_listen
from ingress_controller.run.process import Process
from ingress_controller.settings import Settings, StartError
from ingress_controller.status.leader import Leader
from ingress_controller.status.recorder import EventRecorder
from ingress_controller.status.writer import Address, StatusWriter, address_of, addresses_of
from ingress_controller.watch.cache import Cache


def start_status(
    settings: Settings,
    api: KubernetesApi | None,
    process: Process,
    start: Callable[[Coroutine[Any, Any, None]], None],
) -> Leader | None:
    """Starts what writes to Kubernetes, if there is one."""
    if api is None:
        return None
    identity = f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"
    leader = Leader(
        api,
        namespace=settings.lease_namespace,
        name=f"spanway-{settings.ingress_class}",
        identity=identity,
    )
    writer = StatusWriter(
        api,
        process.cache,
        leader=leader,
        recorder=EventRecorder(api, process.cache, identity),
        addresses=partial(_published, settings, process.cache),
        tracer=process.tracer,
    )
    process.leader = leader
    process.reconciler.on_outcome = lambda out: writer.submit(out.ours, out.problems, out.own)
    start(leader.run())
    start(writer.run())
    return leader


async def start_aggregated(
    settings: Settings, api: KubernetesApi | None, process: Process
) -> AggregatedServer | None:
    """The API of `kubectl get requests`, listening, if it is asked for."""
    if settings.api is None:
        return None
    assert api is not None, "settings allow it with a cluster only"
    server = AggregatedServer(
        api,
        partial(_resources, process, settings.pod),
        settings.api.certificate,
    )
    process.aggregated = server
    try:
        process.api_address = await server.start(settings.api.address)
    except ValueError as err:
        raise StartError(f"--api: {err}; name another pair with --api-cert and --api-key.") from err
    except OSError as err:
        raise cannot_listen("The API server", "--api", settings.api.address, err) from err
    return server


def _resources(process: Process, instance: str) -> list[Resource]:
    """What the API of `kubectl get requests` has: nodes only with traces to judge them by."""
    live = LiveRequests(process.live, own=process.own, peers=process.peers)
    resources: list[Resource] = [Requests(live, instance)]
    if process.store is not None:
        stores = Stores(process.store, process.peers)
        resources.append(NodePerformances(stores, instance))
    return resources


def _published(settings: Settings, cache: Cache) -> list[Address]:
    """What the Ingresses' status shows: what is told, else the listeners' own addresses."""
    if settings.publish.service is not None:
        return addresses_of(cache.get(ObjectKey("Service", *settings.publish.service)))
    listening = (ip_address(x.rpartition(":")[0].strip("[]")) for x in settings.http)
    own = [str(x) for x in listening if not (x.is_unspecified or x.is_loopback)]
    return [address_of(text) for text in settings.publish.addresses or own]

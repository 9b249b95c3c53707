"""An API server as a source: every resource that Spanway reads, in the namespaces it may read."""

import asyncio

from ingress_controller.kubernetes_api import KubernetesApi
from ingress_controller.model.problem import Problem
from ingress_controller.watch.cache import Cache
from ingress_controller.watch.reflector import Reflector, Resource

RESOURCES = (
    Resource("Ingress", "networking.k8s.io", "ingresses"),
    Resource("IngressClass", "networking.k8s.io", "ingressclasses", is_namespaced=False),
    Resource("Service", "", "services"),
    Resource("EndpointSlice", "discovery.k8s.io", "endpointslices"),
)


class KubernetesSource:
    """A `Source` of reflectors. No `namespaces` means all."""

    def __init__(self, api: KubernetesApi, cache: Cache, namespaces: tuple[str, ...] = ()) -> None:
        self._reflectors = [
            Reflector(api, resource, namespace, cache)
            for resource in RESOURCES
            for namespace in (namespaces or ("",) if resource.is_namespaced else ("",))
        ]

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(filter(None, (reflector.missing for reflector in self._reflectors)))

    @property
    def problems(self) -> tuple[Problem, ...]:
        return ()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for reflector in self._reflectors:
                group.create_task(reflector.run())

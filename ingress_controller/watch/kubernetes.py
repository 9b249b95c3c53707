"""An API server as a source: every resource that Spanway reads, in the namespaces it may read.

Rule: of Secrets only certificates are asked for, and what a person has labelled as one to verify
others against. RBAC cannot tell Secrets apart, but what is not asked for is in nobody's memory.
"""

import asyncio

from ingress_controller.kubernetes_api import KubernetesApi
from ingress_controller.model.problem import Problem
from ingress_controller.model.secret import CA_LABEL, TLS_TYPE
from ingress_controller.watch.cache import Cache
from ingress_controller.watch.reflector import Reflector, Resource

RESOURCES = (
    Resource("Ingress", "networking.k8s.io", "ingresses"),
    Resource("IngressClass", "networking.k8s.io", "ingressclasses", is_namespaced=False),
    Resource("Service", "", "services"),
    Resource("EndpointSlice", "discovery.k8s.io", "endpointslices"),
    Resource(
        "Secret",
        "",
        "secrets",
        selectors=(("fieldSelector", f"type={TLS_TYPE}"),),
        is_selected=lambda raw: raw.get("type") == TLS_TYPE,
    ),
    Resource(
        "Secret",
        "",
        "secrets",
        selectors=(("fieldSelector", f"type!={TLS_TYPE}"), ("labelSelector", f"{CA_LABEL}=true")),
        is_selected=lambda raw: raw.get("type") != TLS_TYPE,
    ),
    Resource(
        "TracingPolicy", "spanway.io", "tracingpolicies", version="v1alpha1", is_optional=True
    ),
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
        waiting = filter(None, (reflector.missing for reflector in self._reflectors))
        return tuple(dict.fromkeys(waiting))  # Secrets are followed twice

    @property
    def problems(self) -> tuple[Problem, ...]:
        return ()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for reflector in self._reflectors:
                group.create_task(reflector.run())

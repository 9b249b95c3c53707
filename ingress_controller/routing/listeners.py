"""The table's listeners: those of the settings, and those that Services ask for. Pure.

Rule: an address belongs to the first who names it: settings, then Services by namespace/name.
"""

from collections.abc import Iterable, Mapping

import msgspec

from ingress_controller.addresses import AddressError, ServiceListener, annotated_listeners
from ingress_controller.model.ingress import PortRef, ServiceRef
from ingress_controller.model.problem import ObjectKey, Problem
from ingress_controller.model.service import LISTEN_ANNOTATION, Service
from ingress_controller.model.values import ServiceName
from ingress_controller.routing.backends import Part
from proxy.table import Listener

SERVICE_FLAG = "--service"
_ANNOTATION_FIELD = f"metadata.annotations[{LISTEN_ANNOTATION}]"


class Served(msgspec.Struct, frozen=True):
    """A service listener, and who asked for it: the field `asked_in` of `owner`, or the flag."""

    owner: ObjectKey
    asked_in: str
    service: ServiceRef
    listener: Listener

    @property
    def backend(self) -> str:
        """Key of the backend in the table."""
        return self.listener.backend

    def field(self, _: Part) -> str:
        """The field of the owner to blame; name and port are in one annotation or flag."""
        return self.asked_in


def service_listeners(
    wanted: Iterable[ServiceListener], taken: Iterable[str], *, like: Listener
) -> list[Served]:
    """What the settings ask for: each is `like` that one, with an address and backend of its own.

    `taken` are addresses that settings already use otherwise.
    """
    served = []
    used = set(taken)
    for listener in wanted:
        assert listener.address not in used, "settings refuses an address that is given twice"
        used.add(listener.address)
        served.append(_served(listener, SERVICE_FLAG, like))
    return served


def annotated(
    services: Mapping[ServiceName, Service], taken: Iterable[str], *, like: Listener
) -> tuple[list[Served], list[Problem]]:
    """What Services ask for in their annotation, as far as the addresses are not `taken`."""
    served: list[Served] = []
    problems: list[Problem] = []
    used = dict.fromkeys(taken, "the settings")
    asking = (
        (name, text)
        for name, service in services.items()
        if (text := service.metadata.annotation(LISTEN_ANNOTATION))
    )
    for (namespace, name), text in sorted(asking):
        key = ObjectKey("Service", namespace, name)
        try:
            listeners = annotated_listeners(namespace, name, text)
        except AddressError as err:
            problems.append(Problem(key, _ANNOTATION_FIELD, f"{err}.", "Correct the annotation."))
            continue
        for listener in listeners:
            if listener.address in used:
                message = f"{listener.address} is already used by {used[listener.address]}."
                problems.append(Problem(key, _ANNOTATION_FIELD, message, "Choose another address."))
                continue
            used[listener.address] = str(key)
            served.append(_served(listener, _ANNOTATION_FIELD, like))
    return served, problems


def _served(listener: ServiceListener, field: str, like: Listener) -> Served:
    port = listener.port
    ref = PortRef(number=int(port)) if port.isdigit() else PortRef(name=port)
    owner = ObjectKey("Service", listener.namespace, listener.service)
    backend = f"{listener.namespace}/{listener.service}:{ref}"
    return Served(
        owner,
        field,
        ServiceRef(listener.service, ref),
        msgspec.structs.replace(like, address=listener.address, backend=backend),
    )

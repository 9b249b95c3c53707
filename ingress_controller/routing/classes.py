"""Which Ingresses are ours. Pure.

Rule: an Ingress belongs to the class it names; one that names none belongs to the default class.
Source: Ingress v1, spec.ingressClassName; IngressClass annotation is-default-class.
"""

from collections.abc import Iterator, Mapping

import msgspec

from ingress_controller.model.ingress import CONTROLLER, Ingress, IngressClass
from ingress_controller.model.problem import ObjectKey, Problem, Severity


class ClassRule(msgspec.Struct, frozen=True):
    """Decides for each Ingress by itself; `found` is the object of the class `name`.

    `needs_object` is False for a directory of manifests: there the class needs no IngressClass
    object, and an Ingress that names no class is ours. The older annotation never needed one.
    """

    name: str
    found: IngressClass | None
    needs_object: bool

    def is_ours(self, ingress: Ingress) -> bool:
        """Whether the Ingress belongs to the class, and the class to us."""
        if self._is_foreign:
            return False
        found, is_lenient = self.found, not self.needs_object
        if not ingress.class_name:
            return found.is_default if found is not None else is_lenient
        is_by_annotation = ingress.spec.ingress_class_name is None
        is_found = found is not None or is_lenient or is_by_annotation
        return ingress.class_name == self.name and is_found

    def names_us(self, ingress: Ingress) -> bool:
        """Whether the Ingress names the class in its spec, ours or not."""
        return ingress.spec.ingress_class_name == self.name

    def elsewhere(self, ingress: Ingress) -> str:
        """The other class that an Ingress of a directory belongs to, else empty. In a cluster it
        has a controller of its own; whoever wrote a directory for us may not have thought of it."""
        is_told = not self.needs_object and ingress.class_name != self.name
        return ingress.class_name if is_told else ""

    def problems(self, naming_count: int, others: Mapping[str, int]) -> Iterator[Problem]:
        """Why Ingresses that mean us are not ours; so many name the class, and `others`."""
        key = ObjectKey("IngressClass", "", self.name)
        if self.found is not None and self._is_foreign:
            message = (
                f'The class is handled by "{self.found.spec.controller}", so Spanway leaves its'
                f" Ingresses alone ({naming_count})."
            )
            fix = (
                f"Set spec.controller to {CONTROLLER}, or name another class with --ingress-class."
            )
            yield Problem(key, "spec.controller", message, fix)
        if self.found is None and self.needs_object and naming_count:
            message = f"The class does not exist, but Ingresses name it ({naming_count})."
            yield Problem(key, "", message, f"Create it with spec.controller {CONTROLLER}.")
        for name, count in sorted(others.items()):
            message = f'Its Ingresses ({count}) are not served: --ingress-class is "{self.name}".'
            fix = f"Start Spanway with --ingress-class {name}, or change their class."
            yield Problem(ObjectKey("IngressClass", "", name), "", message, fix, Severity.WARNING)

    @property
    def _is_foreign(self) -> bool:
        return self.found is not None and self.found.spec.controller != CONTROLLER

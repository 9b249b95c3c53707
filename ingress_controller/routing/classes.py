"""Which Ingresses are ours. Pure.

Rule: an Ingress belongs to the class it names; one that names none belongs to the default class.
Source: Ingress v1, spec.ingressClassName; IngressClass annotation is-default-class.
"""

from collections.abc import Iterable, Mapping

from ingress_controller.model.ingress import CONTROLLER, Ingress, IngressClass
from ingress_controller.model.problem import ObjectKey, Problem


def ours(
    ingresses: Mapping[ObjectKey, Ingress],
    classes: Mapping[str, IngressClass],
    class_name: str,
    *,
    needs_object: bool,
) -> dict[ObjectKey, Ingress]:
    """The Ingresses of the class `class_name`.

    `needs_object` is False for a directory of manifests: there the class needs no IngressClass
    object, and an Ingress that names no class is ours. The older annotation never needed one.
    """
    found = classes.get(class_name)
    if found is not None and found.spec.controller != CONTROLLER:
        return {}
    takes_named = found is not None or not needs_object
    takes_unnamed = found.is_default if found is not None else not needs_object

    def is_ours(ingress: Ingress) -> bool:
        if not ingress.class_name:
            return takes_unnamed
        is_by_annotation = ingress.spec.ingress_class_name is None
        return ingress.class_name == class_name and (takes_named or is_by_annotation)

    return {key: ingress for key, ingress in ingresses.items() if is_ours(ingress)}


def class_problems(
    ingresses: Iterable[Ingress],
    classes: Mapping[str, IngressClass],
    class_name: str,
    *,
    needs_object: bool,
) -> tuple[Problem, ...]:
    """Why Ingresses that mean us are not ours."""
    found = classes.get(class_name)
    key = ObjectKey("IngressClass", "", class_name)
    naming = sum(ingress.spec.ingress_class_name == class_name for ingress in ingresses)
    if found is not None and found.spec.controller != CONTROLLER:
        message = (
            f'The class is handled by "{found.spec.controller}", so Spanway leaves its'
            f" Ingresses alone ({naming})."
        )
        fix = f"Set spec.controller to {CONTROLLER}, or name another class with --ingress-class."
        return (Problem(key, "spec.controller", message, fix),)
    if found is None and needs_object and naming:
        message = f"The class does not exist, but Ingresses name it ({naming})."
        fix = f"Create it with spec.controller {CONTROLLER}."
        return (Problem(key, "", message, fix),)
    return ()

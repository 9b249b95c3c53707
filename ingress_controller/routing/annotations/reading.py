"""Annotations of one object become values, and Problems where they cannot. Pure.

Rules: what cannot be read leaves its default in force, and the rest of the object is served; only
what guards something falls to the strict side instead, and the Problem says so.
"""

import difflib
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar, cast

import msgspec

from ingress_controller.model.problem import ObjectKey, Problem, Severity
from ingress_controller.routing.annotations.annotation import PREFIX, ROOTS, Annotation, Scope
from ingress_controller.routing.annotations.table import ANNOTATIONS, BY_NAME

TEXT_CHARS_MAX = 256 * 1024  # Kubernetes' own bound for all annotations of an object
UNKNOWN_MAX = 20  # unknown names that get a Problem each; an object with more is a mistake as such

_R = TypeVar("_R", bound=msgspec.Struct)

_BELONGS = {
    Scope.ROUTE: "an Ingress, or a Service that has a service listener",
    Scope.HOST: "an Ingress",
    Scope.BACKEND: "the Service",
    Scope.TRACING: "an Ingress, or a Service that has a service listener",
    Scope.LISTENER: "a Service",
}


class Read(msgspec.Struct, Generic[_R], frozen=True):
    """`value` with what the annotations said; `given` are the names that said something."""

    value: _R
    given: frozenset[str] = frozenset()
    problems: tuple[Problem, ...] = ()


def read(
    owner: ObjectKey, annotations: Mapping[str, str] | None, scope: Scope, root: _R | None = None
) -> Read[_R]:
    """`root` (default: as it is without annotations) changed by the annotations of `scope`."""
    value = cast(_R, ROOTS[scope]) if root is None else root
    texts = annotations or {}
    given: set[str] = set()
    problems: list[Problem] = []
    for annotation in ANNOTATIONS:
        text = texts.get(annotation.full_name)
        if annotation.scope is not scope or text is None:
            continue
        found = _parsed(owner, annotation, text.strip())
        if isinstance(found, Problem):
            problems.append(found)
            if annotation.strict is None:
                continue
            found = annotation.strict.value
        changed = _with(value, annotation.sets.split("."), found)
        if changed is None:
            problems.append(_needs(owner, annotation))
        else:
            value = changed
            given.add(annotation.name)
    return Read(value, frozenset(given), tuple(problems))


def strays(
    owner: ObjectKey, annotations: Mapping[str, str] | None, scopes: frozenset[Scope]
) -> tuple[Problem, ...]:
    """Names under `spanway.io/` that are unknown, or that say nothing on an object of `scopes`."""
    ours = sorted(name for name in annotations or () if name.startswith(PREFIX))
    problems = list(_unknown(owner, [name for name in ours if name not in BY_NAME]))
    for name in ours:
        annotation = BY_NAME.get(name)
        if annotation is not None and annotation.scope not in scopes:
            message = f"It has no effect here: {name} belongs on {_BELONGS[annotation.scope]}."
            problems.append(Problem(owner, annotation.field, message, "Move it.", Severity.WARNING))
    return tuple(problems)


def changed_names(scope: Scope, value: msgspec.Struct) -> list[str]:
    """Names of the annotations of `scope` whose fields in `value` differ from the default."""
    root = ROOTS[scope]
    return [
        one.name
        for one in ANNOTATIONS
        if one.scope is scope and _at(value, one.sets) != _at(root, one.sets)
    ]


def _at(value: object, sets: str) -> object:
    for name in sets.split("."):
        value = getattr(value, name, None)
    return value


def _unknown(owner: ObjectKey, names: list[str]) -> Iterator[Problem]:
    for name in names[:UNKNOWN_MAX]:
        field = f"metadata.annotations[{name}]"
        known = [annotation.name for annotation in ANNOTATIONS]
        near = difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1)
        fix = (
            f"Did you mean {PREFIX}{near[0]}?"
            if near
            else "docs/ANNOTATIONS.md lists what there is."
        )
        message = "There is no such annotation, so it has no effect."
        yield Problem(owner, field, message, fix, Severity.WARNING)


def _parsed(owner: ObjectKey, annotation: Annotation, text: str) -> object | Problem:
    reason = f"the text is longer than {TEXT_CHARS_MAX // 1024} KiB"
    if len(text) <= TEXT_CHARS_MAX:
        try:
            return cast(object, annotation.grammar.parse(text))
        except ValueError as err:
            reason = str(err)
    if annotation.strict is not None:
        meanwhile = f"until then {annotation.strict.words}"
    elif annotation.default:
        meanwhile = f"until then {annotation.default} applies"
    else:
        meanwhile = "until then it has no effect"
    message = f"{reason[:1].upper()}{reason[1:]}."
    fix = f'Write {annotation.grammar.form}, for example "{annotation.example}"; {meanwhile}.'
    return Problem(owner, annotation.field, message, fix.replace("`", ""))


def _needs(owner: ObjectKey, annotation: Annotation) -> Problem:
    message = f"It has no effect without {PREFIX}{annotation.needs}."
    fix = "Add that one, or remove this."
    return Problem(owner, annotation.field, message, fix, Severity.WARNING)


def _with(value: _R, path: list[str], found: object) -> _R | None:
    """`value` with `found` at `path`; None if what the path leads through is not there."""
    first, *rest = path
    if rest:
        inner = getattr(value, first)
        found = None if inner is None else _with(inner, rest, found)
        if found is None:
            return None
    return msgspec.structs.replace(value, **{first: found})

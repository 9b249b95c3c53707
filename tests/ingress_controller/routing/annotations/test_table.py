from pathlib import Path

import msgspec
import pytest

from ingress_controller.routing.annotations.annotation import ROOTS, Annotation
from ingress_controller.routing.annotations.page import page
from ingress_controller.routing.annotations.table import ANNOTATIONS, BY_NAME
from proxy.table import Affinity, Backend, RoutePolicy, UpstreamTls

DOCUMENT = Path(__file__).parents[4] / "docs" / "ANNOTATIONS.md"
FIELDS = [one for one in ANNOTATIONS if one.sets]
OFF_BY_DEFAULT = {"affinity": Affinity(), "tls": UpstreamTls()}
OF_TRACING = {"tracing"}  # several annotations together, of a scope of their own
OF_PLACES = {"namespace", "service", "port", "endpoints", "changed_unix_ms", "missing"}


def by_default(annotation: Annotation) -> object:
    """What the field that it sets holds without it."""
    *outer, last = annotation.sets.split(".")
    value: object = ROOTS[annotation.scope]
    for name in outer:
        value = getattr(value, name) or OFF_BY_DEFAULT[name]
    return getattr(value, last)


@pytest.mark.parametrize("annotation", FIELDS, ids=lambda one: one.name)
def test_an_example_says_something_else_than_the_default(annotation: Annotation) -> None:
    value = annotation.grammar.parse(annotation.example)

    assert value != by_default(annotation)


@pytest.mark.parametrize("annotation", FIELDS, ids=lambda one: one.name)
def test_a_documented_default_is_the_one_of_the_field(annotation: Annotation) -> None:
    if annotation.default:
        assert annotation.grammar.parse(annotation.default) == by_default(annotation)
    else:
        assert by_default(annotation) in (None, (), "", False, 0)


def test_every_policy_of_the_table_has_its_annotation() -> None:
    names = {one.sets for one in ANNOTATIONS}
    routes = {field.name for field in msgspec.structs.fields(RoutePolicy)} - OF_TRACING
    backends = {field.name for field in msgspec.structs.fields(Backend)} - OF_PLACES

    assert {name.partition(".")[0] for name in names if name} >= routes
    assert {name.split(".")[1] for name in names if name.startswith("template.")} == backends


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(ANNOTATIONS)


def test_the_document_is_made_of_the_table() -> None:
    assert DOCUMENT.read_text() == page(), "`make format` writes it"

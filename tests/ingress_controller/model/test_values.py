from typing import Any

import msgspec
import pytest
from k8s_objects import endpoint_slice, ingress, key_of, path, service, values_of

from ingress_controller.model.problem import ObjectKey
from ingress_controller.model.values import Values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"spec": {"rules": [{"host": 5}]}},
            "Ingress shop/web, spec.rules[0].host: Expected a string, got a whole number."
            " Put the value in quotes.",
        ),
        (
            {"spec": {"rules": {"host": "x"}}},
            "Ingress shop/web, spec.rules: Expected a list, got a mapping."
            " `kubectl explain ingress.spec.rules` shows what belongs there.",
        ),
        (
            {"spec": {"rules": [{"http": {"paths": [{"path": "/"}]}}]}},
            "Ingress shop/web, spec.rules[0].http.paths[0]: The required field pathType is missing."
            " `kubectl explain ingress.spec.rules.http.paths` shows what belongs there.",
        ),
        (
            {"spec": {"defaultBackend": {"service": {"name": "a", "port": {"number": "80"}}}}},
            "Ingress shop/web, spec.defaultBackend.service.port.number: Expected a whole number,"
            " got a string. `kubectl explain ingress.spec.defaultBackend.service.port.number`"
            " shows what belongs there.",
        ),
        (
            {"metadata": {"namespace": "shop", "name": "web", "annotations": {"a": True}}},
            "Ingress shop/web, metadata.annotations[*]: Expected a string, got true or false."
            " Put the value in quotes.",
        ),
    ],
)
def test_a_wrong_shape_names_the_field_and_what_belongs_there(
    change: dict[str, Any], message: str
) -> None:
    wrong = ingress(path("/")) | change
    values = values_of([wrong])

    assert str(values.problem(key_of(wrong))) == message
    assert values.ingresses == {}


def test_an_object_that_turns_bad_keeps_its_last_good_value_until_it_goes() -> None:
    good = ingress(path("/"))
    key = key_of(good)
    values = values_of([good])
    value = values.ingresses[key]

    values.apply(key, good | {"spec": []})
    assert values.ingresses[key] is value
    assert values.problem(key) is not None

    values.apply(key, None)
    assert values.ingresses == {}
    assert values.problem(key) is None


def test_a_change_that_spanway_does_not_read_keeps_the_value() -> None:
    first = ingress(path("/"))
    values = values_of([first])
    value = values.ingresses[key_of(first)]

    values.apply(key_of(first), first | {"status": {"loadBalancer": {"ingress": [{"ip": "::1"}]}}})

    assert values.ingresses[key_of(first)] is value


def test_a_slice_moves_when_its_label_changes_and_leaves_nothing_behind() -> None:
    values: Values = values_of([service(), endpoint_slice("api", name="s")])

    moved = endpoint_slice("other", name="s")
    values.apply(key_of(moved), moved)
    assert list(values.slices) == [("shop", "other")]

    values.apply(key_of(moved), None)
    assert values.slices == {}


def test_an_object_means_the_same_parsed_and_as_json_text() -> None:
    good, bad = ingress(path("/")), ingress(name="bad") | {"spec": {"rules": [{"host": 5}]}}
    parsed, text = values_of([good, bad]), Values()
    for raw in (good, bad):
        text.apply(key_of(raw), msgspec.json.encode(raw))

    assert text.ingresses == parsed.ingresses
    assert text.problem(key_of(bad)) == parsed.problem(key_of(bad)) is not None


def test_a_service_is_touched_by_its_slices_and_by_those_that_leave_it() -> None:
    values = values_of([endpoint_slice("api", name="s")])
    values.take_touched()

    moved = endpoint_slice("other", name="s")
    values.apply(key_of(moved), moved)

    services = [ObjectKey("Service", "shop", name) for name in ("api", "other")]
    assert values.take_touched() == {key_of(moved), *services}
    assert values.take_touched() == set()

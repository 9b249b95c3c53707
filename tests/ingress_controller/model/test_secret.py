import pytest
from k8s_objects import secret, values_of

from ingress_controller.model.problem import ObjectKey
from ingress_controller.model.secret import Secret


def read(**fields: object) -> Secret:
    return values_of([secret(**fields)]).secrets["shop", "cert"]  # type: ignore[arg-type]


def test_data_is_base64_and_string_data_is_not() -> None:
    held = read(data={"a": "b25l\nIHR3bw==", "b": "eA=="}, stringData={"b": "plain"})

    assert held.content("a") == b"one two"
    assert held.content("b") == b"plain"
    assert held.content("c") is None


def test_what_is_not_base64_is_refused_without_being_shown() -> None:
    with pytest.raises(ValueError, match=r"^a is not base64$"):
        read(data={"a": "hunter2!"}).content("a")


def test_neither_repr_nor_annotations_hold_what_is_secret() -> None:
    copy = {"kubectl.kubernetes.io/last-applied-configuration": "hunter2"}
    metadata = {"namespace": "shop", "name": "cert", "annotations": copy}

    held = read(metadata=metadata, data={"tls.key": "hunter2"})

    assert repr(held) == "Secret(shop/cert)"
    assert "hunter2" not in repr(held.metadata)


def test_a_secret_of_a_wrong_shape_is_a_problem_that_does_not_show_it() -> None:
    values = values_of([secret(data={"tls.key": ["hunter2"]})])

    assert str(values.problem(ObjectKey("Secret", "shop", "cert"))) == (
        "Secret shop/cert, data[*]: Expected a string, got a list."
        " `kubectl explain secret.data` shows what belongs there."
    )

"""Which names may be recorded: the engine has the same vectors."""

import json
from pathlib import Path

import pytest

from ingress_controller.captured import NAMES_MAX, at_most, header_name, query_key

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "captured_names.json").read_text())


@pytest.mark.parametrize("name", VECTORS["secret"])
def test_name_of_a_secret_is_refused_with_the_reason(name: str) -> None:
    for parse in (header_name, query_key):
        with pytest.raises(ValueError, match="holds secrets by its name"):
            parse(name)


@pytest.mark.parametrize("name", VECTORS["allowed"])
def test_other_names_are_taken(name: str) -> None:
    assert header_name(name.upper()) == name
    assert query_key(name) == name


@pytest.mark.parametrize("name", VECTORS["no_header"])
def test_what_is_no_name_of_a_field_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a header field's name"):
        header_name(name)


@pytest.mark.parametrize("name", VECTORS["no_query_key"])
def test_what_is_no_key_of_a_query_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not the key of a query's parameter"):
        query_key(name)


def test_names_are_bounded_and_each_counts_once() -> None:
    assert at_most(("a",) * 20) == ("a",)
    with pytest.raises(ValueError, match="17 names are more than the 16"):
        at_most(tuple(f"x-{index}" for index in range(NAMES_MAX + 1)))

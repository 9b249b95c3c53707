"""The value and the CRD say the same: what an API server takes is what a directory takes."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from k8s_objects import key_of, tracing_policy

from ingress_controller.model.decode import decode
from ingress_controller.model.problem import Problem
from ingress_controller.model.tracing_policy import Spec, TracingPolicy
from ingress_controller.model.values import API_VERSIONS

CRD = yaml.safe_load((Path(__file__).parents[3] / "crds" / "tracingpolicies.yaml").read_text())
VERSION = CRD["spec"]["versions"][0]
SCHEMA = VERSION["schema"]["openAPIV3Schema"]["properties"]["spec"]

BOUNDS = ("minimum", "maximum", "minLength", "maxLength", "maxItems", "pattern", "enum")


def shape(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Fields by path with their types and bounds, without what is said about them."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    for choice in schema.get("anyOf", ()):
        if choice != {"type": "null"}:
            schema = choice if "$ref" not in choice else shape_of(choice, definitions)
    found = {bound: schema[bound] for bound in BOUNDS if bound in schema}
    if "enum" in found:
        return {"enum": sorted(found["enum"])}  # text, which msgspec does not say
    found["type"] = schema["type"]
    if "items" in schema:
        found["items"] = shape(schema["items"], definitions)
    if "properties" in schema:
        fields = schema["properties"]
        found["properties"] = {name: shape(field, definitions) for name, field in fields.items()}
        found["required"] = sorted(schema.get("required", ()))
    return found


def shape_of(reference: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = definitions[reference["$ref"].rpartition("/")[2]]
    return found


def test_the_value_has_the_fields_and_bounds_of_the_crd() -> None:
    (reference,), definitions = msgspec.json.schema_components([Spec])

    assert shape(reference, definitions) == shape(SCHEMA, {})


def test_the_version_of_the_crd_is_the_one_that_is_read() -> None:
    group, names = CRD["spec"]["group"], CRD["spec"]["names"]
    assert API_VERSIONS[names["kind"]] == f"{group}/{VERSION['name']}"
    assert CRD["metadata"]["name"] == f"{names['plural']}.{group}"


def test_every_field_of_the_crd_is_described() -> None:
    def undescribed(schema: dict[str, Any], path: str) -> list[str]:
        inner = {**schema.get("properties", {}), **schema.get("items", {}).get("properties", {})}
        own = [] if "description" in schema else [path]
        return own + [one for name in inner for one in undescribed(inner[name], f"{path}.{name}")]

    assert undescribed(SCHEMA, "spec") == []


@pytest.mark.parametrize(
    ("sampling", "field", "message"),
    [
        ({"ratio": 1.5}, "spec.sampling.ratio", "Expected a number <= 1.0."),
        ({"ratio": "0.5"}, "spec.sampling.ratio", "Expected a number, got a string."),
        (
            {"maxTracesPerSecond": -1},
            "spec.sampling.maxTracesPerSecond",
            "Expected a number >= 0.0.",
        ),
        ({"rules": [{}]}, "spec.sampling.rules[0]", "The required field ratio is missing."),
        (
            {"rules": [{"ratio": 1}] * 65},
            "spec.sampling.rules",
            "Expected a list of length <= 64.",
        ),
    ],
)
def test_a_value_out_of_bounds_is_a_problem_of_its_field(
    sampling: dict[str, Any], field: str, message: str
) -> None:
    raw = tracing_policy(**sampling)

    problem = decode(key_of(raw), raw, TracingPolicy)

    assert isinstance(problem, Problem)
    assert (problem.field, problem.message) == (field, message)
    explain = ".".join(["tracingpolicy", field.replace("[0]", "")])
    assert problem.fix == f"`kubectl explain {explain}` shows what belongs there."


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"serverTiming": "off"}, "spec.serverTiming"),
        ({"serverTiming": False}, "spec.serverTiming"),  # what `off` without quotes is
        ({"inject": ["w3c"]}, "spec.inject[0]"),
        ({"detail": {"phaseSpans": "often"}}, "spec.detail.phaseSpans"),
        ({"detail": {}}, "spec.detail"),
    ],
)
def test_a_word_that_is_none_is_a_problem_of_its_field(spec: dict[str, Any], field: str) -> None:
    raw = tracing_policy(spec=spec)

    problem = decode(key_of(raw), raw, TracingPolicy)

    assert isinstance(problem, Problem)
    assert problem.field == field

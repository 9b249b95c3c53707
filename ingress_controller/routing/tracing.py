"""How routes are traced: what a TracingPolicy and the annotations of an object say together.

Rules: pure. An annotation is stronger than the policy that its object names, and both are stronger
than what Spanway was started with, which applies where they are silent.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ingress_controller.model.problem import ObjectKey, Problem
from ingress_controller.model.tracing_policy import Disclosed, Rule, Spec
from ingress_controller.model.tracing_policy import TracingPolicy as PolicyObject
from ingress_controller.routing.annotations.annotation import PREFIX, Scope, TracingWish
from ingress_controller.routing.annotations.reading import read
from ingress_controller.routing.annotations.table import BY_NAME
from proxy.table import SamplingRule, ServerTiming, TracingPolicy

PolicyName = tuple[str, str]
"""Namespace and name."""


class TracingRules(msgspec.Struct, frozen=True):
    """The policies that there are, and what applies where none is named."""

    policies: Mapping[PolicyName, PolicyObject] = {}
    default: TracingPolicy = TracingPolicy()


class Traced(msgspec.Struct, frozen=True):
    """What applies to an object: `fields` of its RoutePolicy, where something is said. `name` is
    that of the policy it hangs on, there or not."""

    fields: Mapping[str, Any]
    name: PolicyName | None
    problems: tuple[Problem, ...]


def traced(owner: ObjectKey, annotations: Mapping[str, str] | None, rules: TracingRules) -> Traced:
    """How `owner`'s requests are traced."""
    said = read(owner, annotations, Scope.TRACING, TracingWish())
    wish = said.value
    name = (owner.namespace, wish.policy) if wish.policy else None
    policy, problems = rules.default, list(said.problems)
    fields: dict[str, Any] = {}
    if name is not None:
        if found := rules.policies.get(name):
            policy = table_policy(found.spec, rules.default)
            fields |= _of_route(found.spec)
        else:
            problems.append(_missing(owner, wish.policy))
    changes = dict(_changes(wish))
    if policy is not rules.default or changes:
        fields["tracing"] = msgspec.structs.replace(policy, **changes)
    return Traced(fields, name, tuple(problems))


def table_policy(spec: Spec, default: TracingPolicy) -> TracingPolicy:
    """`spec` in the words of the table; an absent part is that of `default`."""
    policy = default
    if (sampling := spec.sampling) is not None:
        policy = msgspec.structs.replace(
            policy,
            ratio=sampling.ratio,
            is_parent_based=sampling.parent_based,
            rules=tuple(map(_rule, sampling.rules)),
            traces_per_s_min=sampling.min_traces_per_second,
            traces_per_s_max=sampling.max_traces_per_second,
        )
    if spec.tail is not None:
        policy = msgspec.structs.replace(policy, tail_spans_per_s=spec.tail.spans_per_second)
    if spec.detail is not None:
        policy = msgspec.structs.replace(policy, phase_spans=spec.detail.phase_spans)
    return policy


def _of_route(spec: Spec) -> Iterator[tuple[str, Any]]:
    if spec.inject is not None:
        yield "inject", tuple(dict.fromkeys(spec.inject))
    if spec.server_timing is Disclosed.NONE:
        yield "server_timing", ServerTiming.OFF
    elif spec.server_timing is not None:
        yield "server_timing", ServerTiming(spec.server_timing)


def _rule(rule: Rule) -> SamplingRule:
    return SamplingRule(
        rule.ratio,
        header=rule.header.name if rule.header else "",
        value=(rule.header.value or "") if rule.header else "",
        method=rule.method or "",
        route=rule.route or "",
        traces_per_s_min=rule.min_traces_per_second,
    )


def _changes(wish: TracingWish) -> Iterator[tuple[str, object]]:
    if wish.ratio is not None:
        yield "ratio", wish.ratio
    if wish.traces_per_s_max is not None:
        yield "traces_per_s_max", wish.traces_per_s_max


def _missing(owner: ObjectKey, name: str) -> Problem:
    message = f'There is no usable TracingPolicy "{name}" in namespace "{owner.namespace}".'
    fix = "Create it there, or correct the name; until then requests are traced as without it."
    return Problem(owner, BY_NAME[f"{PREFIX}tracing-policy"].field, message, fix)

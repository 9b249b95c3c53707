"""Which tracing policy a route gets, by its Ingress, the policy it names, and the settings."""

import pytest
from k8s_objects import (
    MANIFESTS,
    Object,
    build,
    endpoint_slice,
    ingress,
    key_of,
    path,
    service,
    tracing_policy,
    values_of,
)

from ingress_controller.model.problem import ObjectKey, Problem
from ingress_controller.routing.builder import Builder, Built, Options
from proxy.table import (
    PhaseSpans,
    Propagator,
    RoutePolicy,
    RouteTable,
    SamplingRule,
    ServerTiming,
    Tracing,
    TracingPolicy,
)

DEFAULT = TracingPolicy(0.5, tail_spans_per_s=7.0)
OPTIONS = Options(is_manifests=True, tracing=Tracing(DEFAULT))
NAMED = {"spanway.io/tracing-policy": "quiet"}


def world(annotations: dict[str, str], *more: Object) -> list[Object]:
    return [ingress(path("/"), annotations=annotations), service(), endpoint_slice(), *more]


def route_policy(built: Built) -> RoutePolicy:
    """That of the only route."""
    (host,) = built.table.hosts.values()
    policy = host.routes[0].policy
    return built.table.policies[policy] if policy else RoutePolicy()


def traced(built: Built) -> TracingPolicy | None:
    return route_policy(built).tracing


def warned(built: Built) -> list[Problem]:
    """Without those about the Service's endpoints."""
    return [problem for problem in built.problems if problem.object.kind != "Service"]


def test_without_a_word_the_table_decides() -> None:
    built = build(world({}), OPTIONS)

    assert traced(built) is None
    assert built.table.tracing == Tracing(DEFAULT)


def test_annotations_change_what_the_settings_say() -> None:
    said = {"spanway.io/sample-ratio": "0.1", "spanway.io/sample-rate-limit": "20"}

    built = build(world(said), OPTIONS)

    assert traced(built) == TracingPolicy(0.1, traces_per_s_max=20.0, tail_spans_per_s=7.0)


def test_a_policy_says_everything_about_sampling_and_leaves_the_tail_unless_it_names_it() -> None:
    rules = [
        {"ratio": 1, "header": {"name": "x-canary", "value": "1"}, "method": "POST"},
        {"ratio": 0, "route": "/health", "minTracesPerSecond": 0.1},
    ]
    sampling = {"ratio": 0.2, "parentBased": False, "rules": rules, "maxTracesPerSecond": 9}
    want = TracingPolicy(
        0.2,
        is_parent_based=False,
        rules=(
            SamplingRule(1.0, header="x-canary", value="1", method="POST"),
            SamplingRule(0.0, route="/health", traces_per_s_min=0.1),
        ),
        traces_per_s_max=9.0,
        tail_spans_per_s=7.0,
    )

    assert traced(build(world(NAMED, tracing_policy(**sampling)), OPTIONS)) == want
    built = build(world(NAMED, tracing_policy(ratio=1, tail=0)), OPTIONS)
    assert traced(built) == TracingPolicy(1.0)


def test_a_policy_says_how_closely_and_who_is_told() -> None:
    spec = {
        "detail": {"phaseSpans": "always"},
        "inject": ["b3", "tracecontext", "b3"],
        "serverTiming": "timing",
    }

    built = build(world(NAMED, tracing_policy(spec=spec)), OPTIONS)

    assert route_policy(built) == RoutePolicy(
        tracing=TracingPolicy(0.5, tail_spans_per_s=7.0, phase_spans=PhaseSpans.ALWAYS),
        inject=(Propagator.B3, Propagator.TRACECONTEXT),
        server_timing=ServerTiming.TIMING,
    )


def test_a_policy_can_say_that_nobody_is_told() -> None:
    spec = {"inject": [], "serverTiming": "none"}

    built = build(world(NAMED, tracing_policy(spec=spec)), OPTIONS)

    policy = route_policy(built)
    assert (policy.inject, policy.server_timing) == ((), ServerTiming.OFF)
    assert policy.tracing is None


def test_annotations_of_what_is_told_are_stronger_than_the_policy() -> None:
    said = NAMED | {"spanway.io/inject": "jaeger", "spanway.io/server-timing": "trace"}
    spec = {"inject": ["b3"], "serverTiming": "timing"}

    policy = route_policy(build(world(said, tracing_policy(spec=spec)), OPTIONS))

    assert policy.inject == (Propagator.JAEGER,)
    assert policy.server_timing is ServerTiming.TRACE


def test_an_annotation_is_stronger_than_the_policy_beside_it() -> None:
    said = NAMED | {"spanway.io/sample-ratio": "1"}

    built = build(world(said, tracing_policy(ratio=0.2, maxTracesPerSecond=3)), OPTIONS)

    assert traced(built) == TracingPolicy(1.0, traces_per_s_max=3.0, tail_spans_per_s=7.0)


@pytest.mark.parametrize(
    "more", [[], [tracing_policy(namespace="other")], [tracing_policy(ratio=2)]]
)
def test_a_policy_that_is_not_there_is_a_problem_and_the_default_applies(
    more: list[Object],
) -> None:
    built = build(world(NAMED, *more), OPTIONS)

    assert traced(built) is None
    problem = next(one for one in warned(built) if one.object.kind == "Ingress")
    assert problem == Problem(
        ObjectKey("Ingress", "shop", "web"),
        "metadata.annotations[spanway.io/tracing-policy]",
        'There is no usable TracingPolicy "quiet" in namespace "shop".',
        "Create it there, or correct the name; until then requests are traced as without it.",
    )


def test_a_policy_that_comes_changes_and_goes_is_followed() -> None:
    values, builder = values_of(world(NAMED)), Builder(OPTIONS)
    table = RouteTable()
    seen = []
    for raw in (None, tracing_policy(ratio=0.1), tracing_policy(ratio=0.2), None):
        values.apply(key_of(tracing_policy()), raw)
        built = builder.build(values, {}, table, now_unix_ms=1_000)
        table = built.table
        policy = traced(built)
        seen.append((policy and policy.ratio, len(warned(built))))

    assert seen == [(None, 1), (0.1, 0), (0.2, 0), (None, 1)]


def test_a_policy_that_turns_bad_keeps_its_last_good_value() -> None:
    values, builder = values_of(world(NAMED, tracing_policy(ratio=0.1))), Builder(OPTIONS)
    table = builder.build(values, {}, RouteTable(), now_unix_ms=1_000).table
    values.apply(key_of(tracing_policy()), tracing_policy(ratio=2))

    built = builder.build(values, {}, table, now_unix_ms=1_000)

    policy = traced(built)
    assert policy is not None
    assert policy.ratio == 0.1
    (problem,) = warned(built)
    assert (problem.object.kind, problem.field) == ("TracingPolicy", "spec.sampling.ratio")


def test_a_service_listener_is_traced_as_its_service_says() -> None:
    said = NAMED | {"spanway.io/listen": "80=127.0.0.1:18080"}
    values = values_of([service(annotations=said), endpoint_slice(), tracing_policy(ratio=0.1)])
    builder = Builder(OPTIONS)
    table = builder.build(values, {}, RouteTable(), now_unix_ms=1_000).table
    (listener,) = table.listeners
    first = table.policies[listener.policy].tracing
    values.apply(key_of(tracing_policy()), tracing_policy(ratio=0.2))
    table = builder.build(values, {}, table, now_unix_ms=1_000).table
    second = table.policies[listener.policy].tracing

    assert first is not None
    assert second is not None
    assert (first.ratio, second.ratio) == (0.1, 0.2)


def test_a_tracing_annotation_on_a_service_without_listener_is_a_stray() -> None:
    built = build([ingress(path("/")), service(annotations=NAMED), endpoint_slice()], MANIFESTS)

    (problem,) = [one for one in built.problems if "tracing-policy" in one.field]
    assert problem.object == ObjectKey("Service", "shop", "api")
    assert problem.message.startswith("It has no effect here")


def test_what_is_recorded_by_default_may_change_from_build_to_build() -> None:
    values, builder = values_of(world({})), Builder(OPTIONS)
    table = builder.build(values, {}, RouteTable(), now_unix_ms=1_000).table
    builder.tracing = Tracing(TracingPolicy(0.25, is_remote=True))

    built = builder.build(values, {}, table, now_unix_ms=1_000)

    assert built.update is not None
    assert built.update.hosts_upsert == ()
    assert built.table.tracing.policy.ratio == 0.25

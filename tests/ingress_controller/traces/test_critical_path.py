"""What a trace waited for: small traces with known answers, and any traces at all."""

import random

import pytest

from ingress_controller.traces.critical_path import critical_path
from ingress_controller.traces.span import Span, SpanKind
from ingress_controller.traces.tree import tree

SERVER, INTERNAL, CLIENT = SpanKind.SERVER, SpanKind.INTERNAL, SpanKind.CLIENT


def span(
    span_id: str,
    parent_id: str = "",
    start_ns: int = 0,
    end_ns: int = 100,
    kind: SpanKind = INTERNAL,
) -> Span:
    return Span("t", span_id, parent_id, span_id, kind, "s", start_ns, end_ns, {})


def working(*spans: Span) -> dict[str, int]:
    return critical_path(tree(spans)).working_ns()


def test_time_belongs_to_the_deepest_span_that_was_waited_for() -> None:
    given = span("root"), span("child", "root", 10, 90), span("leaf", "child", 20, 50)
    assert working(*given) == {"root": 20, "child": 50, "leaf": 30}


def test_of_parallel_children_the_one_that_ended_last_counts() -> None:
    given = span("root"), span("quick", "root", 10, 40), span("slow", "root", 10, 90)
    assert working(*given) == {"root": 20, "slow": 80}


def test_of_overlapping_children_each_counts_until_the_next_one_started() -> None:
    given = span("root"), span("first", "root", 10, 60), span("second", "root", 40, 90)
    assert working(*given) == {"root": 20, "first": 30, "second": 50}


def test_steps_are_in_order_of_time_without_a_gap() -> None:
    given = span("root"), span("first", "root", 10, 40), span("second", "root", 50, 90)
    steps = critical_path(tree(given)).steps
    assert [(step.span.span_id, step.start_unix_ns, step.end_unix_ns) for step in steps] == [
        ("root", 0, 10),
        ("first", 10, 40),
        ("root", 40, 50),
        ("second", 50, 90),
        ("root", 90, 100),
    ]


def test_a_child_that_outlives_its_parent_counts_until_the_parents_end_and_is_named() -> None:
    path = critical_path(tree([span("root"), span("flush", "root", 80, 500)]))
    assert path.working_ns() == {"root": 80, "flush": 20}
    assert path.cut_span_ids == {"flush"}


def test_nobody_waits_for_what_starts_after_its_parent_nor_for_a_consumer() -> None:
    given = span("root"), span("later", "root", 120, 500)
    assert working(*given, span("job", "root", 10, 90, SpanKind.CONSUMER)) == {"root": 100}


CALL = span("root", "", 0, 100, SERVER), span("call", "root", 10, 90, CLIENT)


@pytest.mark.parametrize(
    ("ahead_ns", "moved_ns"),
    [(0, 0), (20, 0), (1_000, -980), (-1_000, 980), (-21, 1), (21, -1)],
    ids=str,
)
def test_a_callee_on_another_clock_is_moved_as_little_as_makes_it_fit(
    ahead_ns: int, moved_ns: int
) -> None:
    callee = span("callee", "call", 30 + ahead_ns, 70 + ahead_ns, SERVER)
    query = span("query", "callee", 40 + ahead_ns, 60 + ahead_ns)
    path = critical_path(tree([*CALL, callee, query]))
    # Whatever the clocks, the callee worked 20 and its query 20, and 40 were the network's.
    assert path.working_ns() == {"root": 20, "call": 40, "callee": 20, "query": 20}
    assert path.moved_ns == ({"callee": moved_ns} if moved_ns else {})
    assert not path.cut_span_ids


def test_a_call_back_to_the_first_host_is_not_moved_with_its_caller() -> None:
    callee = (
        span("callee", "call", 1_030, 1_070, SERVER),
        span("back", "callee", 1_035, 1_065, CLIENT),
    )
    path = critical_path(tree([*CALL, *callee, span("home", "back", 60, 80, SERVER)]))
    assert path.moved_ns == {"callee": -980}
    assert path.working_ns()["home"] == 20


def test_a_callee_that_goes_on_when_its_caller_gave_up_is_cut_not_moved() -> None:
    path = critical_path(tree([*CALL, span("callee", "call", 20, 5_000, SERVER)]))
    assert path.moved_ns == {}
    assert path.cut_span_ids == {"callee"}
    assert path.working_ns() == {"root": 20, "call": 10, "callee": 70}


def test_phases_of_a_span_are_no_work_of_their_own() -> None:
    wait = Span("t", "w", "call", "HTTP wait_for_response", INTERNAL, "s", 10, 89, {
        "spanway.phase": "wait"
    })  # fmt: skip
    assert working(*CALL, wait, span("callee", "call", 30, 70, SERVER)) == {
        "root": 20,
        "call": 40,
        "callee": 40,
    }


def test_the_longest_root_is_the_one_that_is_followed() -> None:
    assert working(span("short", "", 0, 10), span("long", "gone", 50, 150)) == {"long": 100}


def test_no_spans_have_no_path() -> None:
    assert critical_path(tree([])).steps == ()


@pytest.mark.parametrize("bounds", [(-50, -10), (-50, 50), (50, 150), (150, 200), (60, 40)])
def test_time_on_a_skewed_clock_still_sums_to_the_root(bounds: tuple[int, int]) -> None:
    path = critical_path(tree([span("root"), span("child", "root", *bounds)]))
    assert path.duration_ns == 100
    assert all(step.duration_ns > 0 for step in path.steps)


@pytest.mark.parametrize("seed", range(50))
def test_steps_of_any_trace_follow_on_one_another_and_sum_to_its_longest_root(seed: int) -> None:
    chance = random.Random(seed)
    spans = []
    for number in range(chance.randint(1, 200)):
        start_ns = chance.randint(-1_000, 1_000)
        end_ns = start_ns + chance.randint(-10, 1_000)
        parent = f"s{chance.randrange(-5, max(1, 2 * number))}"
        kind = chance.choice(list(SpanKind))
        spans.append(span(f"s{number}", parent, start_ns, end_ns, kind))
    chance.shuffle(spans)
    arranged = tree(spans)
    roots = [branch.span for branch in arranged.branches if branch.depth == 0]

    path = critical_path(arranged)

    assert path.duration_ns == max(root.duration_ns for root in roots)
    for step, after in zip(path.steps, path.steps[1:], strict=False):
        assert step.end_unix_ns == after.start_unix_ns
    assert all(step.duration_ns > 0 for step in path.steps)


def test_a_chain_of_ten_thousand_spans_is_no_danger() -> None:
    chain = [span(str(number), str(number - 1)) for number in range(10_000)]
    assert critical_path(tree(chain)).duration_ns == 100

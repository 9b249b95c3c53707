"""Trees of complete, damaged and hostile traces."""

import pytest

from ingress_controller.traces.span import Span, SpanKind
from ingress_controller.traces.tree import tree


def span(span_id: str, parent_id: str = "", start_ns: int = 0, end_ns: int = 100) -> Span:
    return Span("t", span_id, parent_id, span_id, SpanKind.INTERNAL, "s", start_ns, end_ns, {})


def outline(*spans: Span) -> list[str]:
    return ["  " * branch.depth + branch.span.span_id for branch in tree(spans).branches]


def test_children_follow_their_parent_by_their_start() -> None:
    given = span("late", "root", 20), span("leaf", "early", 15), span("early", "root", 10)
    assert outline(*given, span("root")) == ["root", "  early", "    leaf", "  late"]


def test_a_span_whose_parent_is_missing_is_a_root() -> None:
    assert outline(span("b", "a", 5), span("c", "b", 6)) == ["b", "  c"]


def test_several_roots_are_in_the_order_of_their_start() -> None:
    assert outline(span("second", start_ns=2), span("first", start_ns=1)) == ["first", "second"]


@pytest.mark.parametrize("copies", [2, 3])
def test_a_span_that_came_twice_is_drawn_once(copies: int) -> None:
    assert outline(*[span("a")] * copies, span("b", "a")) == ["a", "  b"]


def test_a_span_that_is_its_own_parent_is_a_root() -> None:
    assert outline(span("a", "a")) == ["a"]


def test_a_circle_of_parents_is_cut_above_its_first_span() -> None:
    given = span("a", "c", 1), span("b", "a", 2), span("c", "b", 3), span("tail", "b", 4)
    assert outline(span("root"), *given) == ["root", "a", "  b", "    c", "    tail"]


def test_a_chain_of_ten_thousand_spans_is_no_danger() -> None:
    chain = [span(str(number), str(number - 1)) for number in range(10_000)]
    assert tree(chain).branches[-1].depth == 9_999


def test_a_child_before_its_parent_shows_how_far_the_clocks_differ() -> None:
    branches = tree([span("root", start_ns=50), span("child", "root", 20)]).branches
    assert [branch.early_ns for branch in branches] == [0, 30]


def test_no_spans_are_an_empty_tree() -> None:
    assert tree([]).branches == ()

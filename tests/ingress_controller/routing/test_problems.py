from ingress_controller.model.problem import ObjectKey, Problem
from ingress_controller.routing.problems import ProblemBook

A, B = (Problem(ObjectKey("Service", "shop", name), "", "broken") for name in "ab")


def test_a_problem_of_two_sources_is_told_once_and_gone_with_the_last() -> None:
    book = ProblemBook()
    book.put(("backend", "1"), [A])
    book.put(("backend", "2"), [A])
    told = book.tell()
    assert (told.problems, told.appeared, told.gone) == ((A,), (A,), ())

    book.put(("backend", "1"), [])
    told = book.tell()
    assert (told.problems, told.appeared, told.gone) == ((A,), (), ())

    book.put(("backend", "2"), [])
    told = book.tell()
    assert (told.problems, told.appeared, told.gone) == ((), (), (A,))


def test_problems_are_a_snapshot_in_order() -> None:
    book = ProblemBook()
    book.put(("object", "b"), [B])
    before = book.tell().problems

    book.put(("object", "a"), [A])

    assert (before, book.tell().problems) == ((B,), (A, B))


def test_a_problem_that_came_and_went_between_two_tellings_is_not_told() -> None:
    book = ProblemBook()
    book.put(("object", "a"), [A])
    book.put(("object", "a"), [])

    told = book.tell()

    assert (told.appeared, told.gone) == ((), ())

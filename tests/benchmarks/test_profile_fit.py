"""What the compiler says of the engine's profile, as one sentence."""

from benchmarks.profile_fit import Fit, fit, sentence

AT = "2026-11-27T14:35:56,686   warning: spanway_engine.2aed4528bf3b32ec-cgu.0:"
CHANGED = (
    f"{AT} function control flow change detected (hash mismatch)"
    " _ZN14spanway_engine5http14head12index_fields17h151757c9ab046a4eE"
    " Hash = 812307216508209401 up to 88939279 count discarded\n"
)
UNCOUNTED = f"{AT} no profile data available for function _ZN4seldom Hash = 1 up to 0 count\n"
OF_ANOTHER = UNCOUNTED.replace("spanway_engine.2aed", "_engine.2aed")


def test_functions_are_counted_once_and_those_of_the_engine_only() -> None:
    found = fit(["   Compiling spanway-engine v0.1.0\n", CHANGED, UNCOUNTED, CHANGED, OF_ANOTHER])

    assert found == Fit(
        frozenset({"_ZN14spanway_engine5http14head12index_fields17h151757c9ab046a4eE"}),
        frozenset({"_ZN4seldom"}),
    )


def test_functions_that_are_never_used_are_no_news() -> None:
    assert sentence(Fit(frozenset(), frozenset("abc")), 3) == ""


def test_what_changed_and_what_came_are_told_together() -> None:
    assert sentence(Fit(frozenset("x"), frozenset("abcd")), 3) == (
        "spanway: 2 of the engine's functions are new or changed since its profile was made, and"
        " compiled without it; `make profile` counts anew"
    )


def test_fewer_than_before_hide_no_change() -> None:
    assert sentence(Fit(frozenset("x"), frozenset("a")), 3).startswith(
        "spanway: 1 of the engine's functions is new or changed"
    )

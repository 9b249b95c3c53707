import pytest

from ingress_controller.model.problem import ObjectKey
from ingress_controller.routing.annotations.annotation import Scope
from ingress_controller.routing.annotations.reading import read, strays
from ingress_controller.routing.annotations.table import EVERYBODY, NOBODY
from proxy.table import RetryOn, RoutePolicy

WEB = ObjectKey("Ingress", "shop", "web")
AT = "Ingress shop/web, metadata.annotations[spanway.io/"


def test_several_annotations_change_one_policy() -> None:
    annotations = {
        "spanway.io/read-timeout": " 5s ",
        "spanway.io/retry-attempts": "1",
        "spanway.io/retry-on": "503",
        "example.org/read-timeout": "9s",
    }

    said = read(WEB, annotations, Scope.ROUTE, RoutePolicy())

    assert said.value.read_timeout_ms == 5_000
    assert said.value.retry.attempts == 1
    assert said.value.retry.on == (RetryOn.STATUS_503,)
    assert said.given == {"read-timeout", "retry-attempts", "retry-on"}
    assert said.problems == ()


def test_a_bad_value_leaves_its_default_and_the_rest() -> None:
    annotations = {"spanway.io/read-timeout": "5", "spanway.io/send-timeout": "6s"}

    said = read(WEB, annotations, Scope.ROUTE, RoutePolicy())

    assert (said.value.read_timeout_ms, said.value.send_timeout_ms) == (60_000, 6_000)
    assert [str(problem) for problem in said.problems] == [
        f'{AT}read-timeout]: "5" is not a duration; write 5s for seconds. Write a duration (500ms,'
        ' 5s, 1m30s), for example "30s"; until then 60s applies.'
    ]


@pytest.mark.parametrize(
    ("name", "allow", "deny"), [("allow", NOBODY, ()), ("deny", (), EVERYBODY)]
)
def test_a_bad_access_list_lets_nobody_in(
    name: str, allow: tuple[str, ...], deny: tuple[str, ...]
) -> None:
    said = read(WEB, {f"spanway.io/{name}": "10.0.0.0/8, office"}, Scope.ROUTE, RoutePolicy())

    assert (said.value.allow, said.value.deny) == (allow, deny)
    assert said.problems[0].text.endswith("until then nobody is let in.")
    assert said.problems[0].severity == "error"


def test_unknown_names_are_told_the_nearest_one() -> None:
    annotations = {"spanway.io/read-timeot": "5s", "spanway.io/zzz": "", "other.io/zzz": ""}

    found = strays(WEB, annotations, frozenset({Scope.ROUTE}))

    assert [str(problem) for problem in found] == [
        f"{AT}read-timeot]: There is no such annotation, so it has no effect."
        " Did you mean spanway.io/read-timeout?",
        f"{AT}zzz]: There is no such annotation, so it has no effect."
        " docs/ANNOTATIONS.md lists what there is.",
    ]
    assert {problem.severity for problem in found} == {"warning"}


def test_a_name_on_the_wrong_kind_is_told_where_it_belongs() -> None:
    found = strays(WEB, {"spanway.io/balance": "ewma"}, frozenset({Scope.ROUTE, Scope.HOST}))

    assert [str(problem) for problem in found] == [
        f"{AT}balance]: It has no effect here: spanway.io/balance belongs on the Service. Move it."
    ]


def test_an_object_full_of_unknown_names_gets_a_bounded_number_of_problems() -> None:
    annotations = {f"spanway.io/{number}": "" for number in range(1_000)}

    assert len(strays(WEB, annotations, frozenset())) == 20


def test_a_text_beyond_what_kubernetes_takes_is_not_read() -> None:
    said = read(WEB, {"spanway.io/rewrite": "a" * 300_000}, Scope.ROUTE, RoutePolicy())

    assert said.value.rewrite is None
    assert said.problems[0].message == "The text is longer than 256 KiB."

import pem
from k8s_objects import secret, values_of

from ingress_controller.model.problem import ObjectKey
from ingress_controller.routing.certificates import Pair, Secrets
from ingress_controller.routing.dates import Dates
from ingress_controller.routing.host_tls import CertificateUse

WEB = ObjectKey("Ingress", "shop", "web")
DAY_MS = 86_400_000


def dates_of(pair: tuple[str, str]) -> Dates:
    secrets = Secrets()
    secrets.put(("shop", "cert"), values_of([secret(pair)]).secrets["shop", "cert"])
    held = secrets.pair(("shop", "cert"))
    assert isinstance(held, Pair)
    dates = Dates()
    dates.put(("host", "shop.example"), [CertificateUse(WEB, "", ("shop", "cert"), held)])
    return dates


def messages(dates: Dates, now_unix_ms: int) -> list[str] | None:
    problems = dates.problems(now_unix_ms)
    return None if problems is None else [problem.message for problem in problems]


def test_a_certificate_is_a_problem_before_and_after_its_time() -> None:
    begin, end = pem.NOW + pem.DAY, pem.NOW + 2 * pem.DAY
    dates = dates_of(pem.pair("shop.example", begin=begin, end=end))

    now = pem.NOW_UNIX_MS
    assert messages(dates, now) == ["The certificate in Secret shop/cert is not valid yet."]
    assert messages(dates, now + DAY_MS - 1) is None
    assert messages(dates, now + DAY_MS) == []
    assert messages(dates, now + 2 * DAY_MS) is None
    assert messages(dates, now + 2 * DAY_MS + 1) == [
        "The certificate in Secret shop/cert has expired."
    ]
    assert messages(dates, now + 9 * DAY_MS) is None


def test_the_problem_goes_with_its_certificate() -> None:
    dates = dates_of(pem.pair("shop.example", end=pem.NOW - pem.DAY / 2))
    assert messages(dates, pem.NOW_UNIX_MS) != []

    dates.put(("host", "shop.example"), ())

    assert messages(dates, pem.NOW_UNIX_MS) == []

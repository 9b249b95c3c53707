import base64

import pytest

from ingress_controller.aggregated.list_options import (
    CONTINUE_BYTES_MAX,
    Continue,
    is_watch,
    list_options,
)
from ingress_controller.aggregated.status_error import StatusError
from ingress_controller.peers.addresses import PEERS_MAX
from proxy.live import Place


def test_limit_and_timeout_are_bounded() -> None:
    assert list_options({}).limit == 1_000
    assert list_options({"limit": "500"}).limit == 500
    assert list_options({"limit": "9" * 40}).limit == 1_000
    assert list_options({"timeoutSeconds": "5"}).timeout_s == 5
    assert list_options({"timeoutSeconds": "0"}).timeout_s == 3_600


def test_token_leads_to_where_the_list_stopped() -> None:
    most = {f"{n:016x}": Place(2**63 - 1, "b7ad6b7169203331") for n in range(PEERS_MAX)}
    part = Continue("1700000000000000", {**most, "f" * 16: None})

    assert list_options({"continue": part.text()}).part == part
    assert len(part.text()) <= CONTINUE_BYTES_MAX


@pytest.mark.parametrize("value", ["true", "1", "", "True", "yes"])
def test_switch_that_is_given_is_on(value: str) -> None:
    assert is_watch({"watch": value})


@pytest.mark.parametrize("value", ["false", "0", "FALSE"])
def test_switch_may_be_off(value: str) -> None:
    assert not is_watch({"watch": value})


NEGATIVE = Continue("1", {"a": Place(-1, "b")}).text()
DEEP = base64.urlsafe_b64encode(b'{"x":' + b"[" * 2_000).decode()
TOO_LARGE = Continue("1", {"a": Place(2**63, "b")}).text()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("labelSelector", "app=web", "live requests have no labels; select by fields"),
        ("resourceVersionMatch", "Exact", "there is no Exact"),
        ("limit", "-1", 'limit: "-1" is not a whole number.'),
        ("timeoutSeconds", "1.5", 'timeoutSeconds: "1.5" is not a whole number.'),
        ("continue", "x", "continue: it is not from here"),
        ("continue", "\u00e9", "continue: it is not from here"),
        ("continue", NEGATIVE, "continue: it is not from here"),
        ("continue", TOO_LARGE, "continue: it is not from here"),
        ("continue", "A" * 50_000, "continue: it is not from here"),
        ("continue", DEEP, "continue: it is not from here"),
    ],
)
def test_wrong_option_is_named_with_the_fix(name: str, value: str, message: str) -> None:
    with pytest.raises(StatusError) as raised:
        list_options({name: value})

    assert raised.value.code == 400
    assert message in raised.value.message

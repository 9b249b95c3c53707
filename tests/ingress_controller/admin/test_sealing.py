import secrets

import pytest

from ingress_controller.admin import sealing
from ingress_controller.admin.sealing import COOKIE_BYTES_MAX, Seal

TOKEN = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ." + secrets.token_urlsafe(900)


def test_token_can_be_read_by_whoever_has_the_key_only() -> None:
    cookie = Seal("secret").sealed(TOKEN)

    assert Seal("secret").opened(cookie) == TOKEN
    assert Seal("another").opened(cookie) == ""
    assert TOKEN not in cookie
    assert TOKEN[40:80] not in cookie


def test_without_a_secret_each_has_a_key_of_its_own() -> None:
    assert Seal().opened(Seal().sealed(TOKEN)) == ""


@pytest.mark.parametrize("cookie", ["", "x", "gAAAAA==", "é", "a" * 5_000])
def test_what_was_not_sealed_is_no_token(cookie: str) -> None:
    assert Seal().opened(cookie) == ""


def test_changed_cookie_is_no_token() -> None:
    seal = Seal()
    cookie = seal.sealed(TOKEN)

    assert seal.opened(cookie[:-3] + "AA=") == ""
    assert seal.opened(cookie[:60] + ("A" if cookie[60] != "A" else "B") + cookie[61:]) == ""


def test_session_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    seal = Seal()
    cookie = seal.sealed(TOKEN)
    monkeypatch.setattr(sealing, "SESSION_S", -1)

    assert seal.opened(cookie) == ""


def test_token_that_no_cookie_can_hold_is_refused() -> None:
    assert len(Seal().sealed(secrets.token_urlsafe(2_000))) < COOKIE_BYTES_MAX
    with pytest.raises(ValueError, match="longer than what a browser keeps"):
        Seal().sealed(secrets.token_urlsafe(4_000))

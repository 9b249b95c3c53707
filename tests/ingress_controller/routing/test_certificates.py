from typing import Any

import pem
import pytest
from k8s_objects import secret, values_of

from ingress_controller.routing.certificates import Fault, Pair, Secrets

CHAIN, KEY = pem.pair("shop.example", "*.shop.example")


def secrets_of(*objects: dict[str, Any]) -> Secrets:
    secrets = Secrets()
    for key, held in values_of(objects).secrets.items():
        secrets.put(key, held)
    return secrets


def test_a_pair_is_read_and_written_anew() -> None:
    held = secret((f"Bag Attributes\n{CHAIN}rubbish\n{CHAIN}", KEY))

    pair = secrets_of(held).pair(("shop", "cert"))

    assert isinstance(pair, Pair)
    assert pair.certificate.chain == CHAIN * 2
    assert pair.certificate.private_key == KEY
    assert pair.names == ("shop.example", "*.shop.example")


@pytest.mark.parametrize(
    ("host", "is_covered"),
    [
        ("shop.example", True),
        ("www.shop.example", True),
        ("*.shop.example", True),
        ("a.www.shop.example", False),
        ("example", False),
    ],
)
def test_a_wildcard_covers_one_label(host: str, is_covered: bool) -> None:
    pair = secrets_of(secret((CHAIN, KEY))).pair(("shop", "cert"))

    assert isinstance(pair, Pair)
    assert pair.covers(host) is is_covered


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (secret(name="other"), "Secret shop/cert does not exist."),
        (secret((CHAIN, KEY), type="Opaque"), "Secret shop/cert is of type Opaque, not"),
        (secret(("", KEY)), "Secret shop/cert cannot be used: it has no tls.crt."),
        (secret((CHAIN, "")), "Secret shop/cert cannot be used: it has no tls.key."),
        (secret(("x", KEY)), "Secret shop/cert cannot be used: its certificate chain is no"),
        (secret((CHAIN, "x")), "Secret shop/cert cannot be used: its private key is not in PEM"),
        (
            secret((CHAIN, pem.encrypted(KEY))),
            "Secret shop/cert cannot be used: its private key is",
        ),
        (
            secret((CHAIN, pem.pair("b")[1])),
            "Secret shop/cert cannot be used: its private key does",
        ),
        (secret((CHAIN * 17, KEY)), "Secret shop/cert cannot be used: its certificate chain has"),
        (secret(data={"tls.crt": "?"}), "Secret shop/cert cannot be used: tls.crt is not base64."),
        (
            secret((CHAIN + "#" * 2**20, KEY)),
            "Secret shop/cert cannot be used: its tls.crt is larg",
        ),
    ],
)
def test_a_secret_that_cannot_be_used_says_why(held: dict[str, Any], message: str) -> None:
    fault = secrets_of(held).pair(("shop", "cert"))

    assert isinstance(fault, Fault)
    assert fault.message.startswith(message)
    assert "PRIVATE KEY" not in fault.message


def test_authorities_come_from_a_tls_secret_or_a_labelled_one() -> None:
    labelled = {"namespace": "shop", "name": "b", "labels": {"spanway.io/ca": "true"}}
    secrets = secrets_of(
        secret(ca=CHAIN + KEY, name="a"),
        secret(ca=CHAIN, type="Opaque", metadata=labelled),
        secret(ca=CHAIN, name="c", type="Opaque"),
    )

    fault = secrets.authorities(("shop", "c"))

    assert secrets.authorities(("shop", "a")) == CHAIN
    assert secrets.authorities(("shop", "b")) == CHAIN
    assert isinstance(fault, Fault)
    assert "kubectl -n shop label secret c spanway.io/ca=true" in fault.fix


def test_a_secret_is_read_once_until_it_is_another_one() -> None:
    secrets = secrets_of(secret((CHAIN, KEY)))
    first = secrets.pair(("shop", "cert"))

    assert secrets.pair(("shop", "cert")) is first
    secrets.put(("shop", "cert"), None)
    assert isinstance(secrets.pair(("shop", "cert")), Fault)

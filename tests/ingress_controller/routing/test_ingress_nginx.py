"""Annotations of ingress-nginx: named with what does the same here; guards let nobody in."""

import pytest
from k8s_objects import MANIFESTS, endpoint_slice, ingress, path, service, values_of

from ingress_controller.routing.annotations.annotation import PREFIX
from ingress_controller.routing.annotations.table import BY_NAME, EVERYBODY
from ingress_controller.routing.builder import Builder, Built
from ingress_controller.routing.ingress_nginx import GUARDS, INSTEAD
from proxy.table import RoutePolicy, RouteTable

NGINX = "nginx.ingress.kubernetes.io/"


def build(**annotations: str) -> Built:
    """An Ingress with these; `__` begins Spanway's own, and `_` is a dash."""
    named = {
        (PREFIX if name.startswith("own__") else NGINX)
        + name.removeprefix("own__").replace("_", "-"): value
        for name, value in annotations.items()
    }
    objects = [service(), endpoint_slice("api", "10.0.0.1"), ingress(path("/"), annotations=named)]
    return Builder(MANIFESTS).build(values_of(objects), {}, RouteTable(), now_unix_ms=0)


def policy_of(built: Built) -> RoutePolicy:
    key = built.table.hosts["shop.example"].routes[0].policy
    return built.table.policies[key] if key else RoutePolicy()


def texts(built: Built) -> list[str]:
    return [str(problem) for problem in built.problems]


def test_all_are_named_with_what_does_the_same() -> None:
    built = build(proxy_body_size="8m", ssl_redirect="true", canary="true", limit_rps="10")

    assert texts(built) == [
        "Ingress shop/web, metadata.annotations: Annotations of ingress-nginx have no effect:"
        " canary, limit-rps, proxy-body-size (here spanway.io/request-body-max), ssl-redirect"
        " (here spanway.io/https-only). docs/MIGRATION.md says what to write instead."
    ]
    assert policy_of(built) == RoutePolicy()


@pytest.mark.parametrize("name", GUARDS)
def test_one_that_keeps_clients_out_lets_nobody_in(name: str) -> None:
    built = build(**{name.replace("-", "_"): "basic"})

    assert policy_of(built).deny == EVERYBODY
    [text] = texts(built)
    assert text.startswith(
        f"Ingress shop/web, metadata.annotations[{NGINX}{name}]: It keeps clients out, but is not"
        " read here, so nobody is let in: all get 403. Say with spanway.io/"
    )
    assert 'spanway.io/allow: "0.0.0.0/0, ::/0" is everybody' in text


def test_whoever_says_who_may_come_is_served() -> None:
    built = build(auth_type="basic", whitelist_source_range="10.0.0.0/8", own__allow="10.0.0.0/8")

    assert policy_of(built) == RoutePolicy(allow=("10.0.0.0/8",))
    assert texts(built) == [
        "Ingress shop/web, metadata.annotations: Annotations of ingress-nginx have no effect:"
        " auth-type (here spanway.io/allow), whitelist-source-range (here spanway.io/allow)."
        " docs/MIGRATION.md says what to write instead."
    ]


def test_an_empty_guard_guards_nothing() -> None:
    assert policy_of(build(whitelist_source_range="")) == RoutePolicy()


def test_whatever_is_named_instead_exists() -> None:
    ours = {*INSTEAD.values(), *(answer for answers in GUARDS.values() for answer in answers)}

    assert {PREFIX + name for name in ours} <= set(BY_NAME)

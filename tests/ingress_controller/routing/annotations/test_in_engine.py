"""What annotations may say, the real engine takes."""

from collections.abc import Iterator

import pem
import pytest
from k8s_objects import Object, build, endpoint_slice, ingress, path, secret, service

from ingress_controller.routing.annotations.annotation import Scope
from ingress_controller.routing.annotations.table import ANNOTATIONS
from proxy.engine import Engine
from proxy.table import RouteTable, difference

CHAIN, KEY = pem.pair("shop.example", begin=pem.EPOCH)
SECRETS = [
    secret((CHAIN, KEY), name="spanway-client"),
    *(secret((CHAIN, KEY), ca=CHAIN, name=name) for name in ("api-ca", "clients-ca", "cert")),
]


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(workers=1, resource={})
    yield engine
    engine.stop(deadline_s=0)


def world(scope: Scope, annotations: dict[str, str]) -> list[Object]:
    of_ingress = annotations if scope in (Scope.ROUTE, Scope.HOST) else None
    of_service = annotations if scope is Scope.BACKEND else None
    asks = ingress(path("/"), annotations=of_ingress, tls=[{"secretName": "cert"}])
    slices = endpoint_slice("api", "10.0.0.1")
    return [asks, service(annotations=of_service), slices, *SECRETS]


@pytest.mark.parametrize("scope", [Scope.ROUTE, Scope.HOST, Scope.BACKEND])
def test_all_examples_together_are_taken(engine: Engine, scope: Scope) -> None:
    annotations = {one.full_name: one.example for one in ANNOTATIONS if one.scope is scope}
    annotations |= {"spanway.io/balance": "hash"} if scope is Scope.BACKEND else {}

    built = build(world(scope, annotations))

    assert built.problems == ()
    assert engine.publish(difference(RouteTable(), built.table)) == []


@pytest.mark.parametrize(
    "annotations",
    [
        {"spanway.io/request-headers-set": "Host: api.internal:81\nX-A: ${client_ip} $$1"},
        {"spanway.io/response-headers-add": "X-A:\nX-A: \tb"},
        {"spanway.io/rewrite": "/x$ =>"},
        {"spanway.io/redirect": "$scheme://www.$host$path$query"},
        {"spanway.io/redirect": "307 /login"},
        {"spanway.io/allow": "office"},
        {"spanway.io/deny": "office, ::ffff:10.0.0.0/104"},
        {"spanway.io/retry-on": "off", "spanway.io/retry-attempts": "10"},
        {"spanway.io/request-head-max": "64k", "spanway.io/request-body-max": "1024g"},
        {"spanway.io/read-timeout": "30d", "spanway.io/request-timeout": "0"},
    ],
)
def test_what_is_read_is_taken(engine: Engine, annotations: dict[str, str]) -> None:
    built = build(world(Scope.ROUTE, annotations))

    assert engine.publish(difference(RouteTable(), built.table)) == []


def test_a_pattern_that_only_the_engine_understands_is_its_to_refuse(engine: Engine) -> None:
    built = build(world(Scope.ROUTE, {"spanway.io/rewrite": "^/( => /x"}))

    [rejected] = engine.publish(difference(RouteTable(), built.table))
    assert (rejected.kind, rejected.subject) == ("policy", "shop/web")

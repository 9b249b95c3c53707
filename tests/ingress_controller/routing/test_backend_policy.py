"""Annotations and fields of Services, from objects to the table."""

import pem
import pytest
from k8s_objects import (
    MANIFESTS,
    Object,
    build,
    endpoint_slice,
    ingress,
    key_of,
    path,
    secret,
    service,
    values_of,
)

from ingress_controller.addresses import ServiceListener
from ingress_controller.routing.builder import Builder, Built, Options
from proxy.table import (
    Affinity,
    Backend,
    Balance,
    HashKey,
    HashOn,
    Prefer,
    Protocol,
    RoutePolicy,
    RouteTable,
    UpstreamTls,
)

CHAIN, KEY = pem.pair("shop.example")


def built_of(annotations: dict[str, str], *objects: Object, **port: str) -> Built:
    of = service("api", {"port": 80, **port}, annotations=annotations)
    return build([ingress(path("/")), of, endpoint_slice("api", "10.0.0.1"), *objects])


def backend_of(built: Built) -> Backend:
    return built.table.backends["shop/api:80"]


def test_annotations_of_a_service_are_the_policy_of_its_backends() -> None:
    built = built_of(
        {
            "spanway.io/balance": "hash",
            "spanway.io/hash-on": "header X-User",
            "spanway.io/affinity-cookie": "stay",
            "spanway.io/affinity-max-age": "1h",
            "spanway.io/requests-max": "7",
            "spanway.io/health-errors": "0",
            "spanway.io/connect-timeout": "1s",
        }
    )

    backend = backend_of(built)
    assert built.problems == ()
    assert (backend.balance, backend.hash_key) == (Balance.HASH, HashKey(HashOn.HEADER, "X-User"))
    assert backend.affinity == Affinity("stay", 3_600)
    assert (backend.limits.requests_max, backend.health.errors_consecutive) == (7, 0)
    assert backend.connect_timeout_ms == 1_000


@pytest.mark.parametrize(
    ("app_protocol", "protocol", "has_tls"),
    [
        ("kubernetes.io/h2c", Protocol.H2, False),
        ("kubernetes.io/ws", Protocol.HTTP1, False),
        ("kubernetes.io/wss", Protocol.HTTP1, True),
        ("https", Protocol.AUTO, True),
        ("HTTP", Protocol.HTTP1, False),
        ("grpc", Protocol.H2, False),
        ("grpcs", Protocol.H2, True),
        ("mysql", Protocol.HTTP1, False),
    ],
)
def test_the_app_protocol_says_what_endpoints_speak(
    app_protocol: str, protocol: Protocol, has_tls: bool
) -> None:
    backend = backend_of(built_of({}, appProtocol=app_protocol))

    assert (backend.protocol, backend.tls is not None) == (protocol, has_tls)


def test_an_annotation_wins_over_the_app_protocol() -> None:
    annotations = {"spanway.io/protocol": "http1", "spanway.io/upstream-tls": "false"}

    backend = backend_of(built_of(annotations, appProtocol="grpcs"))

    assert (backend.protocol, backend.tls) == (Protocol.HTTP1, None)


@pytest.mark.parametrize(
    ("distribution", "annotations", "prefer"),
    [
        ("PreferClose", {}, Prefer.ZONE),
        ("PreferSameNode", {}, Prefer.NODE),
        ("PreferSameNode", {"spanway.io/prefer": "any"}, Prefer.ANY),
    ],
)
def test_the_traffic_distribution_prefers_near_endpoints(
    distribution: str, annotations: dict[str, str], prefer: Prefer
) -> None:
    of = service(annotations=annotations, trafficDistribution=distribution)

    built = build([ingress(path("/")), of, endpoint_slice("api", "10.0.0.1")])

    assert backend_of(built).prefer is prefer


def test_the_weight_of_a_pod_wins_over_its_node_and_zone() -> None:
    near = {"nodeName": "n1", "zone": "eu-1a"}
    endpoints = [
        {"addresses": ["10.0.0.1"], **near, "targetRef": {"kind": "Pod", "name": "api-0"}},
        {"addresses": ["10.0.0.2"], **near},
        {"addresses": ["10.0.0.3"], "zone": "eu-1a"},
        {"addresses": ["10.0.0.4"]},
    ]
    weights = {"spanway.io/weights": "pod=api-0:5, zone=eu-1a:3, node=n1:0"}

    built = build(
        [ingress(path("/")), service(annotations=weights), endpoint_slice("api", *endpoints)]
    )

    assert [endpoint.weight for endpoint in backend_of(built).endpoints] == [5, 0, 3, 1]


def test_tls_to_endpoints_uses_the_secrets_that_are_named() -> None:
    annotations = {
        "spanway.io/upstream-tls": "true",
        "spanway.io/upstream-tls-server-name": "api.internal",
        "spanway.io/upstream-tls-ca-secret": "ca",
        "spanway.io/upstream-tls-secret": "cert",
    }

    built = built_of(annotations, secret((CHAIN, KEY)), secret(ca=CHAIN, name="ca"))

    assert backend_of(built).tls == UpstreamTls(
        server_name="api.internal", ca=CHAIN, certificate="shop/cert"
    )
    assert built.table.certificates["shop/cert"].chain == CHAIN
    assert built.problems == ()


@pytest.mark.parametrize("name", ["upstream-tls-ca-secret", "upstream-tls-secret"])
def test_a_backend_whose_secret_is_missing_has_no_endpoints(name: str) -> None:
    built = built_of({"spanway.io/upstream-tls": "true", f"spanway.io/{name}": "gone"})

    backend = backend_of(built)
    assert backend.endpoints == ()
    assert backend.missing.startswith("Secret shop/gone does not exist")
    assert [problem.field for problem in built.problems] == [
        f"metadata.annotations[spanway.io/{name}]"
    ]
    assert built.problems[0].text.endswith("Until then its requests get 503.")


def test_a_changed_policy_leaves_the_time_when_endpoints_changed() -> None:
    values = values_of([ingress(path("/")), service(), endpoint_slice("api", "10.0.0.1")])
    builder = Builder(MANIFESTS)
    first = builder.build(values, {}, RouteTable(), now_unix_ms=1_000).table
    changed = service(annotations={"spanway.io/balance": "ewma"})
    values.apply(key_of(changed), changed)

    second = builder.build(values, {}, first, now_unix_ms=2_000).table

    assert second.backends["shop/api:80"].balance is Balance.EWMA
    assert second.backends["shop/api:80"].changed_unix_ms == 1_000


def test_route_policies_of_a_service_are_for_its_listener() -> None:
    annotations = {
        "spanway.io/listen": "80=127.0.0.1:18080",
        "spanway.io/read-timeout": "5s",
    }

    built = built_of(annotations)

    assert [listener.policy for listener in built.table.listeners] == ["service:shop/api"]
    assert built.table.policies == {"service:shop/api": RoutePolicy(read_timeout_ms=5_000)}
    assert built.problems == ()


def test_a_listener_of_the_settings_has_the_route_policy_of_its_service_too() -> None:
    wanted = ServiceListener("shop", "api", "80", "127.0.0.1:18080")
    of = service(annotations={"spanway.io/read-timeout": "5s"})

    built = build([of, endpoint_slice("api", "10.0.0.1")], Options(service_listeners=(wanted,)))

    assert [listener.policy for listener in built.table.listeners] == ["service:shop/api"]
    assert built.table.policies == {"service:shop/api": RoutePolicy(read_timeout_ms=5_000)}
    assert built.problems == ()


def test_a_changed_route_policy_of_a_service_changes_that_of_its_listener() -> None:
    listen = {"spanway.io/listen": "80=127.0.0.1:18080"}
    before, after = (
        service(annotations=listen | {"spanway.io/read-timeout": timeout})
        for timeout in ("5s", "6s")
    )
    values = values_of([before, endpoint_slice("api", "10.0.0.1")])
    builder = Builder(MANIFESTS)
    first = builder.build(values, {}, RouteTable(), now_unix_ms=1).table
    values.apply(key_of(after), after)

    second = builder.build(values, {}, first, now_unix_ms=2).table

    assert second.policies["service:shop/api"].read_timeout_ms == 6_000


def test_a_route_policy_on_a_service_without_listener_has_no_effect() -> None:
    built = built_of({"spanway.io/read-timeout": "5s"})

    assert built.table.policies == {}
    assert "belongs on an Ingress, or a Service that has a service listener" in str(
        built.problems[0]
    )

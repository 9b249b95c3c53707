import json
from pathlib import Path
from typing import Any

import pytest
from k8s_objects import (
    MANIFESTS,
    backend,
    build,
    endpoint_slice,
    ingress,
    key_of,
    path,
    service,
    values_of,
)

from ingress_controller.addresses import ServiceListener
from ingress_controller.routing.backends import Resolved
from ingress_controller.routing.builder import Builder, Options
from proxy.table import Endpoint, ListenerKind, RouteTable

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "routing.json").read_text())


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_manifests_become_the_routes_of_the_vector(case: dict[str, Any]) -> None:
    table = build(case["manifests"]).table

    routes = [
        [host.name, route.kind, route.path, route.backend]
        for host in table.hosts.values()
        for route in host.routes
    ]
    assert sorted(routes) == sorted(case["routes"])
    assert all(route.backend in table.backends for h in table.hosts.values() for route in h.routes)


def test_a_host_lists_exact_paths_first_and_longer_prefixes_before_shorter_ones() -> None:
    paths = [path("/"), path("/a/b"), path("/a"), path("/a", kind="Exact")]
    table = build([ingress(*paths), service(), endpoint_slice("api", "10.0.0.1")]).table

    routes = [(route.kind, route.path) for route in table.hosts["shop.example"].routes]
    assert routes == [("exact", "/a"), ("prefix", "/a/b"), ("prefix", "/a"), ("prefix", "/")]


def test_an_unchanged_world_gives_the_same_table_and_generation() -> None:
    values = values_of([ingress(path("/")), service(), endpoint_slice("api", "10.0.0.1")])
    builder = Builder(MANIFESTS)
    first = builder.build(values, {}, RouteTable(), now_unix_ms=1_000).table

    again = builder.build(values, {}, first, now_unix_ms=2_000).table

    assert first.generation == 1
    assert again is first


def test_a_backend_keeps_its_time_of_change_until_its_endpoints_change() -> None:
    objects = [
        ingress(path("/"), path("/b", "b")),
        *(service("api"), endpoint_slice("api", "10.0.0.1")),
        *(service("b"), endpoint_slice("b", "10.0.0.2")),
    ]
    values = values_of(objects)
    builder = Builder(MANIFESTS)
    first = builder.build(values, {}, RouteTable(), now_unix_ms=1_000).table
    changed = endpoint_slice("b", "10.0.0.3")

    values.apply(key_of(changed), changed)
    second = builder.build(values, {}, first, now_unix_ms=2_000).table

    assert second.generation == 2
    assert second.backends["shop/api:80"] is first.backends["shop/api:80"]
    assert second.hosts is first.hosts
    assert second.backends["shop/b:80"].changed_unix_ms == 2_000


def test_a_service_that_comes_and_goes_is_followed_even_without_endpoints() -> None:
    values = values_of([ingress(path("/"))])
    builder = Builder(MANIFESTS)
    first = builder.build(values, {}, RouteTable(), now_unix_ms=1_000).table
    added = service()

    values.apply(key_of(added), added)
    second = builder.build(values, {}, first, now_unix_ms=2_000).table
    values.apply(key_of(added), None)
    third = builder.build(values, {}, second, now_unix_ms=3_000).table

    missing = [table.backends["shop/api:80"].missing for table in (first, second, third)]
    gone = "Service shop/api does not exist."
    assert missing == [gone, "", gone]


def test_settings_and_service_annotations_ask_for_service_listeners() -> None:
    wanted = ServiceListener("shop", "api", "80", "127.0.0.1:18080")
    options = Options(is_manifests=True, service_listeners=(wanted,))
    annotated = service("b", annotations={"spanway.io/listen": "80=127.0.0.1:18081"})

    built = build([service(), annotated, endpoint_slice(), endpoint_slice("b")], options)

    assert [(x.address, x.kind, x.backend) for x in built.table.listeners] == [
        ("127.0.0.1:18080", ListenerKind.SERVICE, "shop/api:80"),
        ("127.0.0.1:18081", ListenerKind.SERVICE, "shop/b:80"),
    ]
    assert built.problems == ()


def test_a_service_of_a_cluster_cannot_open_listeners() -> None:
    annotated = service("b", annotations={"spanway.io/listen": "80=127.0.0.1:18081"})

    built = build([annotated], Options())

    assert built.table.listeners == ()


def test_an_external_name_is_asked_for_and_its_addresses_become_endpoints() -> None:
    objects = [ingress(path("/")), service(type="ExternalName", externalName="api.example.org")]

    unresolved = build(objects)
    resolved = build(objects, resolved={"api.example.org": Resolved(("192.0.2.7", "192.0.2.3"))})

    assert unresolved.external_names == {"api.example.org"}
    assert "being resolved" in unresolved.table.backends["shop/api:80"].missing
    assert resolved.table.backends["shop/api:80"].endpoints == (
        Endpoint("192.0.2.3", 80),
        Endpoint("192.0.2.7", 80),
    )


def test_an_ingress_of_a_cluster_needs_the_class_object() -> None:
    asks = ingress(path("/"), ingressClassName="spanway")
    spanway = {
        "kind": "IngressClass",
        "metadata": {"name": "spanway"},
        "spec": {"controller": "spanway.io/ingress-controller"},
    }

    without = build([asks, service()], Options())
    with_class = build([asks, service(), endpoint_slice("api", "10.0.0.1"), spanway], Options())

    assert without.table.hosts == {}
    assert [str(problem) for problem in without.problems] == [
        "IngressClass spanway: The class does not exist, but Ingresses name it (1)."
        " Create it with spec.controller spanway.io/ingress-controller."
    ]
    assert list(with_class.table.hosts) == ["shop.example"]


@pytest.mark.parametrize(("is_default", "count"), [("true", 1), ("false", 0)])
def test_an_ingress_without_class_is_ours_if_our_class_is_the_default(
    is_default: str, count: int
) -> None:
    spanway = {
        "kind": "IngressClass",
        "metadata": {
            "name": "spanway",
            "annotations": {"ingressclass.kubernetes.io/is-default-class": is_default},
        },
        "spec": {"controller": "spanway.io/ingress-controller"},
    }

    assert len(build([ingress(path("/")), spanway], Options()).ours) == count


def test_ingresses_of_other_classes_in_a_directory_are_told_of() -> None:
    objects = [
        service(),
        endpoint_slice("api", "10.0.0.1"),
        ingress(path("/"), ingressClassName="spanway"),
        ingress(path("/a"), name="a", ingressClassName="nginx"),
        ingress(path("/b"), name="b", annotations={"kubernetes.io/ingress.class": "nginx"}),
        ingress(path("/c"), name="c"),
    ]

    in_directory, in_cluster = build(objects), build(objects, Options())

    assert [str(problem) for problem in in_directory.problems] == [
        'IngressClass nginx: Its Ingresses (2) are not served: --ingress-class is "spanway".'
        " Start Spanway with --ingress-class nginx, or change their class."
    ]
    assert len(in_directory.ours) == 2
    assert not [one for one in in_cluster.problems if one.object.name == "nginx"]


OK = [service(), endpoint_slice("api", "10.0.0.1")]
PATH = "spec.rules[0].http.paths[0]"


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        (
            [*OK, ingress(path("/", "nope"))],
            f"Ingress shop/web, {PATH}.backend.service.name: Service shop/nope does not exist."
            " Create it, or correct the name.",
        ),
        (
            [*OK, ingress(path("/", backend("api", 81)))],
            f"Ingress shop/web, {PATH}.backend.service.port.number: Service shop/api has no TCP"
            " port 81. It has 80.",
        ),
        (
            [*OK, ingress(path("/", backend("api", "web")))],
            f"Ingress shop/web, {PATH}.backend.service.port.name: Service shop/api has no TCP"
            ' port named "web". It has 80.',
        ),
        (
            [*OK, ingress(path("/", {"service": {"name": "api"}}))],
            f"Ingress shop/web, {PATH}.backend.service.port: No port of Service api is named."
            " Add port.number or port.name.",
        ),
        (
            [*OK, ingress(path("/", {"resource": {"kind": "Bucket", "name": "icons"}}))],
            f"Ingress shop/web, {PATH}.backend.resource: Bucket icons is a resource backend, and"
            " only Services are served. Name a Service instead.",
        ),
        (
            [*OK, ingress(path("/")), ingress(path("/"), name="zweb")],
            f'Ingress shop/zweb, {PATH}.path: The prefix path "/" of host "shop.example" is already'
            f" routed by Ingress shop/web, {PATH}, which comes first by name."
            " Remove one of the two.",
        ),
        (
            [
                *OK,
                ingress(path("/", kind="Exact"), name="old", created="2024-01-01T00:00:00Z"),
                ingress(path("/", kind="Exact"), name="new", created="2024-01-02T00:00:00Z"),
            ],
            f'Ingress shop/new, {PATH}.path: The exact path "/" of host "shop.example" is already'
            f" routed by Ingress shop/old, {PATH}, which is older. Remove one of the two.",
        ),
        (
            [*OK, ingress(path("/"), path("/"))],
            'Ingress shop/web, spec.rules[0].http.paths[1].path: The prefix path "/" of host'
            f' "shop.example" is already routed by {PATH}. Remove one of the two.',
        ),
        (
            [
                *OK,
                ingress(host=None, defaultBackend=backend("api")),
                ingress(host=None, defaultBackend=backend("api"), name="zweb"),
            ],
            "Ingress shop/zweb, spec.defaultBackend: Requests that no rule matches are already"
            " answered by Ingress shop/web, spec.defaultBackend, which comes first by name."
            " Keep one default backend.",
        ),
        (
            [*OK, ingress(path("/"), host="192.0.2.1")],
            'Ingress shop/web, spec.rules[0].host: "192.0.2.1" is an IP address. Leave out the host'
            " to match requests for any address. The rule is left out.",
        ),
        (
            [*OK, ingress(path("/"), host="bücher.example")],
            'Ingress shop/web, spec.rules[0].host: "bücher.example" is not a DNS name.'
            ' Write it as "xn--bcher-kva.example". The rule is left out.',
        ),
        (
            [*OK, ingress(path("/"), host="shop.example:80")],
            'Ingress shop/web, spec.rules[0].host: "shop.example:80" has a port.'
            ' Write "shop.example": any port matches. The rule is left out.',
        ),
        (
            [*OK, ingress(path("/"), host="a.*.example")],
            'Ingress shop/web, spec.rules[0].host: "a.*.example" has "*" in a place other than'
            " first. Use *.example.org. The rule is left out.",
        ),
        (
            [*OK, ingress(path("api"))],
            f'Ingress shop/web, {PATH}.path: "api" does not start with "/". Write "/api".',
        ),
        (
            [*OK, ingress(path("/", kind="prefix"))],
            f'Ingress shop/web, {PATH}.pathType: The path type "prefix" is unknown.'
            " Use one of Exact, Prefix, ImplementationSpecific.",
        ),
        (
            [*OK, ingress(path("/api(/|$)(.*)", kind="ImplementationSpecific"))],
            f'Ingress shop/web, {PATH}.path: "/api(/|$)(.*)" looks like a regular expression, but'
            " is compared as it is. Use pathType Exact or Prefix with a plain path.",
        ),
        (
            [service(), ingress(path("/"))],
            "Service shop/api: Service shop/api has no EndpointSlice, so requests to it get 503."
            " In a cluster Kubernetes makes one of the pods of its selector; without a selector,"
            " and in a directory of manifests, add one with the label"
            " kubernetes.io/service-name: api.",
        ),
        (
            [service("api", {"port": 80, "name": "http"}), OK[1], ingress(path("/"))],
            "Service shop/api, spec.ports: No EndpointSlice of the Service has a port named"
            ' "http" but "". Slice ports and Service ports belong together by name.',
        ),
        (
            [service(), endpoint_slice("api", "localhost"), ingress(path("/"))],
            'EndpointSlice shop/api-1, endpoints[0].addresses[0]: "localhost" is not an IP address.'
            " Write an IPv4 or IPv6 address.",
        ),
        (
            [service(), endpoint_slice("api", "a.b", addressType="FQDN"), ingress(path("/"))],
            'EndpointSlice shop/api-1, addressType: The address type "FQDN" is not served. Use IPv4'
            " or IPv6; for a DNS name, a Service of type ExternalName.",
        ),
        (
            [*OK, ingress(path("/"), tls=[{"secretName": "cert"}])],
            "Ingress shop/web, spec.tls[0].secretName: Secret shop/cert does not exist. Create it"
            " with the type kubernetes.io/tls. Until then shop.example has the default"
            " certificate.",
        ),
        (
            [service(annotations={"spanway.io/listen": "80=localhost:1"}), OK[1]],
            'Service shop/api, metadata.annotations[spanway.io/listen]: "localhost" in'
            ' "localhost:1" is not an IP address, write 127.0.0.1:1. Correct the annotation.',
        ),
        (
            [service(annotations={"spanway.io/listen": "81=127.0.0.1:1"}), OK[1]],
            "Service shop/api, metadata.annotations[spanway.io/listen]: Service shop/api has no"
            " TCP port 81. It has 80.",
        ),
        (
            [*OK, ingress(host=None)],
            "Ingress shop/web, spec: It has neither rules nor a default backend. Add one of them.",
        ),
    ],
    ids=lambda value: value[:60] if isinstance(value, str) else "",
)
def test_a_mistake_is_one_problem_that_names_object_field_and_fix(
    objects: list[dict[str, Any]], message: str
) -> None:
    built = build(objects)

    assert [str(problem) for problem in built.problems] == [message]


def test_a_missing_service_answers_503_with_its_reason() -> None:
    built = build([ingress(path("/", "nope"))])

    assert built.table.backends["shop/nope:80"].missing == "Service shop/nope does not exist."

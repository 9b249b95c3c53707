"""Annotations and spec.tls of Ingresses, from objects to the table."""

from typing import Any

import pem
import pytest
from k8s_objects import (
    MANIFESTS,
    Object,
    endpoint_slice,
    ingress,
    key_of,
    path,
    secret,
    service,
    values_of,
)

from ingress_controller.routing.builder import Builder, Built, Options
from ingress_controller.routing.listening import DefaultCertificate
from ingress_controller.routing.policy import DENIED
from proxy.table import (
    ClientCertificates,
    Host,
    HostTls,
    Listener,
    ListenerKind,
    RoutePolicy,
    RouteTable,
    TlsVersion,
)

HTTP = Listener("127.0.0.1:80", ListenerKind.INGRESS)
HTTPS = Listener("127.0.0.1:443", ListenerKind.INGRESS, tls=True)
WITH_HTTPS = Options(is_manifests=True, listeners=(HTTP, HTTPS))
OK = [service(), endpoint_slice("api", "10.0.0.1")]
PAIR = pem.pair("shop.example")
TLS = [{"hosts": ["shop.example"], "secretName": "cert"}]
CA = {"spanway.io/client-ca-secret": "ca"}
REQUIRED = {"spanway.io/client-certificates": "required"}


def build(*objects: Object, options: Options = WITH_HTTPS) -> Built:
    values = values_of([*OK, *objects])
    return Builder(options).build(values, {}, RouteTable(), now_unix_ms=pem.NOW_UNIX_MS)


def host_of(built: Built, name: str = "shop.example") -> Host:
    return built.table.hosts[name]


def policy_of(built: Built, host: str = "shop.example") -> RoutePolicy:
    key = host_of(built, host).routes[0].policy
    return built.table.policies[key] if key else RoutePolicy()


def texts(built: Built) -> list[str]:
    return [str(problem) for problem in built.problems]


def test_an_ingress_without_annotations_has_the_default_policy() -> None:
    built = build(ingress(path("/")))

    assert host_of(built).routes[0].policy == ""
    assert built.table.policies == {}


def test_annotations_of_an_ingress_are_the_policy_of_its_routes_only() -> None:
    built = build(
        ingress(path("/"), annotations={"spanway.io/read-timeout": "5s"}),
        ingress(path("/x"), name="other"),
    )

    keys = {route.path: route.policy for route in host_of(built).routes}
    assert keys == {"/": "shop/web", "/x": ""}
    assert built.table.policies == {"shop/web": RoutePolicy(read_timeout_ms=5_000)}


def test_a_changed_annotation_changes_the_policy_and_leaves_the_host() -> None:
    def world(timeout: str) -> Object:
        return ingress(path("/"), annotations={"spanway.io/read-timeout": timeout})

    values = values_of([*OK, world("5s")])
    builder = Builder(MANIFESTS)
    first = builder.build(values, {}, RouteTable(), now_unix_ms=1).table
    values.apply(key_of(world("6s")), world("6s"))
    second = builder.build(values, {}, first, now_unix_ms=2).table

    assert second.policies["shop/web"].read_timeout_ms == 6_000
    assert second.hosts is first.hosts


def test_a_bad_allow_list_serves_nobody_and_says_so() -> None:
    built = build(ingress(path("/"), annotations={"spanway.io/allow": "office"}))

    assert policy_of(built).allow == ("255.255.255.255/32",)
    assert texts(built) == [
        "Ingress shop/web, metadata.annotations[spanway.io/allow]:"
        ' "office" is neither an IP address nor a network. Write addresses and networks (CIDR),'
        ' for example "10.0.0.0/8, 2001:db8::/32"; until then nobody is let in.'
    ]


def test_a_backend_annotation_on_an_ingress_is_sent_to_the_service() -> None:
    built = build(ingress(path("/"), annotations={"spanway.io/balance": "ewma"}))

    assert [problem.severity for problem in built.problems] == ["warning"]
    assert "belongs on the Service" in texts(built)[0]


def test_a_secret_is_the_certificate_of_its_hosts() -> None:
    built = build(ingress(path("/"), tls=TLS), secret(PAIR))

    assert host_of(built).tls == HostTls("shop/cert")
    assert built.table.certificates["shop/cert"].chain == PAIR[0]
    assert built.problems == ()


def test_a_changed_secret_is_a_changed_certificate_under_the_same_key() -> None:
    values = values_of([*OK, ingress(path("/"), tls=TLS), secret(PAIR)])
    builder = Builder(WITH_HTTPS)
    first = builder.build(values, {}, RouteTable(), now_unix_ms=pem.NOW_UNIX_MS).table
    renewed = pem.pair("shop.example", "www.shop.example")
    values.apply(key_of(secret(renewed)), secret(renewed))

    second = builder.build(values, {}, first, now_unix_ms=pem.NOW_UNIX_MS).table

    assert second.generation == 2
    assert second.hosts is first.hosts
    assert second.certificates["shop/cert"].chain == renewed[0]


def test_an_entry_without_hosts_is_for_all_hosts_of_its_ingress() -> None:
    built = build(ingress(path("/"), tls=[{"secretName": "cert"}]), secret(PAIR))

    assert host_of(built).tls == HostTls("shop/cert")


def test_a_wildcard_in_tls_is_for_the_hosts_of_its_own_ingress() -> None:
    tls = [{"hosts": ["*.example"], "secretName": "cert"}]
    built = build(
        ingress(path("/"), tls=tls),
        ingress(path("/"), host="other.example", name="other"),
        secret(pem.pair("*.example")),
    )

    assert host_of(built).tls == HostTls("shop/cert")
    assert policy_of(built).https_only
    assert host_of(built, "other.example").tls is None
    assert not policy_of(built, "other.example").https_only


def test_a_host_that_only_tls_names_has_its_certificate_and_no_routes() -> None:
    tls = [{"hosts": ["www.example"], "secretName": "cert"}]
    built = build(ingress(path("/"), tls=tls), secret(pem.pair("www.example")))

    assert host_of(built, "www.example") == Host("www.example", (), HostTls("shop/cert"))
    assert host_of(built).tls is None


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ([], "Secret shop/cert does not exist. Create it with the type kubernetes.io/tls. Until"),
        (
            [secret(PAIR, type="Opaque")],
            "Secret shop/cert is of type Opaque, not kubernetes.io/tls",
        ),
        ([secret(("", PAIR[1]))], "Secret shop/cert cannot be used: it has no tls.crt."),
    ],
)
def test_a_certificate_that_cannot_be_used_leaves_the_default_one(
    held: list[Object], message: str
) -> None:
    built = build(ingress(path("/"), tls=TLS), *held)

    assert host_of(built).tls == HostTls()
    assert policy_of(built).https_only
    [problem] = built.problems
    assert str(problem).startswith(f"Ingress shop/web, spec.tls[0].secretName: {message}")
    assert problem.text.endswith("Until then shop.example has the default certificate.")


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (
            pem.pair("shop.example", end=pem.NOW - pem.DAY / 2),
            "The certificate in Secret shop/cert has expired. Renew it.",
        ),
        (
            pem.pair("shop.example", begin=pem.NOW + pem.DAY),
            "The certificate in Secret shop/cert is not valid yet. Look at the clocks.",
        ),
        (
            pem.pair("other.example"),
            "The certificate in Secret shop/cert is for other.example, not for shop.example."
            " Clients will refuse it; make one with that name.",
        ),
    ],
)
def test_a_certificate_that_clients_refuse_is_served_with_a_warning(
    pair: tuple[str, str], message: str
) -> None:
    built = build(ingress(path("/"), tls=TLS), secret(pair))

    assert host_of(built).tls == HostTls("shop/cert")
    assert texts(built) == [f"Ingress shop/web, spec.tls[0].secretName: {message}"]
    assert built.problems[0].severity == "warning"


def test_the_oldest_ingress_decides_about_the_certificate_of_a_host() -> None:
    tls = [{"hosts": ["shop.example"], "secretName": "b"}]
    built = build(
        ingress(path("/"), tls=TLS, created="2024-01-02T00:00:00Z"),
        ingress(path("/x"), tls=tls, name="old", created="2024-01-01T00:00:00Z"),
        *(secret(PAIR), secret(PAIR, name="b")),
    )

    assert host_of(built).tls == HostTls("shop/b")
    assert texts(built) == [
        'Ingress shop/web, spec.tls[0].secretName: Host "shop.example" already has its certificate,'
        " Secret shop/b, by Ingress shop/old, spec.tls[0].secretName. Name the same Secret in both."
    ]


@pytest.mark.parametrize(
    ("annotations", "options", "is_https_only"),
    [
        ({}, WITH_HTTPS, True),
        ({"spanway.io/https-only": "false"}, WITH_HTTPS, False),
        ({"spanway.io/https-only": "maybe"}, WITH_HTTPS, True),
        ({}, Options(is_manifests=True, listeners=(HTTP,)), False),
    ],
)
def test_hosts_with_tls_redirect_plain_http_while_there_is_https(
    annotations: dict[str, str], options: Options, is_https_only: bool
) -> None:
    world = (ingress(path("/"), tls=TLS, annotations=annotations), secret(PAIR))

    assert policy_of(build(*world, options=options)).https_only is is_https_only


def test_only_the_hosts_with_tls_redirect() -> None:
    asks = ingress(path("/"), tls=TLS, annotations={"spanway.io/read-timeout": "5s"})
    asks["spec"]["rules"].append(
        {"host": "plain.example", "http": asks["spec"]["rules"][0]["http"]}
    )

    built = build(asks, secret(PAIR))

    assert policy_of(built) == RoutePolicy(read_timeout_ms=5_000, https_only=True)
    assert policy_of(built, "plain.example") == RoutePolicy(read_timeout_ms=5_000)


def test_tls_without_an_https_listener_is_a_warning() -> None:
    options = Options(is_manifests=True, listeners=(HTTP,))

    built = build(ingress(path("/"), tls=TLS), secret(PAIR), options=options)

    assert texts(built) == [
        "Ingress shop/web, spec.tls: TLS is not served, because there is no HTTPS listener."
        " Start Spanway with --https ADDR:PORT."
    ]


def test_client_certificates_are_verified_against_the_secret() -> None:
    asks = ingress(path("/"), tls=TLS, annotations=REQUIRED | CA)

    built = build(asks, secret(PAIR), secret(ca=PAIR[0], name="ca"))

    assert host_of(built).tls == HostTls(
        "shop/cert", client_certificates=ClientCertificates.REQUIRED, client_ca=PAIR[0]
    )
    assert built.problems == ()


def test_a_required_client_certificate_cannot_be_avoided_by_plain_http() -> None:
    annotations = REQUIRED | CA | {"spanway.io/https-only": "false"}

    built = build(ingress(path("/"), annotations=annotations), secret(ca=PAIR[0], name="ca"))

    assert policy_of(built).https_only


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        (REQUIRED, "spanway.io/client-ca-secret does not say whose certificates are accepted."),
        (REQUIRED | CA, "Secret shop/ca does not exist, or is not one that Spanway reads."),
        ({"spanway.io/client-certificates": "maybe"} | CA, '"maybe" is none of off, optional,'),
    ],
)
def test_client_certificates_that_cannot_be_verified_let_nobody_in(
    annotations: dict[str, str], message: str
) -> None:
    built = build(ingress(path("/"), tls=TLS, annotations=annotations), secret(PAIR))

    assert host_of(built).routes[0].policy == DENIED
    assert host_of(built).tls == HostTls("shop/cert")
    assert policy_of(built).deny == ("0.0.0.0/0", "::/0")
    assert any(message in text for text in texts(built))
    assert {problem.severity for problem in built.problems} == {"error"}


def test_of_what_guards_a_host_the_strictest_ingress_counts() -> None:
    low, high = ({"spanway.io/tls-min-version": version} for version in ("1.2", "1.3"))

    built = build(
        ingress(path("/"), annotations=low, created="2024-01-01T00:00:00Z"),
        ingress(path("/x"), annotations=high, name="new", created="2024-01-02T00:00:00Z"),
    )

    assert host_of(built).tls == HostTls(version_min=TlsVersion.TLS13)
    assert built.problems == ()


def test_connections_are_passed_through_to_the_backend_of_the_root() -> None:
    annotations = {"spanway.io/tls-passthrough": "true"}

    built = build(ingress(path("/"), path("/x", "nope"), annotations=annotations))

    assert host_of(built).tls == HostTls(passthrough="shop/api:80")


def test_passthrough_without_a_root_path_is_a_problem() -> None:
    built = build(ingress(path("/x"), annotations={"spanway.io/tls-passthrough": "true"}))

    assert host_of(built).tls == HostTls()
    assert 'Host "shop.example" has no path "/"' in texts(built)[0]


@pytest.mark.parametrize("name", ["client-ca-secret", "affinity-path", "hash-on"])
def test_what_needs_another_annotation_says_which(name: str) -> None:
    text = {f"spanway.io/{name}": {"affinity-path": "/x", "hash-on": "cookie c"}.get(name, "ca")}
    is_of_ingress = name == "client-ca-secret"
    objects: list[Any] = [
        ingress(path("/"), annotations=text if is_of_ingress else None),
        service(annotations=None if is_of_ingress else text),
    ]

    assert ": It has no effect without spanway.io/" in texts(build(*objects))[0]


def test_a_listener_with_tls_has_the_default_certificate_of_a_secret() -> None:
    default = DefaultCertificate(("shop", "cert"))
    options = Options(is_manifests=True, listeners=(HTTPS,), default_certificate=default)

    with_secret = build(secret(PAIR), options=options)
    without = build(options=options)

    assert with_secret.table.listeners[0].certificate == "shop/cert"
    assert with_secret.table.certificates["shop/cert"].chain == PAIR[0]
    assert without.table.listeners[0].certificate == ""
    assert texts(without) == [
        "Secret shop/cert: Secret shop/cert does not exist. Create it with the type"
        " kubernetes.io/tls. Until then the default certificate is a self-signed one."
    ]

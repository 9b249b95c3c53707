import re
from pathlib import Path

import pytest

from ingress_controller.addresses import ServiceListener
from ingress_controller.asking import AdminAddress, Credentials
from ingress_controller.credentials import AdminAccess, Secret
from ingress_controller.otel import RemoteSampler
from ingress_controller.settings import (
    Api,
    ApiServiceSettings,
    CertificateFiles,
    CheckSettings,
    KubernetesSource,
    ManifestsSource,
    ReportSettings,
    Settings,
    SettingsError,
    StoreSettings,
    TopSettings,
    read_settings,
)
from proxy.access_log import AccessLog, AccessLogFormat
from proxy.table import Propagator, ServerTiming, TrustContext, TrustedField

IN_CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}


def run_settings(*argv: str, env: dict[str, str] | None = None) -> Settings:
    settings = read_settings(["run", *argv], env if env is not None else IN_CLUSTER)
    assert isinstance(settings, Settings)
    return settings


def test_manifests_are_served_on_loopback_unless_told_otherwise(tmp_path: Path) -> None:
    settings = run_settings("--manifests", str(tmp_path), env={})

    assert settings.source == ManifestsSource(tmp_path)
    assert settings.http == ("127.0.0.1:8080",)
    assert settings.admin == "127.0.0.1:9901"


def test_a_pod_follows_its_own_cluster() -> None:
    settings = run_settings("--watch-namespace", "a", "--watch-namespace", "b")

    assert settings.source == KubernetesSource(namespaces=("a", "b"))
    assert settings.http == ("0.0.0.0:80",)


def test_only_a_pod_serves_on_until_others_know_that_it_leaves(tmp_path: Path) -> None:
    in_pod = run_settings()
    short = run_settings("--drain-timeout", "2")
    outside = run_settings("--manifests", str(tmp_path))

    assert (in_pod.drain_timeout_s, in_pod.drain_delay_s) == (20, 5)
    assert (short.drain_timeout_s, short.drain_delay_s) == (2, 2)
    assert (outside.drain_timeout_s, outside.drain_delay_s) == (20, 0)


def test_api_has_an_address_and_a_certificate(tmp_path: Path) -> None:
    chain, private_key = tmp_path / "tls.crt", tmp_path / "tls.key"
    for file in (chain, private_key):
        file.touch()

    settings = run_settings(
        *("--api", "0.0.0.0:9443", "--api-cert", str(chain), "--api-key", str(private_key))
    )

    assert settings.api == Api("0.0.0.0:9443", CertificateFiles(chain, private_key))
    assert run_settings().api is None


def test_admin_address_is_known_by_a_certificate_and_lets_in_by_another(tmp_path: Path) -> None:
    for name in ("tls.crt", "tls.key", "ca.crt"):
        (tmp_path / name).touch()
    (tmp_path / "token").write_text("0123456789abcdef\n")
    pair = ("--admin-cert", str(tmp_path / "tls.crt"), "--admin-key", str(tmp_path / "tls.key"))
    client_ca = ("--admin-client-ca", str(tmp_path / "ca.crt"))
    token = ("--admin-token-file", str(tmp_path / "token"))

    settings = run_settings(*pair, *client_ca, *token)

    assert settings.admin_access == AdminAccess(
        CertificateFiles(tmp_path / "tls.crt", tmp_path / "tls.key"),
        tmp_path / "ca.crt",
        Secret("0123456789abcdef"),
        tmp_path / "token",
    )
    assert "0123456789abcdef" not in repr(settings)
    with pytest.raises(SettingsError, match="--admin-client-ca has no effect without TLS; add"):
        run_settings(*client_ca)
    with pytest.raises(SettingsError, match="--admin-cert needs --admin-key FILE beside it"):
        run_settings(*pair[:2])


def test_on_another_address_than_loopback_it_is_said_who_may_ask(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef")
    token = ("--admin-token-file", str(tmp_path / "token"))
    everywhere = ("--admin", "[::]:9901")

    of_kubernetes = run_settings(
        *everywhere, "--admin-kubernetes-auth", "--admin-audience", "spanway"
    )
    known, open_ = run_settings(*everywhere, *token), run_settings(*everywhere, "--admin-open")

    assert of_kubernetes.admin_access == AdminAccess(has_kubernetes=True, audience="spanway")
    assert of_kubernetes.sends_tokens_in_the_clear
    assert known.sends_tokens_in_the_clear
    assert not open_.sends_tokens_in_the_clear
    assert not run_settings(*token).sends_tokens_in_the_clear
    with pytest.raises(SettingsError, match=r"SPANWAY_ADMIN 0\.0\.0\.0:1 would answer whoever"):
        run_settings(env=IN_CLUSTER | {"SPANWAY_ADMIN": "0.0.0.0:1"})
    with pytest.raises(SettingsError, match="--admin-open lets everybody in, and another flag"):
        run_settings("--admin-open", *token)


def test_service_of_the_api_is_that_of_the_manifests_unless_told_otherwise() -> None:
    assert read_settings(["api-service"], {}) == ApiServiceSettings("spanway", "spanway-api")
    assert read_settings(["api-service", "a/b"], {}) == ApiServiceSettings("a", "b")


def test_what_is_sampled_is_said_by_flags(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("0123456789abcdef\n")

    settings = run_settings(
        *("--sample-rate-limit", "50", "--tail-spans", "0"),
        *("--sampling-remote", "http://jaeger:5778", "--debug-key-file", str(key)),
    )

    assert (settings.sample_rate_limit, settings.tail_spans) == (50, 0)
    assert settings.sampling_remote == RemoteSampler("http://jaeger:5778/sampling")
    assert settings.debug_key.text == "0123456789abcdef"
    assert "0123456789abcdef" not in repr(settings)
    assert run_settings().tail_spans == 100


@pytest.mark.parametrize(
    ("flag", "text", "message"),
    [
        ("--sample-rate-limit", "-1", '"-1" is not a number from 0 to 1,000,000'),
        ("--tail-spans", "many", '"many" is not a number from 0 to 1,000,000'),
        ("--sampling-remote", "jaeger", '"jaeger" is not a URL like http://127.0.0.1:5778'),
        ("--debug-key-file", "nowhere", '"nowhere" cannot be read: No such file or directory'),
        (
            "--trace-link",
            "javascript:{trace_id}",
            '"javascript:{trace_id}" is not a URL such as http://jaeger/trace/{trace_id}',
        ),
        ("--trace-link", "http://jaeger/", '"http://jaeger/" is not a URL such as http://jaeger'),
        ("--debug-key-file", "/dev/null", 'what is in "/dev/null" has not from 16 to 4096 bytes'),
    ],
)
def test_sampling_that_makes_no_sense_names_the_flag_and_the_fix(
    flag: str, text: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=f"^{re.escape(f'{flag}: {message}')}"):
        run_settings(flag, text)


@pytest.mark.parametrize("text", ["0", "-1", "1d", "86401"])
def test_a_client_has_a_bounded_time_that_is_not_zero(text: str) -> None:
    with pytest.raises(SettingsError, match=f'^--idle-timeout: "{text}" is not a number of'):
        run_settings("--idle-timeout", text)


def test_only_a_pod_logs_each_request_unless_told_otherwise(tmp_path: Path) -> None:
    upstream = AccessLogFormat.UPSTREAM
    outside = ("--manifests", str(tmp_path))
    file = str(tmp_path / "access.log")

    assert run_settings().access_log == AccessLog("-", upstream)
    assert run_settings("--access-log", "off").access_log is None
    assert run_settings(*outside, env={}).access_log is None
    assert run_settings(*outside, "--access-log", "-").access_log == AccessLog("-", upstream)
    json = run_settings(*outside, "--access-log", file, "--access-log-format", "json")
    assert json.access_log == AccessLog(file, AccessLogFormat.JSON)


def test_what_is_counted_can_be_chosen() -> None:
    settings = run_settings("--metrics-routes", "0", "--nginx-metrics", "false")

    assert (settings.metrics_routes, settings.nginx_metrics) == (0, False)
    assert (run_settings().metrics_routes, run_settings().nginx_metrics) == (512, True)


def test_each_flag_is_a_variable_too_and_the_flag_wins() -> None:
    env = IN_CLUSTER | {
        "SPANWAY_HTTP": "127.0.0.1:1, [::1]:2",
        "SPANWAY_SAMPLE_RATIO": "0.5",
        "SPANWAY_SERVICE": "shop/api:http=127.0.0.1:3",
        "SPANWAY_FORWARDED_HEADER": "true",
        "SPANWAY_WORKERS": "3",
    }

    settings = run_settings("--workers", "2", env=env)

    assert settings.http == ("127.0.0.1:1", "[::1]:2")
    assert settings.sample_ratio == 0.5
    assert settings.service_listeners == (ServiceListener("shop", "api", "http", "127.0.0.1:3"),)
    assert settings.forwarded
    assert settings.workers == 2


def test_a_cluster_is_served_on_both_ports_unless_one_is_named(tmp_path: Path) -> None:
    by_default, only_http = run_settings(), run_settings("--http", "0.0.0.0:8080")

    assert (by_default.http, by_default.https) == (("0.0.0.0:80",), ("0.0.0.0:443",))
    assert (only_http.http, only_http.https) == (("0.0.0.0:8080",), ())
    assert run_settings("--manifests", str(tmp_path)).https == ()


def test_what_is_about_connections_and_places_is_read(tmp_path: Path) -> None:
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).touch()
    files = CertificateFiles(tmp_path / "tls.crt", tmp_path / "tls.key")
    env = IN_CLUSTER | {
        "SPANWAY_ZONE": "eu-1a",
        "SPANWAY_NODE": "n1",
        "SPANWAY_TRUSTED_PROXIES": "10.0.0.1/8, 2001:db8::1",
        "SPANWAY_DEFAULT_CERTIFICATE": f"{files.chain},{files.private_key}",
    }

    settings = run_settings("--proxy-protocol", env=env)

    assert (settings.zone, settings.node) == ("eu-1a", "n1")
    assert settings.trusted_proxies == ("10.0.0.0/8", "2001:db8::1/128")
    assert settings.proxy_protocol
    assert settings.default_certificate == files
    of_secret = run_settings("--default-certificate", "ingress/default")
    assert of_secret.default_certificate == ("ingress", "default")


def test_spans_go_wherever_a_flag_or_the_variable_says(tmp_path: Path) -> None:
    file = f"file:{tmp_path}/spans.jsonl"
    of_flags = run_settings("--otlp-endpoint", "http://h", "--export", "console", "--export", file)
    of_variable = run_settings(env={**IN_CLUSTER, "SPANWAY_EXPORT": f"console, {file}"})

    assert [export.name for export in of_flags.exports] == ["otlp+http://h", "console", file]
    assert [export.name for export in of_variable.exports] == ["console", file]


@pytest.mark.parametrize(
    ("env", "directory"),
    [
        (IN_CLUSTER, Path("/var/lib/spanway/traces")),
        ({"HOME": "/home/ann"}, Path("/home/ann/.local/state/spanway/traces")),
        ({"HOME": "/home/ann", "XDG_STATE_HOME": "/state"}, Path("/state/spanway/traces")),
        ({}, None),
    ],
)
def test_traces_are_kept_where_state_is_unless_told_otherwise(
    env: dict[str, str], directory: Path | None, tmp_path: Path
) -> None:
    settings = run_settings("--manifests", str(tmp_path), env=env)

    assert settings.store == StoreSettings(directory, 1024**3, 3 * 86_400.0)


def test_the_store_is_where_and_as_large_as_asked_for(tmp_path: Path) -> None:
    asked = run_settings("--store", str(tmp_path), "--store-bytes", "64Mi", "--store-age", "12h")

    assert asked.store == StoreSettings(tmp_path, 64 * 1024**2, 43_200.0, is_asked_for=True)
    assert run_settings("--store", "memory").store == StoreSettings(is_asked_for=True)
    assert run_settings("--store", "off").store is None


def test_exports_to_two_places_of_one_host_have_names_of_their_own(tmp_path: Path) -> None:
    tenant = tmp_path / "headers"
    tenant.write_text("X-Scope-OrgID: b\n")
    urls = ("http://h/a", "http://h/b", f"http://h/b?headers={tenant}", "console")
    flags = [word for url in urls for word in ("--export", url)]

    names = [export.name for export in run_settings(*flags).exports]

    assert names == ["otlp+http://h", "otlp+http://h #2", "otlp+http://h #3", "console"]


def test_formats_that_are_read_are_sent_too_unless_others_are_named() -> None:
    b3, w3c = Propagator.B3, Propagator.TRACECONTEXT
    by_variable = run_settings(env=IN_CLUSTER | {"OTEL_PROPAGATORS": "b3,tracecontext"})
    by_flag = run_settings("--propagators", "b3", env=IN_CLUSTER | {"OTEL_PROPAGATORS": "xray"})
    both = run_settings("--propagators", "b3,tracecontext", "--inject", "tracecontext")

    assert (by_variable.extract, by_variable.inject) == ((b3, w3c), (b3, w3c))
    assert (by_flag.extract, by_flag.inject) == ((b3,), (b3,))
    assert (both.extract, both.inject) == ((b3, w3c), (w3c,))
    assert run_settings("--propagators", "none").extract == ()


def test_what_clients_are_told_is_read() -> None:
    assert run_settings().server_timing is ServerTiming.OFF
    assert run_settings("--server-timing", "timing").server_timing is ServerTiming.TIMING
    with pytest.raises(SettingsError, match='"all" is none of off, trace, timing'):
        run_settings("--server-timing", "all")


def test_whose_trace_is_continued_is_read() -> None:
    flags = ("--trust-context", "trusted-proxies", "--trusted-proxies", "10.0.0.0/8")

    assert run_settings().trust_context is TrustContext.ALL
    assert run_settings(*flags).trust_context is TrustContext.TRUSTED_PROXIES
    assert run_settings("--trust-context", "none").trust_context is TrustContext.NONE
    assert not run_settings().random_flag
    assert run_settings("--random-flag", "true").random_flag


def test_where_trusted_proxies_say_who_asks_is_read() -> None:
    flags = ("--trusted-proxies", "10.0.0.0/8", "--trusted-field", "Forwarded")

    assert run_settings().trusted_field is TrustedField.X_FORWARDED_FOR
    assert run_settings(*flags).trusted_field is TrustedField.FORWARDED


def test_a_pod_is_in_the_resource_of_its_spans() -> None:
    in_pod = run_settings(env={**IN_CLUSTER, "POD_NAMESPACE": "ingress", "POD_NAME": "edge-x"})

    assert in_pod.resource["k8s.namespace.name"] == "ingress"
    assert in_pod.resource["k8s.pod.name"] == "edge-x"


def test_variables_that_kubernetes_makes_for_a_service_named_spanway_are_not_ours() -> None:
    env = IN_CLUSTER | {
        "SPANWAY_PORT": "tcp://10.96.0.5:80",
        "SPANWAY_SERVICE_HOST": "10.96.0.5",
        "SPANWAY_SERVICE_PORT_HTTP": "80",
    }

    assert run_settings(env=env) == run_settings()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["run", "--manifests", "{dir}", "--export", "udp://h"],
            '--export: "udp://h" has no scheme that spans can be sent by; use one of http, https,'
            " otlp+http, otlp+https, otlp+grpc, otlp+grpcs, file, console, jaeger-thrift,"
            " jaeger-thrift+http, jaeger-thrift+https, zipkin+http, zipkin+https, python.",
        ),
        (
            ["run", "--manifests", "{dir}", "--export", "console", "--export", "console"],
            "Spans would be exported to console twice; keep one of the two.",
        ),
        (
            [
                *["run", "--manifests", "{dir}", "--otlp-endpoint", "http://h"],
                *["--export", "http://h?compression=gzip"],
            ],
            "Spans would be exported to otlp+http://h twice; keep one of the two.",
        ),
        (
            [
                *["run", "--manifests", "{dir}", "--export", "console?spill={dir}"],
                *["--export", "http://h?spill={dir}"],
            ],
            "--export: two share spill={dir}; give each its own.",
        ),
        (
            ["run"],
            "This is not a pod of a cluster; give --manifests DIR or --kubeconfig FILE.",
        ),
        (
            ["run", "--manifests", "/nope"],
            '--manifests: "/nope" is not there; name the directory that holds the manifests.',
        ),
        (
            ["run", "--manifests", "{dir}", "--kubeconfig", "{file}"],
            "--manifests and --kubeconfig exclude each other; keep one of the two.",
        ),
        (
            ["run", "--manifests", "{dir}", "--context", "dev"],
            "--context is for a cluster and --manifests is none.",
        ),
        (
            ["run", "--manifests", "{dir}", "--api", "0.0.0.0:9443"],
            "--api is for a cluster and --manifests is none.",
        ),
        (
            ["run", "--kubeconfig", "{file}", "--api", "0.0.0.0:9443", "--api-cert", "{file}"],
            "--api needs --api-cert FILE and --api-key FILE; `spanway api-service` makes a pair.",
        ),
        (
            ["run", "--kubeconfig", "{file}", "--api-key", "{file}"],
            "--api-key has no effect without --api ADDR:PORT; add it.",
        ),
        (
            ["run", "--kubeconfig", "{file}", "--api", "9443"],
            '--api: "9443" is not ADDR:PORT, for example 127.0.0.1:8080 or [::]:80.',
        ),
        (
            ["api-service", "spanway"],
            'NS/NAME: "spanway" is not NS/NAME, for example ingress/spanway.',
        ),
        (
            ["run", "--kubeconfig", "/nope"],
            '--kubeconfig: "/nope" is not a file; name a kubeconfig.',
        ),
        (
            ["run", "--manifests", "{dir}", "--http", "8080"],
            '--http: "8080" is not ADDR:PORT, for example 127.0.0.1:8080 or [::]:80.',
        ),
        (
            ["run", "--manifests", "{dir}", "--http", "localhost:80"],
            '--http: "localhost" in "localhost:80" is not an IP address, write 127.0.0.1:80.',
        ),
        (
            ["run", "--manifests", "{dir}", "--http", "::1:80"],
            '--http: "::1:80" is ambiguous, write an IPv6 address as [::1]:8080.',
        ),
        (
            ["run", "--manifests", "{dir}", "--https", "127.0.0.1:8080"],
            "--https 127.0.0.1:8080 is already used by --http; choose another port.",
        ),
        (
            ["run", "--manifests", "{dir}", "--default-certificate", "cert"],
            '--default-certificate: "cert" is neither NS/NAME of a Secret nor CERT.pem,KEY.pem,'
            " for example ingress/default or /tls/tls.crt,/tls/tls.key.",
        ),
        (
            ["run", "--manifests", "{dir}", "--default-certificate", "/nope.crt,/nope.key"],
            '--default-certificate: "/nope.crt" is not a file; name the certificate and the key,'
            " in PEM form.",
        ),
        (
            ["run", "--manifests", "{dir}", "--default-certificate", "ingress/default"],
            "--default-certificate has no effect without an HTTPS listener; add --https.",
        ),
        (
            ["run", "--manifests", "{dir}", "--trusted-proxies", "10.0.0.0/33"],
            '--trusted-proxies: "10.0.0.0/33" is neither an IP address nor a network,'
            " for example 10.0.0.0/8.",
        ),
        (
            ["run", "--manifests", "{dir}", "--admin", "127.0.0.1:8080"],
            "--admin 127.0.0.1:8080 is already used by --http; choose another port.",
        ),
        (
            ["run", "--manifests", "{dir}", "--admin-client-ca", "/dev/null"],
            '--admin-client-ca: "/dev/null" is not a file; name the certificate and the key, in PEM'
            " form.",
        ),
        (
            ["run", "--manifests", "{dir}", "--admin", "0.0.0.0:9901"],
            "--admin 0.0.0.0:9901 would answer whoever reaches it; add --admin-kubernetes-auth,"
            " --admin-token-file or --admin-client-ca, or --admin-open if that is meant.",
        ),
        (
            ["run", "--manifests", "{dir}", "--admin-kubernetes-auth"],
            "--admin-kubernetes-auth is for a cluster and --manifests is none.",
        ),
        (
            ["run", "--manifests", "{dir}", "--admin-audience", "spanway"],
            "--admin-audience has no effect without --admin-kubernetes-auth; add it.",
        ),
        (
            ["run", "--manifests", "{dir}", "--workers", "0"],
            '--workers: "0" is not a whole number from 1 to 256.',
        ),
        (
            ["run", "--manifests", "{dir}", "--sample-ratio", "nan"],
            '--sample-ratio: "nan" is not a number from 0 to 1, for example 0.1.',
        ),
        (
            ["run", "--manifests", "{dir}", "--propagators", "w3c"],
            '--propagators: "w3c" is no format of trace context; there are tracecontext, b3,'
            " b3multi, jaeger, ottrace, xray, datadog, and none by itself.",
        ),
        (
            ["run", "--manifests", "{dir}", "--trust-context", "some"],
            '--trust-context: "some" is none of all, trusted-proxies, none.',
        ),
        (
            ["run", "--manifests", "{dir}", "--trust-context", "trusted-proxies"],
            "--trust-context trusted-proxies trusts nobody without --trusted-proxies; add it, or"
            " say none.",
        ),
        (
            ["run", "--manifests", "{dir}", "--trusted-field", "forwarded"],
            "--trusted-field has no effect without --trusted-proxies; add it.",
        ),
        (
            ["run", "--manifests", "{dir}", "--service", "api=127.0.0.1:1"],
            '--service: "api=127.0.0.1:1" is not NS/NAME:PORT=ADDR:PORT,'
            " for example shop/api:80=127.0.0.1:18080.",
        ),
        (
            ["run", "--manifests", "{dir}", "--otlp-endpoint", "localhost:4318"],
            '--otlp-endpoint: "localhost:4318" is not a URL like http://127.0.0.1:4318.',
        ),
        (
            ["run", "--manifests", "{dir}", "--ingress-class", "No Class"],
            '--ingress-class: "No Class" is not a Kubernetes name'
            " (lower-case letters, digits, - and .).",
        ),
        (
            ["run", "--manifests", "{dir}", "--drain-timeout", "-1"],
            '--drain-timeout: "-1" is not a number of seconds from 0 to 86400.',
        ),
        (
            ["run", "--manifests", "{dir}", "--drain-delay", "9", "--drain-timeout", "8"],
            "--drain-delay 9 is a part of --drain-timeout 8 and longer; raise the timeout.",
        ),
        (
            ["run", "--manifests", "{dir}", "--takeover", "{dir}"],
            '--takeover: "{dir}" is no place for a socket; name a file in a directory there is.',
        ),
        (
            ["serve"],
            "argument COMMAND: invalid choice: 'serve'"
            " (choose from 'run', 'check', 'explain', 'top', 'api-service', 'traces', 'trace',"
            " 'report')"
            " (`spanway --help` shows what there is)",
        ),
        (
            ["run", "--manifests", "{dir}", "--store-bytes", "much"],
            '--store-bytes: "much" is not a size above zero, for example 64Mi.',
        ),
        (
            ["run", "--manifests", "{dir}", "--store-age", "5"],
            '--store-age: "5" is not a time from a minute to ten years, for example 12h or 3d.',
        ),
        (
            ["run", "--manifests", "{dir}", "--store", "off", "--store-age", "3d"],
            "--store-age has no effect without a store; drop one of them.",
        ),
        (
            ["run", "--manifests", "{dir}", "--metrics-routes", "many"],
            '--metrics-routes: "many" is not a whole number from 0 to 65536.',
        ),
        (
            ["run", "--manifests", "{dir}", "--nginx-metrics", "no"],
            '--nginx-metrics: "no" is neither true nor false.',
        ),
        (
            ["run", "--manifests", "{dir}", "--access-log", "/nope/x"],
            '--access-log: "/nope/x" is no place for a file; name one in a directory there is.',
        ),
        (
            ["run", "--manifests", "{dir}", "--access-log-format", "xml"],
            '--access-log-format: "xml" is none of json, combined, upstream.',
        ),
        (
            ["run", "--manifests", "{dir}", "--access-log-format", "json"],
            "--access-log-format has no effect without an access log; add --access-log PATH.",
        ),
        (
            ["run", "--manifest", "x"],
            "--manifest is unknown; did you mean --manifests? (`spanway run --help` shows what"
            " there is)",
        ),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, list) else "",
)
def test_what_does_not_fit_is_one_sentence(argv: list[str], message: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    with pytest.raises(SettingsError) as caught:
        read_settings([x.format(dir=tmp_path, file=file) for x in argv], {})

    assert str(caught.value) == message.replace("{dir}", str(tmp_path))


def test_a_bad_variable_is_named_as_such() -> None:
    with pytest.raises(SettingsError, match=r'^SPANWAY_WORKERS: "many" is not a whole number'):
        run_settings(env=IN_CLUSTER | {"SPANWAY_WORKERS": "many"})


def test_check_needs_only_a_directory(tmp_path: Path) -> None:
    assert read_settings(["check", "--manifests", str(tmp_path)], {}) == CheckSettings(tmp_path)


def test_an_ip_address_or_a_host_name_can_be_published() -> None:
    given = ["192.0.2.1", "2001:db8::1", "lb.example.org"]
    flags = [text for address in given for text in ("--publish-address", address)]

    assert run_settings(*flags).publish.addresses == tuple(given)


@pytest.mark.parametrize(
    "words",
    [
        ["by=pod", "since=1m", "--json"],
        ["--json", "by=pod", "since=1m"],
        ["by=pod", "--json", "since=1m"],
    ],
    ids=" ".join,
)
def test_parameters_of_a_report_may_stand_before_and_behind_flags(words: list[str]) -> None:
    command = read_settings(["report", "latency", *words], {})

    assert isinstance(command, ReportSettings)
    assert command.question == {"by": "pod", "since": "1m"}
    assert command.is_json


def asked(*argv: str, env: dict[str, str] | None = None) -> AdminAddress:
    settings = read_settings(["top", *argv], env or {})
    assert isinstance(settings, TopSettings)
    return settings.admin


@pytest.mark.parametrize(
    ("admin", "url", "shown"),
    [
        ("127.0.0.2:9901", "http://127.0.0.2:9901/", "127.0.0.2:9901"),
        ("[::1]:9901", "http://[::1]:9901/", "[::1]:9901"),
        ("https://spanway.example", "https://spanway.example/", "https://spanway.example"),
        (
            "http://127.0.0.1:8001/a/proxy/",
            "http://127.0.0.1:8001/a/proxy/",
            "127.0.0.1:8001/a/proxy",
        ),
    ],
)
def test_admin_address_is_asked_by_address_or_by_url(admin: str, url: str, shown: str) -> None:
    address = asked("--admin", admin)

    assert (address.url, str(address)) == (url, shown)


def test_what_is_known_of_tls_means_tls(tmp_path: Path) -> None:
    for name in ("ca.crt", "tls.crt", "tls.key"):
        (tmp_path / name).touch()
    env = {"SPANWAY_CA_FILE": str(tmp_path / "ca.crt"), "SPANWAY_ADMIN": "0.0.0.0:9901"}
    pair = ("--client-cert", str(tmp_path / "tls.crt"), "--client-key", str(tmp_path / "tls.key"))

    address = asked(*pair, "--tls-server-name", "spanway", env=env)

    assert address.url == "https://0.0.0.0:9901/"
    assert address.credentials == Credentials(
        certificate=CertificateFiles(tmp_path / "tls.crt", tmp_path / "tls.key"),
        ca_file=tmp_path / "ca.crt",
        server_name="spanway",
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["--admin", "ftp://x"],
            '--admin: "ftp://x" is neither ADDR:PORT nor a URL such as'
            " https://spanway.example:9901.",
        ),
        (["--admin", "http://a:b@c/"], '--admin: "http://a:b@c/" is neither ADDR:PORT nor a URL'),
        (["--admin", "http://c/?a=b"], '--admin: "http://c/?a=b" is neither ADDR:PORT nor a URL'),
        (["--admin", "http://c:x/"], '--admin: "http://c:x/" is neither ADDR:PORT nor a URL'),
        (["--client-cert", "{file}"], "--client-cert needs --client-key FILE beside it; add it."),
        (["--client-key", "{file}"], "--client-key needs --client-cert FILE beside it; add it."),
        (
            ["--admin", "http://127.0.0.1:1", "--ca-file", "{file}"],
            "--ca-file has no effect without TLS; write https:// in --admin.",
        ),
        (["--ca-file", "nowhere"], '--ca-file: "nowhere" is not a file; name the certificate'),
    ],
)
def test_asking_that_makes_no_sense_names_the_flag_and_the_fix(
    tmp_path: Path, argv: list[str], message: str
) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(SettingsError, match=re.escape(message)):
        asked(*(text.replace("{file}", str(tmp_path / "file")) for text in argv))


def test_peers_are_names_and_addresses_in_one_flag_or_several() -> None:
    flags = ["--admin", "0.0.0.0:9901", "--admin-open"]
    flags += ["--peers", "spanway-peers.spanway:9901, 127.0.0.2:9901"]

    assert run_settings(*flags, "--peers", "127.0.0.2:9901").peers == (
        "spanway-peers.spanway:9901",
        "127.0.0.2:9901",
    )
    assert run_settings(env=IN_CLUSTER | {"SPANWAY_PEERS": "[::1]:1,[::1]:2"}).peers == (
        "[::1]:1",
        "[::1]:2",
    )


def test_peers_of_a_service_have_to_reach_each_other() -> None:
    with pytest.raises(
        SettingsError, match=r"^--peers spanway-peers:9901: replicas ask each other"
    ):
        run_settings("--peers", "spanway-peers:9901")
    with pytest.raises(SettingsError, match=r'^--peers: "spanway-peers" is not ADDR:PORT'):
        run_settings("--peers", "spanway-peers")
    assert run_settings("--peers", "localhost:9902").peers == ("localhost:9902",)

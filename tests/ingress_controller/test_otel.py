from pathlib import Path

import msgspec
import pytest

from ingress_controller.otel import RemoteSampler, telemetry
from ingress_controller.traces.export import url
from ingress_controller.traces.export.destination import (
    Console,
    Destination,
    Export,
    JaegerAgent,
    JaegerCollector,
    OtlpGrpc,
    OtlpHttp,
    Tls,
    Zipkin,
)
from proxy.table import Propagator


def only(exports: tuple[Export, ...]) -> OtlpHttp:
    """The one destination, which is OTLP/HTTP."""
    (export,) = exports
    assert isinstance(export.destination, OtlpHttp)
    return export.destination


@pytest.mark.parametrize(
    ("env", "flag", "url"),
    [
        ({}, None, None),
        ({}, "http://h:4318", "http://h:4318/v1/traces"),
        ({}, "http://h:4318/", "http://h:4318/v1/traces"),
        ({}, "http://h:4318/v1/traces", "http://h:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://h/otlp"}, None, "https://h/otlp/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h/as/it/is"}, None, "http://h/as/it/is"),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://all",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://traces",
            },
            None,
            "http://traces",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://env"}, "http://flag", "http://flag/v1/traces"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://env", "OTEL_TRACES_EXPORTER": "none"},
            None,
            None,
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None, None),
    ],
)
def test_spans_go_where_the_specification_says(
    env: dict[str, str], flag: str | None, url: str | None
) -> None:
    exports = telemetry(env, flag).exports

    assert (only(exports).url if exports else None) == url


def test_headers_are_percent_decoded_pairs_and_never_shown() -> None:
    env = {"OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20abc, x-tenant = a"}

    export = only(telemetry(env, "http://h").exports)

    assert export.headers == {"Authorization": "Bearer abc", "x-tenant": "a"}
    assert "abc" not in repr(export)


@pytest.mark.parametrize(
    ("env", "name"),
    [
        ({}, "spanway"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=edge,team=a"}, "edge"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=edge", "OTEL_SERVICE_NAME": "gate"}, "gate"),
    ],
)
def test_the_service_name_wins_over_the_resource_attribute(env: dict[str, str], name: str) -> None:
    assert telemetry(env, None).resource["service.name"] == name


def test_the_pod_is_the_resource_and_the_variable_wins() -> None:
    env = {
        "POD_NAME": "edge-7d9f-x2x",
        "POD_UID": "5f0c",
        "POD_NAMESPACE": "ingress",
        "NODE_NAME": "node-1",
        "OTEL_RESOURCE_ATTRIBUTES": "k8s.node.name=other",
    }

    assert telemetry(env, None).resource == {
        "k8s.pod.name": "edge-7d9f-x2x",
        "k8s.pod.uid": "5f0c",
        "k8s.namespace.name": "ingress",
        "k8s.node.name": "other",
        "service.name": "spanway",
    }


@pytest.mark.parametrize(
    ("env", "ratio"),
    [
        ({}, None),
        ({"OTEL_TRACES_SAMPLER_ARG": "0.25"}, 0.25),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, 0.0),
        ({"OTEL_TRACES_SAMPLER": "always_on", "OTEL_TRACES_SAMPLER_ARG": "0.25"}, 1.0),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, 0.0),
    ],
)
def test_the_sampler_is_a_ratio(env: dict[str, str], ratio: float | None) -> None:
    assert telemetry(env, None).sample_ratio == ratio


@pytest.mark.parametrize(
    ("sampler", "is_parent_based"),
    [
        ("", True),
        ("always_on", False),
        ("always_off", False),
        ("traceidratio", False),
        ("jaeger_remote", False),
        ("parentbased_always_on", True),
        ("parentbased_always_off", True),
        ("parentbased_traceidratio", True),
        ("ParentBased_Jaeger_Remote", True),
        ("nonsense", True),
    ],
)
def test_a_parent_decides_where_the_sampler_is_based_on_it(
    sampler: str, is_parent_based: bool
) -> None:
    assert telemetry({"OTEL_TRACES_SAMPLER": sampler}, None).is_parent_based is is_parent_based


@pytest.mark.parametrize(
    ("argument", "ratio", "remote"),
    [
        ("", 0.001, RemoteSampler("http://localhost:5778/sampling", 60.0)),
        (
            "endpoint=http://jaeger:5778,pollingIntervalMs=5000,initialSamplingRate=0.25",
            0.25,
            RemoteSampler("http://jaeger:5778/sampling", 5.0),
        ),
        (
            "endpoint=https://jaeger:14268/api/sampling",
            0.001,
            RemoteSampler("https://jaeger:14268/api/sampling", 60.0),
        ),
    ],
)
def test_a_remote_sampler_has_an_endpoint_an_interval_and_a_ratio_to_begin_with(
    argument: str, ratio: float, remote: RemoteSampler
) -> None:
    env = {"OTEL_TRACES_SAMPLER": "parentbased_jaeger_remote", "OTEL_TRACES_SAMPLER_ARG": argument}

    read = telemetry(env, None)

    assert (read.sample_ratio, read.remote, read.warnings) == (ratio, remote, ())


@pytest.mark.parametrize(
    "argument",
    [
        "endpoint=jaeger:14250",
        "pollingIntervalMs=0",
        "pollingIntervalMs=x",
        "initialSamplingRate=2",
    ],
)
def test_a_remote_sampler_that_makes_no_sense_is_warned_about_and_ignored(argument: str) -> None:
    env = {"OTEL_TRACES_SAMPLER": "jaeger_remote", "OTEL_TRACES_SAMPLER_ARG": argument}

    read = telemetry(env, None)

    assert read.remote is None
    assert read.warnings == (
        f'OTEL_TRACES_SAMPLER_ARG "{argument}" is ignored:'
        " it is not endpoint=URL,pollingIntervalMs=MS,initialSamplingRate=R",
    )


@pytest.mark.parametrize(
    ("env", "warning"),
    [
        (
            {"OTEL_TRACES_SAMPLER_ARG": "2"},
            'OTEL_TRACES_SAMPLER_ARG "2" is ignored: it is not a number between 0 and 1',
        ),
        (
            {"OTEL_TRACES_SAMPLER": "xray"},
            'OTEL_TRACES_SAMPLER "xray" is ignored: it is not one of the samplers that there are',
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"},
            'OTEL_EXPORTER_OTLP_ENDPOINT "collector:4318" is ignored:'
            " it is not a URL like http://127.0.0.1:4318",
        ),
        (
            {"OTEL_RESOURCE_ATTRIBUTES": "secret"},
            "OTEL_RESOURCE_ATTRIBUTES has an entry that is not key=value; it is ignored",
        ),
    ],
)
def test_a_variable_without_sense_is_warned_about_and_ignored(
    env: dict[str, str], warning: str
) -> None:
    read = telemetry(env, None)

    assert read.warnings == (warning,)
    assert read.exports == ()
    assert read.sample_ratio is None


@pytest.mark.parametrize(
    ("text", "formats"),
    [
        (None, (Propagator.TRACECONTEXT,)),
        ("tracecontext,baggage", (Propagator.TRACECONTEXT,)),
        (" B3 , tracecontext,b3", (Propagator.B3, Propagator.TRACECONTEXT)),
        (
            "b3multi,jaeger,xray,ottrace",
            tuple(map(Propagator, ("b3multi", "jaeger", "xray", "ottrace"))),
        ),
        ("datadog", (Propagator.DATADOG,)),
        ("none", ()),
        ("baggage", ()),
    ],
)
def test_formats_are_those_of_otel_propagators_in_their_order(
    text: str | None, formats: tuple[Propagator, ...]
) -> None:
    read = telemetry({} if text is None else {"OTEL_PROPAGATORS": text}, None)

    assert (read.propagators, read.warnings) == (formats, ())


def test_format_that_is_not_known_is_warned_about_and_the_others_stay() -> None:
    read = telemetry({"OTEL_PROPAGATORS": "xray-lambda,b3"}, None)

    assert read.propagators == (Propagator.B3,)
    assert read.warnings == (
        'OTEL_PROPAGATORS: "xray-lambda" is no format of trace context; there are tracecontext, b3,'
        " b3multi, jaeger, ottrace, xray, datadog, and none by itself; it is ignored",
    )


def test_the_sdk_can_be_disabled() -> None:
    assert not telemetry({"OTEL_SDK_DISABLED": "True"}, None).enabled


def test_the_timeout_is_in_milliseconds() -> None:
    env = {"OTEL_EXPORTER_OTLP_TIMEOUT": "2500"}

    assert only(telemetry(env, "http://h").exports).timeout_s == 2.5


@pytest.mark.parametrize(
    ("env", "destinations"),
    [
        ({"OTEL_TRACES_EXPORTER": "none"}, ()),
        ({"OTEL_TRACES_EXPORTER": "console"}, (Console(),)),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, (OtlpHttp(url="http://localhost:4318/v1/traces"),)),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            (OtlpGrpc(address="localhost:4317"),),
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
            (OtlpHttp(url="http://localhost:4318/v1/traces", is_json=True),),
        ),
        (
            {"OTEL_TRACES_EXPORTER": "zipkin, console"},
            (Zipkin("http://localhost:9411/api/v2/spans"), Console()),
        ),
        (
            {
                "OTEL_TRACES_EXPORTER": "zipkin",
                "OTEL_EXPORTER_ZIPKIN_ENDPOINT": "http://z:1/spans",
                "OTEL_EXPORTER_ZIPKIN_TIMEOUT": "1500",
            },
            (Zipkin("http://z:1/spans", 1.5),),
        ),
        ({"OTEL_TRACES_EXPORTER": "jaeger"}, (JaegerAgent("localhost", 6831),)),
        (
            {
                "OTEL_TRACES_EXPORTER": "jaeger",
                "OTEL_EXPORTER_JAEGER_AGENT_HOST": "agent",
                "OTEL_EXPORTER_JAEGER_AGENT_PORT": "6000",
            },
            (JaegerAgent("agent", 6000),),
        ),
        (
            {
                "OTEL_TRACES_EXPORTER": "jaeger",
                "OTEL_EXPORTER_JAEGER_ENDPOINT": "http://j:14268/api/traces",
                "OTEL_EXPORTER_JAEGER_USER": "ann",
                "OTEL_EXPORTER_JAEGER_PASSWORD": "secret",
            },
            (JaegerCollector("http://j:14268/api/traces", "ann", "secret"),),
        ),
    ],
)
def test_the_exporters_of_the_variable_are_those_of_the_specification(
    env: dict[str, str], destinations: tuple[Destination, ...]
) -> None:
    read = telemetry(env, None)

    assert tuple(export.destination for export in read.exports) == destinations
    assert read.warnings == ()


@pytest.mark.parametrize(
    ("endpoint", "insecure", "address", "has_tls"),
    [
        ("http://h:4317", "", "h:4317", False),
        ("https://h", "", "h:4317", True),
        ("https://h", "true", "h:4317", True),  # the scheme wins
        ("h:1", "", "h:1", True),
        ("h:1", "true", "h:1", False),
        ("http://[::1]:1", "", "[::1]:1", False),
    ],
)
def test_grpc_is_plain_by_its_scheme_or_by_the_variable(
    endpoint: str, insecure: str, address: str, has_tls: bool
) -> None:
    env = {
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_INSECURE": insecure,
    }

    (export,) = telemetry(env, None).exports

    assert export.destination == OtlpGrpc(address=address, has_tls=has_tls)


def test_compression_and_certificates_are_those_of_the_variables(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).touch()
    env = {
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(tmp_path / "ca"),
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(tmp_path / "cert"),
        "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY": str(tmp_path / "key"),
    }

    export = only(telemetry(env, "https://h").exports)

    assert export.gzip
    assert export.tls == Tls(tmp_path / "ca", tmp_path / "cert", tmp_path / "key")
    assert only(telemetry(env, "http://h").exports).tls == Tls()


def test_variables_complete_the_only_otlp_url() -> None:
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://not-asked",
        "OTEL_EXPORTER_OTLP_HEADERS": "key=secret",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "2500",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
    }
    given = [url.export("https://h?timeout=3"), url.export("console")]

    completed, console = telemetry(env, None, given).exports

    assert only((completed,)).headers == {"key": "secret"}
    assert only((completed,)).timeout_s == 3
    assert only((completed,)).is_json
    assert console == given[1]


def test_headers_of_variables_are_sent_to_none_of_several_otlp_urls() -> None:
    env = {"OTEL_EXPORTER_OTLP_HEADERS": "key=secret"}
    given = (url.export("https://one"), url.export("otlp+grpcs://two"))

    read = telemetry(env, None, given)

    assert read.exports == given
    assert "does not say which" in read.warnings[0]


def test_headers_of_variables_are_for_their_endpoint_alone() -> None:
    env = {"OTEL_EXPORTER_OTLP_HEADERS": "key=secret"}

    short, other = telemetry(env, "http://short", [url.export("http://other")]).exports

    assert only((short,)).headers == {"key": "secret"}
    assert only((other,)).headers == {}


def test_a_flag_wins_over_the_exporters_of_the_variable() -> None:
    env = {"OTEL_TRACES_EXPORTER": "zipkin"}

    assert telemetry(env, None, [url.export("console")]).exports == (url.export("console"),)


@pytest.mark.parametrize(
    ("env", "warning"),
    [
        (
            {"OTEL_TRACES_EXPORTER": "otlp_proto,console"},
            'OTEL_TRACES_EXPORTER "otlp_proto" is ignored:'
            " it is none of otlp, console, jaeger, zipkin, none",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/xml"},
            'OTEL_EXPORTER_OTLP_PROTOCOL "http/xml" is ignored:'
            " it is not grpc, http/protobuf or http/json",
        ),
        (
            {"OTEL_BSP_MAX_QUEUE_SIZE": "10"},
            "OTEL_BSP_MAX_QUEUE_SIZE has no meaning here;"
            " queues are bounded in bytes: --export URL?queue_bytes=64Mi",
        ),
        (
            {"OTEL_BSP_SCHEDULE_DELAY": "5000"},
            "OTEL_BSP_SCHEDULE_DELAY 5000 is taken as 1000, the most",
        ),
        (
            {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "²"},
            'OTEL_BSP_MAX_EXPORT_BATCH_SIZE "²" is ignored: it is not a whole number above zero',
        ),
    ],
)
def test_what_cannot_be_done_as_a_variable_says_is_warned_about(
    env: dict[str, str], warning: str
) -> None:
    assert telemetry(env, None).warnings == (warning,)


def test_batches_grow_and_are_cut_as_the_variables_say() -> None:
    env = {"OTEL_BSP_SCHEDULE_DELAY": "200", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "64"}

    read = telemetry(env, None)

    assert (read.linger_s, read.bridge_spans_max) == (0.2, 64)
    assert telemetry({}, None).warnings == ()


def test_no_secret_is_in_what_is_shown_of_exports() -> None:
    env = {
        "OTEL_TRACES_EXPORTER": "otlp,jaeger",
        "OTEL_EXPORTER_OTLP_HEADERS": "key=sesame",
        "OTEL_EXPORTER_JAEGER_ENDPOINT": "http://j/api/traces",
        "OTEL_EXPORTER_JAEGER_USER": "ann",
        "OTEL_EXPORTER_JAEGER_PASSWORD": "sesame",
    }

    exports = telemetry(env, None).exports

    assert len(exports) == 2
    assert "sesame" not in repr(exports)
    assert b"sesame" in msgspec.json.encode(exports, enc_hook=str)  # they are there

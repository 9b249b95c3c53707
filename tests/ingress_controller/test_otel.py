import pytest

from ingress_controller.otel import Export, telemetry


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
    export = telemetry(env, flag).export

    assert (export.endpoint if export else None) == url


def test_headers_are_percent_decoded_pairs_and_never_shown() -> None:
    env = {"OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20abc, x-tenant = a"}

    export = telemetry(env, "http://h").export

    assert export is not None
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
    ("env", "warning"),
    [
        (
            {"OTEL_TRACES_SAMPLER_ARG": "2"},
            'OTEL_TRACES_SAMPLER_ARG "2" is ignored: it is not a number between 0 and 1',
        ),
        (
            {"OTEL_TRACES_SAMPLER": "xray"},
            'OTEL_TRACES_SAMPLER "xray" is ignored: it is not one of the samplers with a ratio',
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
    assert read.export is None
    assert read.sample_ratio is None


def test_the_sdk_can_be_disabled() -> None:
    assert not telemetry({"OTEL_SDK_DISABLED": "True"}, None).enabled


def test_the_timeout_is_in_milliseconds() -> None:
    env = {"OTEL_EXPORTER_OTLP_TIMEOUT": "2500"}

    assert telemetry(env, "http://h").export == Export("http://h/v1/traces", {}, 2.5)

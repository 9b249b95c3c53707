import re
from pathlib import Path

import pytest

from ingress_controller.traces.export import url
from ingress_controller.traces.export.destination import (
    Console,
    Destination,
    JaegerAgent,
    JaegerCollector,
    JsonFile,
    OtlpGrpc,
    OtlpHttp,
    PythonFactory,
    Spill,
    Tls,
    Zipkin,
)

MI = 1024 * 1024


@pytest.mark.parametrize(
    ("text", "name", "destination"),
    [
        ("http://h:4318", "otlp+http://h:4318", OtlpHttp(url="http://h:4318/v1/traces")),
        ("otlp+http://h/x", "otlp+http://h", OtlpHttp(url="http://h/x/v1/traces")),
        (
            "https://ann:s%40@h?compression=gzip&timeout=2.5",
            "otlp+https://h",
            OtlpHttp(
                url="https://h/v1/traces",
                headers={"authorization": "Basic YW5uOnNA"},
                timeout_s=2.5,
                gzip=True,
            ),
        ),
        (
            "https://h?verify=false",
            "otlp+https://h",
            OtlpHttp(url="https://h/v1/traces", tls=Tls(verify=False)),
        ),
        (
            "http://h?encoding=json",
            "otlp+http://h",
            OtlpHttp(url="http://h/v1/traces", is_json=True),
        ),
        ("otlp+grpc://h", "otlp+grpc://h", OtlpGrpc(address="h:4317")),
        ("otlp+grpcs://[::1]:1", "otlp+grpcs://[::1]:1", OtlpGrpc(address="[::1]:1", has_tls=True)),
        ("console", "console", Console()),
        ("jaeger-thrift://agent", "jaeger-thrift://agent", JaegerAgent("agent", 6831)),
        (
            "jaeger-thrift+http://ann:secret@j:14268",
            "jaeger-thrift+http://j:14268",
            JaegerCollector("http://j:14268/api/traces", "ann", "secret"),
        ),
        (
            "zipkin+https://z/own/path?timeout=1",
            "zipkin+https://z",
            Zipkin("https://z/own/path", 1),
        ),
        ("zipkin+http://z:9411", "zipkin+http://z:9411", Zipkin("http://z:9411/api/v2/spans")),
        ("file:/tmp/s.jsonl", "file:/tmp/s.jsonl", JsonFile(Path("/tmp/s.jsonl"))),
        (
            "file:///tmp/s.jsonl?file_bytes=1Mi&files=3",
            "file:///tmp/s.jsonl",
            JsonFile(Path("/tmp/s.jsonl"), MI, 3),
        ),
        (
            "python:my_company.spans:make",
            "python:my_company.spans:make",
            PythonFactory("my_company.spans", "make"),
        ),
    ],
)
def test_a_url_says_where_spans_go(text: str, name: str, destination: Destination) -> None:
    export = url.export(text)

    assert export.name == name
    assert export.destination == destination


def test_the_queue_and_the_spill_are_options_of_every_url(tmp_path: Path) -> None:
    export = url.export(f"console?queue_bytes=64MiB&spill={tmp_path}&spill_bytes=2g")

    assert export.queue_bytes_max == 64 * MI
    assert export.spill == Spill(tmp_path, 2048 * MI)


def test_headers_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "headers"
    path.write_text("Authorization: Bearer a:b\n\nx-tenant:7\n")

    export = url.export(f"http://h?headers={path}")

    assert isinstance(export.destination, OtlpHttp)
    assert export.destination.headers == {"Authorization": "Bearer a:b", "x-tenant": "7"}
    assert "Bearer" not in repr(export)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", '"" has no scheme that spans can be sent by; use one of http, https, otlp+http'),
        ("collector:4318", "use one of http"),
        ("zipkin+htp://h", 'did you mean "zipkin+http:"?'),
        ("http://ann:secret@?x", '"http://" has no host, as in http://host:4318'),
        ("http://h:port", "Port could not be cast"),
        ("http://h?gzip=true", '"gzip" is no option of http; there are encoding, headers, timeout'),
        ("http://h?encoding=xml", 'encoding: "xml" is neither json nor proto'),
        ("otlp+grpc://h?encoding=json", '"encoding" is no option of otlp+grpc'),
        ("http://h?compression=zstd", 'compression: "zstd" is neither gzip nor none'),
        ("http://h?timeout=0", 'timeout: "0" is not a number of seconds up to 300'),
        ("http://h?timeout=nan", 'timeout: "nan" is not'),
        ("http://h?verify=false", "verify is for TLS; write https:// for it"),
        ("otlp+grpc://h?ca=/bin/sh", "ca is for TLS; write otlp+grpcs:// for it"),
        ("otlp+grpcs://h?verify=false", "verify: gRPC cannot do without it"),
        ("https://h?key=/bin/sh", "key has no cert beside it"),
        ("https://h?ca=/not/there", 'ca: "/not/there" is not a file'),
        ("http://h?headers=/bin/sh", '"/bin/sh"'),
        ("console?queue_bytes=0", 'queue_bytes: "0" is not a size above zero, for example 64Mi'),
        ("console?queue_bytes=1Mi", '"1Mi" is below 8388608 bytes: batches have up to 1 MiB'),
        ("console?queue_bytes=1X", 'queue_bytes: "1X" is not a size'),
        ("console?spill=/not/there", 'spill: "/not/there" is not a directory'),
        ("console?spill_bytes=8Mi", "spill_bytes has no effect without spill="),
        ("file:/not/there/x", "is no file in a directory there is"),
        ("file:/tmp/x?files=0", 'files: "0" is not a whole number from 1 to 1000'),
        ("python:a.b", '"python:a.b" is not python:package.module:factory'),
        ("jaeger-thrift:agent", "has no host"),
    ],
)
def test_a_url_that_is_wrong_says_what_to_write(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as err:
        url.export(text)
    assert "secret" not in str(err.value)


def test_a_header_that_is_none_is_named_by_its_line_alone(tmp_path: Path) -> None:
    path = tmp_path / "headers"
    path.write_text("x: y\nBearer secret\n")

    with pytest.raises(ValueError, match="line 2 is not Name: value") as err:
        url.export(f"http://h?headers={path}")
    assert "secret" not in str(err.value)

import json
import math
from base64 import b64decode
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from sample_spans import attribute, request

from ingress_controller.traces.export.otlp_json import as_json


def of_protobuf(message: ExportTraceServiceRequest) -> Any:
    """Protobuf's own JSON, with ids in hex, which is all that OTLP has otherwise."""

    def with_hex(value: Any) -> Any:
        if isinstance(value, list):
            return [with_hex(each) for each in value]
        if not isinstance(value, dict):
            return value
        ids = {"traceId", "spanId", "parentSpanId"}
        return {
            key: b64decode(each).hex() if key in ids else with_hex(each)
            for key, each in value.items()
        }

    return with_hex(MessageToDict(message, use_integers_for_enums=True))


def test_it_is_what_protobuf_makes_of_the_request_with_ids_in_hex_on_one_line() -> None:
    given = request(2)

    line = as_json(given.SerializeToString())

    assert json.loads(line) == of_protobuf(given)
    assert b"\n" not in line


@pytest.mark.parametrize(
    "value",
    [
        {"string_value": "line\nend"},
        {"string_value": ""},
        {"bool_value": False},
        {"int_value": -(2**63)},
        {"double_value": math.inf},
        {"double_value": -math.inf},
        {"double_value": math.nan},
        {"double_value": 0.0},
        {"bytes_value": b"\x00\xff"},
        {},
    ],
)
def test_a_value_is_as_protobuf_has_it(value: dict[str, object]) -> None:
    given = request()
    attributes = given.resource_spans[0].scope_spans[0].spans[0].attributes
    attributes.append(attribute("it", **value))

    assert json.loads(as_json(given.SerializeToString())) == of_protobuf(given)


def test_what_is_no_otlp_is_refused() -> None:
    with pytest.raises(DecodeError):
        as_json(b"\xff")

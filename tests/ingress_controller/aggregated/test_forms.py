import pytest
from aiohttp.test_utils import make_mocked_request
from live_rows import ROW

from ingress_controller.aggregated.forms import Form, Included, Writer, wanted_form, writer
from ingress_controller.aggregated.request_kind import REQUEST
from ingress_controller.aggregated.status_error import StatusError

KUBECTL = (
    "application/json;as=Table;v=v1;g=meta.k8s.io,"
    "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
)
TABLE = {"Accept": KUBECTL}
METADATA = (
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,"
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Form.OBJECT),
        ("*/*", Form.OBJECT),
        ("application/cbor, application/json", Form.OBJECT),
        ("application/json; charset=utf-8", Form.OBJECT),
        (KUBECTL, Form.TABLE),
        ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", Form.OBJECT),
        (METADATA, Form.METADATA),
    ],
)
def test_first_form_that_is_known_is_taken(accept: str, form: Form) -> None:
    assert wanted_form(accept) is form


@pytest.mark.parametrize("accept", ["application/vnd.kubernetes.protobuf", "text/html", ";;,=,"])
def test_form_that_is_not_known_is_refused(accept: str) -> None:
    with pytest.raises(StatusError) as raised:
        wanted_form(accept)
    assert raised.value.code == 406


def test_list_says_where_it_goes_on() -> None:
    made = Writer(REQUEST, Form.OBJECT, Included.METADATA, "a").many([ROW], "12", "next")

    assert (made["kind"], made["apiVersion"]) == ("RequestList", "live.spanway.io/v1")
    assert made["metadata"] == {"resourceVersion": "12", "continue": "next"}
    assert made["items"][0]["kind"] == "Request"


@pytest.mark.parametrize(
    ("included", "kind"),
    [
        (Included.NONE, None),
        (Included.METADATA, "PartialObjectMetadata"),
        (Included.OBJECT, "Request"),
    ],
)
def test_row_of_a_table_has_as_much_of_the_object_as_is_asked_for(
    included: Included, kind: str | None
) -> None:
    made = Writer(REQUEST, Form.TABLE, included, "a").many([ROW], "12", "")

    assert (made["kind"], made["metadata"]) == ("Table", {"resourceVersion": "12"})
    (row,) = made["rows"]
    assert len(row["cells"]) == len(made["columnDefinitions"])
    assert row.get("object", {}).get("kind") == kind


@pytest.mark.parametrize("query", ["?includeObject=", ""])
def test_metadata_is_included_unless_told_otherwise(query: str) -> None:
    made = writer(REQUEST, make_mocked_request("GET", f"/{query}", TABLE), "a").one(ROW, "12")

    assert made["rows"][0]["object"]["kind"] == "PartialObjectMetadata"


def test_what_cannot_be_included_is_refused() -> None:
    asked = make_mocked_request("GET", "/?includeObject=All", TABLE)

    with pytest.raises(StatusError, match='"All" is none of None, Metadata, Object'):
        writer(REQUEST, asked, "a")


def test_metadata_alone_is_a_list_of_its_own_kind() -> None:
    made = Writer(REQUEST, Form.METADATA, Included.METADATA, "a").many([ROW], "12", "")

    assert (made["kind"], made["apiVersion"]) == ("PartialObjectMetadataList", "meta.k8s.io/v1")
    assert set(made["items"][0]) == {"kind", "apiVersion", "metadata"}

import pytest
from live_rows import HOSTILE, ROW, row

from ingress_controller.aggregated.request_kind import REQUEST, SELECTORS, conditions
from ingress_controller.aggregated.status_error import StatusError
from proxy.live import Condition, Field, Kind, Phase


def test_object_has_what_is_known_and_nothing_else() -> None:
    made = REQUEST.object_of(ROW, "12", "spanway-1")
    unknown = REQUEST.object_of(
        row(namespace="", host="", service="", pod="", node="", zone="", phase=Phase.HEAD), "12", ""
    )

    assert made["metadata"] == {
        "name": ROW.id,
        "namespace": "shop",
        "uid": ROW.id,
        "resourceVersion": "12",
        "creationTimestamp": "2023-11-14T22:13:20Z",
    }
    assert made["spec"]["service"] == "shop/api:80"
    assert made["status"]["ageMilliseconds"] == 1970.03
    assert made["status"]["phasesMilliseconds"] == {
        "head": 0.02,
        "route": 0.01,
        "connect": 470,
        "wait": 1500,
    }
    assert made["status"]["instance"] == "spanway-1"
    assert "statusCode" not in made["status"]
    assert "namespace" not in unknown["metadata"]
    assert not {"host", "service", "pod", "node", "zone"} & set(unknown["spec"])


def test_table_has_a_cell_for_each_column_and_nothing_of_a_stranger_unescaped() -> None:
    shown = dict(
        zip(
            (column.name for column in REQUEST.all_columns),
            REQUEST.cells_of(row(path=HOSTILE, method="", kind=Kind.UPGRADE, node=""), "spanway-1"),
            strict=True,
        )
    )

    assert shown["Age"] == "1.9s"
    assert shown["Method"] == "upgrade"
    assert (shown["Service"], shown["Node"]) == ("api:80", "-")
    assert shown["Request"] == "shop.example/<script>\\x1b[31m\\n\\u202e\"'"
    assert shown["Instance"] == "spanway-1"
    assert len(REQUEST.cells_of(row(path="/" + "x" * 500), "")[4]) == 48


@pytest.mark.parametrize(
    ("selector", "asked"),
    [
        ("", ()),
        ("status.phase=wait", (Condition(Field.PHASE, "wait"),)),
        ("status.phase==wait", (Condition(Field.PHASE, "wait"),)),
        (
            "spec.node!=node-1,spec.host=shop.example",
            (
                Condition(Field.NODE, "node-1", negated=True),
                Condition(Field.HOST, "shop.example"),
            ),
        ),
        ("metadata.name=b7", (Condition(Field.ID, "b7"),)),
        ("metadata.namespace=shop", (Condition(Field.NAMESPACE, "shop"),)),
        ("spec.node=", (Condition(Field.NODE, ""),)),
        (r"spec.route=*/a\,b\=c\\", (Condition(Field.ROUTE, r"*/a,b=c\\"[:-1]),)),
        ("spec.pod=a,,", (Condition(Field.POD, "a"),)),
    ],
)
def test_field_selector_becomes_conditions(selector: str, asked: tuple[Condition, ...]) -> None:
    assert conditions(selector) == asked


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("spec.hots=a", '"spec.hots" is no field to select by; write "spec.host".'),
        ("zzz=a", '"zzz" is no field to select by; there are metadata.name, metadata.namespace,'),
        ("status.phase=waiting", 'status.phase: "waiting" is none of head, route, queue,'),
        ("spec.kind!=tunnel", 'spec.kind: "tunnel" is none of request, upgrade, connection.'),
        ("spec.host", '"spec.host" is not FIELD=VALUE or FIELD!=VALUE'),
        ("=a", '"=a" is not FIELD=VALUE'),
        (r"spec.host=a\b", 'has a "\\" before no'),
        ("spec.host=a\\", 'has a "\\" before no'),
        (",".join(["spec.host!=a"] * 31), "more than 30 conditions; give fewer."),
    ],
)
def test_wrong_field_selector_is_named_with_the_fix(selector: str, message: str) -> None:
    with pytest.raises(StatusError) as raised:
        conditions(selector)

    assert (raised.value.code, raised.value.reason) == (400, "BadRequest")
    assert message in raised.value.message


def test_whatever_can_be_selected_by_is_a_field() -> None:
    fields = {shown.path for shown in REQUEST.fields}

    assert {name for name in SELECTORS if not name.startswith("metadata.")} <= fields

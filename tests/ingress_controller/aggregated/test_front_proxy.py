import json
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from ingress_controller.aggregated.front_proxy import FrontProxy, front_proxy
from ingress_controller.delegated.user import User

DATA = {
    "requestheader-client-ca-file": "PEM",
    "requestheader-allowed-names": '["front-proxy"]',
    "requestheader-username-headers": '["X-Remote-User"]',
    "requestheader-uid-headers": '["X-Remote-Uid"]',
    "requestheader-group-headers": '["X-Remote-Group"]',
    "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
}
HEADERS = [
    ("X-Remote-User", "ann"),
    ("X-Remote-Uid", "7"),
    ("x-remote-group", "staff"),
    ("X-Remote-Group", "ops"),
    ("X-Remote-Extra-Example.com%2fScope", "a"),
    ("X-Remote-Extra-example.com%2Fscope", "b"),
]


def config_map(**changes: str | None) -> dict[str, Any]:
    data = {name: text for name, text in (DATA | changes).items() if text is not None}
    return {"kind": "ConfigMap", "data": data}


def believed() -> FrontProxy:
    return front_proxy(config_map())


def headers(*pairs: tuple[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(pairs))


def test_front_proxy_names_the_user_with_groups_and_extra() -> None:
    assert believed().user("front-proxy", headers(*HEADERS)) == User(
        "ann",
        "7",
        ("staff", "ops", "system:authenticated"),
        (("example.com/scope", ("a", "b")),),
    )


@pytest.mark.parametrize("common_name", [None, "", "kubelet", "Front-Proxy"])
def test_nobody_else_names_anybody(common_name: str | None) -> None:
    assert believed().user(common_name, headers(*HEADERS)) is None


def test_any_name_of_the_authority_counts_where_none_is_listed() -> None:
    anybody = front_proxy(config_map(**{"requestheader-allowed-names": "[]"}))

    assert anybody.user("whoever", headers(*HEADERS)) is not None
    assert anybody.user(None, headers(*HEADERS)) is None


def test_request_without_a_name_is_nobodys() -> None:
    proxy = believed()

    assert proxy.user("front-proxy", headers(("X-Remote-Group", "system:masters"))) is None
    assert proxy.user("front-proxy", headers(("X-Remote-User", ""))) is None


@pytest.mark.parametrize(
    ("name", "groups"),
    [("system:anonymous", ["system:unauthenticated"]), ("ann", ["system:authenticated"])],
)
def test_group_of_the_authenticated_is_added_once_and_to_them_only(
    name: str, groups: list[str]
) -> None:
    given = headers(("X-Remote-User", name), *(("X-Remote-Group", group) for group in groups))

    user = believed().user("front-proxy", given)

    assert user is not None
    assert list(user.groups) == groups


def test_cluster_without_a_front_proxy_is_told_what_is_missing() -> None:
    with pytest.raises(ValueError, match="runs without --requestheader-client-ca-file"):
        front_proxy(config_map(**{"requestheader-client-ca-file": None}))
    with pytest.raises(ValueError, match="requestheader-allowed-names is no list of names"):
        front_proxy(config_map(**{"requestheader-allowed-names": json.dumps({"a": 1})}))

"""Who asks, by the word of the API server: delegated authentication.

The API server has authenticated the user and names it in headers. They are believed from whoever
shows a client certificate of the authority that the cluster publishes for that, with a name that it
allows; TLS has verified the certificate before anything here is asked.
Rules: pure. Whoever is not believed is nobody.
Source: Kubernetes, "Configure the Aggregation Layer", "Kubernetes Apiserver Client Authentication";
k8s.io/apiserver, headerrequest and AuthenticatedGroupAdder.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec
from multidict import CIMultiDictProxy

from ingress_controller.delegated.user import User

AUTHENTICATED = "system:authenticated"
_UNAUTHENTICATED = "system:unauthenticated"
_ANONYMOUS = "system:anonymous"

CONFIG_MAP = ("kube-system", "extension-apiserver-authentication")
"""Namespace and name of the ConfigMap in which a cluster says whom to believe."""


class FrontProxy(msgspec.Struct, frozen=True):
    """Whom to believe, and in which headers the user is named.

    Attributes:
        client_ca: certificates of the authority, PEM.
        allowed_names: common names of its certificates that count; empty for any.
    """

    client_ca: str
    allowed_names: tuple[str, ...]
    username_headers: tuple[str, ...]
    uid_headers: tuple[str, ...]
    group_headers: tuple[str, ...]
    extra_prefixes: tuple[str, ...]

    def user(self, common_name: str | None, headers: CIMultiDictProxy[str]) -> User | None:
        """Whom the headers of a request name; None if they are not to be believed, or name nobody.

        Args:
            common_name: of the certificate that was verified; None if there was none.
        """
        if common_name is None or (self.allowed_names and common_name not in self.allowed_names):
            return None
        name = _first(headers, self.username_headers)
        if not name:
            return None
        groups = tuple(_all(headers, self.group_headers))
        if name != _ANONYMOUS and not {AUTHENTICATED, _UNAUTHENTICATED} & set(groups):
            groups += (AUTHENTICATED,)  # the API server leaves it out where it asks for itself
        return User(name, _first(headers, self.uid_headers), groups, self._extra(headers))

    def _extra(self, headers: CIMultiDictProxy[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
        extra: dict[str, list[str]] = {}
        for prefix in map(str.lower, self.extra_prefixes):
            for name, value in headers.items():
                if name.lower().startswith(prefix):
                    extra.setdefault(unquote(name.lower()[len(prefix) :]), []).append(value)
        return tuple((name, tuple(values)) for name, values in sorted(extra.items()))


def front_proxy(config_map: Mapping[str, Any]) -> FrontProxy:
    """What the ConfigMap says.

    Raises:
        ValueError: nobody can be believed by it; half a sentence that says why.
    """
    data = config_map.get("data") or {}
    client_ca = data.get("requestheader-client-ca-file")
    if not client_ca:
        raise ValueError(
            "it names no authority of front proxies: kube-apiserver runs without"
            " --requestheader-client-ca-file"
        )

    def names(key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        try:
            return msgspec.json.decode(data[key], type=tuple[str, ...]) if key in data else default
        except msgspec.MsgspecError as err:
            raise ValueError(f"its {key} is no list of names: {err}") from err

    return FrontProxy(
        client_ca,
        names("requestheader-allowed-names"),
        names("requestheader-username-headers"),
        names("requestheader-uid-headers"),
        names("requestheader-group-headers"),
        names("requestheader-extra-headers-prefix"),
    )


def _first(headers: CIMultiDictProxy[str], names: tuple[str, ...]) -> str:
    return next(_all(headers, names), "")


def _all(headers: CIMultiDictProxy[str], names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        yield from filter(None, headers.getall(name, ()))

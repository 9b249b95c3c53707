"""What the parameters of a list or watch ask for.

Rules: pure. A parameter that is not known is not looked at, as everywhere in Kubernetes.
Source: Kubernetes API concepts, "Retrieving large results sets in chunks", "Streaming lists".
"""

import base64
from collections.abc import Mapping
from typing import Annotated

import msgspec

from ingress_controller import shallow_json
from ingress_controller.aggregated.request_kind import conditions
from ingress_controller.aggregated.status_error import bad_request
from ingress_controller.peers.addresses import PEERS_MAX
from ingress_controller.peers.questions import Places
from proxy.live import Condition

LIST_ROWS_MAX = 1_000  # of one answer; more come with the next parts. kubectl asks for 500
WATCH_S_MAX = 3_600.0  # then the client asks anew; kube-apiserver: 30 to 60 min
CONTINUE_BYTES_MAX = 7_168  # a replica takes some 90, and a request line has room for 8 KiB


_FOREIGN = "continue: it is not from here; leave it out to begin anew."


class Continue(msgspec.Struct, frozen=True):
    """Where the next part of a list begins in each replica. `version` is that of the first part."""

    version: str
    places: Annotated[Places, msgspec.Meta(max_length=PEERS_MAX + 1)]

    def text(self) -> str:
        """As it is given to clients."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")


class ListOptions(msgspec.Struct, frozen=True):
    """See the module. `version` is empty or `0` for whatever there is now."""

    conditions: tuple[Condition, ...]
    limit: int
    part: Continue | None
    version: str
    sends_initial_events: bool
    wants_bookmarks: bool
    timeout_s: float


def list_options(query: Mapping[str, str]) -> ListOptions:
    """The options.

    Raises:
        StatusError: one of them cannot be read, or asks for what there is not.
    """
    if query.get("labelSelector"):
        raise bad_request(
            "labelSelector: live requests have no labels; select by fields,"
            " for example --field-selector status.phase=wait."
        )
    if query.get("resourceVersionMatch") == "Exact":
        raise bad_request(
            "resourceVersionMatch: there is no Exact, since what is over is not kept; leave it out."
        )
    limit = _count(query, "limit")
    seconds = _count(query, "timeoutSeconds")
    return ListOptions(
        conditions=conditions(query.get("fieldSelector", "")),
        limit=min(limit or LIST_ROWS_MAX, LIST_ROWS_MAX),
        part=_part(query.get("continue", "")),
        version=query.get("resourceVersion", ""),
        sends_initial_events=_is_true(query, "sendInitialEvents"),
        wants_bookmarks=_is_true(query, "allowWatchBookmarks"),
        timeout_s=min(float(seconds or WATCH_S_MAX), WATCH_S_MAX),
    )


def is_watch(query: Mapping[str, str]) -> bool:
    """Whether a list is to go on."""
    return _is_true(query, "watch")


def _is_true(query: Mapping[str, str], name: str) -> bool:
    """As Kubernetes reads it: given is true, unless it says that it is not."""
    return name in query and query[name].lower() not in ("false", "0")


def _count(query: Mapping[str, str], name: str) -> int:
    text = query.get(name, "0")
    if not text.isascii() or not text.isdigit():
        raise bad_request(f'{name}: "{text[:64]}" is not a whole number.')
    return int(text[:9])


def _part(text: str) -> Continue | None:
    if not text:
        return None
    try:
        padded = text[:CONTINUE_BYTES_MAX] + "=" * (-len(text) % 4)
        part = shallow_json.read(base64.urlsafe_b64decode(padded), Continue)
        if all(place is None or 0 <= place.start_ns < 2**63 for place in part.places.values()):
            return part
    except ValueError as err:  # msgspec's and base64's errors are of that kind
        raise bad_request(_FOREIGN) from err
    raise bad_request(_FOREIGN)

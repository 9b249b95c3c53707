"""A replica that was asked for its part of an answer, as users see it.

Rules: pure.
"""

from collections.abc import Iterable

import msgspec

from ingress_controller.readable import printable

INSTANCE_HEADER = "Spanway-Instance"
"""Of every answer to another replica: an id of the process, so that it knows its own."""

NAME_HEADER = "Spanway-Name"
"""The same: what people call it, its pod's name."""

STORE_HEADER = "Spanway-Store"
"""Of every question: which directory the asker's store has; one with the same leaves it out."""


class Identity(msgspec.Struct, frozen=True):
    """Who a replica is: an id that no other process has, and a name for people; `store` is the id
    of its store's directory, if it has one."""

    id: str
    name: str
    store: str = ""


class Peer(msgspec.Struct, frozen=True):
    """Another replica. `instance` is its name, empty while it is not known; `error` says why what
    it knows is missing from the answer, empty where nothing is."""

    address: str
    instance: str = ""
    error: str = ""

    def __str__(self) -> str:
        return f"{self.instance} ({self.address})" if self.instance else self.address


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What answers of several replicas have in common: who else was asked."""

    peers: tuple[Peer, ...] = ()


def missing(peers: Iterable[Peer]) -> list[str]:
    """A sentence for each replica that did not answer."""
    return [f"What replica {peer} knows is missing: {peer.error}." for peer in peers if peer.error]


def warnings(peers: Iterable[Peer]) -> list[str]:
    """The same as values of the header `Warning`, for who has no field for it.

    Source: RFC 7234, section 5.5: 299 is a lasting one; the agent is not said, as in Kubernetes.
    """
    texts = (text.encode("ascii", "replace").decode() for text in missing(peers))
    return [f'299 - "{_quoted(printable(text))}"' for text in texts]


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def together(*rounds: Iterable[Peer]) -> tuple[Peer, ...]:
    """Of several questions for one answer: who failed to answer one of them has failed."""
    found: dict[str, Peer] = {}
    for peer in (peer for one in rounds for peer in one):
        before = found.get(peer.address)
        if before is None or not before.error:
            found[peer.address] = peer
    return tuple(found.values())

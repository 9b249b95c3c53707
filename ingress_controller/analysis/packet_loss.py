"""Which node's network loses packets: where more has to be sent again than on the way to others.

Rule. Of each service on a node it is counted for how many attempts the kernel had to send something
again, and compared with what to expect by the same service's attempts on the other nodes. A node
stands out if that are at least `RESENT_MIN` attempts, `SHARE_MIN` of all, and `RATIO_MIN` times as
many as expected. Medians say nothing here: most packets arrive in time, also on a bad path.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from ingress_controller.analysis.queries.nodes import Resent

RESENT_MIN = 5
"""Where one is expected, five or more come by chance in 4 of 1,000 windows (Poisson)."""

RATIO_MIN = 5.0

SHARE_MIN = 0.01
"""Of the attempts. A path in a cluster that loses as much is broken."""

RULE = (
    "A node's network also stands out if something had to be sent again for at least"
    f" {RESENT_MIN} attempts at its pods, {SHARE_MIN:.0%} of them and {RATIO_MIN:g} times as many"
    " as on the way to the same services' pods on other nodes."
)


class Loss(msgspec.Struct, frozen=True):
    """Attempts at a node's pods, for how many of them something had to be sent again, and the same
    of the same services on `others_count` other nodes. `text` is a sentence."""

    text: str
    count: int
    resent_count: int
    others_count: int
    others_attempt_count: int
    others_resent_count: int


def losses(counted: Iterable[Resent]) -> Mapping[str, Loss]:
    """By node, by the rule; those with the largest share first."""
    by_service: defaultdict[str, list[Resent]] = defaultdict(list)
    for one in counted:
        by_service[one.service].append(one)
    own: defaultdict[str, list[Resent]] = defaultdict(list)
    others: defaultdict[str, list[Resent]] = defaultdict(list)
    expected: defaultdict[str, float] = defaultdict(float)
    for group in by_service.values():
        for one in group:
            compared = [other for other in group if other.node != one.node]
            if compared:
                own[one.node].append(one)
                others[one.node] += compared
                # One more than was seen: that none of a few was lost does not mean that none is.
                share = (_resent(compared) + 1) / (_attempts(compared) + 1)
                expected[one.node] += share * one.count
    found = {
        node: _loss(node, own[node], others[node])
        for node in own
        if _resent(own[node])
        >= max(RESENT_MIN, SHARE_MIN * _attempts(own[node]), RATIO_MIN * expected[node])
    }
    return dict(sorted(found.items(), key=lambda item: -item[1].resent_count / item[1].count))


def _loss(node: str, own: list[Resent], others: list[Resent]) -> Loss:
    count, resent_count = _attempts(own), _resent(own)
    node_count = len({one.node for one in others})
    where = "the other node" if node_count == 1 else f"{node_count} other nodes"
    text = (
        f"The network to {node} loses packets: for {resent_count:,} of {count:,} attempts at its"
        f" pods something had to be sent again, on {where} for {_resent(others):,} of"
        f" {_attempts(others):,}."
    )
    return Loss(text, count, resent_count, node_count, _attempts(others), _resent(others))


def _attempts(of: Iterable[Resent]) -> int:
    return sum(one.count for one in of)


def _resent(of: Iterable[Resent]) -> int:
    return sum(one.resent_count for one in of)

"""Live requests of several replicas as one answer.

Rules: pure. Counts are added; of groups, each replica tells those with the most requests.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from ingress_controller.peers.peer import Peer
from ingress_controller.peers.peers import Told
from proxy.live import GROUPS_MAX, Group, Live, Phase, Query, ordered


class SharedLive(Live, frozen=True):
    """Of all replicas that answered; each row says by `instance` which one it is in."""

    peers: tuple[Peer, ...] = ()


def merged(query: Query, told: Sequence[Told[Live]], peers: tuple[Peer, ...]) -> SharedLive:
    """One answer to `query`, of the answers of all."""
    lives = [one.answer for one in told]
    rows = [
        msgspec.structs.replace(row, instance=instance)
        for instance, live in told
        for row in live.requests
    ]
    return SharedLive(
        live=sum(live.live for live in lives),
        matched=sum(live.matched for live in lives),
        phases=_sum(live.phases for live in lives),
        routes=_groups(group for live in lives for group in live.routes),
        services=_groups(group for live in lives for group in live.services),
        nodes=_groups(group for live in lives for group in live.nodes),
        requests=tuple(ordered(rows, query)[: query.limit]),
        workers_silent=sum(live.workers_silent for live in lives),
        peers=peers,
    )


def _groups(told: Iterable[Group]) -> tuple[Group, ...]:
    """Those of one name are one; the largest first."""
    by_name: defaultdict[str, list[Group]] = defaultdict(list)
    for group in told:
        by_name[group.name].append(group)
    groups = [
        Group(
            name,
            sum(group.count for group in same),
            max(group.age_max_us for group in same),
            _sum(group.phases for group in same),
        )
        for name, same in by_name.items()
    ]
    groups.sort(key=lambda group: (-group.count, group.name))
    return tuple(groups[:GROUPS_MAX])


def _sum(counted: Iterable[Mapping[Phase, int]]) -> Mapping[Phase, int]:
    total: Counter[Phase] = Counter()
    for phases in counted:
        total.update(phases)
    return {phase: total[phase] for phase in Phase if phase in total}

"""Live requests of all replicas as one answer.

Rules: the engine filters, orders and counts, the past is the store's. Counts are added; of groups,
each replica tells those with the most requests.
"""

import asyncio
import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ingress_controller import shallow_json
from ingress_controller.peers.peer import Identity, Peer
from ingress_controller.peers.peers import Asked, Peers, Told
from ingress_controller.peers.questions import LiveAsked, Places
from ingress_controller.traces.past import live_at, requests_at
from proxy.live import GROUPS_MAX, ROWS_MAX, Group, Live, Phase, Place, Query, Row, ordered

if TYPE_CHECKING:
    from ingress_controller.traces.store.store import Store

QUESTIONS_MAX = 4  # to the engine at once; more wait
PEERS_S_MAX = 3.0  # for other replicas, whose workers have two; then the answer is without them


class NoPastError(Exception):
    """There is no store, so that only the present is known."""


class ForgottenError(Exception):
    """None of the replicas that told the part before is here any more."""


class SharedLive(Live, frozen=True):
    """Of all replicas that answered; each row says by `instance` which one it is in."""

    peers: tuple[Peer, ...] = ()


class Part(NamedTuple):
    """A part of a list, the oldest requests first; where the next one begins."""

    live: SharedLive
    places: Places


class LiveRequests:
    """Of this replica, `own`, whose engine is asked by `ask`, which blocks for milliseconds and
    gives a `Live` in JSON; and of `peers`, if there are any. Without a store the past is not
    known."""

    def __init__(
        self,
        ask: Callable[[Query], bytes],
        store: "Store | None" = None,
        *,
        own: Identity,
        peers: Peers | None = None,
    ) -> None:
        self._ask = ask
        self._store = store
        self._own = own
        self._peers = peers
        self._questions = asyncio.Semaphore(QUESTIONS_MAX)

    async def ask(self, query: Query) -> SharedLive:
        """What is inside all replicas."""
        own, others = await self._all(LiveAsked(query))
        return await asyncio.to_thread(self._merged, query, own, others)

    async def ask_json(
        self, query: Query, at_ns: int | None = None, *, of_all: bool = True
    ) -> bytes:
        """The same in JSON, or what was inside at a moment; `of_all` false: this replica.

        Raises:
            NoPastError, QuestionTooLargeError: a moment cannot be told of.
        """
        own, others = await self._all(LiveAsked(query, at_ns), of_all=of_all)
        if others.told:
            merged_ = await asyncio.to_thread(self._merged, query, own, others)
            return msgspec.json.encode(merged_)
        # Nobody looks at rows that are in one order already.
        told = msgspec.json.decode(own, type=dict[str, msgspec.Raw])
        return msgspec.json.encode({"kept_from_us": 0, **told, "peers": others.peers})

    async def part(self, query: Query, places: Places) -> Part:
        """Those of all replicas by age, from `places` on: where a part before has ended.

        Raises:
            ForgottenError: see there.
        """
        own, others = await self._all(LiveAsked(query, places=places))
        told = await asyncio.to_thread(self._told, own, others)
        if places and not any(one.id in places for one in told):
            raise ForgottenError
        # Each is in order by the clock of its own engine, which no other one has.
        oldest = heapq.merge(*map(_by_age, told), key=lambda row: row[0])
        rows: list[Row] = []
        ends: dict[str, Place | None] = {one.id: places.get(one.id) for one in told}
        for _, id_, row in islice(oldest, query.limit):
            rows.append(row)
            ends[id_] = Place(row.start_ns, row.id)
        live = msgspec.structs.replace(merged(query, told, others.peers), requests=tuple(rows))
        return Part(live, {**places, **ends})

    async def ask_own(
        self, query: Query, at_ns: int | None = None, *, is_of_memory: bool = False
    ) -> bytes:
        """What is inside this replica, a `Live` in JSON; the event loop goes on meanwhile. With
        `is_of_memory` the past is only what is not in files yet.

        Raises:
            NoPastError, QuestionTooLargeError: as above.
        """
        query = msgspec.structs.replace(query, instance=self._own.name)
        async with self._questions:
            if at_ns is None:
                return await asyncio.to_thread(self._ask, query)
            everything = Query(limit=ROWS_MAX, instance=query.instance)
            now = await asyncio.to_thread(lambda: _read_live(self._ask(everything)))
        if self._store is None:
            raise NoPastError
        over = await self._store.ask(
            lambda asked: requests_at(asked, at_ns), end_ns=at_ns, is_of_memory=is_of_memory
        )
        live = await asyncio.to_thread(live_at, query, at_ns, over, now)
        kept_from_ns = None if over else await asyncio.to_thread(self._store.kept_from_ns)
        if not over and (kept_from_ns is None or kept_from_ns > at_ns):
            kept_from_us = (kept_from_ns or time.time_ns()) // 1_000
            live = msgspec.structs.replace(live, kept_from_us=kept_from_us)
        return await asyncio.to_thread(msgspec.json.encode, live)

    async def _all(self, asked: LiveAsked, *, of_all: bool = True) -> tuple[bytes, Asked[Live]]:
        return await asyncio.gather(
            self.ask_own(asked.query_of(self._own.id), asked.at_ns),
            self._others(asked, of_all=of_all),
        )

    def _merged(self, query: Query, own: bytes, others: Asked[Live]) -> SharedLive:
        return merged(query, self._told(own, others), others.peers)

    def _told(self, own: bytes, others: Asked[Live]) -> list[Told[Live]]:
        own_told = Told(self._own.name, _read_live(own), self._own.id)
        return [own_told, *map(_placed, others.told)]

    async def _others(self, asked: LiveAsked, *, of_all: bool) -> Asked[Live]:
        if self._peers is None or not of_all:
            return Asked((), ())
        return await self._peers.ask(asked, _read_live, PEERS_S_MAX)


def _read_live(content: bytes) -> Live:
    return shallow_json.read(content, Live)


def _placed(told: Told[Live]) -> Told[Live]:
    """Its rows are in it, whatever they say: those of an older version say nothing."""
    rows = (msgspec.structs.replace(row, instance=told.instance) for row in told.answer.requests)
    return told._replace(answer=msgspec.structs.replace(told.answer, requests=tuple(rows)))


def _by_age(told: Told[Live]) -> Iterable[tuple[int, str, Row]]:
    for row in told.answer.requests:
        yield -row.age_us, told.id, row


def merged(query: Query, told: Sequence[Told[Live]], peers: tuple[Peer, ...]) -> SharedLive:
    """One answer to `query`, of the answers of all."""
    lives = [one.answer for one in told]
    rows = (row for live in lives for row in live.requests)
    return SharedLive(
        live=sum(live.live for live in lives),
        matched=sum(live.matched for live in lives),
        phases=_sum(live.phases for live in lives),
        routes=_groups(group for live in lives for group in live.routes),
        services=_groups(group for live in lives for group in live.services),
        nodes=_groups(group for live in lives for group in live.nodes),
        requests=tuple(ordered(rows, query)[: query.limit]),
        workers_silent=sum(live.workers_silent for live in lives),
        # What one replica does not know because it was not there yet is not missing.
        kept_from_us=min((live.kept_from_us for live in lives), default=0),
        peers=peers,
    )


def _groups(told: Iterable[Group]) -> tuple[Group, ...]:
    """Those of one name are one; the largest first."""
    by_name: dict[str, Group] = {}
    for group in told:
        known = by_name.get(group.name)
        by_name[group.name] = group if known is None else _both(known, group)
    groups = sorted(by_name.values(), key=lambda group: (-group.count, group.name))
    return tuple(groups[:GROUPS_MAX])


def _both(one: Group, other: Group) -> Group:
    return Group(
        one.name,
        one.count + other.count,
        max(one.age_max_us, other.age_max_us),
        _sum((one.phases, other.phases)),
    )


def _sum(counted: Iterable[Mapping[Phase, int]]) -> Mapping[Phase, int]:
    total: Counter[Phase] = Counter()
    for phases in counted:
        total.update(phases)
    return {phase: total[phase] for phase in Phase if phase in total}

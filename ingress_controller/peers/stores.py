"""The stores of all replicas, asked as one.

Rules: what can be added up is asked of each and added up. Where that would be wrong – quantiles,
critical paths, one trace – each hands over its spans, and the question is put to all of them
together, as it would be to one store. Where the others are not asked, it is.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import msgspec

from ingress_controller import shallow_json
from ingress_controller.peers.peer import Peer, together
from ingress_controller.peers.peers import Asked, Peers
from ingress_controller.peers.questions import (
    TIME_MAX_NS,
    HandoverQuestion,
    MatchesAsked,
    OperationsAsked,
    ServicesAsked,
    StoreQuestion,
    TracesAsked,
    ValuesAsked,
    WindowAsked,
    of_store,
)
from ingress_controller.traces.span import SpanKind
from ingress_controller.traces.store.queries import (
    PARTS_MAX,
    VALUES_MAX,
    Field,
    HandedUnreadableError,
    Match,
    Search,
    TraceSummary,
    condition_count,
    summaries,
)

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from ingress_controller.traces.store.handing_over import Handed
    from ingress_controller.traces.store.store import Store

PEERS_S_MAX = 5.0  # for other replicas, each time; their store gives up after ten
HANDED_SPANS_MAX = 400_000
"""Of a window, from all other replicas together; of more, some traces are left out everywhere. They
are 10 MB on their way, and a second of CPU for those that hand them over."""

HELD_S = 1.0
"""How old spans of other replicas may be: a page asks six questions about one window at once."""

TRACE_S_MAX = 60.0
"""A trace's summary is of what began within so long before and after the spans that matched: most
traces last for seconds, and an hour of a busy store is hundreds of files."""

_STEPS = (64, 8, 1)
"""What part of the time is searched; 1 is all of it."""

_NS_PER_S = 1_000_000_000

T = TypeVar("T")


class Answered(NamedTuple, Generic[T]):
    """An answer, and the replicas that were asked for it."""

    answer: T
    peers: tuple[Peer, ...] = ()


class Found(NamedTuple):
    """Traces that fit; `is_cut`: there may be more."""

    traces: list[TraceSummary]
    is_cut: bool


class Stores:
    """This replica's `store` and those of `peers`, if there are any."""

    def __init__(self, store: "Store", peers: Peers | None = None) -> None:
        self._store = store
        self._peers = peers
        self._windows: dict[tuple[int, int], _Window] = {}

    def only_own(self) -> "Stores":
        """This replica's alone."""
        return Stores(self._store)

    async def report(
        self,
        question: Callable[["DuckDBPyConnection"], T],
        start_ns: int,
        end_ns: int,
    ) -> Answered[T]:
        """What `question` says of all spans of a window, or of a part of all traces.

        Raises:
            QuestionTooLargeError: it was given up.
        """
        handed = await self._window(start_ns, end_ns)
        return await self._put(question, handed, start_ns, end_ns)

    async def of_traces(
        self,
        question: Callable[["DuckDBPyConnection"], T],
        trace_ids: Sequence[str],
        start_ns: int = 0,
        end_ns: int = TIME_MAX_NS,
    ) -> Answered[T]:
        """What `question` says of all spans of these traces – and of others, of which not all may
        be there – that started between the two times.

        Raises:
            QuestionTooLargeError: it was given up.
        """
        handed = await self._handed(TracesAsked(tuple(trace_ids), start_ns, end_ns))
        return await self._put(question, handed, start_ns, end_ns)

    async def find(self, wanted: Search) -> Answered[Found]:
        """The newest traces that fit, at most `wanted.limit`: the newest part of the time is
        searched first, then more of it.

        Each part is a question of its own, so that only files are opened that cover it. Common
        things are found at once; what is rare, or not there, takes a look at everything.

        Raises:
            QuestionTooLargeError: it was given up.
        """
        wanted = msgspec.structs.replace(wanted, end_ns=min(wanted.end_ns, TIME_MAX_NS))
        found: list[Match] = []
        peers: tuple[Peer, ...] = ()
        all_held = (1 << condition_count(wanted)) - 1
        for part in _STEPS:
            start_ns = wanted.end_ns - (wanted.end_ns - wanted.start_ns) // part
            asked = MatchesAsked(wanted, start_ns, with_parts=self._peers is not None)
            told, now = await self._all(asked, _read_matches)
            peers = together(peers, now)
            found = _newest(told, all_held, wanted.limit)
            if len(found) >= wanted.limit:
                break
        is_cut = len(found) >= wanted.limit or any(len(parts) >= PARTS_MAX for _, parts in told)
        if not found:
            return Answered(Found([], is_cut), peers)
        margin_ns = int(TRACE_S_MAX * _NS_PER_S)
        start_ns = max(0, min(match.start_ns for match in found) - margin_ns)
        end_ns = min(TIME_MAX_NS, max(match.start_ns for match in found) + margin_ns)
        summed, now = await self.of_traces(
            lambda of: summaries(of, wanted, found, (start_ns, end_ns)),
            [f"{match.trace_hi:016x}{match.trace_lo:016x}" for match in found],
            start_ns,
            end_ns,
        )
        return Answered(Found(summed, is_cut), together(peers, now))

    async def values(self, field: Field | None, start_ns: int, end_ns: int) -> Answered[list[str]]:
        """What there is of a field, what is said most first."""
        told, peers = await self._all(
            ValuesAsked(field, start_ns, min(end_ns, TIME_MAX_NS)), _read_values
        )
        counts: Counter[str] = Counter()
        for pairs in told:
            counts.update(dict(pairs))
        ordered = sorted(counts, key=lambda value: (-counts[value], value))
        return Answered(ordered[:VALUES_MAX], peers)

    async def services(self) -> Answered[list[str]]:
        """Who made spans, by name."""
        told, peers = await self._all(ServicesAsked(), _read_names)
        return Answered(sorted({name for names in told for name in names})[:VALUES_MAX], peers)

    async def operations(self, service: str) -> Answered[list[tuple[str, SpanKind]]]:
        """The names of a service's spans, with their kinds."""
        told, peers = await self._all(OperationsAsked(service), _read_operations)
        return Answered(sorted({pair for pairs in told for pair in pairs})[:VALUES_MAX], peers)

    async def _all(self, asked: StoreQuestion, read: Callable[[bytes], Any]) -> Answered[list[Any]]:
        """What each replica says, this one first; `read` is for others' answers."""
        if self._peers is None:
            return Answered([await self._own(asked)])
        own, others = await asyncio.gather(
            self._own(asked),
            self._peers.ask(asked, read, PEERS_S_MAX),
        )
        return Answered([own, *(of.answer for of in others.told)], others.peers)

    async def _own(self, asked: StoreQuestion) -> Any:
        question = of_store(asked)
        return await self._store.ask(
            question.ask, start_ns=question.start_ns, end_ns=question.end_ns
        )

    async def _put(
        self,
        question: Callable[["DuckDBPyConnection"], T],
        handed: Asked["Handed"],
        start_ns: int,
        end_ns: int,
    ) -> Answered[T]:
        also = [of.answer for of in handed.told]
        try:
            answer = await self._store.ask(question, start_ns=start_ns, end_ns=end_ns, also=also)
            return Answered(answer, handed.peers)
        except HandedUnreadableError:
            answer = await self._store.ask(question, start_ns=start_ns, end_ns=end_ns)
        error = "its spans, or another replica's, cannot be read, as another version's may be"
        unread = (peer for peer in handed.peers if not peer.error)
        unread = (msgspec.structs.replace(peer, error=error) for peer in unread)
        return Answered(answer, together(handed.peers, unread))

    async def _window(self, start_ns: int, end_ns: int) -> Asked["Handed"]:
        """The spans of a window from the others; of whole seconds, so that they serve all
        questions about it that come within `HELD_S`."""
        if self._peers is None:
            return Asked((), ())
        # A window of all time, and what lies around it, goes beyond what there is.
        seconds = (
            max(0, start_ns) // _NS_PER_S,
            min(-(-end_ns // _NS_PER_S), TIME_MAX_NS // _NS_PER_S),
        )
        window = self._windows.setdefault(seconds, _Window())
        async with window.lock:
            if window.handed is None:
                spans_max = HANDED_SPANS_MAX // max(1, await self._peers.count())
                start_ns, end_ns = (second * _NS_PER_S for second in seconds)
                try:
                    asked = WindowAsked(start_ns, end_ns, spans_max)
                    window.handed = await self._handed(asked)
                finally:
                    asyncio.get_running_loop().call_later(HELD_S, self._windows.pop, seconds, None)
            return window.handed

    async def _handed(self, asked: HandoverQuestion) -> Asked["Handed"]:
        if self._peers is None:
            return Asked((), ())
        from ingress_controller.traces.store.handing_over import Handed  # noqa: PLC0415 - same

        return await self._peers.ask(asked, Handed, PEERS_S_MAX)


_read_values = partial(shallow_json.read, kind=list[tuple[str, int]])
_read_names = partial(shallow_json.read, kind=list[str])
_read_operations = partial(shallow_json.read, kind=list[tuple[str, SpanKind]])


def _read_matches(content: bytes) -> tuple[list[Match], list[Match]]:
    """Raises ValueError: one of them is no trace, and no store could be asked for it."""
    told = shallow_json.read(content, tuple[list[Match], list[Match]])
    for match in chain(*told):
        halves = match.trace_hi, match.trace_lo
        if not (all(0 <= half < 1 << 64 for half in halves) and 0 <= match.start_ns <= TIME_MAX_NS):
            raise ValueError("no trace")
    return told


class _Window:
    """What others have handed over of one."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.handed: Asked[Handed] | None = None


def _newest(
    told: Iterable[tuple[list[Match], list[Match]]], all_held: int, limit: int
) -> list[Match]:
    """Of what each replica tells: traces that fit there, and those whose parts fit together, if
    all conditions hold for one or another of them."""
    fitting: dict[tuple[int, int], Match] = {}
    for match in (match for one in told for match in one[0]):
        key = match[:2]
        fitting[key] = max(fitting.get(key, match), match)
    in_parts: dict[tuple[int, int], Match] = {}
    for part in (part for one in told for part in one[1]):
        before = in_parts.get(part[:2], part)
        start_ns = max(before.start_ns, part.start_ns)
        in_parts[part[:2]] = Match(*part[:2], start_ns, before.held | part.held)
    found = {key: match for key, match in in_parts.items() if match.held == all_held} | fitting
    return sorted(found.values(), key=lambda match: -match.start_ns)[:limit]

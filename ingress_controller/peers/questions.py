"""What one replica asks another: `POST /api/peer`, a question of this union as JSON.

Rules: what is asked and told are the values that both sides have anyway; what is asked of a store
is what it asks itself, too. Times are UTC nanoseconds. A field that is not known is not looked at,
a question that is not known is refused: replicas of two versions run side by side while a
Deployment rolls out.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec

from ingress_controller.traces.store.queries import (
    TRACES_MAX,
    Field,
    Search,
    matches,
    operations,
    parts,
    services,
    values,
)
from proxy.live import Place, Query

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

PATH = "/api/peer"

QUESTION_BYTES_MAX = 256 * 1024
"""Of one question: the ids of a thousand traces are 35 KiB."""

TIME_MAX_NS = 2**63 - 1


Places = Mapping[str, Place | None]
"""Of a list in parts: the last row of each replica, by its id, that the parts before have; None
where they have none of it."""


UnixNs = Annotated[int, msgspec.Meta(ge=0, le=TIME_MAX_NS)]
TraceId = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]


class LiveAsked(msgspec.Struct, frozen=True, tag="live"):
    """Which requests are inside, or were at a moment. The answer is a `Live`. `places` are those
    after which each replica goes on."""

    query: Query
    at_ns: UnixNs | None = None
    places: Places = {}

    def query_of(self, id_: str) -> Query:
        """What it is to the replica with that id."""
        after = self.places.get(id_)
        return self.query if after is None else msgspec.structs.replace(self.query, after=after)


class MatchesAsked(msgspec.Struct, frozen=True, tag="matches"):
    """Which traces fit, from `start_ns` on, and which in part. The answer is lists of `Match`."""

    search: Search
    start_ns: UnixNs
    with_parts: bool = True


class ValuesAsked(msgspec.Struct, frozen=True, tag="values"):
    """What there is of a field. The answer is pairs of a value and how often it is said."""

    field: Field | None
    start_ns: UnixNs
    end_ns: UnixNs


class ServicesAsked(msgspec.Struct, frozen=True, tag="services"):
    """Who made spans. The answer is names."""


class OperationsAsked(msgspec.Struct, frozen=True, tag="operations"):
    """A service's spans. The answer is pairs of a name and a `SpanKind`."""

    service: str


class WindowAsked(msgspec.Struct, frozen=True, tag="window"):
    """The spans of a window, for reports, some `spans_max` at most. The answer is a file."""

    start_ns: UnixNs
    end_ns: UnixNs
    spans_max: Annotated[int, msgspec.Meta(ge=1, le=TIME_MAX_NS)]


class TracesAsked(msgspec.Struct, frozen=True, tag="traces"):
    """The spans of traces that started between the two times. The answer is a file."""

    trace_ids: Annotated[tuple[TraceId, ...], msgspec.Meta(max_length=TRACES_MAX)]
    start_ns: UnixNs
    end_ns: UnixNs


StoreQuestion = MatchesAsked | ValuesAsked | ServicesAsked | OperationsAsked
HandoverQuestion = WindowAsked | TracesAsked
Question = LiveAsked | StoreQuestion | HandoverQuestion


class OfStore(NamedTuple):
    """A question as a store takes it, and the time that it is about."""

    ask: Callable[["DuckDBPyConnection"], Any]
    start_ns: int = 0
    end_ns: int = TIME_MAX_NS


def of_store(asked: StoreQuestion | HandoverQuestion) -> OfStore:
    """The same for replicas that are asked and for the one that asks."""
    match asked:
        case MatchesAsked(search, start_ns, with_parts):
            return OfStore(
                lambda of: (
                    matches(of, search, start_ns),
                    parts(of, search, start_ns) if with_parts else [],
                ),
                start_ns,
                search.end_ns,
            )
        case ValuesAsked(field, start_ns, end_ns):
            return OfStore(lambda of: values(of, field, start_ns, end_ns), start_ns, end_ns)
        case ServicesAsked():
            return OfStore(services)
        case OperationsAsked(service):
            return OfStore(lambda of: operations(of, service))
        case WindowAsked(start_ns, end_ns, spans_max):
            return OfStore(
                lambda of: _handing_over().spans_of_window(of, start_ns, end_ns, spans_max),
                start_ns,
                end_ns,
            )
        case TracesAsked(trace_ids, start_ns, end_ns):
            return OfStore(
                lambda of: _handing_over().spans_of_traces(of, trace_ids, start_ns, end_ns),
                start_ns,
                end_ns,
            )


def _handing_over() -> Any:
    """Some 100 ms and 90 MB, which who has no store does without."""
    from ingress_controller.traces.store import handing_over  # noqa: PLC0415

    return handing_over

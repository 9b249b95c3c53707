"""The search for traces: the newest part of the time first, then more of it.

Rules: each part is a question of its own, so that only files are opened that cover it. Common
things are found at once; what is rare, or not there, takes a look at everything.
"""

from typing import TYPE_CHECKING

from ingress_controller.traces.store.queries import (
    Match,
    Search,
    TraceSummary,
    matches,
    summaries,
)

if TYPE_CHECKING:
    from ingress_controller.traces.store.store import Store

TRACE_S_MAX = 60.0
"""A trace's summary is of what began within so long before and after the spans that matched: most
traces last for seconds, and an hour of a busy store is hundreds of files."""

_STEPS = (64, 8, 1)
"""What part of the time is searched; 1 is all of it."""


async def find(store: "Store", wanted: Search) -> list[TraceSummary]:
    """The newest traces that fit, at most `wanted.limit`.

    Raises:
        QuestionTooLargeError: it was given up.
    """
    found: list[Match] = []
    for part in _STEPS:
        start_ns = wanted.end_ns - (wanted.end_ns - wanted.start_ns) // part
        found = await store.ask(
            lambda asked, start_ns=start_ns: matches(asked, wanted, start_ns),  # type: ignore[misc]
            start_ns=start_ns,
            end_ns=wanted.end_ns,
        )
        if len(found) >= wanted.limit:
            break
    if not found:
        return []
    margin_ns = int(TRACE_S_MAX * 1_000_000_000)
    start_ns = max(0, min(match.start_ns for match in found) - margin_ns)
    end_ns = min(2**63 - 1, max(match.start_ns for match in found) + margin_ns)
    return await store.ask(
        lambda asked: summaries(asked, found, start_ns, end_ns), start_ns=start_ns, end_ns=end_ns
    )

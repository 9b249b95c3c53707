"""What one replica asks another: `POST /api/peer`, a question of this union as JSON.

Rules: what is asked and told are the values that both sides have anyway. A field that is not known
is not looked at, a question that is not known is refused: replicas of two versions run side by side
while a Deployment rolls out.
"""

import msgspec

from proxy.live import Query

PATH = "/api/peer"

QUESTION_BYTES_MAX = 256 * 1024
"""Of one question: the ids of a thousand traces are 35 KiB."""


class LiveAsked(msgspec.Struct, frozen=True, tag="live"):
    """Which requests are inside, or were at a moment (UTC nanoseconds). The answer is a `Live`."""

    query: Query
    at_ns: int | None = None


Question = LiveAsked

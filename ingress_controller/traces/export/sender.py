"""What an exporter needs of a protocol: to send one batch, and to say what came of it."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from proxy.spans import SpanBatch


class Outcome(Enum):
    """What came of an attempt."""

    DELIVERED = auto()
    REFUSED = auto()  # the same batch would be refused again
    UNAVAILABLE = auto()  # worth another attempt


@dataclass(frozen=True, slots=True)
class Answer:
    """`message` is the destination's, for people; `rejected_spans` are those of a delivered batch.

    `retry_after_s` is what the destination asks for, 0 where it does not.
    """

    outcome: Outcome
    message: str = ""
    rejected_spans: int = 0
    retry_after_s: float = 0.0


DELIVERED = Answer(Outcome.DELIVERED)


class Sender(Protocol):
    """One destination. `in_flight_max` is how many batches it takes at once."""

    in_flight_max: int

    async def open(self) -> None:
        """Called once before the first batch, on the loop that sends."""

    async def send(self, batch: SpanBatch) -> Answer:
        """One attempt. Raises nothing but CancelledError, after which the batch may be repeated."""

    async def close(self) -> None:
        """Called once after the last batch."""

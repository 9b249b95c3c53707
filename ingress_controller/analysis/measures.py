"""What all reports measure: a window of time, whose the time was, how long things took.

Rules: times have their unit in their name; quantiles are of what was measured, never interpolated.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Self

import msgspec

NS_PER_US = 1_000

BINS_MAX = 240
"""Points of a time series; a chart 1,000 pixels wide has four pixels for each."""


class Part(StrEnum):
    """Whose time it was: the words of the verdict (docs/SPANS.md)."""

    CLIENT_NETWORK = "client-network"
    PROXY = "proxy"
    CLUSTER_NETWORK = "cluster-network"
    APP = "app"
    APP_QUEUE = "app-queue"


class Window(msgspec.Struct, frozen=True):
    """What started from `start_ns` on and before `end_ns`; UTC nanoseconds, never empty."""

    start_ns: int
    end_ns: int

    @property
    def duration_s(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9

    def earlier(self, by_ns: int) -> Self:
        return type(self)(self.start_ns - by_ns, self.end_ns - by_ns)


class Basis(msgspec.Struct, frozen=True):
    """What an answer rests on.

    `span_count` is what was recorded in the window. Where that is too much to look at, the answer
    is of one in `traces_one_of` traces, chosen by their random ids; counts and rates are
    extrapolated to all.
    """

    start_unix_ms: int
    end_unix_ms: int
    span_count: int
    traces_one_of: int = 1

    @property
    def duration_s(self) -> float:
        """At least a millisecond, which is what the ends are told in."""
        return max(1, self.end_unix_ms - self.start_unix_ms) / 1_000


class Shares(msgspec.Struct, frozen=True):
    """Whose the time was; they sum to 1."""

    client_network: float
    proxy: float
    cluster_network: float
    app: float
    app_queue: float


def shares(us: Sequence[int | None]) -> Shares | None:
    """Of microseconds in the order of `Part`; None where there are none."""
    known = [of_part or 0 for of_part in us]
    total = sum(known)
    return Shares(*(of_part / total for of_part in known)) if total else None


class Spread(msgspec.Struct, frozen=True):
    """How long things took, in microseconds: half of them at most `p50_us`, and so on."""

    p50_us: int
    p90_us: int
    p99_us: int
    p999_us: int
    max_us: int


class Series(msgspec.Struct, frozen=True):
    """A value for each bin of a window; those of an empty bin are 0, or None for times."""

    count: tuple[int, ...]
    error_count: tuple[int, ...]
    p50_us: tuple[int | None, ...]
    p99_us: tuple[int | None, ...]


class Bins(msgspec.Struct, frozen=True):
    """Equal parts of a window: bin `i` begins at `start_unix_ms + i * width_ms`."""

    start_unix_ms: int
    width_ms: float
    count: int


def bins(basis: Basis, count: int) -> Bins | None:
    """`count` of them, at most `BINS_MAX`; None for none."""
    assert 0 <= count <= BINS_MAX
    width_ms = (basis.end_unix_ms - basis.start_unix_ms) / max(count, 1)
    return Bins(basis.start_unix_ms, width_ms, count) if count else None


def bin_ns(window: Window, count: int) -> int:
    """The width of a bin; the last one may reach beyond the window's end."""
    return -(-(window.end_ns - window.start_ns) // count)


def series(count: int, rows: Iterable[tuple[int, int, int, int, int]], *, scale: int = 1) -> Series:
    """Of rows `(bin, count, error_count, p50_ns, p99_ns)`, in any order; `scale` is of counts."""
    by_bin = {row[0]: row for row in rows}
    found = [by_bin.get(index) for index in range(count)]
    return Series(
        count=tuple(row[1] * scale if row else 0 for row in found),
        error_count=tuple(row[2] * scale if row else 0 for row in found),
        p50_us=tuple(row[3] // NS_PER_US if row else None for row in found),
        p99_us=tuple(row[4] // NS_PER_US if row else None for row in found),
    )


def name_of(labels: Mapping[str, str | None]) -> str:
    """What a person calls a group: its labels in a row, as far as they are known."""
    return " ".join(value for value in labels.values() if value) or "none"

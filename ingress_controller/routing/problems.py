"""All Problems of a build, kept by what they come from, and shown in order.

Rules: what a source says replaces what it said before; a Problem that several sources have is one.
`Problems` is a snapshot, put in order when somebody reads it and not at each change.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import overload

import msgspec

from ingress_controller.model.problem import ObjectKey, Problem
from proxy.shared_map import SharedMap

Source = tuple[str, Hashable]
"""What Problems come from: a kind of thing, and which one."""


class Problems(Sequence[Problem]):
    """In order of object, field and message. Equal to any sequence of the same Problems."""

    def __init__(self, found: SharedMap[Problem, None] | None = None) -> None:
        self._found: SharedMap[Problem, None] = SharedMap() if found is None else found
        self._ordered: tuple[Problem, ...] | None = None

    def plus(self, others: Iterable[Problem]) -> "Problems":
        """These and `others`."""
        entries = [(problem, None) for problem in others]
        return Problems(self._found.changed(entries)) if entries else self

    def changed(self, appeared: Iterable[Problem], gone: Iterable[Problem]) -> "Problems":
        """Without `gone`, then with `appeared`."""
        return Problems(self._found.changed(((problem, None) for problem in appeared), gone))

    @property
    def _all(self) -> tuple[Problem, ...]:
        if self._ordered is None:
            self._ordered = tuple(sorted(self._found, key=_order))
        return self._ordered

    @overload
    def __getitem__(self, index: int) -> Problem: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Problem]: ...
    def __getitem__(self, index: int | slice) -> Problem | Sequence[Problem]:
        return self._all[index]

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._all)

    def __contains__(self, problem: object) -> bool:
        return problem in self._found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._all == tuple(other)

    __hash__ = None  # type: ignore[assignment]  # equal to tuples, which hash otherwise

    def __repr__(self) -> str:
        return f"Problems({list(self)!r})"


class Told(msgspec.Struct, frozen=True):
    """All Problems of now, and what of them is new and what is gone since the last time."""

    problems: Problems
    appeared: tuple[Problem, ...]
    gone: tuple[Problem, ...]


class ProblemBook:
    """See the module. One owner writes and reads."""

    def __init__(self) -> None:
        self._by_source: dict[Source, tuple[Problem, ...]] = {}
        self._sources_of: Counter[Problem] = Counter()
        self._moved: set[Problem] = set()
        self._told = Problems()

    def put(self, source: Source, problems: Iterable[Problem]) -> None:
        """From now on these are the Problems of `source`, and no others."""
        new = tuple(dict.fromkeys(problems))
        old = self._by_source.pop(source, ())
        if new:
            self._by_source[source] = new
        if new == old:
            return
        self._sources_of.update(new)
        for problem in old:
            self._sources_of[problem] -= 1
            if not self._sources_of[problem]:
                del self._sources_of[problem]
        self._moved.update(new, old)

    def tell(self) -> Told:
        """What there is now, in the time that the changes since the last call take."""
        moved, old = sorted(self._moved, key=_order), self._told
        self._moved.clear()
        appeared = tuple(p for p in moved if p in self._sources_of and p not in old)
        gone = tuple(p for p in moved if p not in self._sources_of and p in old)
        if appeared or gone:
            self._told = old.changed(appeared, gone)
        return Told(self._told, appeared, gone)


def _order(problem: Problem) -> tuple[ObjectKey, str, str]:
    return problem.object, problem.field, problem.message

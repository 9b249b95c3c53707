"""What every source of objects can be asked."""

from typing import Protocol

from ingress_controller.model.problem import Problem


class Source(Protocol):
    """Fills a cache for as long as `run` runs."""

    @property
    def missing(self) -> tuple[str, ...]:
        """What has not been read completely yet, for people; empty once all has been."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the source itself; a change of it touches the cache."""

    async def run(self) -> None:
        """Until cancelled."""

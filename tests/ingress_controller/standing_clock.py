"""A clock that stands still until somebody advances it."""


class StandingClock:
    """Seconds, as `time.monotonic` has them."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

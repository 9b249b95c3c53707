"""The bounds of the trace store that its settings, its memory and its files have in common."""

from dataclasses import dataclass

BYTES_MAX = 1024**3
"""Of sealed files: some twenty million spans, or five hours at 400 requests/s."""

AGE_S_MAX = 3 * 24 * 3600.0
"""Three days: a weekend. Tempo keeps 14."""

SEAL_ROWS_MAX = 128 * 1024
"""In memory, then they become a file: 550 bytes each are 70 MiB, twice that while it is written. At
20,000 spans/s they are 6.5 s, and 4 MB of file."""

SEAL_AGE_S = 30.0
"""After so long they become a file, however few they are: what a crash may lose."""

NEWEST_ROWS_MAX = 2 * SEAL_ROWS_MAX
"""In memory where they cannot become a file, or there is no directory; then the oldest go."""

QUESTION_S_MAX = 10.0
"""Then a question is given up. Grafana gives up after 30 s."""


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """Every bound of a store that can be set."""

    bytes_max: int = BYTES_MAX
    age_s_max: float = AGE_S_MAX
    seal_rows: int = SEAL_ROWS_MAX
    seal_age_s: float = SEAL_AGE_S
    newest_rows_max: int = NEWEST_ROWS_MAX
    question_s: float = QUESTION_S_MAX

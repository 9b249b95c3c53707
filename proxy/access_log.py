"""What an engine is told of its access log. `docs/ACCESS_LOG.md` lists formats and fields."""

from enum import StrEnum

import msgspec


class AccessLogFormat(StrEnum):
    """See docs/ACCESS_LOG.md."""

    JSON = "json"
    COMBINED = "combined"
    UPSTREAM = "upstream"


class AccessLog(msgspec.Struct, frozen=True):
    """`path` is a file that lines are appended to, or `-` for standard output."""

    path: str
    format: AccessLogFormat

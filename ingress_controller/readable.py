"""Text for people: a stranger's words, durations, sizes.

Rules: pure. What is not printable is shown escaped, so that no byte of a stranger's reaches a
terminal as anything but a character.
"""

import json


def printable(text: str) -> str:
    """With escapes for what is no character to look at: controls, and what turns text around."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def printable_json(text: str) -> str:
    """The same JSON: what is not printable, of which only strings can have something, is escaped
    there; line ends stay."""
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def duration(us: int) -> str:
    """In at most six characters, of two units at most."""
    if us < 1_000:  # noqa: PLR2004 - the steps of units
        return f"{us}µs"
    if us < 1_000_000:  # noqa: PLR2004
        return f"{us // 1_000}ms"
    seconds = us // 1_000_000
    if seconds < 10:  # noqa: PLR2004
        return f"{us // 100_000 / 10:.1f}s"
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds}s"
    minutes, hours = seconds // 60, seconds // 3600
    if minutes < 60:  # noqa: PLR2004
        return f"{minutes}m{seconds % 60:02}s"
    return f"{hours}h{minutes % 60:02}m" if hours < 48 else f"{hours // 24}d"  # noqa: PLR2004


def size(count: int) -> str:
    """Bytes in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:  # noqa: PLR2004 - the step of units
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024  # type: ignore[assignment]
    return f"{count:.1f} TiB"


def cut(text: str, characters: int) -> str:
    """At most so many characters, of which the last one says that something is left out."""
    return text if len(text) <= characters else text[: characters - 1] + "…"

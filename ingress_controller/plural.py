"""Numbers with their nouns, for people."""


def counted(count: int, noun: str, ending: str = "s") -> str:
    """`1 route`, `2 routes`; `ending` makes the plural."""
    return f"{count} {noun}{'' if count == 1 else ending}"

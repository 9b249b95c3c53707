"""Names of trace context formats become the engine's, in the order in which they are given. Pure.

`baggage` is accepted, as everywhere with OpenTelemetry, and changes nothing: baggage is the
application's, and passes whatever the formats are.
"""

from proxy.table import Propagator

_BAGGAGE = "baggage"
_NONE = "none"


def propagators(text: str) -> tuple[Propagator, ...]:
    """The formats of a list that is separated by commas, each once; nothing for `none`.

    Raises:
        ValueError: a name that is none, or `none` beside others.
    """
    names = list(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    if names == [_NONE]:
        return ()
    found = [_propagator(name) for name in names if name != _BAGGAGE]
    if not names:
        raise ValueError(f"no format is named; {_KNOWN}")
    return tuple(found)


def _propagator(name: str) -> Propagator:
    try:
        return Propagator(name)
    except ValueError as err:
        raise ValueError(f'"{name}" is no format of trace context; {_KNOWN}') from err


_KNOWN = f"there are {', '.join(Propagator)}, and none by itself"

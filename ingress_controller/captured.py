"""Names of header fields and query keys whose values may be recorded on spans.

Rules: pure; no I/O. What by its name holds a secret cannot be asked for. The engine's rules are the
same (`table/detail.rs`); `tests/vectors/captured_names.json` drives both.
"""

import re

NAMES_MAX = 16  # of each kind; the same as the engine's
NAME_BYTES_MAX = 64  # the same

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_QUERY_KEY = re.compile(r"[!-~]+")
_SECRET = re.compile(
    r"authoriz|authentic|auth[-_]|auth\Z|cookie|token|secret|passw|credential|signature|session"
    r"|api[-_]?key|accesskey|\Asig\Z",
    re.IGNORECASE,
)


def header_name(text: str) -> str:
    """In lower case. Raises ValueError: no name of a field, or one of secrets."""
    if not _HEADER.fullmatch(text) or len(text) > NAME_BYTES_MAX:
        raise ValueError(f'"{text}" is not a header field\'s name, for example X-Tenant')
    return _no_secret(text.lower())


def query_key(text: str) -> str:
    """Raises ValueError: no key as queries have it, or one of secrets."""
    is_key = _QUERY_KEY.fullmatch(text) and not set(text) & set("&=#")
    if not is_key or len(text) > NAME_BYTES_MAX:
        raise ValueError(f'"{text}" is not the key of a query\'s parameter, for example page')
    return _no_secret(text)


def at_most(names: tuple[str, ...]) -> tuple[str, ...]:
    """Each once. Raises ValueError: there are too many."""
    once = tuple(dict.fromkeys(names))
    if len(once) > NAMES_MAX:
        raise ValueError(f"{len(once)} names are more than the {NAMES_MAX} that are recorded")
    return once


def _no_secret(name: str) -> str:
    if _SECRET.search(name):
        raise ValueError(f'"{name}" holds secrets by its name; such values are never recorded')
    return name

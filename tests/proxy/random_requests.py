"""Requests at random that are legal, however odd, with what an endpoint must get of each.

Rules: everything comes from the given `random.Random`; a request is told by the number that begins
its path. What a proxy adds of its own is not in `Wanted`.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from operator import itemgetter

from http2 import Fields
from message import HEAD_END

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE", "M-SEARCH")

PATH_PIECES = (
    ("a", "a"),
    ("Z", "Z"),
    ("%61", "a"),
    ("%7e", "~"),
    ("%2f", "%2F"),
    ("|", "%7C"),
    ("a..b", "a..b"),
    ("...", "..."),
    (";x=1", ";x=1"),
    ("@:!$&'()*+,=", "@:!$&'()*+,="),
    ("%c3%a9", "%C3%A9"),
    ("%25%32", "%252"),
    ("//", "//"),
)
"""As they are sent, and in normal form. Any of them may follow any other one behind a letter."""

QUERIES = ("", "?", "?a=b&a=c", "?%", "?x=%zz|\\^`{}[]", "?a?b//../c")

VALUES = ("", "1", "a, b;q=0.5", '"quoted\\""', "tab\there", "\xe9\xff\x80", "x" * 3000, ":", "=?")

NAMES = ("X-Own", "x-lower", "X-UPPER", "Accept", "User-Agent", "!#$%&'*+-.^`|~9", "Content-Type")


@dataclass(frozen=True)
class Wanted:
    """What the endpoint gets of one request."""

    method: str
    path: str
    query: str
    fields: tuple[tuple[str, str], ...]
    """As `by_name` has them."""
    body: bytes
    trailers: tuple[tuple[str, str], ...]

    @property
    def target(self) -> str:
        return self.path + self.query


@dataclass(frozen=True)
class Asked:
    """One request as it is sent, and what it means."""

    target: str
    fields: tuple[tuple[str, str], ...]
    """In the case of letters in which they are sent."""
    is_chunked: bool
    wanted: Wanted


def legal(rng: random.Random, number: int) -> Asked:
    pieces = [rng.choice(PATH_PIECES) for _ in range(rng.randrange(5))]
    start, query = f"/{number}/p", rng.choice(QUERIES)
    fields = _fields(rng, 6)
    body = rng.randbytes(rng.choice((0, 0, 1, 17, 5000)))
    is_chunked = bool(body) and rng.random() < 0.5
    wanted = Wanted(
        method=rng.choice(METHODS),
        path=start + "".join(normal for _, normal in pieces),
        query=query,
        fields=by_name(fields),
        body=body,
        trailers=_trailers(rng) if is_chunked else (),
    )
    return Asked(start + "".join(sent for sent, _ in pieces) + query, fields, is_chunked, wanted)


def by_name(fields: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Names in lower case. Only the order of fields that have one name means something (RFC 9110,
    section 5.3), and HTTP/2 implementations keep no other."""
    return tuple(sorted(((name.lower(), value) for name, value in fields), key=itemgetter(0)))


def http1(rng: random.Random, asked: Asked) -> bytes:
    """The request with whatever HTTP/1.1 leaves to a sender."""
    wanted = asked.wanted
    lines = [f"{wanted.method} {asked.target} HTTP/1.1"]
    fields = [("Host", "shop.example"), *asked.fields]
    fields += [("cOnNeCtIoN", "te, X-Hop"), ("X-Hop", "1"), ("TE", "trailers")]
    if asked.is_chunked:
        fields.append(("transfer-ENCODING", "Chunked"))
    elif wanted.body or rng.random() < 0.2:
        fields.append(("Content-Length", "0" * rng.randrange(3) + str(len(wanted.body))))
    blanks = ("", " ", "\t", "  \t ")
    lines += [f"{name}:{rng.choice(blanks)}{value}{rng.choice(blanks)}" for name, value in fields]
    head = "\r\n".join(lines).encode("latin-1") + HEAD_END
    return head + (_chunks(rng, wanted) if asked.is_chunked else wanted.body)


def http2(asked: Asked) -> Fields:
    """The head of the request."""
    pseudo = (
        (":method", asked.wanted.method),
        (":scheme", "http"),
        (":authority", "shop.example"),
        (":path", asked.target),
    )
    return (*pseudo, *asked.wanted.fields, ("te", "trailers"))


def parts(rng: random.Random, data: bytes) -> list[bytes]:
    """`data` in a few pieces."""
    at = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(4)))
    return [data[start:end] for start, end in zip([0, *at], [*at, len(data)], strict=True)]


END = b"\0\r\n\r\n"
"""Behind whatever was sent: ends a head, a line and a chunk, and is refused as the next request."""


def damaged(rng: random.Random, data: bytes) -> bytes:
    """`data` with a few bytes of its head changed, for ones that mean something. No digit is among
    them: the head never announces more than there is."""
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(data.index(HEAD_END) + 2)
        sharp = rng.choice(b"\r\n\0 \t:;,%/.?#\\_\x7f\x80x")
        changed[at : at + rng.randrange(2)] = bytes([sharp])
    return bytes(changed) + END


def _fields(rng: random.Random, count_max: int) -> tuple[tuple[str, str], ...]:
    count = rng.randrange(count_max)
    return tuple((rng.choice(NAMES), rng.choice(VALUES)) for _ in range(count))


def _trailers(rng: random.Random) -> tuple[tuple[str, str], ...]:
    values = VALUES[:6]
    return tuple((f"x-sum-{index}", rng.choice(values)) for index in range(rng.randrange(3)))


def _chunks(rng: random.Random, wanted: Wanted) -> bytes:
    data = bytearray()
    for part in filter(None, parts(rng, wanted.body)):
        size = rng.choice(("%x", "%X", "00%x")) % len(part)
        extension = rng.choice(("", ";a", ';a="b;\\"c"'))
        data += f"{size}{extension}\r\n".encode() + part + b"\r\n"
    trailers = "".join(f"{name}: {value}\r\n" for name, value in wanted.trailers)
    return bytes(data) + b"0\r\n" + trailers.encode("latin-1") + b"\r\n"

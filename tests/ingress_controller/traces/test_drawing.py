"""Drawings as exact text."""

import re
from textwrap import dedent

import pytest

from ingress_controller.traces.drawing import draw, duration_text
from ingress_controller.traces.span import AttributeValue, Span, SpanKind, SpanStatus
from ingress_controller.traces.tree import tree

MS = 1_000_000

SHOP = (
    ("spanway", "GET /", SpanKind.SERVER, "", 0, 268),
    ("spanway", "balance shop/storefront:http", SpanKind.INTERNAL, "0", 1, 267),
    ("spanway", "GET", SpanKind.CLIENT, "1", 2, 266),
    ("storefront", "GET /", SpanKind.SERVER, "2", 4, 264),
    ("storefront", "GET", SpanKind.CLIENT, "3", 30, 50),
    ("storefront", "GET", SpanKind.CLIENT, "3", 50, 262),
)
ATTRIBUTES: dict[int, dict[str, AttributeValue]] = {
    0: {"http.response.status_code": 200},
    2: {"k8s.pod.name": "storefront-0", "server.address": "10.0.0.7", "server.port": 8080},
    3: {"http.response.status_code": 200},
    4: {"server.address": "127.0.0.1", "server.port": 18081},
    5: {"error.type": "timeout"},
}


def shop() -> list[Span]:
    return [
        Span(
            "t", str(index), parent, name, kind, service, start * MS, end * MS,
            ATTRIBUTES.get(index, {}), SpanStatus.ERROR if index == 5 else SpanStatus.UNSET,
        )
        for index, (service, name, kind, parent, start, end) in enumerate(SHOP)
    ]  # fmt: skip


def text(block: str) -> str:
    return dedent(block).removeprefix("\n")


def test_a_trace_is_drawn_as_nested_names_and_bars_on_one_axis() -> None:
    assert draw(tree(shop()), width=90, in_colour=False) == text(
        """
        spanway     GET / 200                              268 ms  ███████████████████████████████
        spanway       balance shop/storefront:http         266 ms  ███████████████████████████████
        spanway         GET → storefront-0 10.0.0.7:8080   264 ms  ███████████████████████████████
        storefront        GET / 200                        260 ms  ██████████████████████████████
        storefront          GET → 127.0.0.1:18081         20.0 ms     ██
        storefront          GET ✗ timeout                  212 ms       █████████████████████████
        """
    )


def test_a_narrow_terminal_cuts_names_but_keeps_the_bars() -> None:
    assert draw(tree(shop()), width=64, in_colour=False) == text(
        """
        spanway     GET / 200                      268 ms  █████████████
        spanway       balance shop/storefront:h…   266 ms  █████████████
        spanway         GET → storefront-0 10.0…   264 ms  █████████████
        storefront        GET / 200                260 ms  █████████████
        storefront          GET → 127.0.0.1:180…  20.0 ms   █
        storefront          GET ✗ timeout          212 ms    ██████████
        """
    )


@pytest.mark.parametrize("width", [60, 61, 79, 80, 120, 300])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(len, draw(tree(shop()), width=width, in_colour=False).splitlines())) <= width


def test_colour_adds_nothing_but_escapes() -> None:
    coloured = draw(tree(shop()), width=100, in_colour=True)
    plain = draw(tree(shop()), width=100, in_colour=False)
    assert "\x1b[31m" in coloured
    assert re.sub("\x1b\\[[0-9]+m", "", coloured) == plain


def test_control_characters_of_a_name_do_not_reach_the_terminal() -> None:
    hostile = Span("t", "a", "", "GET \x1b[2J\r\n/", SpanKind.INTERNAL, "s\x07", 0, 1, {})
    assert draw(tree([hostile]), width=60, in_colour=False) == text(
        """
        s�  GET �[2J��/  0.00 µs  ██████████████████████████████████
        """
    )


def test_a_child_on_another_clock_is_marked() -> None:
    spans = [
        Span("t", "a", "", "parent", SpanKind.INTERNAL, "s", 10 * MS, 50 * MS, {}),
        Span("t", "b", "a", "child", SpanKind.INTERNAL, "s", 0, 20 * MS, {}),
    ]
    assert draw(tree(spans), width=80, in_colour=False) == text(
        """
        s  parent                                      40.0 ms      ███████████████████
        s    child (starts 10.0 ms before its parent)  20.0 ms  ██████████
        """
    )


def test_a_peer_with_an_ipv6_address_is_in_brackets() -> None:
    peer: dict[str, AttributeValue] = {"server.address": "::1", "server.port": 80}
    span = Span("t", "a", "", "GET", SpanKind.CLIENT, "s", 0, 1, peer)
    assert "GET → [::1]:80" in draw(tree([span]), width=80, in_colour=False)


@pytest.mark.parametrize(
    ("message", "status", "drawn"),
    [
        ("no such Service", 503, "GET / 503 ✗ no such Service "),
        ("", 503, "GET / 503 ✗ "),
        ("", None, "GET / ✗ 503 "),
    ],
)
def test_a_failure_is_said_once(message: str, status: int | None, drawn: str) -> None:
    attributes: dict[str, AttributeValue] = {"error.type": "503"}
    if status:
        attributes["http.response.status_code"] = status
    failed = (SpanKind.SERVER, "s", 0, 1, attributes, SpanStatus.ERROR, message)
    assert f"s  {drawn}" in draw(
        tree([Span("t", "a", "", "GET /", *failed)]), width=80, in_colour=False
    )


def test_more_spans_than_a_screen_are_counted() -> None:
    spans = [Span("t", str(n), "", "x", SpanKind.INTERNAL, "s", n, n, {}) for n in range(203)]
    assert draw(tree(spans), width=80, in_colour=False).splitlines()[-1] == "and 3 more spans"


def test_no_spans_are_said_to_be_none() -> None:
    assert draw(tree([]), width=80, in_colour=False) == "no spans\n"


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [
        (0, "0 µs"),
        (999, "1.00 µs"),
        (17_230, "17.2 µs"),
        (99_999, "100 µs"),
        (100_000, "0.10 ms"),
        (420_000, "0.42 ms"),
        (9_994_000, "9.99 ms"),
        (9_996_000, "10.0 ms"),
        (212_000_000, "212 ms"),
        (999_400_000, "999 ms"),
        (999_600_000, "1.00 s"),
        (61_000_000_000, "61.0 s"),
    ],
)
def test_a_duration_has_three_digits_and_a_unit(duration_ns: int, text: str) -> None:
    assert duration_text(duration_ns) == text

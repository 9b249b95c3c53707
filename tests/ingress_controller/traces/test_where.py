"""The sentence that says where the time went."""

from dataclasses import replace

from ingress_controller.traces.span import AttributeValue, Span, SpanKind
from ingress_controller.traces.tree import tree
from ingress_controller.traces.where import where

US = 1_000
SERVER, INTERNAL, CLIENT = SpanKind.SERVER, SpanKind.INTERNAL, SpanKind.CLIENT


def span(
    span_id: str,
    kind: SpanKind,
    service: str,
    us: tuple[int, int],
    *,
    name: str = "x",
    **attributes: AttributeValue,
) -> Span:
    """A span whose parent's id is its own without the last letter."""
    named = {key.replace("_", "."): value for key, value in attributes.items()}
    return Span("t", span_id, span_id[:-1], name, kind, service, us[0] * US, us[1] * US, named)


EDGE = (
    span("a", SERVER, "spanway", (0, 268_000)),
    span("ab", INTERNAL, "spanway", (100, 267_900)),
    span("abc", CLIENT, "spanway", (200, 267_800)),
)


def test_the_largest_contributor_comes_first_and_the_numbers_sum() -> None:
    spans = (*EDGE, span("abcd", SERVER, "recommend", (350, 267_650)))
    assert where(tree(spans)) == (
        "recommend spent 267 ms of 268 ms; Spanway itself 0.40 ms; network and connecting 0.30 ms"
    )


def test_an_endpoint_without_spans_is_named_by_its_address() -> None:
    attempt = span(
        "abc", CLIENT, "spanway", (200, 267_800), server_address="10.0.0.7", server_port=8080
    )
    assert where(tree((*EDGE[:2], attempt))) == (
        "10.0.0.7:8080 (which sent no spans) spent 268 ms of 268 ms; Spanway itself 0.40 ms"
    )


LAYER = (
    span("abcn", INTERNAL, "spanway", (300, 20_300), name="net.deliver"),
    span("abcr", INTERNAL, "spanway", (20_300, 267_000), name="app.respond"),
    span("abcw", INTERNAL, "spanway", (267_000, 267_800), name="net.return"),
)


def observed(**attributes: AttributeValue) -> Span:
    """An attempt that the kernel was asked about."""
    known = {"spanway_net_source": "kernel", "server_address": "10.0.0.7", "server_port": 8080}
    return span("abc", CLIENT, "spanway", (200, 267_800), **known, **attributes)


def test_the_kernel_tells_network_and_app_apart_where_the_endpoint_sends_no_spans() -> None:
    assert where(tree((*EDGE[:2], observed(), *LAYER))) == (
        "10.0.0.7:8080 (which sent no spans) spent 247 ms of 268 ms;"
        " network and connecting 20.0 ms; Spanway itself 1.20 ms"
    )


def test_what_the_callee_had_before_its_span_began_is_not_the_networks() -> None:
    callee = span("abcd", SERVER, "recommend", (200_000, 266_000))
    assert where(tree((*EDGE[:2], observed(), callee, *LAYER))) == (
        "recommend spent 247 ms of 268 ms; network and connecting 20.0 ms; Spanway itself 1.20 ms"
    )


def test_an_answer_that_was_lost_is_the_networks() -> None:
    told = {"spanway.time.cluster_network_us": 220_000}
    server = replace(EDGE[0], attributes=told)
    callee = span("abcd", SERVER, "recommend", (20_500, 66_000))
    assert where(tree((server, EDGE[1], observed(), callee, *LAYER))) == (
        "network and connecting spent 220 ms of 268 ms; recommend 46.8 ms; Spanway itself 1.20 ms"
    )


def test_of_a_call_to_spanway_the_caller_has_what_is_beyond_round_trips() -> None:
    known = {"tcp.min_rtt_us": 100, "spanway.net.wakeup_us": 50}
    call = span("a", CLIENT, "page", (0, 20_000))
    server = replace(span("ab", SERVER, "spanway", (9_000, 19_000)), attributes=known)
    assert where(tree((call, server))) == (
        "Spanway itself spent 10.1 ms of 20.0 ms; page 9.75 ms; network and connecting 0.20 ms"
    )


def test_a_call_of_nobody_knows_whom_is_its_callers() -> None:
    spans = span("a", SERVER, "spanway", (0, 100)), span("ab", CLIENT, "mysql", (10, 100))
    assert where(tree(spans)) == "mysql spent 90.0 µs of 0.10 ms; Spanway itself 10.0 µs"


def test_spanway_is_named_where_it_is_the_slow_one() -> None:
    spans = (
        span("a", SERVER, "spanway", (0, 100)),
        span("ab", CLIENT, "spanway", (80, 100)),
        span("abc", SERVER, "app", (85, 95)),
    )
    assert where(tree(spans)) == (
        "Spanway itself spent 80.0 µs of 0.10 ms; network and connecting 10.0 µs; app 10.0 µs"
    )


def test_many_small_contributors_are_one_sum() -> None:
    spans = [span("a", SERVER, "spanway", (0, 100_000))]
    spans += [
        span(
            f"a{number}", SERVER, f"s{number}", (number * 10_000, number * 10_000 + 9_000 - number)
        )
        for number in range(1, 8)
    ]
    assert where(tree(spans)) == (
        "Spanway itself spent 37.0 ms of 100 ms; s1 9.00 ms; s2 9.00 ms; s3 9.00 ms;"
        " s4 9.00 ms; others 27.0 ms"
    )


def test_without_spans_it_says_so() -> None:
    assert where(tree([])) == "No span came."


def test_phases_of_a_slow_attempt_do_not_hide_what_the_callee_says() -> None:
    phases = [
        span("abcw", INTERNAL, "spanway", (300, 267_700), spanway_phase="wait"),
        span("abcx", INTERNAL, "spanway", (267_700, 267_800), spanway_phase="receive"),
    ]
    callee = span("abcd", SERVER, "recommend", (350, 267_650))
    assert where(tree((*EDGE, callee, *phases))) == where(tree((*EDGE, callee)))


def test_phases_of_an_attempt_are_no_spans_of_its_endpoint() -> None:
    attempt = span("abc", CLIENT, "spanway", (200, 267_800), server_address="10.0.0.7")
    wait = span("abcw", INTERNAL, "spanway", (300, 267_700), spanway_phase="wait")
    assert where(tree((*EDGE[:2], attempt, wait))) == where(tree((*EDGE[:2], attempt)))


def test_phases_do_not_hide_what_the_kernel_saw_of_an_endpoint_without_spans() -> None:
    attempt = span("abc", CLIENT, "spanway", (200, 267_800), server_address="10.0.0.7")
    wait = span("abcy", INTERNAL, "spanway", (300, 267_700), spanway_phase="wait")
    assert where(tree((*EDGE[:2], attempt, *LAYER, wait))) == where(
        tree((*EDGE[:2], attempt, *LAYER))
    )

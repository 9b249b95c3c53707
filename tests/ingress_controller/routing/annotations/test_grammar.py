import re
from collections.abc import Callable
from typing import Any

import pytest

from ingress_controller.routing.annotations import grammar
from ingress_controller.routing.annotations.grammar import Place, SecretName, Weight
from proxy.table import HashKey, HashOn, Redirect, RetryOn, Rewrite, TlsVersion

Parse = Callable[[str], Any]


@pytest.mark.parametrize(
    ("parse", "text", "want"),
    [
        (grammar.duration_ms, "500ms", 500),
        (grammar.duration_ms, "1m30s", 90_000),
        (grammar.duration_ms, "2h", 7_200_000),
        (grammar.duration_ms, "1d", 86_400_000),
        (grammar.duration_ms, "0", 0),
        (grammar.duration_s, "1h", 3_600),
        (grammar.size_bytes, "8k", 8_192),
        (grammar.size_bytes, "1m", 1_048_576),
        (grammar.size_bytes, "1Mi", 1_048_576),
        (grammar.size_bytes, "2G", 2 * 1024**3),
        (grammar.size_bytes, "100", 100),
        (grammar.whole(0, 10), "10", 10),
        (grammar.switch, "TRUE", True),
        (grammar.one_of(TlsVersion), "1.3", TlsVersion.TLS13),
        (grammar.some_of(RetryOn), "503 connect,503", (RetryOn.STATUS_503, RetryOn.CONNECT)),
        (grammar.some_of(RetryOn), "off", ()),
        (grammar.networks, "10.1.2.3/8, 192.0.2.1", ("10.0.0.0/8", "192.0.2.1/32")),
        (grammar.networks, "2001:db8::1/32\n", ("2001:db8::/32",)),
        (grammar.header_names, "X-A, X-B", ("X-A", "X-B")),
        (grammar.request_headers_add, " X-A: 1\n\nX-B:", (("X-A", "1"), ("X-B", ""))),
        (grammar.response_headers_add, "X-A: a: b", (("X-A", "a: b"),)),
        (grammar.request_headers_set, "Host: api:81", (("Host", "api:81"),)),
        (grammar.request_headers_set, "X: ${host} $$1", (("X", "${host} $$1"),)),
        (grammar.rewrite, "^/a/(.*)$ => /b/$1", Rewrite("^/a/(.*)$", "/b/$1")),
        (grammar.rewrite, "/x$ =>", Rewrite("/x$", "")),
        (grammar.redirect, "https://x.example$path", Redirect("https://x.example$path", 308)),
        (grammar.redirect, "302 /login", Redirect("/login", 302)),
        (grammar.hash_on, "ip", HashKey()),
        (grammar.hash_on, "header X-User", HashKey(HashOn.HEADER, "X-User")),
        (grammar.secret_name, "ca", SecretName("ca")),
        (grammar.secret_name, "pki/ca", SecretName("ca", "pki")),
        (
            grammar.weights,
            "zone=eu-1a:3, pod=api-0:0",
            (Weight(Place.ZONE, "eu-1a", 3), Weight(Place.POD, "api-0", 0)),
        ),
    ],
)
def test_what_people_write_is_read(parse: Parse, text: str, want: object) -> None:
    assert parse(text) == want


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (grammar.duration_ms, "60", '"60" is not a duration; write 60s for seconds'),
        (grammar.duration_ms, "-1s", '"-1s" is not a duration'),
        (grammar.duration_ms, "", '"" is not a duration'),
        (grammar.duration_ms, "99999999d", '"99999999d" is longer than 30 days'),
        (grammar.positive_duration_ms, "0", '"0" is no time at all'),
        (grammar.duration_s, "1500ms", '"1500ms" is not a whole number of seconds'),
        (grammar.size_bytes, "1.5m", '"1.5m" is not a size'),
        (grammar.size_bytes, "9" * 16 + "g", f'"{"9" * 16}g" is more than a petabyte'),
        (grammar.size_within(10, 20), "1k", '"1k" is not from 10 to 20 bytes'),
        (grammar.whole(1, 9), "9" * 5_000, f'"{"9" * 60}…" is not a whole number from 1 to 9'),
        (grammar.whole(1, 9), "²", '"²" is not a whole number from 1 to 9'),
        (grammar.switch, "yes", '"yes" is neither true nor false'),
        (grammar.one_of(TlsVersion), "1.1", '"1.1" is none of 1.2, 1.3'),
        (grammar.networks, "10.0.0.0/8,x", '"x" is neither an IP address nor a network'),
        (grammar.networks, " , ", "the list is empty"),
        (grammar.networks, "::1 " * 16_385, "the list has more than 16384 entries"),
        (grammar.header_names, "X A:", '"A:" is not a header name'),
        (grammar.header_names, "Content_Length", '"Content_Length" is not for a policy to change'),
        (grammar.header_names, "Host", '"Host" is not for a policy to change'),
        (grammar.request_headers_add, "Host: a", '"Host" is not for a policy to change'),
        (grammar.response_headers_set, "TE: a", '"TE" is not for a policy to change'),
        (grammar.request_headers_set, "Traceparent: a", '"Traceparent" is not for a policy'),
        (grammar.request_headers_set, "Host: $host", "the value in line 1 is not a host with or"),
        (grammar.request_headers_set, "X: 1\nx: 2", '"x" is set twice'),
        (
            grammar.request_headers_set,
            "X: $uri",
            "the value in line 1 has a variable other than $cl",
        ),
        (grammar.request_headers_add, "X-A 1", "line 1 has no colon"),
        (grammar.request_headers_add, "X: 1\nY: \x00", "the value in line 2 is not plain ASCII"),
        (grammar.request_headers_add, "\n", "there is no line in it"),
        (grammar.request_headers_add, "X: 1\n" * 65, "there are more than 64 headers in it"),
        (grammar.request_headers_add, "X: " + "1" * 4_097, "the value in line 1 has over 4096"),
        (grammar.rewrite, "/a", '"/a" is not PATTERN => REPLACEMENT'),
        (grammar.rewrite, "a" * 1_025 + "=>b", "a side of it is longer than 1024 characters"),
        (grammar.rewrite, "a => /b?c", '"/b?c" has what is not in a path'),
        (grammar.rewrite, "^/a => b", '"b" does not begin with a slash as the path does'),
        (grammar.redirect, "javascript:x", '"javascript:x" is not a status and a URL or path'),
        (grammar.redirect, "200 /", "200 is none of 301, 302, 303, 307, 308"),
        (
            grammar.redirect,
            "https://x$request_uri",
            "$request_uri is not known; there are $scheme, $host, $path, $query",
        ),
        (grammar.hash_on, "header", '"header" does not name a header'),
        (grammar.hash_on, "uri", '"uri" is none of ip, header, cookie'),
        (grammar.affinity, "a b", '"a b" is not a cookie name'),
        (grammar.cookie_path, "/;x", '"/;x" is not a path'),
        (grammar.own_secret_name, "a/b", '"a/b" names a namespace, but the Secret must be in its'),
        (grammar.secret_name, "a/b/c", '"a/b/c" is not the name of a Secret'),
        (grammar.weights, "n1:3", '"n1:3" is not zone=NAME:N, node=NAME:N or pod=NAME:N'),
        (grammar.weights, "node=n1:1001", '"1001" is not a whole number from 0 to 1000'),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(parse: Parse, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        parse(text)


def test_the_value_of_a_header_is_in_no_message() -> None:
    for text in (
        "Authorization: hunter2\x00",
        "Host: hunter2 x",
        "X: $hunter2",
        "no colon hunter2",
    ):
        with pytest.raises(ValueError, match=r".") as caught:
            grammar.request_headers_set(text)

        assert "hunter2" not in str(caught.value)

//! Response heads: what is read from them, and why they are refused.

use spanway_engine::http1::{Malformed, Parsed, parse_response};
use spanway_engine::message::{Framing, Method, Name, ResponseHead, Version};

fn parse_for(method: Method, text: &str) -> Result<ResponseHead, Malformed> {
    let mut head = ResponseHead::default();
    let parsed = parse_response(text.as_bytes(), method, &mut head)?;
    assert_eq!(
        parsed,
        Parsed::Complete {
            head_bytes: text.len()
        }
    );
    Ok(head)
}

fn parse(text: &str) -> Result<ResponseHead, Malformed> {
    parse_for(Method::Get, text)
}

fn refused(text: &str) -> Malformed {
    parse(text).unwrap_err()
}

#[test]
fn the_parts_of_a_response_are_read() {
    let head = parse("HTTP/1.1 404 Not  Found\r\nServer: x\r\nContent-Length: 7\r\n\r\n").unwrap();
    assert_eq!((head.version, head.status), (Version::Http11, 404));
    assert_eq!(head.reason(), b"Not  Found");
    assert_eq!((head.framing, head.keep_alive), (Framing::Length(7), true));
    assert_eq!(head.fields.get(Name::Server), Some(&b"x"[..]));
}

#[test]
fn a_reason_may_be_empty_or_absent_or_not_ascii() {
    for line in [
        "HTTP/1.1 200 ",
        "HTTP/1.1 200",
        "HTTP/1.1 200 d\u{e9}j\u{e0}",
    ] {
        let head = parse(&format!("{line}\r\nContent-Length: 0\r\n\r\n")).unwrap();
        assert_eq!((head.status, head.reason()), (200, &b""[..]), "{line}");
    }
}

#[test]
fn a_response_without_framing_ends_with_the_connection() {
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        let head = parse(&format!("{version} 200 OK\r\n\r\n")).unwrap();
        assert_eq!(
            (head.framing, head.keep_alive),
            (Framing::UntilClose, false),
            "{version}"
        );
    }
}

#[test]
fn a_response_to_head_has_no_body_and_says_what_get_would_get() {
    let fields = "Content-Length: 7\r\n\r\n";
    let head = parse_for(Method::Head, &format!("HTTP/1.1 200 OK\r\n{fields}")).unwrap();
    assert_eq!(
        (head.framing, head.content_length),
        (Framing::None, Some(7))
    );
    assert!(head.keep_alive);
    let head = parse_for(
        Method::Head,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    assert_eq!(head.unwrap().framing, Framing::None);
}

#[test]
fn statuses_without_a_body_have_none_whatever_the_fields_say() {
    for status in [100, 101, 103, 199, 204, 304] {
        let head = parse(&format!("HTTP/1.1 {status} X\r\nContent-Length: 7\r\n\r\n")).unwrap();
        assert_eq!(head.framing, Framing::None, "{status}");
    }
}

#[test]
fn a_connection_is_not_used_again_after_a_204_that_announces_a_body() {
    let keeps = |fields| {
        parse(&format!("HTTP/1.1 204 X\r\n{fields}\r\n"))
            .unwrap()
            .keep_alive
    };
    assert!(keeps("") && keeps("Content-Length: 0\r\n"));
    assert!(!keeps("Content-Length: 7\r\n") && !keeps("Transfer-Encoding: chunked\r\n"));
}

#[test]
fn a_connection_to_http_1_0_is_used_again_only_if_it_says_so() {
    let keeps = |fields| {
        parse(&format!(
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n{fields}\r\n"
        ))
    };
    assert!(!keeps("").unwrap().keep_alive);
    assert!(keeps("Connection: keep-alive\r\n").unwrap().keep_alive);
}

#[test]
fn ambiguous_framing_is_refused() {
    let of = |fields: &str| refused(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
    let chunked = "Transfer-Encoding: chunked\r\n";
    assert_eq!(
        of(&format!("{chunked}Content-Length: 1\r\n")),
        Malformed::LengthAndCoding
    );
    assert_eq!(of(&format!("{chunked}{chunked}")), Malformed::CodingInvalid);
    assert_eq!(
        of("Transfer-Encoding: gzip, chunked\r\n"),
        Malformed::CodingUnknown
    );
    assert_eq!(
        of("Content-Length: 1, 1\r\n"),
        Malformed::ContentLengthInvalid
    );
    assert_eq!(
        of("Content-Length: 1\r\nContent-Length: 1\r\n"),
        Malformed::ContentLengthRepeated
    );
    assert_eq!(
        refused(&format!("HTTP/1.0 200 OK\r\n{chunked}\r\n")),
        Malformed::CodingInHttp10
    );
}

#[test]
fn a_broken_status_line_is_refused() {
    assert_eq!(refused("HTTP/1.1 099 X\r\n\r\n"), Malformed::StatusCode);
    for line in [
        "HTTP/1.1 20 X",
        "HTTP/1.1 2000 X",
        "HTTP/1.1 +20 X",
        "HTTP/1.1  200 X",
    ] {
        assert_eq!(
            refused(&format!("{line}\r\n\r\n")),
            Malformed::StatusLine,
            "{line}"
        );
    }
    for line in ["HTTP/2.0 200 X", "HTTP/1.2 200 X", "HTTX/1.1 200 X"] {
        assert_eq!(
            refused(&format!("{line}\r\n\r\n")),
            Malformed::Version,
            "{line}"
        );
    }
    assert_eq!(
        refused("\r\nHTTP/1.1 200 X\r\n\r\n"),
        Malformed::LeadingBytes
    );
    assert_eq!(refused("HTTP/1.1 200 X\n\r\n"), Malformed::LineEnd);
    assert_eq!(refused("HTTP/1.1 200 X\r\nA: 1\n\r\n"), Malformed::LineEnd);
    assert_eq!(refused("HTTP/1.1 200 X\rY\r\n\r\n"), Malformed::StatusLine);
}

#[test]
fn a_response_head_over_64_kib_is_refused_whole_or_not() {
    let text = format!("HTTP/1.1 200 OK\r\nX-A: {}\r\n\r\n", "x".repeat(64 * 1024));
    assert_eq!(refused(&text), Malformed::HeadLength);
    assert_eq!(refused(text.trim_end()), Malformed::HeadLength);
}

#[test]
fn field_names_with_underscores_are_kept_in_responses() {
    let head = parse("HTTP/1.1 204 X\r\nX_Request_ID: 1\r\n\r\n").unwrap();
    assert_eq!(head.fields.iter().next().unwrap().name, b"X_Request_ID");
}

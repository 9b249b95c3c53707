//! Request heads: what is read from them, and why they are refused.

use spanway_engine::http1::{Malformed, Parsed, parse_request};
use spanway_engine::message::{Framing, Method, Name, RequestHead, Version};

fn parse(text: &str) -> Result<RequestHead, Malformed> {
    let mut head = RequestHead::default();
    let parsed = parse_request(text.as_bytes(), &mut head)?;
    assert_eq!(
        parsed,
        Parsed::Complete {
            head_bytes: text.len()
        }
    );
    Ok(head)
}

fn with_fields(start: &str, fields: &str) -> Result<RequestHead, Malformed> {
    parse(&format!("{start}\r\nHost: a\r\n{fields}\r\n"))
}

#[test]
fn the_parts_of_a_request_are_read() {
    let head = parse("GET /a/b?c=d?e HTTP/1.1\r\nHost: Shop.Example.:8080\r\nX-A:  1 \r\n\r\n");
    let head = head.unwrap();
    assert_eq!((head.version, head.method), (Version::Http11, Method::Get));
    assert_eq!(
        (head.path(), head.query()),
        (&b"/a/b"[..], Some(&b"c=d?e"[..]))
    );
    assert_eq!(head.authority(), b"Shop.Example.:8080");
    assert_eq!(head.host(), b"shop.example");
    assert_eq!((head.framing, head.keep_alive), (Framing::None, true));
    assert_eq!(
        head.fields.get(Name::Host),
        Some(&b"Shop.Example.:8080"[..])
    );
    assert_eq!(head.fields.iter().last().unwrap().value, b"1");
}

#[test]
fn the_example_of_rfc_9112_section_3_is_read() {
    let text = "GET /hello.txt HTTP/1.1\r\nUser-Agent: curl/7.64.1\r\nHost: www.example.com\r\n\
                Accept-Language: en, mi\r\n\r\n";
    let head = parse(text).unwrap();
    assert_eq!((head.target(), head.query()), (&b"/hello.txt"[..], None));
    assert_eq!(head.host(), b"www.example.com");
    assert_eq!(head.fields.get(Name::UserAgent), Some(&b"curl/7.64.1"[..]));
}

#[test]
fn an_absolute_target_is_forwarded_as_a_path() {
    let head = parse("GET http://a:80?x HTTP/1.1\r\nHost: A\r\n\r\n").unwrap();
    assert_eq!((head.target(), head.path()), (&b"/?x"[..], &b"/"[..]));
    assert_eq!(head.query(), Some(&b"x"[..]));
    assert_eq!((head.authority(), head.host()), (&b"a:80"[..], &b"a"[..]));
}

#[test]
fn a_request_of_http_1_0_has_one_host_field_in_any_case() {
    let head = parse("GET http://A:81/x HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(head.fields.get(Name::Host), Some(&b"A:81"[..]));
    assert_eq!(head.host(), b"a");
    let head = parse("GET /x HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(head.fields.get(Name::Host), Some(&b""[..]));
    assert_eq!((head.authority(), head.host()), (&b""[..], &b""[..]));
}

#[test]
fn an_ipv6_host_keeps_its_brackets() {
    let head = parse("GET / HTTP/1.1\r\nHost: [2001:DB8::1]:8080\r\n\r\n").unwrap();
    assert_eq!(head.host(), b"[2001:db8::1]");
    assert_eq!(head.authority(), b"[2001:DB8::1]:8080");
}

#[test]
fn the_framing_is_what_the_fields_say() {
    let framing = |fields| with_fields("POST / HTTP/1.1", fields).map(|head| head.framing);
    assert_eq!(framing(""), Ok(Framing::None));
    assert_eq!(framing("Content-Length: 0\r\n"), Ok(Framing::Length(0)));
    assert_eq!(framing("Content-Length: 0012\r\n"), Ok(Framing::Length(12)));
    assert_eq!(
        framing("Content-Length: 9223372036854775807\r\n"),
        Ok(Framing::Length(i64::MAX as u64))
    );
    assert_eq!(
        framing("Transfer-Encoding: Chunked\r\n"),
        Ok(Framing::Chunked)
    );
}

#[test]
fn keep_alive_follows_the_version_and_connection() {
    let keeps = |start, fields| with_fields(start, fields).unwrap().keep_alive;
    assert!(keeps("GET / HTTP/1.1", ""));
    assert!(keeps("GET / HTTP/1.1", "Connection: Upgrade\r\n"));
    assert!(!keeps("GET / HTTP/1.1", "Connection: x, CLOSE\r\n"));
    assert!(!keeps("GET / HTTP/1.0", ""));
    assert!(keeps("GET / HTTP/1.0", "Connection: Keep-Alive\r\n"));
    assert!(!keeps(
        "GET / HTTP/1.0",
        "Connection: Keep-Alive\r\nConnection: close\r\n"
    ));
}

#[test]
fn a_client_waits_for_100_continue_only_with_a_body_and_in_http_1_1() {
    let waits = |start, fields: &str| {
        with_fields(start, &format!("Expect: 100-Continue\r\n{fields}"))
            .unwrap()
            .expects_continue
    };
    assert!(waits("POST / HTTP/1.1", "Content-Length: 1\r\n"));
    assert!(waits("POST / HTTP/1.1", "Transfer-Encoding: chunked\r\n"));
    assert!(!waits("POST / HTTP/1.1", "Content-Length: 0\r\n"));
    assert!(!waits("POST / HTTP/1.1", ""));
    assert!(!waits("POST / HTTP/1.0", "Content-Length: 1\r\n"));
}

#[test]
fn known_methods_are_told_apart_and_others_keep_their_name() {
    let method = |name: &str| with_fields(&format!("{name} / HTTP/1.1"), "").unwrap();
    assert_eq!(method("PATCH").method, Method::Patch);
    let head = method("M-SEARCH");
    assert_eq!(
        (head.method, head.method_bytes()),
        (Method::Other, &b"M-SEARCH"[..])
    );
}

#[test]
fn a_refusal_names_the_rule_that_was_broken() {
    let refused = |text: &str| parse(text).unwrap_err();
    let host = |host: &str| refused(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let field = |line: &str| with_fields("GET / HTTP/1.1", &format!("{line}\r\n")).unwrap_err();
    assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), Malformed::HostMissing);
    assert_eq!(
        refused("GET / HTTP/1.1\nHost: a\r\n\r\n"),
        Malformed::LineEnd
    );
    assert_eq!(
        refused("GET / HTTP/1.1\r\nHost: a\n\r\n"),
        Malformed::LineEnd
    );
    assert_eq!(
        refused("GET /\\ HTTP/1.1\r\nHost: a\r\n\r\n"),
        Malformed::TargetBytes
    );
    assert_eq!(
        refused("GET /.. HTTP/1.1\r\nHost: a\r\n\r\n"),
        Malformed::DotSegment
    );
    assert_eq!(
        refused("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        Malformed::HostMismatch
    );
    assert_eq!(host("a@b"), Malformed::HostInvalid);
    assert_eq!(host("a\r\nHost: a"), Malformed::HostRepeated);
    assert_eq!(field("X-A : 1"), Malformed::FieldName);
    assert_eq!(field("X-A: 1\r\n 2"), Malformed::FieldName);
    assert_eq!(field("X-A: \u{1}"), Malformed::FieldValue);
    assert_eq!(field("Transfer-Encoding: gzip"), Malformed::CodingUnknown);
}

#[test]
fn a_head_of_the_longest_length_is_read_and_one_byte_more_is_not() {
    let of_length = |bytes: usize| {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nX-A: ";
        parse(&format!(
            "{start}{}\r\n\r\n",
            "x".repeat(bytes - start.len() - 4)
        ))
    };
    assert!(of_length(64 * 1024).is_ok());
    assert_eq!(of_length(64 * 1024 + 1).unwrap_err(), Malformed::HeadLength);
}

#[test]
fn a_request_line_of_the_longest_length_is_read_and_one_byte_more_is_not() {
    let of_length = |bytes: usize| {
        let path = "x".repeat(bytes - "GET / HTTP/1.1\r\n".len());
        parse(&format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n"))
    };
    assert!(of_length(16 * 1024).is_ok());
    assert_eq!(
        of_length(16 * 1024 + 1).unwrap_err(),
        Malformed::RequestLineLength
    );
}

#[test]
fn a_reused_head_has_nothing_of_the_request_before() {
    let mut head = RequestHead::default();
    let first = b"POST http://B?x HTTP/1.0\r\nConnection: keep-alive, x\r\nExpect: z\r\n\r\n";
    parse_request(first, &mut head).unwrap();
    parse_request(b"GET /", &mut head).unwrap();
    let second = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    parse_request(second, &mut head).unwrap();
    let mut fresh = RequestHead::default();
    parse_request(second, &mut fresh).unwrap();
    assert_eq!(format!("{head:?}"), format!("{fresh:?}"));
}

#[test]
fn a_head_that_was_incomplete_can_be_used_for_another_connection() {
    let mut head = RequestHead::default();
    let before = parse_request(b"GET /a-long-path-of-another-connection HTT", &mut head);
    assert_eq!(before, Ok(Parsed::Incomplete));
    let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nand a body without a line's end";
    assert_eq!(
        parse_request(text, &mut head),
        Ok(Parsed::Complete { head_bytes: 27 })
    );
}

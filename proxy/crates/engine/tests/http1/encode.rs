//! What is written: read again it says the same, and nothing in it is about another connection.

use crate::exchange::{exchange, forwarded_head};
use crate::vectors::CASES;
use spanway_engine::http1::{BodyDecoder, Parsed, encode, parse_request, parse_response};
use spanway_engine::message::{
    Fields, Framing, Method, Name, NameSet, RequestHead, ResponseHead, Version,
};

fn written(write: impl Fn(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_forwarded_head_is_read_again_as_it_was() {
    for case in CASES.iter() {
        let mut before = RequestHead::default();
        if !matches!(
            parse_request(&case.bytes(), &mut before),
            Ok(Parsed::Complete { .. })
        ) {
            continue;
        }
        let bytes = forwarded_head(&before);
        let mut after = RequestHead::default();
        let parsed = parse_request(&bytes, &mut after);
        if before.host().is_empty() {
            continue; // What HTTP/1.0 may leave out is empty upstream, which we do not accept.
        }
        assert_eq!(
            parsed,
            Ok(Parsed::Complete {
                head_bytes: bytes.len()
            }),
            "{}",
            case.name
        );
        assert_eq!(forwarded_head(&after), bytes, "{}", case.name);
        assert_eq!(
            (after.version, after.keep_alive),
            (Version::Http11, true),
            "{}",
            case.name
        );
        assert_eq!(after.method_bytes(), before.method_bytes(), "{}", case.name);
        assert_eq!(
            (after.target(), after.host()),
            (before.target(), before.host())
        );
        assert_eq!(after.framing, before.framing, "{}", case.name);
    }
}

#[test]
fn nothing_hop_by_hop_is_forwarded() {
    const HOP_BY_HOP: [Name; 6] = [
        Name::Connection,
        Name::KeepAlive,
        Name::ProxyConnection,
        Name::Te,
        Name::Upgrade,
        Name::Proxy,
    ];
    for case in CASES.iter() {
        for (bytes, _) in exchange(&case.bytes()).forwarded {
            let mut head = RequestHead::default();
            let _ = parse_request(&bytes, &mut head);
            let survivor = HOP_BY_HOP.into_iter().find(|&name| head.fields.has(name));
            assert_eq!(survivor, None, "{}", case.name);
        }
    }
}

#[test]
fn dropped_fields_are_not_forwarded_and_the_order_is_kept() {
    let mut fields = Fields::default();
    for (name, value) in [
        ("A", "1"),
        ("x-real-ip", "2"),
        ("Content-Length", "3"),
        ("B", ""),
    ] {
        fields.push(name.as_bytes(), value.as_bytes());
    }
    let kept = fields.end_to_end(NameSet::of(&[Name::XRealIp]));
    let names: Vec<_> = kept.map(|field| (field.name, field.value)).collect();
    assert_eq!(names, [(&b"A"[..], &b"1"[..]), (b"B", b"")]);
}

#[test]
fn status_lines_have_our_version_and_a_reason() {
    let mut head = ResponseHead::default();
    let text = b"HTTP/1.0 299 Fine\r\nContent-Length: 0\r\n\r\n";
    parse_response(text, Method::Get, &mut head).unwrap();
    assert_eq!(
        written(|out| encode::status_line(out, &head)),
        "HTTP/1.1 299 Fine\r\n"
    );
    assert_eq!(
        written(|out| encode::status_line_of(out, 502)),
        "HTTP/1.1 502 Bad Gateway\r\n"
    );
    assert_eq!(
        written(|out| encode::status_line_of(out, 299)),
        "HTTP/1.1 299 \r\n"
    );
}

#[test]
fn framing_is_announced_once_or_not_at_all() {
    let of = |framing| written(|out| encode::framing(out, framing));
    assert_eq!(
        of(Framing::Length(u64::MAX)),
        "Content-Length: 18446744073709551615\r\n"
    );
    assert_eq!(of(Framing::Chunked), "Transfer-Encoding: chunked\r\n");
    assert_eq!(of(Framing::None) + &of(Framing::UntilClose), "");
}

#[test]
fn a_response_to_head_declares_the_length_and_a_204_does_not() {
    let declared = |status: u16| {
        let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 7\r\n\r\n");
        let mut head = ResponseHead::default();
        parse_response(text.as_bytes(), Method::Head, &mut head).unwrap();
        written(|out| encode::declared_length(out, &head))
    };
    assert_eq!(declared(200), "Content-Length: 7\r\n");
    assert_eq!(declared(304), "Content-Length: 7\r\n");
    assert_eq!(declared(204) + &declared(101), "");
}

#[test]
fn written_chunks_are_decoded_to_their_data() {
    let data: Vec<u8> = (0..5000_u32).map(|index| index as u8).collect();
    let mut out = Vec::new();
    let mut sent = Vec::new();
    for length in [1, 0, 9, 10, 15, 16, 17, 255, 256, 4095, 4096] {
        encode::chunk(&mut out, &data[..length]);
        sent.extend_from_slice(&data[..length]);
    }
    encode::last_chunk(&mut out, None);
    let mut decoder = BodyDecoder::new(Framing::Chunked);
    let (mut rest, mut received) = (&out[..], Vec::new());
    while let Some(run) = decoder.next_data(&mut rest).unwrap() {
        received.extend_from_slice(run);
    }
    assert!(received == sent && decoder.is_done() && rest.is_empty());
}

//! Request heads: what is read from them.

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

#[test]
fn the_parts_of_a_request_are_read() {
    let head =
        parse("GET /a/b?c=d?e HTTP/1.1\r\nHost: Shop.Example.:8080\r\nX-A:  1 \r\n\r\n").unwrap();
    assert_eq!((head.version, head.method), (Version::Http11, Method::Get));
    assert_eq!(
        (head.path(), head.query()),
        (&b"/a/b"[..], Some(&b"c=d?e"[..]))
    );
    assert_eq!(
        (head.authority(), head.host()),
        (&b"Shop.Example.:8080"[..], &b"shop.example"[..])
    );
    assert_eq!((head.framing, head.keep_alive), (Framing::None, true));
    assert_eq!(
        head.fields.get(Name::Host),
        Some(&b"Shop.Example.:8080"[..])
    );
}

#[test]
fn an_absolute_target_is_forwarded_as_a_path() {
    let head = parse("GET http://a:80?x HTTP/1.1\r\nHost: A\r\n\r\n").unwrap();
    assert_eq!(
        (head.target(), head.path(), head.query()),
        (&b"/?x"[..], &b"/"[..], Some(&b"x"[..]))
    );
    assert_eq!((head.authority(), head.host()), (&b"a:80"[..], &b"a"[..]));
}

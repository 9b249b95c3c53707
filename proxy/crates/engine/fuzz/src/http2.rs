//! A request of HTTP/2 on its way to the parser of HTTP/1.

use http::Request;
use spanway_engine::http1::{Parsed, parse_request};
use spanway_engine::http2_request_text;
use spanway_engine::message::RequestHead;

/// No value of a request can end its line or its head: the text has a line for each field, and
/// what the parser accepts of it is all of it.
///
/// The bytes are lines: method, URI, protocol of an extended CONNECT (empty for none), then fields.
pub fn http2_request(bytes: &[u8]) {
    let Some(parts) = request(bytes) else { return };
    let mut text = Vec::new();
    http2_request_text::write(&mut text, &parts);
    let line_ends = text.windows(2).filter(|two| two == b"\r\n").count();
    let line_feeds = text.iter().filter(|&&byte| byte == b'\n').count();
    let returns = text.iter().filter(|&&byte| byte == b'\r').count();
    assert!(line_ends == line_feeds && line_ends == returns);
    // The request line, `Host`, the upgrade's three fields and the empty line are ours.
    assert!(line_ends <= parts.headers.len() + 6);
    let mut head = RequestHead::default();
    match parse_request(&text, &mut head) {
        Ok(Parsed::Complete { head_bytes }) => assert_eq!(head_bytes, text.len()),
        Ok(Parsed::Incomplete) => panic!("a whole head is incomplete: {text:?}"),
        Err(_) => {}
    }
}

fn request(bytes: &[u8]) -> Option<http::request::Parts> {
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let mut builder = Request::builder().method(lines.next()?).uri(lines.next()?);
    let protocol = std::str::from_utf8(lines.next().unwrap_or_default()).ok()?;
    if !protocol.is_empty() {
        builder = builder.extension(h2::ext::Protocol::from(protocol));
    }
    for line in lines {
        let at = line.iter().position(|&byte| byte == b':')?;
        builder = builder.header(&line[..at], &line[at + 1..]);
    }
    Some(builder.body(()).ok()?.into_parts().0)
}

//! A request of HTTP/2 as HTTP/1 would write it, for the one parser that judges both. Pure.
//!
//! Source: RFC 9113, section 8.3 (pseudo-header fields), 8.2.3 (cookies); RFC 8441, section 5.

use http::header::{COOKIE, HOST};
use http::request::Parts;

use crate::http1::encode;

/// Writes the head.
///
/// `:authority` becomes `Host`; a `Host` beside it that says the same is left out, any other is a
/// second one, which the parser refuses. Cookies that were sent apart become one field again. A
/// WebSocket's CONNECT becomes the GET that asks for the upgrade.
pub fn write(out: &mut Vec<u8>, parts: &Parts) {
    out.clear();
    request_line(out, parts);
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    if let Some(authority) = authority {
        encode::field(out, b"host", authority.as_bytes());
    }
    for (name, value) in &parts.headers {
        let is_same_host = name == HOST && authority.map(str::as_bytes) == Some(value.as_bytes());
        if name != COOKIE && !is_same_host {
            encode::field(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    cookies(out, parts);
    if is_tunnel(parts) {
        upgrade(out, parts);
    }
    encode::end(out);
}

/// Whether the request asks for a tunnel by extended CONNECT.
pub fn is_tunnel(parts: &Parts) -> bool {
    parts.extensions.get::<h2::ext::Protocol>().is_some()
}

fn request_line(out: &mut Vec<u8>, parts: &Parts) {
    let method = if is_tunnel(parts) {
        "GET"
    } else {
        parts.method.as_str()
    };
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    let target = match parts.uri.path_and_query() {
        Some(target) => target.as_str(),
        None => parts
            .uri
            .authority()
            .map_or("", http::uri::Authority::as_str),
    };
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

fn cookies(out: &mut Vec<u8>, parts: &Parts) {
    let mut cookies = parts.headers.get_all(COOKIE).iter();
    let Some(first) = cookies.next() else { return };
    out.extend_from_slice(b"cookie: ");
    out.extend_from_slice(first.as_bytes());
    for cookie in cookies {
        out.extend_from_slice(b"; ");
        out.extend_from_slice(cookie.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// HTTP/1 wants a key, to which the endpoint's answer tells that it understood; over HTTP/2 the
/// protocol's name has told that. 16 bytes in base64, the last two of which are padding.
fn upgrade(out: &mut Vec<u8>, parts: &Parts) {
    let protocol = parts.extensions.get::<h2::ext::Protocol>();
    let protocol = protocol.map_or("", h2::ext::Protocol::as_str);
    encode::field(out, b"connection", b"upgrade");
    // Of all values this is the one that the h2 crate does not look into. Whatever is no printable
    // text, a line end above all, becomes what the parser refuses.
    let is_text = protocol.bytes().all(|byte| byte.is_ascii_graphic());
    let named = if is_text { protocol.as_bytes() } else { b"\0" };
    encode::field(out, b"upgrade", named);
    if protocol.eq_ignore_ascii_case("websocket") {
        encode::field(out, b"sec-websocket-key", &websocket_key());
    }
}

fn websocket_key() -> [u8; 24] {
    let mut key = *b"AAAAAAAAAAAAAAAAAAAAAA==";
    for letter in &mut key[..21] {
        *letter = fastrand::alphanumeric() as u8;
    }
    key
}

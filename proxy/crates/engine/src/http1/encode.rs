//! Writing messages: what was understood, written anew, appended to a buffer that is reused.
//!
//! Rule: every call is total. What goes in was validated by the codec or is ours, so that no name
//! or value can hold a line end.

use crate::message::{Fields, Framing, RequestHead, ResponseHead, Version};

/// `GET /path HTTP/1.1`, always in our version (RFC 9110 section 2.5).
///
/// `target` is the head's, or what is asked for instead.
pub fn request_line(out: &mut Vec<u8>, head: &RequestHead, target: &[u8]) {
    out.extend_from_slice(head.method_bytes());
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// `HTTP/1.1 200 OK` with the reason as received.
pub fn status_line(out: &mut Vec<u8>, head: &ResponseHead) {
    let reason = match head.version {
        Version::Http2 => registered_reason(head.status), // It has none of its own.
        _ => head.reason(),
    };
    write_status(out, head.status, reason);
}

/// `HTTP/1.1 200 OK` with the registered reason.
pub fn status_line_of(out: &mut Vec<u8>, status: u16) {
    write_status(out, status, registered_reason(status));
}

fn write_status(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

/// One field.
#[expect(
    clippy::inline_always,
    reason = "a dozen times a request: names of ours are written as constants, not copied"
)]
#[inline(always)]
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The field that announces the body; none for [`Framing::None`] and [`Framing::UntilClose`].
///
/// After `UntilClose` the caller writes `Connection: close`.
pub fn framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length(bytes) => {
            field(
                out,
                b"Content-Length",
                itoa::Buffer::new().format(bytes).as_bytes(),
            );
        }
        Framing::Chunked => field(out, b"Transfer-Encoding", b"chunked"),
    }
}

/// The field that announces the body that a GET would have got: for responses to HEAD and for 304,
/// which say it although their framing is [`Framing::None`] (RFC 9110 section 8.6).
pub fn declared_length(out: &mut Vec<u8>, head: &ResponseHead) {
    let may_declare = !matches!(head.status, 100..=199 | 204);
    if let (true, Some(bytes)) = (may_declare, head.content_length) {
        framing(out, Framing::Length(bytes));
    }
}

/// The empty line after the fields.
pub fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// One chunk. Empty data writes nothing, since an empty chunk would end the body.
pub fn chunk(out: &mut Vec<u8>, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    out.reserve(data.len() + 20);
    chunk_size(out, data.len());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// The line before a chunk's data, for callers that send the data from where it is.
pub fn chunk_size(out: &mut Vec<u8>, data_bytes: usize) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - data_bytes.leading_zeros())
        .div_ceil(4)
        .max(1);
    for digit in (0..digits).rev() {
        out.push(HEX[data_bytes >> (4 * digit) & 0xf]);
    }
    out.extend_from_slice(b"\r\n");
}

/// The chunk that ends a body, and the trailers.
pub fn last_chunk(out: &mut Vec<u8>, trailers: Option<&Fields>) {
    out.extend_from_slice(b"0\r\n");
    for each in trailers.into_iter().flat_map(Fields::iter) {
        field(out, each.name, each.value);
    }
    out.extend_from_slice(b"\r\n");
}

/// RFC 9110 section 15, and the statuses of other registered documents that a proxy makes.
const fn registered_reason(status: u16) -> &'static [u8] {
    match status {
        100 => b"Continue",
        101 => b"Switching Protocols",
        200 => b"OK",
        204 => b"No Content",
        301 => b"Moved Permanently",
        302 => b"Found",
        304 => b"Not Modified",
        307 => b"Temporary Redirect",
        308 => b"Permanent Redirect",
        400 => b"Bad Request",
        403 => b"Forbidden",
        404 => b"Not Found",
        405 => b"Method Not Allowed",
        408 => b"Request Timeout",
        411 => b"Length Required",
        413 => b"Content Too Large",
        414 => b"URI Too Long",
        417 => b"Expectation Failed",
        421 => b"Misdirected Request",
        426 => b"Upgrade Required",
        429 => b"Too Many Requests",
        431 => b"Request Header Fields Too Large",
        500 => b"Internal Server Error",
        501 => b"Not Implemented",
        502 => b"Bad Gateway",
        503 => b"Service Unavailable",
        504 => b"Gateway Timeout",
        505 => b"HTTP Version Not Supported",
        _ => b"",
    }
}

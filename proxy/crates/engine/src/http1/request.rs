//! Request heads: from bytes to a validated [`RequestHead`].

use super::{Malformed, Parsed, authority, framing, head as lines, target};
use crate::limits::{METHOD_BYTES_MAX, REQUEST_HEAD_BYTES_MAX, REQUEST_LINE_BYTES_MAX};
use crate::message::{Method, Name, NameSet, Part, RequestHead, Version};

const LENGTHS: lines::Lengths = lines::Lengths {
    line_bytes_max: REQUEST_LINE_BYTES_MAX,
    head_bytes_max: REQUEST_HEAD_BYTES_MAX,
};

/// Reads one request head from the start of `bytes` into `head`, which is overwritten.
///
/// After [`Parsed::Incomplete`] call it again with the same bytes and more. Until it is complete
/// nothing of `head` is of use.
///
/// # Errors
/// [`Malformed`] names the rule; answer with its status and close.
///
/// # Panics
/// Never, for any bytes.
pub fn parse_request(bytes: &[u8], head: &mut RequestHead) -> Result<Parsed, Malformed> {
    let Some(start) = skip_empty_line(bytes)? else {
        return Ok(Parsed::Incomplete);
    };
    let message = &bytes[start..];
    if lines::is_still_incomplete(bytes, head.seen_bytes) {
        return LENGTHS.check_incomplete(message);
    }
    head.seen_bytes = 0;
    let mut slots = lines::field_slots();
    let mut tokens = httparse::Request::new(&mut []);
    match tokens.parse_with_uninit_headers(message, &mut slots) {
        Ok(httparse::Status::Complete(message_bytes)) => {
            fill(head, &message[..message_bytes], &tokens)?;
            Ok(Parsed::Complete {
                head_bytes: start + message_bytes,
            })
        }
        Ok(httparse::Status::Partial) => {
            head.seen_bytes = bytes.len();
            LENGTHS.check_incomplete(message)
        }
        Err(error) => {
            let parsed = refuse(message, error)?;
            head.seen_bytes = bytes.len();
            Ok(parsed)
        }
    }
}

/// Where the request line starts; `None` while that cannot be told.
///
/// RFC 9112 section 2.2: at least one empty line is to be ignored. Exactly one is, since more are
/// sent by nobody.
fn skip_empty_line(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    match bytes {
        [] | [b'\r'] | [b'\r', b'\n'] => Ok(None),
        [b'\r', b'\n', b'\r' | b'\n', ..] => Err(Malformed::LeadingBytes),
        [b'\r', b'\n', ..] => Ok(Some(2)),
        [b'\r' | b'\n', ..] => Err(Malformed::LeadingBytes),
        _ => Ok(Some(0)),
    }
}

fn fill(
    head: &mut RequestHead,
    bytes: &[u8],
    tokens: &httparse::Request<'_, '_>,
) -> Result<(), Malformed> {
    let (method, target) = start_line(bytes, tokens)?;
    lines::index_fields(&mut head.fields, bytes, tokens.headers, true)?;
    head.method = Method::of(method);
    head.method_name = Part::new(0, method.len());
    head.head_bytes = bytes.len();
    head.version = if tokens.version == Some(0) {
        Version::Http10
    } else {
        Version::Http11
    };
    let named = target::read(head, target, method.len() + 1)?;
    authority::read(head, named)?;
    head.framing = framing::declared(head.version, &head.fields)?;
    head.keep_alive = lines::keep_alive(head.version == Version::Http11, &head.fields);
    head.expects_continue = expects_continue(head)?;
    check_connection_options(head)?;
    // An endpoint would send back what only it is to know: what a policy sets, and who asks.
    if head.method == Method::Trace {
        return Err(Malformed::Trace);
    }
    Ok(())
}

/// Method and target, when the line and the head are not too long.
fn start_line<'b>(
    bytes: &[u8],
    tokens: &httparse::Request<'_, 'b>,
) -> Result<(&'b [u8], &'b [u8]), Malformed> {
    const VERSION_BYTES: usize = " HTTP/1.1\r\n".len();
    let method = tokens.method.unwrap_or_default().as_bytes();
    let target = tokens.path.unwrap_or_default().as_bytes();
    if method.len() + 1 + target.len() + VERSION_BYTES > REQUEST_LINE_BYTES_MAX {
        return Err(Malformed::RequestLineLength);
    }
    if bytes.len() > REQUEST_HEAD_BYTES_MAX {
        return Err(Malformed::HeadLength);
    }
    if method.len() > METHOD_BYTES_MAX {
        return Err(Malformed::MethodLength);
    }
    Ok((method, target))
}

/// RFC 9110 section 10.1.1. Anything but the one expectation is refused: servers disagree on what
/// `Expect: y 100-continue` means, and so on where the body starts. In HTTP/1.0 it means nothing,
/// whatever it says; the endpoint, which is asked in another version, must not see it.
fn expects_continue(head: &mut RequestHead) -> Result<bool, Malformed> {
    if head.version == Version::Http10 {
        head.fields.remove(Name::Expect);
    }
    let is_meant = head.fields.has(Name::Expect);
    let mut values = head.fields.get_all(Name::Expect);
    match (values.next(), values.next()) {
        _ if !is_meant => Ok(false),
        (Some(value), None) if value.eq_ignore_ascii_case(b"100-continue") => Ok(head.has_body()),
        _ => Err(Malformed::Expectation),
    }
}

/// RFC 9110 section 7.6.1: fields for every recipient are not named in `Connection`. Where they
/// are, somebody wants a proxy to remove what the backend relies on.
fn check_connection_options(head: &RequestHead) -> Result<(), Malformed> {
    const KEPT: NameSet = NameSet::of(&[Name::Host, Name::ContentLength, Name::TransferEncoding]);
    if head.fields.options().except(KEPT) != head.fields.options() {
        return Err(Malformed::ConnectionOption);
    }
    Ok(())
}

/// What an error that httparse found means. Off the hot path, so it may look again.
///
/// Only a whole line tells whether its version is another one or none at all.
#[cold]
fn refuse(bytes: &[u8], error: httparse::Error) -> Result<Parsed, Malformed> {
    let line = bytes
        .split(|&byte| byte == b'\n')
        .next()
        .unwrap_or_default();
    let is_whole = line.len() < bytes.len();
    let text = line.strip_suffix(b"\r").unwrap_or(line);
    let has_cr = text.len() < line.len();
    let mut words = text.split(|&byte| byte == b' ');
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    match (error, words.next()) {
        (httparse::Error::Version, Some(version)) if starts_version(version) => {
            match (is_whole, version.len() == VERSION_FORM.len()) {
                (false, _) => LENGTHS.check_incomplete(bytes),
                (true, true) => Err(Malformed::VersionUnsupported),
                (true, false) => Err(Malformed::Version),
            }
        }
        // HTTP/0.9 had no version: "GET /path".
        (httparse::Error::Token, None) if has_cr && is_simple_request(method, target) => {
            if is_whole {
                Err(Malformed::VersionUnsupported)
            } else {
                Ok(Parsed::Incomplete)
            }
        }
        _ => Err(lines::field_error(error)),
    }
}

fn is_simple_request(method: &[u8], target: &[u8]) -> bool {
    let is_token = !method.is_empty() && method.iter().all(u8::is_ascii_uppercase);
    is_token && target.starts_with(b"/") && target.iter().all(u8::is_ascii_graphic)
}

/// A version in general; `d` is a digit (RFC 9112 section 2.3).
const VERSION_FORM: &[u8] = b"HTTP/d.d";

/// Whether the word is a version or the beginning of one.
fn starts_version(word: &[u8]) -> bool {
    let mut pairs = word.iter().zip(VERSION_FORM);
    word.len() <= VERSION_FORM.len()
        && pairs.all(|(&byte, &form)| byte == form || (form == b'd' && byte.is_ascii_digit()))
}

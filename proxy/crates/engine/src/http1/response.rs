//! Response heads: from bytes to a validated [`ResponseHead`].

use super::{Malformed, Parsed, framing, head as lines};
use crate::limits::RESPONSE_HEAD_BYTES_MAX;
use crate::message::{Framing, Method, ResponseHead, Version};

const LENGTHS: lines::Lengths = lines::Lengths {
    line_bytes_max: RESPONSE_HEAD_BYTES_MAX,
    head_bytes_max: RESPONSE_HEAD_BYTES_MAX,
};

/// Reads one response head from the start of `bytes` into `head`, which is overwritten.
///
/// `request_method` is that of the request it answers: a response to HEAD has no body. A 1xx is a
/// head like others, after which the final one follows; 101 ends HTTP on the connection, which is
/// the caller's matter. Calls repeat as with [`super::parse_request`].
///
/// # Errors
/// [`Malformed`] names the rule; the upstream connection is closed, the client gets a 502.
///
/// # Panics
/// Never, for any bytes.
pub fn parse_response(
    bytes: &[u8],
    request_method: Method,
    head: &mut ResponseHead,
) -> Result<Parsed, Malformed> {
    if bytes.first().is_some_and(|&first| first != b'H') {
        return Err(Malformed::LeadingBytes);
    }
    if lines::is_still_incomplete(bytes, head.seen_bytes) {
        return LENGTHS.check_incomplete(bytes);
    }
    head.seen_bytes = 0;
    let mut slots = lines::field_slots();
    let mut tokens = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut tokens, bytes, &mut slots) {
        Ok(httparse::Status::Complete(head_bytes)) => {
            fill(head, &bytes[..head_bytes], &tokens)?;
            apply_status(head, request_method)?;
            Ok(Parsed::Complete { head_bytes })
        }
        Ok(httparse::Status::Partial) => {
            head.seen_bytes = bytes.len();
            LENGTHS.check_incomplete(bytes)
        }
        Err(error) => Err(lines::field_error(error)),
    }
}

fn fill(
    head: &mut ResponseHead,
    bytes: &[u8],
    tokens: &httparse::Response<'_, '_>,
) -> Result<(), Malformed> {
    if bytes.len() > RESPONSE_HEAD_BYTES_MAX {
        return Err(Malformed::HeadLength);
    }
    head.status = tokens.code.unwrap_or_default();
    if !(100..=999).contains(&head.status) {
        return Err(Malformed::StatusCode);
    }
    lines::index_fields(&mut head.fields, bytes, tokens.headers, false)?;
    let reason = tokens.reason.unwrap_or_default().as_bytes();
    // httparse says "" from elsewhere where the phrase has bytes above 127.
    head.reason = if reason.is_empty() {
        <_>::default()
    } else {
        lines::part(bytes, reason)
    };
    head.version = if tokens.version == Some(0) {
        Version::Http10
    } else {
        Version::Http11
    };
    head.keep_alive = lines::keep_alive(head.version == Version::Http11, &head.fields);
    Ok(())
}

/// What the status and the request's method make of the declared framing, in the order of RFC 9112
/// section 6.3.
fn apply_status(head: &mut ResponseHead, request_method: Method) -> Result<(), Malformed> {
    let declared = framing::declared(head.version, &head.fields)?;
    head.content_length = match declared {
        Framing::Length(bytes) => Some(bytes),
        _ => None,
    };
    let is_bodiless = matches!(head.status, 100..=199 | 204);
    head.framing = match declared {
        _ if is_bodiless || head.status == 304 || request_method == Method::Head => Framing::None,
        Framing::None => Framing::UntilClose,
        said => said,
    };
    // RFC 9110 section 8.6 and RFC 9112 section 6.1: these have no framing fields. Whether a body
    // follows nevertheless is not known, so the connection is not used again.
    let is_doubtful = is_bodiless && !matches!(declared, Framing::None | Framing::Length(0));
    if is_doubtful || head.framing == Framing::UntilClose {
        head.keep_alive = false;
    }
    Ok(())
}

//! What `Content-Length` and `Transfer-Encoding` say about a body (RFC 9112 section 6).
//!
//! Rule: two recipients that read these fields differently are how requests are smuggled. So there
//! is one spelling of each, once; RFC 9112 section 6.3 would let a recipient repair some others.

use super::Malformed;
use crate::message::{Fields, Framing, Name, Version, is_token, members};

/// The framing that the fields declare; [`Framing::None`] where they are silent.
pub(super) fn declared(version: Version, fields: &Fields) -> Result<Framing, Malformed> {
    match (
        fields.has(Name::ContentLength),
        fields.has(Name::TransferEncoding),
    ) {
        (false, false) => Ok(Framing::None),
        (true, true) => Err(Malformed::LengthAndCoding),
        (true, false) => content_length(fields).map(Framing::Length),
        (false, true) => check_codings(version, fields).map(|()| Framing::Chunked),
    }
}

/// Digits only: no sign, no list (even of equal numbers), no overflow.
fn content_length(fields: &Fields) -> Result<u64, Malformed> {
    // So that a sum of two lengths cannot overflow; nginx has the same bound.
    const LENGTH_MAX: u64 = i64::MAX as u64;
    let mut values = fields.get_all(Name::ContentLength);
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Malformed::ContentLengthRepeated);
    };
    if value.is_empty() {
        return Err(Malformed::ContentLengthInvalid);
    }
    value
        .iter()
        .try_fold(0_u64, |length, &byte| {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
            length.checked_mul(10)?.checked_add(digit)
        })
        .filter(|&length| length <= LENGTH_MAX)
        .ok_or(Malformed::ContentLengthInvalid)
}

/// `chunked` once, in any case of letters, is the one coding; the rest says how it is refused.
fn check_codings(version: Version, fields: &Fields) -> Result<(), Malformed> {
    // RFC 9112 section 6.1: "MUST treat the message as if the framing is faulty".
    if version == Version::Http10 {
        return Err(Malformed::CodingInHttp10);
    }
    let mut values = fields.get_all(Name::TransferEncoding);
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Malformed::CodingInvalid);
    };
    if is_chunked(value) {
        Ok(())
    } else {
        Err(coding_error(value))
    }
}

fn is_chunked(coding: &[u8]) -> bool {
    coding.eq_ignore_ascii_case(b"chunked")
}

/// 501 is for a list of codings that is well-formed, of which we do not know some (RFC 9112 section
/// 6.1); 400 where the end of the body could not be found even if we did (section 6.3).
fn coding_error(value: &[u8]) -> Malformed {
    let chunked_count = members(value).filter(|coding| is_chunked(coding)).count();
    let is_last = members(value).last().is_some_and(is_chunked);
    let is_well_formed = value
        .split(|&byte| byte == b',')
        .all(|coding| is_token(coding.trim_ascii()));
    let is_ordered = chunked_count == 0 || (chunked_count == 1 && is_last);
    if is_well_formed && is_ordered {
        Malformed::CodingUnknown
    } else {
        Malformed::CodingInvalid
    }
}

//! What heads of requests and responses have in common: lines, fields, lengths.
//!
//! Rule: httparse has accepted the bytes first. It takes a bare LF for a line end, skips any number
//! of empty lines, and knows no lengths; those are the checks here.

use super::{Malformed, Parsed};
use crate::limits::{CONNECTION_OPTIONS_MAX, HEAD_FIELDS_MAX};
use crate::message::{Fields, Name, NameSet, Part};
use std::mem::MaybeUninit;

/// Room for the fields of one head, on the stack and not initialised.
pub(super) type FieldSlots<'b> = [MaybeUninit<httparse::Header<'b>>; HEAD_FIELDS_MAX];

pub(super) const fn field_slots<'b>() -> FieldSlots<'b> {
    [const { MaybeUninit::uninit() }; HEAD_FIELDS_MAX]
}

/// How long a head and its first line may be.
pub(super) struct Lengths {
    pub(super) line_bytes_max: usize,
    pub(super) head_bytes_max: usize,
}

impl Lengths {
    /// Judges a buffer without a whole head.
    ///
    /// # Errors
    /// 414 when the first line is too long already, 431 when the head is.
    pub(super) fn check_incomplete(&self, bytes: &[u8]) -> Result<Parsed, Malformed> {
        let line = bytes.get(..self.line_bytes_max);
        if line.is_some_and(|line| memchr::memchr(b'\n', line).is_none()) {
            return Err(Malformed::RequestLineLength);
        }
        if bytes.len() > self.head_bytes_max {
            return Err(Malformed::HeadLength);
        }
        Ok(Parsed::Incomplete)
    }
}

/// Whether a buffer that was incomplete when it had `seen_bytes` still is.
///
/// It is when the new bytes end no line, so that a client that sends byte by byte makes us parse
/// once per line and not once per byte. That the buffer has no empty line at all is looked at too:
/// the answer is then right even if it is not the same buffer.
pub(super) fn is_still_incomplete(bytes: &[u8], seen_bytes: usize) -> bool {
    let unseen = if seen_bytes == 0 {
        None
    } else {
        bytes.get(seen_bytes..)
    };
    unseen.is_some_and(|unseen| memchr::memchr(b'\n', unseen).is_none())
        && memchr::memmem::find(bytes, b"\n\r\n").is_none()
        && memchr::memmem::find(bytes, b"\n\n").is_none()
}

/// Copies a head into `fields` and indexes its fields.
///
/// Fields that imitate a known one (`X_Real_IP`) are dropped where `drops_imitations`: a CGI-like
/// backend could not tell them from the ones that the proxy sets. nginx drops every name with `_`.
///
/// # Errors
/// [`Malformed::LineEnd`] where a line ends with a bare LF, [`Malformed::FieldCount`] where `Connection`
/// names too many fields.
pub(super) fn index_fields(
    fields: &mut Fields,
    head: &[u8],
    found: &[httparse::Header<'_>],
    drops_imitations: bool,
) -> Result<(), Malformed> {
    fields.copy_head(head);
    for field in found {
        let name = part(head, field.name.as_bytes());
        let (id, is_imitation) = Name::read(field.name.as_bytes());
        // The line before this one ends right before this name.
        if !ends_with_cr_lf(head, name.start()) {
            return Err(Malformed::LineEnd);
        }
        if !(is_imitation && drops_imitations) {
            fields.index(id, name, part(head, field.value));
        }
    }
    let may_be_too_many = fields.options().except(NameSet::OPTIONS) != NameSet::EMPTY;
    if may_be_too_many
        && fields
            .connection_options()
            .nth(CONNECTION_OPTIONS_MAX)
            .is_some()
    {
        return Err(Malformed::FieldCount);
    }
    // The last line and the empty line.
    if head.ends_with(b"\r\n\r\n") {
        Ok(())
    } else {
        Err(Malformed::LineEnd)
    }
}

fn ends_with_cr_lf(head: &[u8], line_end: usize) -> bool {
    head.get(..line_end)
        .is_some_and(|line| line.ends_with(b"\r\n"))
}

/// Where a slice of `head` lies in it.
pub(super) fn part(head: &[u8], slice: &[u8]) -> Part {
    let start = slice.as_ptr().addr().wrapping_sub(head.as_ptr().addr());
    Part::new(start, start + slice.len())
}

/// Whether the connection may be used again, by version and `Connection` (RFC 9112 section 9.3).
pub(super) fn keep_alive(is_http11: bool, fields: &Fields) -> bool {
    if !fields.has(Name::Connection) {
        return is_http11;
    }
    let is_asked_for = is_http11 || fields.has_option(Name::KeepAlive);
    is_asked_for && !fields.has_option(Name::Close)
}

/// The rule that httparse found broken, for errors that are not of a start line.
pub(super) fn field_error(error: httparse::Error) -> Malformed {
    match error {
        httparse::Error::HeaderName => Malformed::FieldName,
        httparse::Error::HeaderValue => Malformed::FieldValue,
        httparse::Error::TooManyHeaders => Malformed::FieldCount,
        httparse::Error::NewLine => Malformed::LineEnd,
        httparse::Error::Version => Malformed::Version,
        httparse::Error::Status => Malformed::StatusLine,
        httparse::Error::Token => Malformed::RequestLine,
    }
}

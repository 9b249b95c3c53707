//! W3C Trace Context, level 2: `traceparent` and `tracestate`.
//!
//! Source: <https://www.w3.org/TR/trace-context-2/>.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{Context, Propagator, RemoteParent};
use crate::headers::FieldSink;
use crate::limits::{TRACESTATE_BYTES_MAX, TRACESTATE_MEMBERS_MAX, TRACESTATE_VALUE_BYTES_MAX};
use crate::message::{Fields, Name, NameSet};
use crate::trace::id::{SpanId, TraceId, write_hex};

pub(super) const NAMES: NameSet = NameSet::of(&[Name::Traceparent, Name::Tracestate]);

/// The one trace flag of level 1: whoever sent this recorded its span.
pub const FLAG_SAMPLED: u8 = 0x01;
/// The flag of level 2: the last seven bytes of the trace id are random.
pub const FLAG_RANDOM: u8 = 0x02;

/// `traceparent` of version 00: `00-` 32 hex `-` 16 hex `-` 2 hex.
pub const TRACEPARENT_BYTES: usize = 55;

/// What a `traceparent` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traceparent {
    /// The trace to continue.
    pub trace_id: TraceId,
    /// The span that the client is in.
    pub span_id: SpanId,
    /// Only bits that are defined: [`FLAG_SAMPLED`] and [`FLAG_RANDOM`].
    pub flags: u8,
}

impl From<Traceparent> for RemoteParent {
    fn from(said: Traceparent) -> Self {
        Self {
            sampled: Some(said.flags & FLAG_SAMPLED != 0),
            is_random: said.flags & FLAG_RANDOM != 0,
            ..Self::new(Propagator::Tracecontext, said.trace_id, Some(said.span_id))
        }
    }
}

/// Why a `traceparent` was not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TraceparentError {
    /// Too short, or not as long as its version is.
    #[error("its length is wrong")]
    Length,
    /// Not two lower-case hex digits, or ff.
    #[error("its version is not two lower-case hex digits below ff")]
    Version,
    /// A dash is missing where one belongs.
    #[error("its fields are not separated by dashes")]
    Separator,
    /// Not 32 lower-case hex digits, or all zero.
    #[error("its trace id is not 32 lower-case hex digits or is zero")]
    TraceId,
    /// Not 16 lower-case hex digits, or all zero.
    #[error("its parent id is not 16 lower-case hex digits or is zero")]
    SpanId,
    /// Not two lower-case hex digits.
    #[error("its flags are not two lower-case hex digits")]
    Flags,
}

/// Reads a `traceparent` value: version 00 exactly, higher versions by their first four fields.
///
/// # Errors
/// [`TraceparentError`] names the field. Never panics, for any bytes.
///
/// Source: W3C Trace Context, "traceparent Header" and "Versioning of traceparent".
pub fn parse_traceparent(value: &[u8]) -> Result<Traceparent, TraceparentError> {
    let (fields, rest) = value
        .split_first_chunk::<TRACEPARENT_BYTES>()
        .ok_or(TraceparentError::Length)?;
    let [version] = hex(&fields[0..2]).ok_or(TraceparentError::Version)?;
    match (version, rest) {
        (0xff, _) => return Err(TraceparentError::Version),
        (0, [_, ..]) => return Err(TraceparentError::Length),
        (_, [] | [b'-', ..]) => {}
        (_, _) => return Err(TraceparentError::Separator),
    }
    if [fields[2], fields[35], fields[52]] != *b"---" {
        return Err(TraceparentError::Separator);
    }
    let trace_id = hex(&fields[3..35]).and_then(TraceId::from_bytes);
    let span_id = hex(&fields[36..52]).and_then(SpanId::from_bytes);
    let [flags] = hex(&fields[53..55]).ok_or(TraceparentError::Flags)?;
    // A higher version may give the other bits another meaning.
    let flags_known = if version == 0 {
        FLAG_SAMPLED | FLAG_RANDOM
    } else {
        FLAG_SAMPLED
    };
    Ok(Traceparent {
        trace_id: trace_id.ok_or(TraceparentError::TraceId)?,
        span_id: span_id.ok_or(TraceparentError::SpanId)?,
        flags: flags & flags_known,
    })
}

/// Reads the `traceparent` of a request, which must be the only one.
pub(super) fn read(fields: &Fields) -> Option<RemoteParent> {
    let value = super::only(fields, Name::Traceparent)?;
    parse_traceparent(value).ok().map(RemoteParent::from)
}

/// The `traceparent` value of version 00.
#[must_use]
pub fn traceparent(trace_id: TraceId, span_id: SpanId, flags: u8) -> [u8; TRACEPARENT_BYTES] {
    let mut value = *b"00-00000000000000000000000000000000-0000000000000000-00";
    write_hex(trace_id.as_bytes(), &mut value[3..35]);
    write_hex(span_id.as_bytes(), &mut value[36..52]);
    write_hex(&[flags], &mut value[53..55]);
    value
}

#[inline]
pub(super) fn write(out: &mut impl FieldSink, context: &Context<'_>) {
    let value = traceparent(context.trace_id, context.span_id, context.flags);
    out.field(b"traceparent", &value);
    if !context.tracestate.is_empty() {
        out.field(b"tracestate", context.tracestate);
    }
}

/// Combines the `tracestate` fields of a request that has a valid `traceparent`.
///
/// Returns nothing where there is none, or where it is invalid or longer than is passed on: half a
/// list would tell a lie about who took part. One field, the usual case, is borrowed as it is.
///
/// Source: W3C Trace Context, "tracestate Header". Several entries of one key are refused, since
/// the specification allows one.
#[must_use]
pub fn tracestate<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> Option<Cow<'a, [u8]>> {
    let mut fields = fields.into_iter();
    let mut combined = Cow::Borrowed(fields.next()?);
    for field in fields {
        if combined.len() + field.len() + 1 > TRACESTATE_BYTES_MAX {
            return None;
        }
        let owned = combined.to_mut();
        owned.push(b',');
        owned.extend_from_slice(field);
    }
    is_tracestate(&combined).then_some(combined)
}

/// The members of a list; empty ones are allowed, so that lists can be joined with a comma.
pub(in crate::trace) fn tracestate_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let members = value.split(|byte| *byte == b',').map(trim_ows);
    members.filter(|member| !member.is_empty())
}

fn is_tracestate(value: &[u8]) -> bool {
    if value.len() > TRACESTATE_BYTES_MAX {
        return false;
    }
    let mut keys: SmallVec<[&[u8]; TRACESTATE_MEMBERS_MAX]> = SmallVec::new();
    for member in tracestate_members(value) {
        let Some(equals) = memchr::memchr(b'=', member) else {
            return false;
        };
        let (key, value) = (&member[..equals], &member[equals + 1..]);
        if !is_tracestate_key(key) || !is_tracestate_value(value) || keys.contains(&key) {
            return false;
        }
        if keys.len() == TRACESTATE_MEMBERS_MAX {
            return false;
        }
        keys.push(key);
    }
    !keys.is_empty()
}

/// Level 2: a lower-case letter or digit, then 0 to 255 of these, `_`, `-`, `*`, `/`, `@`.
fn is_tracestate_key(key: &[u8]) -> bool {
    let is_start = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    key.len() <= 256
        && key.first().is_some_and(is_start)
        && key
            .iter()
            .all(|byte| is_start(byte) || b"_-*/@".contains(byte))
}

/// 1 to 256 printable characters but `,` and `=`; the last is no space, which trimming has seen to.
fn is_tracestate_value(value: &[u8]) -> bool {
    let is_allowed = |byte: &u8| matches!(byte, 0x20..=0x7e) && !b",=".contains(byte);
    (1..=TRACESTATE_VALUE_BYTES_MAX).contains(&value.len()) && value.iter().all(is_allowed)
}

/// Lower-case hex digits, two per byte of the result.
pub(in crate::trace) fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn trim_ows(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

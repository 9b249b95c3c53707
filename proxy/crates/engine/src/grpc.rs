//! What a proxy has to know of gRPC: its requests, their deadlines, and how they are told of errors.
//!
//! Source: grpc/grpc, doc/PROTOCOL-HTTP2.md; doc/http-grpc-status-mapping.md.

use std::time::Duration;

use crate::headers::{FieldSink, Refusal};
use crate::message::{Fields, Name, RequestHead, Version};
use crate::trace::Flag;

/// Whether the client waits for a gRPC status: an HTTP status would tell it little.
#[must_use]
pub fn is_grpc(request: &RequestHead) -> bool {
    let kind = request.fields.get(Name::ContentType).unwrap_or_default();
    let rest = kind.strip_prefix(b"application/grpc");
    request.version == Version::Http2
        && matches!(rest.and_then(|rest| rest.first()), None | Some(b'+' | b';'))
        && rest.is_some()
}

/// How long the client will wait: the value of `grpc-timeout`, at most eight digits and a unit.
#[must_use]
pub fn timeout(request: &RequestHead) -> Option<Duration> {
    let value = request.fields.get(Name::GrpcTimeout)?;
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits
        .iter()
        .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(number * 3600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// Writes the fields of a response that has nothing but a status ("Trailers-Only").
pub fn refusal_fields(out: &mut impl FieldSink, refusal: &Refusal<'_>) {
    out.field(b"content-type", b"application/grpc");
    let mut digits = itoa::Buffer::new();
    let status = digits.format(status_of(refusal.status));
    out.field(b"grpc-status", status.as_bytes());
    // Printable ASCII as our flags and sentences are goes as it is; the rest would be
    // percent-encoded.
    let flag = refusal.flag.map_or("", Flag::as_str);
    let message = [flag, refusal.sentence].join(if flag.is_empty() { "" } else { ": " });
    out.field(b"grpc-message", message.as_bytes());
    if let Some(trace_id) = refusal.trace_id {
        out.field(b"trace-id", trace_id);
    }
    for field in refusal.disclosed.into_iter().flat_map(Fields::iter) {
        out.field(field.name, field.value);
    }
}

/// The gRPC status for one of HTTP.
const fn status_of(http_status: u16) -> u8 {
    const DEADLINE_EXCEEDED: u8 = 4;
    const PERMISSION_DENIED: u8 = 7;
    const RESOURCE_EXHAUSTED: u8 = 8;
    const UNIMPLEMENTED: u8 = 12;
    const INTERNAL: u8 = 13;
    const UNAVAILABLE: u8 = 14;
    const UNAUTHENTICATED: u8 = 16;
    const UNKNOWN: u8 = 2;
    match http_status {
        400 | 431 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        413 => RESOURCE_EXHAUSTED,
        429 | 502 | 503 => UNAVAILABLE,
        408 | 504 => DEADLINE_EXCEEDED,
        _ => UNKNOWN,
    }
}

//! What a proxy has to know of gRPC: its requests, their deadlines, how they end, and how they are
//! told of errors.
//!
//! Source: grpc/grpc, doc/PROTOCOL-HTTP2.md; doc/http-grpc-status-mapping.md; doc/statuscodes.md.

use std::time::Duration;

use crate::headers::{FieldSink, Refusal};
use crate::message::{Fields, Name, RequestHead, Version};
use crate::trace::Flag;

/// Whether the client waits for a gRPC status: an HTTP status would tell it little.
#[must_use]
pub fn is_grpc(request: &RequestHead) -> bool {
    if request.version != Version::Http2 {
        return false;
    }
    let kind = request.fields.get(Name::ContentType).unwrap_or_default();
    let rest = kind.strip_prefix(b"application/grpc");
    matches!(rest.and_then(|rest| rest.first()), None | Some(b'+' | b';')) && rest.is_some()
}

/// How a call ended: one of the 17 statuses of gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(u8);

/// By their numbers.
const STATUS_NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Status {
    /// It went well.
    pub const OK: Self = Self(0);
    const UNKNOWN: Self = Self(2);
    const DEADLINE_EXCEEDED: Self = Self(4);
    const PERMISSION_DENIED: Self = Self(7);
    const RESOURCE_EXHAUSTED: Self = Self(8);
    /// Who was asked does not know the method.
    pub const UNIMPLEMENTED: Self = Self(12);
    const INTERNAL: Self = Self(13);
    const UNAVAILABLE: Self = Self(14);
    const DATA_LOSS: Self = Self(15);
    const UNAUTHENTICATED: Self = Self(16);

    /// The value of a `grpc-status` field; what is no status is `UNKNOWN`, as clients take it.
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        let number = std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse::<u8>().ok());
        let known = number.filter(|number| usize::from(*number) < STATUS_NAMES.len());
        known.map_or(Self::UNKNOWN, Self)
    }

    /// What the client of a call is told whose HTTP status would be this one.
    #[must_use]
    pub const fn for_http(status: u16) -> Self {
        match status {
            400 | 431 => Self::INTERNAL,
            401 => Self::UNAUTHENTICATED,
            403 => Self::PERMISSION_DENIED,
            404 => Self::UNIMPLEMENTED,
            413 => Self::RESOURCE_EXHAUSTED,
            429 | 502 | 503 => Self::UNAVAILABLE,
            408 | 504 => Self::DEADLINE_EXCEEDED,
            _ => Self::UNKNOWN,
        }
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        STATUS_NAMES[usize::from(self.0)]
    }

    /// Whether it is the server's fault; to a client everything but `OK` is an error.
    ///
    /// Source: OpenTelemetry, semantic conventions for gRPC, server spans.
    #[must_use]
    pub fn is_server_error(self) -> bool {
        matches!(
            self,
            Self::UNKNOWN
                | Self::DEADLINE_EXCEEDED
                | Self::UNIMPLEMENTED
                | Self::INTERNAL
                | Self::UNAVAILABLE
                | Self::DATA_LOSS
        )
    }
}

/// How a call ended by its response: in the trailers, or in the head of one that has nothing else.
#[must_use]
pub fn ended(head: &Fields, trailers: Option<&Fields>) -> Option<Status> {
    let said = trailers.and_then(|trailers| trailers.get(Name::GrpcStatus));
    said.or_else(|| head.get(Name::GrpcStatus))
        .map(Status::parse)
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
    let status = digits.format(Status::for_http(refusal.status).0);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_a_status_has_its_name_and_the_rest_is_unknown() {
        let name = |value: &[u8]| Status::parse(value).as_str();
        assert_eq!((name(b"0"), name(b"16")), ("OK", "UNAUTHENTICATED"));
        for value in [&b"17"[..], b"-1", b"256", b"", b"OK", b"\xff"] {
            assert_eq!(name(value), "UNKNOWN");
        }
    }

    #[test]
    fn six_statuses_are_the_servers_fault() {
        let names = (0..17)
            .map(Status)
            .filter(|status| status.is_server_error());
        let names: Vec<_> = names.map(Status::as_str).collect();
        assert_eq!(
            names,
            [
                "UNKNOWN",
                "DEADLINE_EXCEEDED",
                "UNIMPLEMENTED",
                "INTERNAL",
                "UNAVAILABLE",
                "DATA_LOSS"
            ]
        );
    }
}

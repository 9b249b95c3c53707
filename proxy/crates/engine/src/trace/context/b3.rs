//! B3, the format of Zipkin, in both encodings: one field `b3`, or several `X-B3-*`.
//!
//! Where both are there, the single one counts. A decision may come without ids. What we write
//! leaves out the parent's id, which is optional, and writes 16 digits for a trace id of 64 bits.
//!
//! Source: <https://github.com/openzipkin/b3-propagation>.

use super::hex::{self, ShortestId};
use super::{Context, Propagator, RemoteParent, only};
use crate::headers::{FieldSink, Value};
use crate::message::{Fields, Name, NameSet};
use crate::trace::{SpanId, TraceId};

pub(super) const NAMES: NameSet = NameSet::of(&[
    Name::B3,
    Name::XB3TraceId,
    Name::XB3SpanId,
    Name::XB3ParentSpanId,
    Name::XB3Sampled,
    Name::XB3Flags,
]);

/// Reads either encoding.
pub(super) fn read(fields: &Fields) -> Option<RemoteParent> {
    read_single(fields).or_else(|| read_multi(fields))
}

fn read_single(fields: &Fields) -> Option<RemoteParent> {
    let mut parts = only(fields, Name::B3)?.split(|&byte| byte == b'-');
    let (first, span) = (parts.next()?, parts.next());
    let Some(span) = span else {
        return State::read(first)?.alone(Propagator::B3);
    };
    let state = match parts.next() {
        None => State::Deferred,
        Some(state) => State::read(state)?,
    };
    let parent = parts.next();
    let is_whole = parts.next().is_none() && parent.is_none_or(|id| is_id(id, &[16]));
    let ids = ids(first, span).filter(|_| is_whole)?;
    Some(state.of(RemoteParent::new(Propagator::B3, ids.0, Some(ids.1))))
}

fn read_multi(fields: &Fields) -> Option<RemoteParent> {
    let flags = only(fields, Name::XB3Flags);
    let sampled = only(fields, Name::XB3Sampled);
    let state = match (flags, sampled) {
        (Some(b"1"), _) => State::Debug,
        // Tracers that are older than the specification send these.
        (_, Some(b"1" | b"true")) => State::Accept,
        (_, Some(b"0" | b"false")) => State::Deny,
        _ => State::Deferred,
    };
    let (trace, span) = (Name::XB3TraceId, Name::XB3SpanId);
    if !fields.has(trace) && !fields.has(span) {
        return state.alone(Propagator::B3multi);
    }
    let ids = ids(only(fields, trace)?, only(fields, span)?)?;
    Some(state.of(RemoteParent::new(Propagator::B3multi, ids.0, Some(ids.1))))
}

fn ids(trace: &[u8], span: &[u8]) -> Option<(TraceId, SpanId)> {
    let is_right = is_id(trace, &[16, 32]) && is_id(span, &[16]);
    hex::trace_id(trace)
        .zip(hex::span_id(span))
        .filter(|_| is_right)
}

fn is_id(digits: &[u8], lengths: &[usize]) -> bool {
    hex::has_length(digits, lengths) && digits.iter().all(u8::is_ascii_hexdigit)
}

/// The specification's "sampling state".
#[derive(Clone, Copy)]
enum State {
    Deferred,
    Deny,
    Accept,
    Debug,
}

impl State {
    fn read(text: &[u8]) -> Option<Self> {
        match text {
            b"0" => Some(Self::Deny),
            b"1" => Some(Self::Accept),
            b"d" => Some(Self::Debug),
            _ => None,
        }
    }

    fn of(self, parent: RemoteParent) -> RemoteParent {
        RemoteParent {
            sampled: match self {
                Self::Deferred => None,
                Self::Deny => Some(false),
                Self::Accept | Self::Debug => Some(true),
            },
            is_debug: matches!(self, Self::Debug),
            ..parent
        }
    }

    /// The state without ids; a deferred one says nothing.
    fn alone(self, propagator: Propagator) -> Option<RemoteParent> {
        let nothing = RemoteParent {
            propagator,
            trace_id: None,
            span_id: None,
            sampled: None,
            is_debug: false,
            is_random: false,
        };
        Some(self.of(nothing)).filter(|parent| parent.sampled.is_some())
    }
}

pub(super) fn write_single(out: &mut impl FieldSink, context: &Context<'_>) {
    let mut value = Value::from_slice(ShortestId::of(context.trace_id).as_bytes());
    value.push(b'-');
    value.extend_from_slice(&context.span_id.to_hex());
    value.extend_from_slice(match (context.is_debugged(), context.is_sampled()) {
        (true, _) => b"-d",
        (_, true) => b"-1",
        (_, false) => b"-0",
    });
    out.field(b"b3", &value);
}

pub(super) fn write_multi(out: &mut impl FieldSink, context: &Context<'_>) {
    out.field(b"x-b3-traceid", ShortestId::of(context.trace_id).as_bytes());
    out.field(b"x-b3-spanid", &context.span_id.to_hex());
    match (context.is_debugged(), context.is_sampled()) {
        // "Debug implies an accept decision, so don't also send the X-B3-Sampled header."
        (true, _) => out.field(b"x-b3-flags", b"1"),
        (_, true) => out.field(b"x-b3-sampled", b"1"),
        (_, false) => out.field(b"x-b3-sampled", b"0"),
    }
}

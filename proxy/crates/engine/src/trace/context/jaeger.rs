//! Jaeger's own format: `uber-trace-id: {trace}:{span}:{parent}:{flags}`, in hex.
//!
//! Ids may lack leading zeros, and colons may be written as `%3A`. The parent is ignored, as the
//! format asks, and written as 0. `uberctx-*` is the application's baggage and none of our business.
//!
//! Source: <https://www.jaegertracing.io/docs/1.76/client-libraries/#propagation-format>.

use smallvec::SmallVec;

use super::hex::{self, ShortestId};
use super::{Context, Propagator, RemoteParent, only};
use crate::headers::{FieldSink, Value};
use crate::message::{Fields, Name, NameSet};

pub(super) const NAMES: NameSet = NameSet::of(&[Name::UberTraceId]);

const FLAG_SAMPLED: u128 = 0x01;
const FLAG_DEBUG: u128 = 0x02;

pub(super) fn read(fields: &Fields) -> Option<RemoteParent> {
    let [trace, span, _parent, flags] = parts(only(fields, Name::UberTraceId)?)?;
    let (trace_id, span_id) = (hex::trace_id(trace)?, hex::span_id(span)?);
    let flags = hex::number(flags, 2)?;
    let is_debug = flags & FLAG_DEBUG != 0;
    Some(RemoteParent {
        sampled: Some(is_debug || flags & FLAG_SAMPLED != 0),
        is_debug,
        ..RemoteParent::new(Propagator::Jaeger, trace_id, Some(span_id))
    })
}

/// The four parts; none if there are more or fewer.
fn parts(mut value: &[u8]) -> Option<[&[u8]; 4]> {
    let mut parts = SmallVec::<[&[u8]; 4]>::new();
    while let Some(at) = memchr::memchr2(b':', b'%', value) {
        let colon = match &value[at..] {
            [b':', ..] => 1,
            [b'%', b'3', b'a' | b'A', ..] => 3,
            _ => return None,
        };
        if parts.len() == 3 {
            return None;
        }
        parts.push(&value[..at]);
        value = &value[at + colon..];
    }
    parts.push(value);
    parts.into_inner().ok()
}

pub(super) fn write(out: &mut impl FieldSink, context: &Context<'_>) {
    let mut value = Value::from_slice(ShortestId::of(context.trace_id).as_bytes());
    value.push(b':');
    value.extend_from_slice(&context.span_id.to_hex());
    value.extend_from_slice(match (context.is_debugged(), context.is_sampled()) {
        (true, _) => b":0:3",
        (_, true) => b":0:1",
        (_, false) => b":0:0",
    });
    out.field(b"uber-trace-id", &value);
}

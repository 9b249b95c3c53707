//! The basic format of `OpenTracing`, `ot-tracer-*`: ids of 64 bits in hex. `ot-baggage-*` is the
//! application's and none of our business.
//!
//! Of a trace id of 128 bits the lower half is written, as OpenTelemetry does; more does not fit.
//!
//! Source: <https://opentelemetry.io/docs/specs/otel/context/api-propagators/>, "OT Trace";
//! <https://github.com/opentracing/basictracer-go>.

use super::hex;
use super::{Context, Propagator, RemoteParent, only};
use crate::headers::FieldSink;
use crate::message::{Fields, Name, NameSet};

pub(super) const NAMES: NameSet = NameSet::of(&[
    Name::OtTracerTraceId,
    Name::OtTracerSpanId,
    Name::OtTracerSampled,
]);

pub(super) fn read(fields: &Fields) -> Option<RemoteParent> {
    let trace_id = hex::trace_id(only(fields, Name::OtTracerTraceId)?)?;
    let span_id = hex::span_id(only(fields, Name::OtTracerSpanId)?)?;
    let sampled = match only(fields, Name::OtTracerSampled) {
        Some(b"true" | b"1") => Some(true),
        Some(b"false" | b"0") => Some(false),
        _ => None,
    };
    Some(RemoteParent {
        sampled,
        ..RemoteParent::new(Propagator::Ottrace, trace_id, Some(span_id))
    })
}

pub(super) fn write(out: &mut impl FieldSink, context: &Context<'_>) {
    let (_, lower) = hex::halves(context.trace_id);
    if lower == 0 {
        return; // A client's id; its lower half is no id.
    }
    let sampled: &[u8] = if context.is_sampled() {
        b"true"
    } else {
        b"false"
    };
    out.field(b"ot-tracer-traceid", &hex::of_u64(lower));
    out.field(b"ot-tracer-spanid", &context.span_id.to_hex());
    out.field(b"ot-tracer-sampled", sampled);
}

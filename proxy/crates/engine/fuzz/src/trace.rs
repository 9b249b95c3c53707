//! Trace context in every format, and baggage.

use super::lines;
use spanway_engine::FieldSink;
use spanway_engine::limits::{BAGGAGE_BYTES_MAX, TRACESTATE_BYTES_MAX, TRACESTATE_MEMBERS_MAX};
use spanway_engine::message::Fields;
use spanway_engine::trace::context::{
    Context, Inject, Propagator, extract, is_baggage_kept, parse_traceparent, traceparent,
    tracestate,
};
use spanway_engine::trace::{SpanId, TraceId};

/// What a format reads is what it reads again from what would be written to go on with it; and no
/// value that is written can end its line.
///
/// The bytes are lines: `name: value` each, as a head has them.
pub fn propagators(bytes: &[u8]) {
    let mut fields = Fields::default();
    for line in bytes.split(|&byte| byte == b'\n') {
        if let Some(colon) = line.iter().position(|&byte| byte == b':') {
            let legal = |byte: &u8| !byte.is_ascii_control() || *byte == b'\t';
            let value: Vec<u8> = line[colon + 1..].iter().copied().filter(legal).collect();
            fields.push(&line[..colon], value.trim_ascii());
        }
    }
    for propagator in Propagator::ALL {
        let Some(read) = extract(&fields, &[propagator]) else {
            continue;
        };
        assert!(read.trace_id.is_some() || read.span_id.is_none());
        assert!(!read.is_debug || read.sampled == Some(true));
        let Some(trace_id) = read.trace_id else {
            continue;
        };
        let context = Context {
            trace_id,
            span_id: read.span_id.unwrap_or(SpanId::from_bytes([7; 8]).unwrap()),
            flags: u8::from(read.sampled == Some(true)) | u8::from(read.is_random) << 1,
            is_debug: read.is_debug,
            tracestate: b"",
            continued: Some((read.propagator, &fields)),
        };
        let mut written = Fields::default();
        Inject::new(&[propagator]).write(&mut Pushed(&mut written), &context);
        let again = extract(&written, &[propagator]);
        if written.is_empty() {
            continue; // The format has no room for the id.
        }
        let again = again.unwrap();
        let lower = |id: TraceId| u128::from_be_bytes(*id.as_bytes()) as u64;
        assert_eq!(again.trace_id.map(lower), read.trace_id.map(lower));
        assert_eq!(again.span_id, Some(context.span_id));
        assert_eq!(again.sampled, Some(read.sampled == Some(true)));
    }
}

struct Pushed<'a>(&'a mut Fields);

impl FieldSink for Pushed<'_> {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        assert!(!value.iter().any(|byte| b"\r\n\0".contains(byte)));
        assert!(value.len() <= 4096);
        self.0.push(name, value);
    }
}

/// A parent that is read is read again from what we would write; a state that is passed on is
/// within its bounds and passed on as it is by the next one, too.
///
/// The bytes are lines: `traceparent`, two fields `tracestate`, `baggage`.
pub fn trace_context(bytes: &[u8]) {
    let [parent, state, more_state, baggage] = lines(bytes);
    if let Ok(read) = parse_traceparent(parent) {
        let written = traceparent(read.trace_id, read.span_id, read.flags);
        assert_eq!(parse_traceparent(&written), Ok(read));
    }
    for fields in [&[state][..], &[state, more_state]] {
        let Some(kept) = tracestate(fields.iter().copied()) else {
            continue;
        };
        assert!(kept.len() <= TRACESTATE_BYTES_MAX);
        let members = kept.split(|&byte| byte == b',');
        let named = members.filter(|member| !member.trim_ascii().is_empty());
        assert!(named.count() <= TRACESTATE_MEMBERS_MAX);
        assert!(
            !kept
                .iter()
                .any(|&byte| byte == b'\r' || byte == b'\n' || byte == 0)
        );
        assert_eq!(tracestate([&*kept]).as_deref(), Some(&*kept));
    }
    let kept = is_baggage_kept([baggage]);
    assert!(!kept || baggage.len() <= BAGGAGE_BYTES_MAX);
}

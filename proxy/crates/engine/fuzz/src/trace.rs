//! Trace context and baggage.

use super::lines;
use spanway_engine::limits::{BAGGAGE_BYTES_MAX, TRACESTATE_BYTES_MAX, TRACESTATE_MEMBERS_MAX};
use spanway_engine::trace::context::{is_baggage_kept, parse_traceparent, traceparent, tracestate};

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

//! Datadog: `x-datadog-trace-id` and `-parent-id` in decimal, and the upper half of a trace id of 128
//! bits as the tag `_dd.p.tid` in `x-datadog-tags`.
//!
//! A trace that came in this format keeps its origin and its tags, and its priority where that is
//! what was decided: who kept (2) or rejected (-1) a trace by hand is told apart from who did by rule.
//!
//! Source: Datadog, "Trace Context Propagation"; DataDog/dd-trace-go, ddtrace/tracer/textmap.go.

use super::hex;
use super::{Context, Propagator, RemoteParent, only};
use crate::headers::{FieldSink, Value};
use crate::limits::DATADOG_TAGS_BYTES_MAX;
use crate::message::{Fields, Name, NameSet};
use crate::trace::{SpanId, TraceId};

pub(super) const NAMES: NameSet = NameSet::of(&[
    Name::XDatadogTraceId,
    Name::XDatadogParentId,
    Name::XDatadogSamplingPriority,
    Name::XDatadogOrigin,
    Name::XDatadogTags,
]);

const TID: &[u8] = b"_dd.p.tid";

pub(super) fn read(fields: &Fields) -> Option<RemoteParent> {
    let lower = decimal(only(fields, Name::XDatadogTraceId)?).filter(|&id| id != 0)?;
    // The synthetic tests of Datadog have no parent: 0.
    let parent = match only(fields, Name::XDatadogParentId) {
        Some(digits) => decimal(digits)?,
        None => 0,
    };
    let upper = tags(fields).and_then(upper_half).unwrap_or_default();
    let id = u128::from(upper) << 64 | u128::from(lower);
    Some(RemoteParent {
        sampled: priority(fields).map(|priority| priority > 0),
        ..RemoteParent::new(
            Propagator::Datadog,
            TraceId::from_bytes(id.to_be_bytes())?,
            SpanId::from_bytes(parent.to_be_bytes()),
        )
    })
}

/// At most the 20 digits that 64 bits have, and nothing but digits.
fn decimal(digits: &[u8]) -> Option<u64> {
    let is_number = (1..=20).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_number)?;
    text.parse().ok()
}

/// From -1 to 2.
fn priority(fields: &Fields) -> Option<i8> {
    match only(fields, Name::XDatadogSamplingPriority)? {
        b"-1" => Some(-1),
        b"0" => Some(0),
        b"1" => Some(1),
        b"2" => Some(2),
        _ => None,
    }
}

/// All tags, unless they are longer than Datadog's own libraries take.
fn tags(fields: &Fields) -> Option<&[u8]> {
    only(fields, Name::XDatadogTags).filter(|tags| tags.len() <= DATADOG_TAGS_BYTES_MAX)
}

fn pairs(tags: &[u8]) -> impl Iterator<Item = &[u8]> {
    tags.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

fn value_of_tid(pair: &[u8]) -> Option<&[u8]> {
    pair.strip_prefix(TID)?.strip_prefix(b"=")
}

fn upper_half(tags: &[u8]) -> Option<u64> {
    let digits = pairs(tags).find_map(value_of_tid)?;
    let number = hex::number(digits, 16).filter(|_| digits.len() == 16)?;
    Some(number as u64)
}

pub(super) fn write(out: &mut impl FieldSink, context: &Context<'_>) {
    let (upper, lower) = hex::halves(context.trace_id);
    if lower == 0 {
        return; // A client's id; its lower half is no id.
    }
    let came = context.continued_by(Propagator::Datadog);
    let parent = u64::from_be_bytes(*context.span_id.as_bytes());
    let mut digits = itoa::Buffer::new();
    out.field(b"x-datadog-trace-id", digits.format(lower).as_bytes());
    out.field(b"x-datadog-parent-id", digits.format(parent).as_bytes());
    let ours = match (context.is_debugged(), context.is_sampled()) {
        (true, _) => 2,
        (_, is_sampled) => i8::from(is_sampled),
    };
    let same = came
        .and_then(priority)
        .filter(|&priority| (priority > 0) == context.is_sampled());
    out.field(
        b"x-datadog-sampling-priority",
        digits.format(same.unwrap_or(ours)).as_bytes(),
    );
    if let Some(origin) = came.and_then(|fields| only(fields, Name::XDatadogOrigin))
        && origin.len() <= DATADOG_TAGS_BYTES_MAX
    {
        out.field(b"x-datadog-origin", origin);
    }
    let mut written = Value::new();
    for pair in came.and_then(tags).into_iter().flat_map(pairs) {
        if !pair.is_empty() && value_of_tid(pair).is_none() {
            put(&mut written, &[pair]);
        }
    }
    if upper != 0 {
        put(&mut written, &[TID, b"=", &hex::of_u64(upper)]);
    }
    if !written.is_empty() {
        out.field(b"x-datadog-tags", &written);
    }
}

/// Adds a member to a list.
fn put(list: &mut Value, parts: &[&[u8]]) {
    if !list.is_empty() {
        list.push(b',');
    }
    for part in parts {
        list.extend_from_slice(part);
    }
}

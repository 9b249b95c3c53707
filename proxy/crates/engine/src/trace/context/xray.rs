//! AWS X-Ray: `X-Amzn-Trace-Id: Root=1-{8 hex}-{24 hex};Parent={16 hex};Sampled={0, 1 or ?}`.
//!
//! A load balancer of AWS names no parent; its trace is continued all the same. Other fields (`Self`,
//! `Lineage`, an application's) go on as they came while they are within their bound, as a load
//! balancer passes them on.
//!
//! Source: AWS X-Ray, "Tracing header"; Elastic Load Balancing, "Request tracing".

use super::hex;
use super::{Context, Propagator, RemoteParent, only};
use crate::headers::{FieldSink, Value};
use crate::limits::XRAY_FIELDS_BYTES_MAX;
use crate::message::{Fields, Name, NameSet};
use crate::trace::TraceId;

pub(super) const NAMES: NameSet = NameSet::of(&[Name::XAmznTraceId]);

pub(super) fn read(fields: &Fields) -> Option<RemoteParent> {
    let (mut root, mut parent, mut sampled) = (None, None, None);
    for (key, value) in pairs(only(fields, Name::XAmznTraceId)?) {
        let slot = match key {
            b"Root" => &mut root,
            b"Parent" => &mut parent,
            b"Sampled" => &mut sampled,
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return None; // Which one is meant?
        }
    }
    let span_id = match parent {
        None => None,
        Some(digits) => Some(hex::span_id(digits).filter(|_| digits.len() == 16)?),
    };
    Some(RemoteParent {
        sampled: match sampled {
            Some(b"1") => Some(true),
            Some(b"0") => Some(false),
            _ => None, // `?` asks for a decision.
        },
        ..RemoteParent::new(Propagator::Xray, trace_id(root?)?, span_id)
    })
}

fn trace_id(root: &[u8]) -> Option<TraceId> {
    let (time, unique) = root.strip_prefix(b"1-")?.split_at_checked(8)?;
    let unique = unique.strip_prefix(b"-").filter(|it| it.len() == 24)?;
    let id = hex::number(time, 8)? << 96 | hex::number(unique, 24)?;
    TraceId::from_bytes(id.to_be_bytes())
}

/// The fields that have a key.
fn pairs(value: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    value.split(|&byte| byte == b';').filter_map(|pair| {
        let equals = memchr::memchr(b'=', pair)?;
        Some((pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii()))
    })
}

pub(super) fn write(out: &mut impl FieldSink, context: &Context<'_>) {
    let id = context.trace_id.to_hex();
    let mut value = Value::from_slice(b"Root=1-");
    value.extend_from_slice(&id[..8]);
    value.push(b'-');
    value.extend_from_slice(&id[8..]);
    value.extend_from_slice(b";Parent=");
    value.extend_from_slice(&context.span_id.to_hex());
    value.extend_from_slice(if context.is_sampled() {
        b";Sampled=1"
    } else {
        b";Sampled=0"
    });
    let came = context.continued_by(Propagator::Xray);
    let came = came.and_then(|fields| only(fields, Name::XAmznTraceId));
    if let Some(came) = came.filter(|came| came.len() <= XRAY_FIELDS_BYTES_MAX) {
        let others =
            pairs(came).filter(|(key, _)| ![&b"Root"[..], b"Parent", b"Sampled"].contains(key));
        for (key, other) in others {
            value.push(b';');
            value.extend_from_slice(key);
            value.push(b'=');
            value.extend_from_slice(other);
        }
    }
    out.field(b"x-amzn-trace-id", &value);
}

//! Which trace a request belongs to, and what its endpoint is told about that.

use std::borrow::Cow;

use crate::message::{Name, RequestHead};
use crate::table::Table;
use crate::trace::context::{self, TRACEPARENT_BYTES};
use crate::trace::{Decision, RemoteParent, SpanId, TraceId};
use crate::worker::Worker;

/// A request's place in its trace.
pub struct Trace<'a> {
    pub decision: Decision,
    pub id: TraceId,
    /// The id of the SERVER span.
    pub root: SpanId,
    /// The client's span.
    pub parent: Option<SpanId>,
    /// The W3C flags that the endpoint gets.
    pub flags: u8,
    /// The client's, if it is valid; else empty.
    pub state: Cow<'a, [u8]>,
    /// The client's baggage is beyond its limits and ends here.
    drops_baggage: bool,
}

impl<'a> Trace<'a> {
    /// Continues the client's trace where it named one, else begins a new one.
    ///
    /// Source: W3C Trace Context, section "Processing Model": what is not valid is ignored, and
    /// without a valid `traceparent` there is no `tracestate`.
    pub fn begin(worker: &Worker, table: &Table, request: &'a RequestHead) -> Self {
        let parent = remote_parent(request);
        let mut ids = worker.ids.borrow_mut();
        let trace_id = parent.map_or_else(|| ids.trace_id(), |parent| parent.trace_id);
        let decision = table.tracing.sampler.decide(trace_id, parent.as_ref());
        let state = parent
            .and_then(|_| context::tracestate(request.fields.get_all(Name::Tracestate)))
            .unwrap_or_default();
        Self {
            decision,
            id: trace_id,
            root: ids.span_id(),
            parent: parent.map(|parent| parent.span_id),
            flags: decision.flags(parent.as_ref()),
            state,
            drops_baggage: drops_baggage(worker, request),
        }
    }

    /// Whether spans are made of the request.
    pub fn is_recorded(&self) -> bool {
        self.decision == Decision::Sampled
    }

    /// What an attempt's endpoint is told: the attempt's span is its parent.
    pub fn propagation(&self, attempt: SpanId) -> Option<Propagation<'_>> {
        (self.decision != Decision::Off).then(|| Propagation {
            traceparent: context::traceparent(self.id, attempt, self.flags),
            tracestate: &self.state,
            drops_baggage: self.drops_baggage,
        })
    }

    /// The id that a person can look for: 32 hex digits, none where nothing is traced.
    pub fn id_to_show(&self) -> Option<[u8; 32]> {
        (self.decision != Decision::Off).then(|| self.id.to_hex())
    }
}

fn remote_parent(request: &RequestHead) -> Option<RemoteParent> {
    // A context that cannot be read is one that was not sent; the specification wants no error.
    context::remote_parent(request.fields.get_all(Name::Traceparent)).unwrap_or_default()
}

fn drops_baggage(worker: &Worker, request: &RequestHead) -> bool {
    let is_kept = context::is_baggage_kept(request.fields.get_all(Name::Baggage));
    if !is_kept {
        worker.stats.baggage_dropped.add(1);
    }
    !is_kept
}

/// The trace context fields of one attempt.
pub struct Propagation<'a> {
    pub traceparent: [u8; TRACEPARENT_BYTES],
    /// May be empty.
    pub tracestate: &'a [u8],
    pub drops_baggage: bool,
}

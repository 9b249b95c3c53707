//! Which trace a request belongs to, and what its endpoint is told about that.

use std::borrow::Cow;
use std::time::SystemTime;

use crate::headers::{Ends, FieldSink};
use crate::instant::Instant;
use crate::message::{Fields, Name, NameSet, RequestHead};
use crate::table::{Listener, RoutePolicy, Tracing};
use crate::trace::context::{self, ALL_NAMES, Context, Inject, Propagator};
use crate::trace::probability::restated;
use crate::trace::sampler::{Probability, Question, Sampling};
use crate::trace::{By, Decision, RemoteParent, SpanId, TraceId, TracingPolicy};
use crate::worker::Worker;

/// A request's place in its trace.
pub struct Trace<'a> {
    pub decision: Decision,
    pub id: TraceId,
    /// The id of the SERVER span.
    pub root: SpanId,
    /// The client's span.
    pub parent: Option<SpanId>,
    /// The span and the flags of a client whose word is not taken.
    pub link: Option<(TraceId, SpanId, u8)>,
    /// The W3C flags that the endpoint gets.
    pub flags: u8,
    /// The client's, if it is valid and the trace is continued by it; else empty.
    pub state: Cow<'a, [u8]>,
    /// What is not passed on of the client's fields, beside those that are replaced: baggage beyond
    /// its limits, or everything where the client's word is not taken.
    dropped: NameSet,
    /// The listener's.
    inject: Inject,
    is_debug: bool,
    is_trusted: bool,
    continued: Option<(Propagator, &'a Fields)>,
}

/// What decides about a request's trace, beside what it says itself.
pub struct Asked<'a> {
    pub tracing: &'a Tracing,
    /// The route's, else the table's.
    pub policy: &'a TracingPolicy,
    /// The path of the route.
    pub route: Option<&'a str>,
    pub listener: Option<&'a Listener>,
    pub ends: &'a Ends,
    pub now: Instant,
}

impl<'a> Trace<'a> {
    /// Continues the client's trace where it named one and its word is taken, else begins a new one.
    ///
    /// Source: W3C Trace Context, section "Processing Model": what is not valid is ignored, and
    /// without a valid `traceparent` there is no `tracestate`.
    pub fn begin(worker: &Worker, request: &'a RequestHead, asked: &Asked<'a>) -> Self {
        let (fields, listener) = (&request.fields, asked.listener);
        let said = listener.and_then(|listener| context::extract(fields, &listener.extract));
        let is_trusted =
            listener.is_none_or(|listener| listener.trust_context.trusts(asked.ends.is_trusted));
        let parent = said.filter(|_| is_trusted);
        let inject = listener.map_or(Inject::new(&[]), |listener| listener.inject);
        let mut ids = worker.ids.borrow_mut();
        let continued = parent.and_then(|parent| parent.trace_id);
        let id = continued.unwrap_or_else(|| ids.trace_id());
        let is_random = match continued {
            Some(_) => parent.is_some_and(|parent| parent.is_random),
            None => asked.tracing.random_flag,
        };
        let by_w3c = |parent: &RemoteParent| parent.propagator == Propagator::Tracecontext;
        let state = parent
            .filter(by_w3c)
            .and_then(|_| context::tracestate(fields.get_all(Name::Tracestate)))
            .unwrap_or_default();
        let (decision, state) = if asked.tracing.enabled {
            let sampling = if is_forced(request, asked) {
                Sampling::forced()
            } else {
                asked.policy.decide(&Question {
                    trace_id: id,
                    sampled: parent.and_then(|parent| parent.sampled),
                    state: &state,
                    request: Some(request),
                    route: asked.route,
                    now: asked.now,
                })
            };
            let over_rate = u64::from(sampling.is_over_rate);
            worker.stats.traces_over_rate.add(over_rate);
            (sampling.decision, restate(state, sampling.probability))
        } else {
            (Decision::Off, state)
        };
        Self {
            decision,
            id,
            root: ids.span_id(),
            parent: parent.and_then(|parent| parent.span_id),
            link: said.filter(|_| !is_trusted).and_then(linked),
            flags: decision.flags(is_random),
            state,
            dropped: if is_trusted {
                dropped_baggage(worker, fields)
            } else {
                ALL_NAMES
            },
            inject,
            is_debug: parent.is_some_and(|parent| parent.is_debug),
            is_trusted,
            continued: continued
                .and(parent)
                .map(|parent| (parent.propagator, fields)),
        }
    }

    /// What an attempt's endpoint is told: the attempt's span is its parent.
    pub fn propagation(&self, attempt: SpanId, policy: &RoutePolicy) -> Option<Propagation<'_>> {
        (self.decision != Decision::Off).then_some(Propagation {
            trace: self,
            attempt,
            inject: policy.inject.unwrap_or(self.inject),
        })
    }

    /// The id that a person can look for: 32 hex digits, none where nothing is traced.
    pub fn id_to_show(&self) -> Option<[u8; 32]> {
        (self.decision != Decision::Off).then(|| self.id.to_hex())
    }
}

/// What a span can link to of what a stranger says.
fn linked(said: RemoteParent) -> Option<(TraceId, SpanId, u8)> {
    let (trace_id, span_id) = said.span()?;
    let decision = match said.sampled {
        Some(true) => Decision::Sampled(By::Parent),
        _ => Decision::Unsampled,
    };
    Some((trace_id, span_id, decision.flags(said.is_random)))
}

/// Whether somebody who may asks for the trace to be recorded.
fn is_forced(request: &RequestHead, asked: &Asked<'_>) -> bool {
    let Some(value) = request.fields.get(Name::XSpanwayDebug) else {
        return false;
    };
    let is_signed = || {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let key = asked.tracing.debug_key.as_ref();
        key.is_some_and(|key| key.has_signed(value, now.as_secs()))
    };
    asked.ends.is_trusted || is_signed()
}

/// The client's `tracestate` with what is known of the probability; where everything is kept, there
/// is nothing to say that was not said before.
fn restate<'a>(state: Cow<'a, [u8]>, probability: Probability<'a>) -> Cow<'a, [u8]> {
    match probability {
        Probability::Told => state,
        Probability::Known(threshold) if state.is_empty() && threshold.keeps_all() => state,
        Probability::Known(threshold) => restated(state, Some(threshold)),
        Probability::Unknown => restated(state, None),
    }
}

/// Baggage beyond its limits ends here.
fn dropped_baggage(worker: &Worker, fields: &Fields) -> NameSet {
    if context::is_baggage_kept(fields.get_all(Name::Baggage)) {
        return NameSet::EMPTY;
    }
    worker.stats.baggage_dropped.add(1);
    NameSet::of(&[Name::Baggage])
}

/// The trace context of one attempt, and what it replaces.
pub struct Propagation<'a> {
    trace: &'a Trace<'a>,
    attempt: SpanId,
    inject: Inject,
}

impl Propagation<'_> {
    /// The client's fields that the endpoint does not get.
    pub fn dropped(&self) -> NameSet {
        self.trace.dropped.union(self.inject.names)
    }

    /// Whether the client is one whose baggage in formats of old is dropped, too.
    pub fn is_of_stranger(&self) -> bool {
        !self.trace.is_trusted
    }

    /// Writes the fields.
    #[inline]
    pub fn write(&self, out: &mut impl FieldSink) {
        let trace = self.trace;
        let context = Context {
            trace_id: trace.id,
            span_id: self.attempt,
            flags: trace.flags,
            is_debug: trace.is_debug,
            tracestate: &trace.state,
            continued: trace.continued,
        };
        self.inject.write(out, &context);
    }
}

//! Trace context: what a request says about the trace that it belongs to, and what its endpoint is
//! told about that.
//!
//! One file for each format; all of them are read into one [`RemoteParent`] and written from one
//! [`Context`]. The first format of a listener's order that is there and valid is the one that
//! counts.
//!
//! Rules: what is not valid counts as absent and never fails a request. A field that a format has
//! once is not valid twice. No format keeps anything but what it has read.

mod b3;
mod baggage;
mod datadog;
mod hex;
mod jaeger;
mod ottrace;
mod w3c;
mod xray;

use serde::Deserialize;

use crate::headers::FieldSink;
use crate::message::{Fields, Name, NameSet};
use crate::trace::{SpanId, TraceId};

pub use baggage::{is_baggage_kept, is_foreign_baggage};
pub use w3c::{
    FLAG_RANDOM, FLAG_SAMPLED, TRACEPARENT_BYTES, Traceparent, TraceparentError, parse_traceparent,
    traceparent, tracestate,
};

pub(super) use w3c::{hex as lower_hex, tracestate_members};

/// A format of trace context, by its name in `OTEL_PROPAGATORS`; Datadog has none there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagator {
    /// `traceparent` and `tracestate`.
    Tracecontext,
    /// One field, `b3`.
    B3,
    /// `X-B3-*`.
    B3multi,
    /// `uber-trace-id`.
    Jaeger,
    /// `ot-tracer-*`.
    Ottrace,
    /// `X-Amzn-Trace-Id`.
    Xray,
    /// `x-datadog-*`.
    Datadog,
}

impl Propagator {
    /// Every format.
    pub const ALL: [Self; 7] = [
        Self::Tracecontext,
        Self::B3,
        Self::B3multi,
        Self::Jaeger,
        Self::Ottrace,
        Self::Xray,
        Self::Datadog,
    ];

    /// The fields of the format. Both encodings of B3 have those of the other one, too: what is left
    /// of a trace that was continued would contradict what is written.
    #[must_use]
    pub const fn names(self) -> NameSet {
        match self {
            Self::Tracecontext => w3c::NAMES,
            Self::B3 | Self::B3multi => b3::NAMES,
            Self::Jaeger => jaeger::NAMES,
            Self::Ottrace => ottrace::NAMES,
            Self::Xray => xray::NAMES,
            Self::Datadog => datadog::NAMES,
        }
    }

    #[inline(never)] // Else what each format asks of the fields is asked before the first one is read.
    fn read(self, fields: &Fields) -> Option<RemoteParent> {
        match self {
            Self::Tracecontext => w3c::read(fields),
            Self::B3 | Self::B3multi => b3::read(fields),
            Self::Jaeger => jaeger::read(fields),
            Self::Ottrace => ottrace::read(fields),
            Self::Xray => xray::read(fields),
            Self::Datadog => datadog::read(fields),
        }
    }

    fn write(self, out: &mut impl FieldSink, context: &Context<'_>) {
        match self {
            Self::Tracecontext => w3c::write(out, context),
            Self::B3 => b3::write_single(out, context),
            Self::B3multi => b3::write_multi(out, context),
            Self::Jaeger => jaeger::write(out, context),
            Self::Ottrace => ottrace::write(out, context),
            Self::Xray => xray::write(out, context),
            Self::Datadog => datadog::write(out, context),
        }
    }
}

/// All that is context of a trace, in any format: what a stranger cannot hand to an endpoint.
pub const ALL_NAMES: NameSet = {
    let (mut names, mut index) = (NameSet::of(&[Name::Baggage]), 0);
    while index < Propagator::ALL.len() {
        names = names.union(Propagator::ALL[index].names());
        index += 1;
    }
    names
};

/// What the client says of the trace that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteParent {
    /// The format that said it.
    pub propagator: Propagator,
    /// The trace to continue; none where there is nothing but a decision (B3).
    pub trace_id: Option<TraceId>,
    /// The parent of our root span; none where only the trace is named (X-Ray).
    pub span_id: Option<SpanId>,
    /// Whether the trace is recorded; none where that is left to us.
    pub sampled: Option<bool>,
    /// It is recorded because a person wants to see this one (B3, Jaeger).
    pub is_debug: bool,
    /// The last seven bytes of the trace's id are random (W3C, level 2).
    pub is_random: bool,
}

impl RemoteParent {
    /// A span of a trace, in a format that knows nothing else.
    const fn new(propagator: Propagator, trace_id: TraceId, span_id: Option<SpanId>) -> Self {
        Self {
            propagator,
            trace_id: Some(trace_id),
            span_id,
            sampled: None,
            is_debug: false,
            is_random: false,
        }
    }

    /// The span, where it is named in full: what a link can lead to.
    #[must_use]
    pub fn span(&self) -> Option<(TraceId, SpanId)> {
        self.trace_id.zip(self.span_id)
    }
}

/// What the client says by the first format that is valid.
#[must_use]
pub fn extract(fields: &Fields, order: &[Propagator]) -> Option<RemoteParent> {
    if !fields.has_any(ALL_NAMES) {
        return None;
    }
    order.iter().find_map(|propagator| propagator.read(fields))
}

/// What an endpoint is told.
pub struct Context<'a> {
    /// The trace.
    pub trace_id: TraceId,
    /// The attempt's span, the parent of the endpoint's.
    pub span_id: SpanId,
    /// The W3C flags.
    pub flags: u8,
    /// As [`RemoteParent::is_debug`].
    pub is_debug: bool,
    /// May be empty.
    pub tracestate: &'a [u8],
    /// The client's fields, and the format among them by which its trace is continued: what else is
    /// in that format goes on, too.
    pub continued: Option<(Propagator, &'a Fields)>,
}

impl<'a> Context<'a> {
    fn is_sampled(&self) -> bool {
        self.flags & FLAG_SAMPLED != 0
    }

    /// What is not recorded is not debugged, whoever has asked for it.
    fn is_debugged(&self) -> bool {
        self.is_debug && self.is_sampled()
    }

    /// The client's fields, if its trace is continued by this format.
    fn continued_by(&self, propagator: Propagator) -> Option<&'a Fields> {
        let (continued, fields) = self.continued?;
        (continued == propagator).then_some(fields)
    }
}

/// The formats that an endpoint is told in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inject {
    /// A bit for each [`Propagator`].
    set: u8,
    /// The fields of all of them: those of the client are replaced.
    pub names: NameSet,
}

impl Inject {
    /// These formats, each once.
    #[must_use]
    pub fn new(propagators: &[Propagator]) -> Self {
        let none = Self {
            set: 0,
            names: NameSet::EMPTY,
        };
        propagators.iter().fold(none, |inject, &propagator| Self {
            set: inject.set | 1 << propagator as u8,
            names: inject.names.union(propagator.names()),
        })
    }

    /// Writes the context in each of the formats.
    #[inline]
    pub fn write(self, out: &mut impl FieldSink, context: &Context<'_>) {
        const W3C: u8 = 1 << Propagator::Tracecontext as u8;
        if self.set & W3C != 0 {
            w3c::write(out, context);
        }
        if self.set & !W3C != 0 {
            self.write_others(out, context);
        }
    }

    #[cold]
    fn write_others(self, out: &mut impl FieldSink, context: &Context<'_>) {
        let others = Propagator::ALL[1..].iter();
        let wanted = others.filter(|&&propagator| self.set & 1 << propagator as u8 != 0);
        wanted.for_each(|propagator| propagator.write(out, context));
    }
}

/// The only value of a field; none where there are several.
fn only(fields: &Fields, name: Name) -> Option<&[u8]> {
    let mut values = fields.get_all(name);
    values.next().filter(|_| values.next().is_none())
}

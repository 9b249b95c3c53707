//! The phases of a request as spans of their own, under the span whose time they are: for requests
//! that were slow, that failed, or that somebody looks at. All others have them as attributes only.
//!
//! Rules: as those of `otlp.rs`. A phase shorter than a microsecond has no span. `route` has none at
//! all: it is what no other span covers.
//!
//! Source of the names: what .NET calls its spans of a connection (OpenTelemetry, semantic
//! conventions for network spans emitted by .NET), and words made in the same way.

use super::attribute::{key, put_span_name, put_text};
use super::id::SpanId;
use super::otlp::{Common, Kind, SpanHead, is_ours, put_error_status, put_error_type};
use super::sampler::{By, PhaseSpans};
use super::segment::{Attempt, Flag, Segment};
use super::timing::{AttemptLine, Interval, Timeline};

/// What a phase is called: the name of its span, and the word in `spanway.phase.*_us`.
type Title = (&'static str, &'static str);

const HEAD: Title = ("HTTP read_head", "head");
const QUEUE: Title = ("HTTP wait_for_connection", "queue");
/// In the order of [`AttemptLine::parts`].
const OF_ATTEMPT: [Title; 5] = [
    ("socket connect", "connect"),
    ("TLS client handshake", "tls"),
    ("HTTP send_request", "send"),
    ("HTTP wait_for_response", "wait"),
    ("HTTP receive_response", "receive"),
];
const RESPOND: Title = ("HTTP send_response", "respond");

impl Segment<'_> {
    /// Whether the phases are to have spans: they need [`Segment::phase_id`] then. Who forces a
    /// request to be recorded wants to see all of it.
    #[must_use]
    pub fn wants_phases(&self, wanted: PhaseSpans, is_slow: bool) -> bool {
        match wanted {
            _ if self.sampled_by == By::Debug => true,
            PhaseSpans::Never => false,
            PhaseSpans::Slow => is_slow || self.has_failed(),
            PhaseSpans::Always => true,
        }
    }

    /// Whether it, or one of its attempts, came to nothing through no fault of the client. What was
    /// refused at once has no phases worth a look, and is not to cost more than the rest.
    fn has_failed(&self) -> bool {
        let has_waited = self.balance.is_some_and(|balance| !balance.queue.is_zero());
        if self.attempts.is_empty() && !has_waited {
            return false;
        }
        let errors = self.attempts.iter().map(|attempt| attempt.error);
        let mut flags = errors.chain([self.flag]).flatten();
        self.status >= 500 || flags.any(is_ours)
    }
}

/// Appends the spans of the phases, if the segment has an id for them; returns how many.
pub(super) fn put_phases(
    out: &mut Vec<u8>,
    segment: &Segment<'_>,
    common: &Common<'_>,
    timeline: &Timeline,
) -> usize {
    let Some(next_id) = segment.phase_id else {
        return 0;
    };
    let mut spans = PhaseWriter {
        out,
        common,
        next_id,
        count: 0,
    };
    spans.put(HEAD, segment.root, timeline.head(segment), None);
    if let Some(balance) = segment.balance {
        let error = segment.flag.filter(|_| segment.attempts.is_empty());
        spans.put(QUEUE, balance.id, timeline.queue(balance), error);
    }
    for (attempt, line) in segment.attempts.iter().zip(&timeline.attempts) {
        if let Some(balance) = segment.balance {
            let is_all = line.interval.microseconds() == 0;
            spans.put(
                QUEUE,
                balance.id,
                line.queue,
                attempt.error.filter(|_| is_all),
            );
        }
        spans.put_attempt(attempt, line);
    }
    spans.put(RESPOND, segment.root, timeline.respond(segment), None);
    spans.count
}

struct PhaseWriter<'a> {
    out: &'a mut Vec<u8>,
    common: &'a Common<'a>,
    next_id: SpanId,
    count: usize,
}

impl PhaseWriter<'_> {
    /// An attempt's error is that of the phase it ended in.
    fn put_attempt(&mut self, attempt: &Attempt<'_>, line: &AttemptLine) {
        let parts = line.parts();
        let last = parts.iter().rposition(is_shown);
        for (index, part) in parts.into_iter().enumerate() {
            let error = attempt.error.filter(|_| last == Some(index));
            self.put(OF_ATTEMPT[index], attempt.id, part, error);
        }
    }

    fn put(
        &mut self,
        (name, phase): Title,
        parent: SpanId,
        interval: Interval,
        error: Option<Flag>,
    ) {
        if !is_shown(&interval) {
            return;
        }
        let head = SpanHead {
            id: self.next_id,
            parent: Some(parent),
            parent_is_remote: false,
            kind: Kind::Internal,
            interval,
        };
        let span = head.open(self.out, self.common);
        put_span_name(self.out, [name]);
        put_text(self.out, key!("spanway.phase"), phase);
        if let Some(flag) = error.filter(|flag| is_ours(*flag)) {
            put_error_type(self.out, flag);
            put_error_status(self.out, b"");
        }
        span.close(self.out);
        self.next_id = self.next_id.next();
        self.count += 1;
    }
}

fn is_shown(interval: &Interval) -> bool {
    interval.end - interval.start >= 1_000
}

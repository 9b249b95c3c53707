//! When each span begins and ends, and the phases that a request's time is made of.
//!
//! Rules: pure arithmetic on the instants of a segment. Whatever the instants are, no duration is
//! negative, parents enclose children, and phases sum to their span's microseconds exactly: they
//! are differences of positions on one line, rounded down once each.

use std::ops::AddAssign;

use smallvec::SmallVec;

use super::net::NetLine;
use super::segment::{Attempt, Balance, Segment};
use crate::instant::Instant;

/// From and to, in nanoseconds since the segment's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Interval {
    /// How long it is, in whole microseconds.
    pub(super) fn microseconds(self) -> u64 {
        (self.end - self.start) / 1_000
    }

    /// The part of `start..end` that lies in `self`; never reversed.
    pub(super) fn clamped(self, start: u64, end: u64) -> Self {
        let start = start.clamp(self.start, self.end);
        Self {
            start,
            end: end.clamp(start, self.end),
        }
    }
}

/// Where the microseconds of a request went. `docs/SPANS.md` says what each phase is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the page has them")]
pub struct Phases {
    pub head: u64,
    pub route: u64,
    pub queue: u64,
    pub connect: u64,
    pub tls: u64,
    pub send: u64,
    pub wait: u64,
    pub receive: u64,
    pub respond: u64,
}

impl Phases {
    /// The names, in order.
    pub const NAMES: [&'static str; 9] = [
        "head", "route", "queue", "connect", "tls", "send", "wait", "receive", "respond",
    ];

    /// The microseconds of each, as [`Self::NAMES`] has them.
    #[must_use]
    pub fn values(&self) -> [u64; 9] {
        [
            self.head,
            self.route,
            self.queue,
            self.connect,
            self.tls,
            self.send,
            self.wait,
            self.receive,
            self.respond,
        ]
    }

    /// The microseconds of all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.values().iter().sum()
    }

    /// The microseconds that attempts took.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.connect + self.tls + self.send + self.wait + self.receive
    }
}

impl AddAssign<&Self> for Phases {
    fn add_assign(&mut self, other: &Self) {
        self.head += other.head;
        self.route += other.route;
        self.queue += other.queue;
        self.connect += other.connect;
        self.tls += other.tls;
        self.send += other.send;
        self.wait += other.wait;
        self.receive += other.receive;
        self.respond += other.respond;
    }
}

/// The line of time of one segment: what its verdict, its spans, its counts and its line in the
/// access log have in common.
#[derive(Debug)]
pub struct Timeline {
    origin: Instant,
    /// Where the time of the whole segment went.
    pub phases: Phases,
    pub(super) root: Interval,
    pub(super) balance: Interval,
    /// One for each attempt, in order.
    pub(super) attempts: SmallVec<[AttemptLine; 1]>,
}

impl Timeline {
    /// The line of `segment`, whose judgement need not be known yet.
    #[must_use]
    pub fn new(segment: &Segment<'_>) -> Self {
        let origin = segment.start;
        let root = Interval {
            start: 0,
            end: offset_ns(origin, segment.over()),
        };
        let balance = segment.balance.map_or(root, |balance| {
            root.clamped(
                offset_ns(origin, balance.start),
                offset_ns(origin, balance.end),
            )
        });
        let mut timeline = Self {
            origin,
            phases: Phases::default(),
            root,
            balance,
            attempts: SmallVec::new(),
        };
        for attempt in segment.attempts {
            timeline.attempts.push(timeline.attempt(attempt));
        }
        timeline.phases = timeline.root_phases(segment);
        timeline
    }

    /// An attempt on the line; its interval lies in that of the balance span.
    ///
    /// An early response, which comes while the request is still being sent, ends the send phase:
    /// from then on the client gets bytes.
    fn attempt(&self, attempt: &Attempt<'_>) -> AttemptLine {
        let interval = self
            .balance
            .clamped(self.offset(attempt.started), self.offset(attempt.end));
        let first_byte = attempt
            .first_byte
            .map_or(interval.end, |at| self.offset(at).min(interval.end));
        let sent = self.offset(attempt.sent).min(first_byte);
        let connected = self.offset(attempt.connected).min(sent);
        let handshake_started = attempt.handshake_started;
        let queued = attempt.started - attempt.queued;
        let mut line = AttemptLine {
            queue: self.balance.clamped(self.offset(queued), interval.start),
            interval,
            handshake_started: handshake_started
                .map_or(connected, |at| self.offset(at).min(connected)),
            connected,
            sent,
            first_byte,
            net: None,
        };
        line.net = NetLine::new(attempt, &line, |at| self.offset(at));
        line
    }

    /// The phases of the whole segment. The time between two attempts counts as `route`.
    #[inline]
    fn root_phases(&self, segment: &Segment<'_>) -> Phases {
        let mut phases = Phases::default();
        let mut cursor = Cursor::new(self.root);
        cursor.advance(self.offset(segment.head_read), &mut phases.head);
        if let Some(balance) = segment.balance.filter(|balance| !balance.queue.is_zero()) {
            cursor.advance(self.offset(balance.start), &mut phases.route);
            cursor.advance(
                self.offset(balance.start + balance.queue),
                &mut phases.queue,
            );
        }
        for attempt in &self.attempts {
            cursor.advance(attempt.queue.start, &mut phases.route);
            cursor.advance(attempt.queue.end, &mut phases.queue);
            attempt.walk(&mut cursor, &mut phases);
        }
        if segment.attempts.is_empty() {
            let responded = segment.first_response.unwrap_or(segment.end);
            cursor.advance(self.offset(responded), &mut phases.route);
        }
        cursor.advance(self.root.end, &mut phases.respond);
        phases
    }

    /// Until the head of the request was complete.
    pub(super) fn head(&self, segment: &Segment<'_>) -> Interval {
        self.root.clamped(0, self.offset(segment.head_read))
    }

    /// From when the response was written until the client's kernel had it; `None` where that is the
    /// same, or not known.
    pub(super) fn deliver(&self, segment: &Segment<'_>) -> Option<Interval> {
        let deliver = self.root.clamped(self.offset(segment.end), self.root.end);
        (deliver.start < deliver.end).then_some(deliver)
    }

    /// The wait for the request's turn.
    pub(super) fn queue(&self, balance: &Balance) -> Interval {
        let end = self.offset(balance.start + balance.queue);
        self.balance.clamped(self.offset(balance.start), end)
    }

    /// From the end of the last attempt, or the begin of our own answer.
    pub(super) fn respond(&self, segment: &Segment<'_>) -> Interval {
        let answered = segment.first_response.unwrap_or(segment.end);
        let start = match self.attempts.last() {
            Some(attempt) => attempt.interval.end,
            None => self.offset(answered),
        };
        self.root.clamped(start, self.root.end)
    }

    fn offset(&self, instant: Instant) -> u64 {
        offset_ns(self.origin, instant)
    }
}

/// What happened when in one attempt, in nanoseconds since the segment's start.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttemptLine {
    /// The wait for its turn, before it.
    pub(super) queue: Interval,
    pub(super) interval: Interval,
    handshake_started: u64,
    connected: u64,
    pub(super) sent: u64,
    pub(super) first_byte: u64,
    /// What the kernel makes of the time between the two.
    pub(super) net: Option<NetLine>,
}

impl AttemptLine {
    /// `connect`, `tls`, `send`, `wait` and `receive`.
    pub(super) fn phases(&self) -> Phases {
        let mut phases = Phases::default();
        self.walk(&mut Cursor::new(self.interval), &mut phases);
        phases
    }

    /// `connect`, `tls`, `send`, `wait` and `receive`, end to end.
    pub(super) fn parts(&self) -> [Interval; 5] {
        let mut start = self.interval.start;
        let ends = [
            self.handshake_started,
            self.connected,
            self.sent,
            self.first_byte,
            self.interval.end,
        ];
        ends.map(|end| {
            let part = self.interval.clamped(start, end);
            start = part.end;
            part
        })
    }

    #[inline]
    fn walk(&self, cursor: &mut Cursor, phases: &mut Phases) {
        cursor.advance(self.handshake_started, &mut phases.connect);
        cursor.advance(self.connected, &mut phases.tls);
        cursor.advance(self.sent, &mut phases.send);
        cursor.advance(self.first_byte, &mut phases.wait);
        cursor.advance(self.interval.end, &mut phases.receive);
    }
}

/// A position that only moves forward, and only to the end of its interval.
struct Cursor {
    at_ns: u64,
    at_us: u64,
    interval: Interval,
}

impl Cursor {
    fn new(interval: Interval) -> Self {
        Self {
            at_ns: interval.start,
            at_us: 0,
            interval,
        }
    }

    /// Moves to `to`, unless that is behind, and adds the microseconds passed to `phase`.
    fn advance(&mut self, to: u64, phase: &mut u64) {
        self.at_ns = to.clamp(self.at_ns, self.interval.end);
        let at_us = (self.at_ns - self.interval.start) / 1_000;
        *phase += at_us - self.at_us;
        self.at_us = at_us;
    }
}

pub(super) fn offset_ns(origin: Instant, instant: Instant) -> u64 {
    instant.nanoseconds_since(origin)
}

//! What the kernel saw of an attempt: its time split into network, application and waking up.
//!
//! Rules: pure arithmetic on what was told. Whatever it is – reversed, from another century, absent –
//! the parts lie in their attempt and follow each other. Nothing is made up: where the kernel told
//! nothing there is nothing.
//!
//! **The rule of the acknowledgement.** A request has arrived, at the latest, when its endpoint's kernel
//! has acknowledged its last byte. But kernels hold acknowledgements back: until the answer can carry
//! them, for 40 ms, or until a busy application reads the request at last. So a late one says nothing of
//! the network, and a request is taken to be under way for a round trip. Two things tell that the network
//! is slow: bytes that were sent again are its fault, whenever they are acknowledged, and the round trip
//! that a new handshake takes, which no application can hold up. The rest is the application's.

use std::time::Duration;

use crate::instant::{Instant, microseconds};

use spanway_kernel::Statistics;

use super::attribute::{key, put_int, put_text, span_name, text};
use super::id::SpanId;
use super::otlp::{Common, Kind, SpanHead};
use super::segment::{Attempt, Segment};
use super::timing::{AttemptLine, Interval};
use crate::limits::{VERDICT_EXCESS_US_MIN, WAKE_UP_MAX};

/// Whether the kernel told anything of an attempt.
#[derive(Debug, Clone, Copy, Default)]
pub enum Observed {
    /// It was not asked.
    #[default]
    Off,
    /// It was, and refused.
    Refused,
    /// It did.
    Told(Net),
}

/// What the kernel told of an attempt's connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Net {
    /// Whether the connection carried other requests meanwhile: then the numbers are those of all.
    pub is_shared: bool,
    /// When the endpoint's kernel had acknowledged the last byte of the request.
    pub acknowledged: Option<Instant>,
    /// When the first bytes of the response had arrived in ours.
    pub arrived: Option<Instant>,
    /// The smoothed round trip.
    pub rtt_us: u32,
    /// The network's round trip, without any waiting, as far as it is known.
    pub round_trip_us: u32,
    /// Segments that were sent again meanwhile.
    pub retransmits: u32,
    /// Whether there were any to this endpoint of late.
    pub is_lossy: bool,
    /// How long the handshake of a new connection took; 0 where it is not known.
    pub handshake_us: u32,
    /// Those of a new connection before: its SYN, a handshake.
    pub handshake_retransmits: u32,
    /// How long nothing could be sent because the endpoint's buffer was full.
    pub peer_full_us: u64,
    /// How long there were unacknowledged bytes for other reasons: the network's window. 0 without a
    /// body, since that is the wait for the answer.
    pub window_us: u64,
}

impl Segment<'_> {
    /// How long the request's first bytes waited in our kernel for us to read them.
    pub(super) fn wake_up_us(&self) -> Option<u64> {
        let arrived = self.arrived.filter(|at| *at <= self.start)?;
        let waited_us = self.start.nanoseconds_since(arrived) / 1_000;
        Some(waited_us.min(microseconds(WAKE_UP_MAX)))
    }
}

impl Net {
    /// What changed of a connection; times are not in it.
    pub(crate) fn between(before: &Statistics, now: &Statistics) -> Self {
        let peer_full_us = now.peer_full_us.saturating_sub(before.peer_full_us);
        let ours_full_us = now
            .send_buffer_full_us
            .saturating_sub(before.send_buffer_full_us);
        let busy_us = now.busy_us.saturating_sub(before.busy_us);
        Self {
            rtt_us: now.rtt_us,
            round_trip_us: now.rtt_min_us.unwrap_or(0),
            retransmits: now.retransmits.saturating_sub(before.retransmits),
            peer_full_us,
            window_us: busy_us.saturating_sub(peer_full_us + ours_full_us),
            ..Self::default()
        }
    }

    /// Whether a request that was sent at `sent`, and took longer than usual, may have been under way
    /// for longer than the round trip that is believed in.
    pub(crate) fn is_doubtful(&self, sent: Instant) -> bool {
        let round_trip =
            Duration::from_micros(u64::from(self.round_trip_us) + VERDICT_EXCESS_US_MIN);
        let is_late = |at: Instant| at.saturating_duration_since(sent) >= round_trip;
        !self.is_shared && self.retransmits == 0 && self.acknowledged.is_some_and(is_late)
    }
}

/// The parts of an attempt after its request was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NetLine {
    pub(super) deliver: Interval,
    pub(super) respond: Interval,
    /// Absent where the response's arrival is not known.
    pub(super) wake_up: Option<Interval>,
}

impl NetLine {
    /// `None` where the kernel told nothing that could split it. `offset` are nanoseconds on the line
    /// of the segment.
    pub(super) fn new(
        attempt: &Attempt<'_>,
        line: &AttemptLine,
        offset: impl Fn(Instant) -> u64,
    ) -> Option<Self> {
        let Observed::Told(net) = attempt.net else {
            return None;
        };
        let Interval { start, end } = line.interval;
        let (sent, read) = (line.sent.max(start), line.first_byte.clamp(start, end));
        if net.is_shared || sent >= read || net.acknowledged.or(net.arrived).is_none() {
            return None;
        }
        let has_answer = attempt.first_byte.is_some();
        let arrived = net.arrived.filter(|_| has_answer).map(&offset);
        let end = arrived.unwrap_or(u64::MAX).clamp(sent, read);
        let acknowledged = net.acknowledged.map(&offset);
        let acknowledged = acknowledged.map(|at| at.saturating_sub(sent));
        let deliver = sent + delivered(net, acknowledged, has_answer).min(end - sent);
        Some(Self {
            deliver: Interval {
                start: sent,
                end: deliver,
            },
            respond: Interval {
                start: deliver,
                end,
            },
            wake_up: arrived.map(|_| Interval {
                start: end,
                end: read,
            }),
        })
    }
}

/// How long the request was under way, in nanoseconds; see the rule above.
fn delivered(net: &Net, acknowledged: Option<u64>, has_answer: bool) -> u64 {
    let round_trip = u64::from(net.round_trip_us) * 1_000;
    match acknowledged {
        // It never arrived; or that was not told.
        None if !has_answer => u64::MAX,
        None => round_trip,
        Some(after) if net.retransmits > 0 => after,
        Some(after) => after.min(round_trip),
    }
}

/// Appends the attributes of the CLIENT span.
pub(super) fn put_attributes(out: &mut Vec<u8>, observed: &Observed) {
    let net = match observed {
        Observed::Off => return,
        Observed::Refused => return put_text(out, key!("spanway.net.source"), "none"),
        Observed::Told(net) => net,
    };
    out.extend_from_slice(text!("spanway.net.source", "kernel"));
    if net.is_shared {
        out.extend_from_slice(text!("spanway.net.correlation", "connection"));
    } else {
        out.extend_from_slice(text!("spanway.net.correlation", "request"));
    }
    put_numbers(out, net);
}

fn put_numbers(out: &mut Vec<u8>, net: &Net) {
    put_int(out, key!("tcp.rtt_us"), u64::from(net.rtt_us));
    put_int(out, key!("tcp.min_rtt_us"), u64::from(net.round_trip_us));
    if net.retransmits > 0 {
        put_int(out, key!("tcp.retransmits"), u64::from(net.retransmits));
    }
    if net.handshake_retransmits > 0 {
        let handshake_retransmits = u64::from(net.handshake_retransmits);
        put_int(
            out,
            key!("tcp.handshake_retransmits"),
            handshake_retransmits,
        );
    }
    if net.peer_full_us > 0 {
        put_int(out, key!("spanway.net.rwnd_limited_us"), net.peer_full_us);
    }
    if net.window_us > 0 {
        put_int(out, key!("spanway.net.cwnd_limited_us"), net.window_us);
    }
}

/// Appends the attributes of the SERVER span.
pub(super) fn put_client(out: &mut Vec<u8>, segment: &Segment<'_>) {
    if let Some(wake_up_us) = segment.wake_up_us() {
        put_int(out, key!("spanway.net.wakeup_us"), wake_up_us);
    }
    if let Some(net) = segment.client_net {
        put_numbers(out, net);
    }
}

/// Appends the spans below a CLIENT span; returns how many.
pub(super) fn put_spans(
    out: &mut Vec<u8>,
    attempt: SpanId,
    line: &NetLine,
    common: &Common<'_>,
) -> usize {
    put_span(
        out,
        (attempt, 0),
        (span_name!("net.deliver"), line.deliver),
        common,
    );
    put_span(
        out,
        (attempt, 1),
        (span_name!("app.respond"), line.respond),
        common,
    );
    let Some(wake_up) = line.wake_up else {
        return 2;
    };
    put_span(
        out,
        (attempt, 2),
        (span_name!("net.return"), wake_up),
        common,
    );
    3
}

/// Appends the span below the SERVER span; returns how many that are.
pub(super) fn put_client_span(
    out: &mut Vec<u8>,
    root: SpanId,
    interval: Interval,
    common: &Common<'_>,
) -> usize {
    put_span(
        out,
        (root, 0),
        (span_name!("client.deliver"), interval),
        common,
    );
    1
}

fn put_span<const N: usize>(
    out: &mut Vec<u8>,
    (parent, index): (SpanId, u64),
    (name, interval): (&[u8; N], Interval),
    common: &Common<'_>,
) {
    let head = SpanHead {
        id: parent.child(index),
        parent: Some(parent),
        parent_is_remote: false,
        kind: Kind::Internal,
        interval,
    };
    let span = head.open(out, common);
    out.extend_from_slice(name);
    span.close(out);
}

//! What a client is told of its trace, and of where the time went until its response began.
//!
//! `Server-Timing` is shown by the network panels of browsers and read by `PerformanceServerTiming`;
//! `traceresponse` says the same for programs. Both stand in the head of the response, so what comes
//! after it is not in them.
//!
//! Source: W3C, Server Timing; W3C Trace Context, "traceresponse" (a draft of its level 2).

use std::io::Write;

use crate::headers::Value;
use crate::instant::Instant;
use crate::message::{Fields, Name};
use crate::propagation::Trace;
use crate::table::ServerTiming;
use crate::trace::context::traceparent;

/// When a request had come how far. None where it has not.
#[derive(Clone, Copy)]
pub struct Moments {
    /// Its head was complete.
    pub head_read: Instant,
    /// Its backend was known.
    pub balanced: Option<Instant>,
    /// The endpoint of the last attempt was picked.
    pub started: Option<Instant>,
    /// A connection to it was there.
    pub connected: Option<Instant>,
    /// All of the request was sent.
    pub sent: Option<Instant>,
    /// The first byte of the response was there.
    pub first_byte: Option<Instant>,
}

impl Moments {
    /// Those of a request that came no further than its head.
    pub const fn of(head_read: Instant) -> Self {
        Self {
            head_read,
            balanced: None,
            started: None,
            connected: None,
            sent: None,
            first_byte: None,
        }
    }

    /// The parts of the way and their microseconds. Where the request did not come further, the last
    /// one lasts until `now`.
    fn parts(&self, now: Instant) -> impl Iterator<Item = (&'static str, u128)> {
        let ends = [
            ("edge", self.balanced),
            ("balance", self.started),
            ("connect", self.connected),
            ("net", self.sent),
            ("app", self.first_byte),
        ];
        let mut reached = Some(self.head_read);
        ends.into_iter().map_while(move |(name, end)| {
            let begin = reached?;
            reached = end.map(|end| end.max(begin));
            let end = reached.unwrap_or(now);
            let took = end.saturating_duration_since(begin);
            Some((name, took.as_micros()))
        })
    }
}

/// Adds what the client is told to a response's fields; an endpoint's own `Server-Timing` stays.
pub fn disclose(fields: &mut Fields, level: ServerTiming, trace: &Trace<'_>, moments: &Moments) {
    let context = traceparent(trace.id, trace.root, trace.flags);
    fields.remove(Name::Traceresponse);
    fields.push(b"traceresponse", &context);
    let mut value = Value::from_slice(b"trace;desc=\"");
    value.extend_from_slice(&context);
    value.push(b'"');
    if level == ServerTiming::Timing {
        for (name, us) in moments.parts(Instant::now()) {
            // Writing to memory cannot fail.
            drop(write!(
                value,
                ", {name};dur={}.{:03}",
                us / 1_000,
                us % 1_000
            ));
        }
    }
    fields.push(b"server-timing", &value);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn moments(begin: Instant, ends_ms: [Option<u64>; 5]) -> Moments {
        let [balanced, started, connected, sent, first_byte] =
            ends_ms.map(|ms| ms.map(|ms| begin + Duration::from_millis(ms)));
        Moments {
            head_read: begin,
            balanced,
            started,
            connected,
            sent,
            first_byte,
        }
    }

    #[test]
    fn the_parts_of_an_answered_request_sum_to_its_time() {
        let begin = Instant::now();
        let answered = moments(begin, [1, 3, 6, 10, 15].map(Some));
        let parts: Vec<_> = answered.parts(begin).collect();
        let want = [
            ("edge", 1_000),
            ("balance", 2_000),
            ("connect", 3_000),
            ("net", 4_000),
            ("app", 5_000),
        ];
        assert_eq!(parts, want);
    }

    #[test]
    fn the_last_part_of_a_request_that_got_stuck_lasts_until_now() {
        let begin = Instant::now();
        let now = begin + Duration::from_millis(20);
        let stuck = moments(begin, [Some(1), Some(3), None, None, None]);
        let parts: Vec<_> = stuck.parts(now).collect();
        let want = [("edge", 1_000), ("balance", 2_000), ("connect", 17_000)];
        assert_eq!(parts, want);
    }

    #[test]
    fn moments_out_of_order_make_no_time() {
        let begin = Instant::now();
        let odd = moments(begin, [Some(5), Some(3), Some(6), Some(2), Some(9)]);
        let total: u128 = odd.parts(begin).map(|(_, us)| us).sum();
        assert_eq!(total, 9_000);
    }
}

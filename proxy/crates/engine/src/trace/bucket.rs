//! How many of something there may be in a second, for all workers together.
//!
//! One number says when all that was taken will have been earned again, so that a bucket costs one
//! atomic exchange, and two workers never take the same token. Who takes several at once may take
//! more than are left, and the next one waits for longer: the rate holds, whatever is taken.
//!
//! Rules: this module reads no clock.
//!
//! Source: ITU-T I.371, the generic cell rate algorithm.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::instant::Instant;
use crate::instant::nanoseconds;

/// What may come at once after a pause: as much as in this time. Jaeger's rate limiter: 1 s.
const BURST: Duration = Duration::from_secs(1);

/// A rate that is never exceeded for longer than [`BURST`].
#[derive(Debug)]
pub struct Bucket {
    interval_ns: u64,
    since: Instant,
    /// When it is full again, in nanoseconds since then.
    full_at_ns: AtomicU64,
}

impl Bucket {
    /// A full bucket. `per_s` is above 0.
    #[must_use]
    pub fn new(per_s: f64, now: Instant) -> Self {
        debug_assert!(per_s > 0.0);
        // A rate that is so small that this is too large never earns anything again.
        #[expect(clippy::cast_sign_loss, reason = "rates are above 0")]
        let interval_ns = (1e9 / per_s).ceil() as u64;
        Self {
            interval_ns,
            since: now,
            full_at_ns: AtomicU64::new(0),
        }
    }

    /// Takes `count` if anything is left.
    pub fn take(&self, count: u32, now: Instant) -> bool {
        self.take_within(BURST, count, now)
    }

    /// Takes `count` if more than half is left, so that who uses [`Self::take`] comes first.
    pub fn take_spare(&self, count: u32, now: Instant) -> bool {
        self.take_within(BURST / 2, count, now)
    }

    fn take_within(&self, burst: Duration, count: u32, now: Instant) -> bool {
        let now_ns = now.nanoseconds_since(self.since);
        let cost_ns = self.interval_ns.saturating_mul(count.into());
        let limit_ns = now_ns.saturating_add(nanoseconds(burst));
        let taken = |full_at_ns: u64| {
            let from_ns = full_at_ns.max(now_ns);
            (from_ns < limit_ns).then(|| from_ns.saturating_add(cost_ns))
        };
        let order = Ordering::Relaxed;
        self.full_at_ns.fetch_update(order, order, taken).is_ok()
    }
}

/// By their rates, not by what is left.
impl PartialEq for Bucket {
    fn eq(&self, other: &Self) -> bool {
        self.interval_ns == other.interval_ns
    }
}

impl Eq for Bucket {}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bucket: &Bucket, now: Instant) -> usize {
        (0..1_000_000).take_while(|_| bucket.take(1, now)).count()
    }

    #[test]
    fn a_second_earns_the_rate_and_a_pause_no_more_than_that() {
        let start = Instant::now();
        let bucket = Bucket::new(5.0, start);
        assert_eq!(taken(&bucket, start), 5);
        assert_eq!(taken(&bucket, start + Duration::from_millis(400)), 2);
        assert_eq!(taken(&bucket, start + Duration::from_secs(3600)), 5);
    }

    #[test]
    fn a_rate_below_one_lets_one_through_now_and_then() {
        let start = Instant::now();
        let bucket = Bucket::new(0.1, start);
        let seconds = (0..1000).map(|second| start + Duration::from_secs(second));
        let taken = seconds.filter(|now| bucket.take(1, *now)).count();
        assert!((100..=101).contains(&taken), "{taken}");
    }

    #[test]
    fn who_takes_more_than_is_left_makes_the_next_one_wait() {
        let start = Instant::now();
        let bucket = Bucket::new(1.0, start);
        let seconds = (0..1000).map(|second| start + Duration::from_secs(second));
        let taken = seconds.filter(|now| bucket.take(12, *now)).count();
        assert!((83..=85).contains(&taken), "{taken}");
    }

    #[test]
    fn what_is_spare_leaves_half_for_the_others() {
        let now = Instant::now();
        let bucket = Bucket::new(100.0, now);
        let spare = (0..1000).take_while(|_| bucket.take_spare(1, now)).count();
        assert_eq!((spare, taken(&bucket, now)), (50, 50));
    }

    #[test]
    fn workers_take_from_one_bucket() {
        let now = Instant::now();
        let bucket = Bucket::new(1000.0, now);
        let all: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| taken(&bucket, now)))
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap())
                .sum()
        });
        assert_eq!(all, 1000);
    }

    #[test]
    fn a_clock_that_steps_back_earns_nothing() {
        let start = Instant::now();
        let bucket = Bucket::new(1.0, start + Duration::from_secs(10));
        assert!(bucket.take(1, start));
        assert!(!bucket.take(1, start));
    }
}

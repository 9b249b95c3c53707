//! What is kept of requests that were not sampled, once it is known how they ended.
//!
//! A request that failed, that was slower than 99 of 100 of its route, or that has a verdict is
//! recorded all the same. Its endpoint was told that the trace is not sampled, so these are the
//! spans of this data plane alone.
//!
//! Rules: this module reads no clock. Several workers may count at once; a count that one of them
//! loses by it moves no percentile.

use std::sync::atomic::{AtomicU16, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use super::bucket::Bucket;
use super::sampler::By;
use super::segment::{Fault, Segment};
use super::verdict::Verdict;
use crate::limits::SLOW_REQUEST;

/// Requests of a route before one of them can be slow: with fewer the 99th percentile is the
/// slowest of all.
const COUNT_MIN: u32 = 100;

/// After so many all counts are halved, so that a route's past fades away.
const COUNT_MAX: u32 = 4096;

/// How many requests are counted before the percentile is looked at anew.
const COUNTS_PER_LOOK: u32 = 64;

/// Durations below 64 µs share a bucket, and those from 2^33 µs (two hours) do.
const LOWEST_BITS: u32 = 6;
const HIGHEST_BITS: u32 = 33;
/// Four buckets for each doubling, so that a bucket is a fifth wide.
const BUCKETS: usize = 1 + 4 * (HIGHEST_BITS - LOWEST_BITS) as usize;

/// Why a request that is over is worth keeping although its trace was not sampled; `None` if it is
/// not.
#[must_use]
pub fn reason(segment: &Segment<'_>, is_slow: bool) -> Option<By> {
    let is_failed = segment
        .flag
        .is_some_and(|flag| flag.fault() != Fault::Client);
    if is_failed || segment.status >= 500 {
        Some(By::TailError)
    } else if is_slow {
        Some(By::TailSlow)
    } else if segment.judgement.verdict != Verdict::None {
        Some(By::TailVerdict)
    } else {
        None
    }
}

/// Whether there is room for the spans of a request that is worth it. One that is only slower than
/// usual, as many are, gets what the others leave.
#[must_use]
pub fn may_keep(rate: &Bucket, segment: &Segment<'_>, by: By) -> bool {
    let span_count = 1 + usize::from(segment.balance.is_some()) + segment.attempts.len();
    let span_count = u32::try_from(span_count).unwrap_or(u32::MAX);
    match by {
        By::TailVerdict => rate.take_spare(span_count, segment.end),
        _ => rate.take(span_count, segment.end),
    }
}

/// How long the requests of one route take: 232 bytes once the first is counted, before that none.
#[derive(Debug, Default)]
pub struct Latencies(OnceLock<Arc<Histogram>>);

#[derive(Debug)]
struct Histogram {
    counts: [AtomicU16; BUCKETS],
    total: AtomicU32,
    /// Above it a request is slow.
    slow_us: AtomicU32,
}

impl Latencies {
    /// The ones that `earlier` has counted, from now on together.
    #[must_use]
    pub fn continued(earlier: &Self) -> Self {
        earlier.0.get().map_or_else(Self::default, |counted| {
            Self(OnceLock::from(Arc::clone(counted)))
        })
    }

    /// Counts a request, and returns whether it was slower than 99 of 100 before it, or than
    /// [`SLOW_REQUEST`] while too few are known.
    pub fn is_slow(&self, took_us: u64) -> bool {
        self.0.get_or_init(Arc::default).count(took_us)
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: [const { AtomicU16::new(0) }; BUCKETS],
            total: AtomicU32::new(0),
            slow_us: AtomicU32::new(SLOW_REQUEST.as_micros() as u32),
        }
    }
}

impl Histogram {
    fn count(&self, took_us: u64) -> bool {
        let is_slow = took_us > self.slow_us.load(Relaxed).into();
        let bucket = &self.counts[bucket_of(took_us)];
        bucket.store(bucket.load(Relaxed).saturating_add(1), Relaxed);
        let total = self.total.load(Relaxed) + 1;
        self.total.store(total, Relaxed);
        if total == COUNT_MIN || (total > COUNT_MIN && total.is_multiple_of(COUNTS_PER_LOOK)) {
            self.look();
        }
        is_slow
    }

    fn look(&self) {
        let counts = self.counts.each_ref().map(|count| count.load(Relaxed));
        let total: u32 = counts.iter().copied().map(u32::from).sum();
        self.slow_us
            .store(percentile_99_us(&counts, total), Relaxed);
        if total >= COUNT_MAX {
            for (count, seen) in self.counts.iter().zip(counts) {
                count.store(seen / 2, Relaxed);
            }
            self.total.store(total / 2, Relaxed);
        }
    }
}

/// As if the durations of a bucket were spread evenly over it.
fn percentile_99_us(counts: &[u16; BUCKETS], total: u32) -> u32 {
    let mut left = total / 100;
    for (index, count) in counts.iter().enumerate().rev() {
        let count = u32::from(*count);
        if count > left {
            let (low, high) = (start_us(index), start_us(index + 1));
            let above = (high - low) * u64::from(left) / u64::from(count);
            return u32::try_from(high - above).unwrap_or(u32::MAX);
        }
        left -= count;
    }
    u32::MAX
}

fn bucket_of(took_us: u64) -> usize {
    let took_us = took_us.min((1 << HIGHEST_BITS) - 1);
    let bits = took_us.checked_ilog2().unwrap_or(0);
    if bits < LOWEST_BITS {
        return 0;
    }
    let quarter = took_us >> (bits - 2) & 3;
    1 + 4 * (bits - LOWEST_BITS) as usize + quarter as usize
}

/// The shortest duration of a bucket; that of the one behind the last is the end of all.
fn start_us(bucket: usize) -> u64 {
    let Some(above) = bucket.checked_sub(1) else {
        return 0;
    };
    let bits = LOWEST_BITS + (above / 4) as u32;
    (4 + (above % 4) as u64) << (bits - 2)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Of 100,000, once 10,000 were counted.
    fn slow_count(latencies: &Latencies, mut took_us: impl FnMut() -> u64) -> usize {
        for _ in 0..10_000 {
            latencies.is_slow(took_us());
        }
        let slow = (0..100_000).filter(|_| latencies.is_slow(took_us()));
        slow.count()
    }

    #[test]
    fn every_duration_lies_in_its_bucket() {
        let mut random = fastrand::Rng::with_seed(1);
        let some = (0..10_000).map(|_| random.u64(..) >> random.u32(..64));
        for took_us in some.chain([0, 63, 64, 79, 80, 127, 128, u64::MAX]) {
            let bucket = bucket_of(took_us);
            let capped = took_us.min((1 << HIGHEST_BITS) - 1);
            assert!(
                start_us(bucket) <= capped && capped < start_us(bucket + 1),
                "{took_us}"
            );
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn about_one_of_a_hundred_is_slow_whatever_the_durations() {
        for scale_us in [100.0, 10_000.0, 1_000_000.0] {
            let mut random = fastrand::Rng::with_seed(7);
            let mut exponential = || {
                let took = Duration::from_secs_f64(-random.f64().ln() * scale_us / 1e6);
                u64::try_from(took.as_micros()).unwrap()
            };
            let slow = slow_count(&Latencies::default(), &mut exponential);
            assert!((500..2_000).contains(&slow), "{scale_us}: {slow}");
        }
    }

    #[test]
    fn the_first_hundred_are_not_slow_and_teach_what_is() {
        let latencies = Latencies::default();
        for _ in 0..100 {
            assert!(!latencies.is_slow(10_000));
        }
        assert!(!latencies.is_slow(10_000));
        assert!(latencies.is_slow(20_000));
    }

    #[test]
    fn while_too_few_are_known_a_second_is_slow() {
        let latencies = Latencies::default();
        let slow_us = SLOW_REQUEST.as_micros() as u64;
        assert!(!latencies.is_slow(slow_us));
        assert!(latencies.is_slow(slow_us + 1));
    }

    #[test]
    fn one_outlier_among_the_first_does_not_hide_the_next() {
        let latencies = Latencies::default();
        latencies.is_slow(30_000_000);
        for _ in 0..120 {
            latencies.is_slow(10_000);
        }
        assert!(latencies.is_slow(50_000));
    }

    #[test]
    fn a_route_that_became_slow_is_not_slow_for_ever() {
        let latencies = Latencies::default();
        slow_count(&latencies, || 1_000);
        assert!(latencies.is_slow(100_000));
        for _ in 0..8 * COUNT_MAX {
            latencies.is_slow(100_000);
        }
        assert!(!latencies.is_slow(100_000));
    }

    #[test]
    fn what_was_learnt_is_continued() {
        let earlier = Latencies::default();
        (0..200).for_each(|_| {
            earlier.is_slow(1_000);
        });
        assert!(Latencies::continued(&earlier).is_slow(5_000));
    }
}

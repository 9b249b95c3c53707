//! How many retries a backend may get, so that one that fails is not buried under them.
//!
//! Retries of the last ten seconds are at most a share of the requests of the same ten seconds,
//! and three a second besides. Shared by all workers: counting a request is one relaxed atomic
//! addition. Two workers that spend the last retry at the same moment may both get it.
//!
//! Rules: this module reads no clock; time is whole seconds since the budget was made.
//!
//! Source: Finagle and linkerd, `RetryBudget` (ttl 10 s, 10 a second, 20 %); Envoy's minimum is 3
//! at a time.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::instant::Instant;
use crate::limits::{RETRIES_PER_SECOND_MIN, RETRY_WINDOW_S};

/// One backend's retries and requests of the last [`RETRY_WINDOW_S`].
#[derive(Debug)]
pub struct Budget {
    since: Instant,
    requests: Window,
    retries: Window,
}

impl Budget {
    /// A budget that has seen nothing yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            since: now,
            requests: Window::default(),
            retries: Window::default(),
        }
    }

    /// Counts a request, not its retries.
    pub fn request(&self, now: Instant) {
        self.requests.add(self.second(now));
    }

    /// Takes one retry out of the budget; false if there is none left.
    pub fn spend(&self, now: Instant, percent: u32) -> bool {
        let second = self.second(now);
        let share = self.requests.sum(second).saturating_mul(percent.into()) / 100;
        let least = RETRIES_PER_SECOND_MIN * u64::from(RETRY_WINDOW_S);
        let is_left = self.retries.sum(second) < share + least;
        if is_left {
            self.retries.add(second);
        }
        is_left
    }

    /// Puts back what was just spent, because no retry was made.
    pub fn give_back(&self, now: Instant) {
        self.retries.take_back(self.second(now));
    }

    /// Wraps after 136 years.
    fn second(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.since).as_secs() as u32
    }
}

/// Counts by second. Each bucket is its second and its count, 32 bits each; a bucket whose second
/// is long ago counts nothing and is used anew.
#[derive(Debug, Default)]
struct Window([AtomicU64; RETRY_WINDOW_S as usize]);

impl Window {
    fn add(&self, second: u32) {
        let bucket = self.bucket(second);
        let mut seen = bucket.load(Ordering::Relaxed);
        // A worker whose clock reading is a little older counts in the newer second.
        while second_of(seen) < second {
            let first = u64::from(second) << 32 | 1;
            let swapped =
                bucket.compare_exchange(seen, first, Ordering::Relaxed, Ordering::Relaxed);
            match swapped {
                Ok(_) => return,
                Err(other) => seen = other,
            }
        }
        bucket.fetch_add(1, Ordering::Relaxed);
    }

    fn take_back(&self, second: u32) {
        let less = |seen| (count_of(seen) > 0 && second_of(seen) == second).then(|| seen - 1);
        // If the bucket has moved on, the count is gone with it.
        let bucket = self.bucket(second);
        let _ = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    fn sum(&self, second: u32) -> u64 {
        let buckets = self.0.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        buckets
            .filter(|seen| second.saturating_sub(second_of(*seen)) < RETRY_WINDOW_S)
            .map(count_of)
            .sum()
    }

    fn bucket(&self, second: u32) -> &AtomicU64 {
        &self.0[(second % RETRY_WINDOW_S) as usize]
    }
}

fn second_of(bucket: u64) -> u32 {
    (bucket >> 32) as u32
}

fn count_of(bucket: u64) -> u64 {
    bucket & u64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn spent(budget: &Budget, now: Instant, percent: u32) -> usize {
        (0..1_000_000)
            .take_while(|_| budget.spend(now, percent))
            .count()
    }

    #[test]
    fn an_idle_backend_has_three_retries_a_second() {
        let start = Instant::now();
        let budget = Budget::new(start);
        assert_eq!(spent(&budget, start, 20), 30);
        assert_eq!(spent(&budget, start + Duration::from_secs(9), 20), 0);
        assert_eq!(spent(&budget, start + Duration::from_secs(10), 20), 30);
    }

    #[test]
    fn requests_of_the_last_ten_seconds_earn_their_share_and_older_ones_nothing() {
        let start = Instant::now();
        let budget = Budget::new(start);
        for second in 0..20 {
            for _ in 0..50 {
                budget.request(start + Duration::from_secs(second));
            }
        }
        let now = start + Duration::from_secs(19);
        assert_eq!(spent(&budget, now, 20), 500 * 20 / 100 + 30);
    }

    #[test]
    fn no_share_leaves_the_minimum() {
        let start = Instant::now();
        let budget = Budget::new(start);
        for _ in 0..10_000 {
            budget.request(start);
        }
        assert_eq!(spent(&budget, start, 0), 30);
    }

    #[test]
    fn what_is_given_back_can_be_spent_again_once() {
        let now = Instant::now();
        let budget = Budget::new(now);
        spent(&budget, now, 20);
        budget.give_back(now);
        assert_eq!(spent(&budget, now, 20), 1);
    }

    #[test]
    fn what_is_given_back_too_late_takes_nothing_from_another_second() {
        let start = Instant::now();
        let budget = Budget::new(start);
        budget.give_back(start);
        assert_eq!(spent(&budget, start, 20), 30);
    }

    #[test]
    fn workers_count_together() {
        let now = Instant::now();
        let budget = Budget::new(now);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| budget.request(now)));
            }
        });
        assert_eq!(spent(&budget, now, 10), 400 + 30);
    }
}

//! A moment of the monotonic clock, as one number.
//!
//! Every request compares and subtracts dozens of them. `std::time::Instant` keeps seconds and
//! nanoseconds apart and borrows between the two each time; this is its subset that is needed here,
//! for a clock that counts from the machine's start and lasts 584 years.

use std::ops::{Add, AddAssign, Sub};
use std::sync::LazyLock;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`, the clock of `std::time::Instant`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// Reads the clock.
    #[must_use]
    #[inline]
    pub fn now() -> Self {
        let at = clock_gettime(ClockId::Monotonic);
        Self(at.tv_sec.cast_unsigned() * 1_000_000_000 + at.tv_nsec.cast_unsigned())
    }

    /// Nanoseconds since `earlier`; 0 if that is later.
    #[must_use]
    #[inline]
    pub fn nanoseconds_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Time since `earlier`; none if that is later.
    #[must_use]
    #[inline]
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanoseconds_since(earlier))
    }

    /// Time since `earlier`, unless that is later.
    #[must_use]
    #[inline]
    pub fn checked_duration_since(self, earlier: Self) -> Option<Duration> {
        self.0.checked_sub(earlier.0).map(Duration::from_nanos)
    }

    /// Time since then.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        Self::now().saturating_duration_since(self)
    }
}

/// Later than any timer is waited for, and not too late for the clock of std.
const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);

/// Saturates, as all that follow do.
impl Add<Duration> for Instant {
    type Output = Self;

    #[inline]
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanoseconds(duration)))
    }
}

impl AddAssign<Duration> for Instant {
    #[inline]
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    #[inline]
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanoseconds(duration)))
    }
}

impl From<Instant> for tokio::time::Instant {
    /// For timers. What was before the first of them has passed.
    fn from(instant: Instant) -> Self {
        static ANCHOR: LazyLock<(std::time::Instant, Instant)> =
            LazyLock::new(|| (std::time::Instant::now(), Instant::now()));
        let (std, ours) = *ANCHOR;
        let at = match instant.checked_duration_since(ours) {
            Some(after) => std + after.min(FAR),
            None => std,
        };
        at.into()
    }
}

/// Whole microseconds of a duration, at most 584 years.
#[inline]
pub(crate) fn microseconds(duration: Duration) -> u64 {
    nanoseconds(duration) / 1_000
}

/// Nanoseconds of a duration, at most 584 years.
#[inline]
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(u64::from(duration.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_is_the_clock_of_std() {
        let before = std::time::Instant::now();
        let at = tokio::time::Instant::from(Instant::now()).into_std();
        let after = std::time::Instant::now();
        let off_by_the_anchor = Duration::from_millis(100);
        assert!(before <= at + off_by_the_anchor && at <= after + off_by_the_anchor);
    }

    #[test]
    fn nothing_is_before_the_clock_or_behind_it() {
        let start = Instant(0);
        assert_eq!(start - SECOND, start);
        assert_eq!(start + Duration::MAX, Instant(u64::MAX));
        assert_eq!(
            start.saturating_duration_since(start + SECOND),
            Duration::ZERO
        );
        assert_eq!(start.checked_duration_since(start + SECOND), None);
        assert_eq!((start + SECOND).checked_duration_since(start), Some(SECOND));
    }
}

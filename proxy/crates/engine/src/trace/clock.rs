//! Wall time from the monotonic clock, so that a trace never goes backwards.
//!
//! Durations come from `Instant`. The wall time of an instant is that of an anchor plus the
//! monotonic distance to it; a segment keeps the anchor that it began with, so a step of the wall
//! clock can never fall between two spans of one segment.

use crate::instant::{Instant, nanoseconds};
use crate::limits::ANCHOR_AGE_MAX;
use std::time::{SystemTime, UNIX_EPOCH};

/// One moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Anchor {
    instant: Instant,
    unix_ns: u64,
}

impl Anchor {
    /// Reads both clocks.
    #[must_use]
    pub fn now() -> Self {
        Self::at(Instant::now(), SystemTime::now())
    }

    /// An anchor of two moments known to be the same; a wall time before 1970 counts as 1970.
    #[must_use]
    pub fn at(instant: Instant, wall: SystemTime) -> Self {
        let unix_ns = nanoseconds(wall.duration_since(UNIX_EPOCH).unwrap_or_default());
        Self { instant, unix_ns }
    }

    /// Nanoseconds since 1970 of `instant`, which may be before or after the anchor.
    #[must_use]
    pub fn unix_ns(self, instant: Instant) -> u64 {
        let after = instant.nanoseconds_since(self.instant);
        let before = self.instant.nanoseconds_since(instant);
        self.unix_ns.saturating_add(after).saturating_sub(before)
    }
}

/// One worker's anchor, renewed now and then to follow the wall clock.
#[derive(Debug)]
pub struct Clock {
    anchor: Anchor,
}

impl Clock {
    /// Starts with a fresh anchor.
    #[must_use]
    pub fn new() -> Self {
        Self {
            anchor: Anchor::now(),
        }
    }

    /// The anchor for a segment that begins at `now`; reads the clocks only when it is too old.
    pub fn anchor(&mut self, now: Instant) -> Anchor {
        if now > self.anchor.instant + ANCHOR_AGE_MAX {
            self.anchor = Anchor::now();
        }
        self.anchor
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn wall_time_is_the_anchor_plus_the_monotonic_distance() {
        let before = Instant::now();
        let instant = before + Duration::from_nanos(7);
        let anchor = Anchor::at(instant, UNIX_EPOCH + Duration::from_secs(1_000));
        let after = instant + Duration::from_nanos(7);
        assert_eq!(anchor.unix_ns(after), 1_000_000_000_007);
        assert_eq!(anchor.unix_ns(before), 999_999_999_993);
    }

    #[test]
    fn an_anchor_is_kept_until_it_is_too_old() {
        let mut clock = Clock::new();
        let first = clock.anchor.instant;
        assert_eq!(clock.anchor(first + ANCHOR_AGE_MAX).instant, first);
        let late = first + ANCHOR_AGE_MAX + Duration::from_nanos(1);
        assert!(clock.anchor(late).instant > first);
    }
}

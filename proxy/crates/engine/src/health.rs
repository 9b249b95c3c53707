//! Passive health: what attempts tell about an endpoint, shared by all workers.
//!
//! An endpoint's [`Vitals`] live on from table to table for as long as the endpoint is in its
//! backend; they can never add or remove one. Rules: atomics without locks; time is handed in;
//! while an endpoint is well, attempts only read. Two workers may find the same thing at once: one
//! of them ejects, and a count may be off by those that were under way.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::instant::Instant;
use crate::table::Health;

/// Where [`Moment`]s begin. They must fit into an atomic, which an `Instant` does not.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since [`EPOCH`], at least 1.
fn moment(now: Instant) -> u64 {
    1 + milliseconds(now.saturating_duration_since(*EPOCH))
}

/// All of its weight, as [`Vitals::warmth`] counts it.
pub const WHOLE_SHARE: u32 = 1000;
/// The share of its weight that a new endpoint begins with. Envoy `min_weight_percent`: 10 %.
const SLOW_START_SHARE: u32 = WHOLE_SHARE / 10;
/// In [`Vitals::warming_since`]: the endpoint is new, and nobody has looked at it yet.
const UNSEEN: u64 = u64::MAX;

/// What an attempt tells about its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// It answered, after this time.
    Well(Duration),
    /// No connection, no answer, a late one, or one that says that it cannot serve.
    Failed(Duration),
    /// Nothing, for example since the client left.
    Nothing,
}

/// How many endpoints of one backend are marked as ejected; also those whose time is over and
/// which nobody has looked at since.
#[derive(Debug, Default)]
pub struct Ward {
    marked: AtomicU32,
}

impl Ward {
    /// Whether there is nobody: then no endpoint needs to be looked at.
    pub fn is_empty(&self) -> bool {
        self.marked.load(Relaxed) == 0
    }
}

/// The measured health of one endpoint of one backend.
#[derive(Debug)]
pub struct Vitals {
    ward: Arc<Ward>,
    /// Failures since the last success.
    errors: AtomicU32,
    /// Ejections since the last success.
    ejections: AtomicU32,
    /// The moment of the last one.
    ejected_at: AtomicU64,
    /// The moment when it ends; 0 while not ejected.
    ejected_until: AtomicU64,
    /// The moment when it was first seen; 0 when it has its whole weight, or [`UNSEEN`].
    warming_since: AtomicU64,
    /// Attempts that are there now, by all workers.
    in_flight: AtomicU32,
}

impl Vitals {
    /// Of an endpoint that is new in a backend which has others already, or in a new backend.
    pub fn new(ward: &Arc<Ward>, has_elders: bool) -> Self {
        Self {
            ward: Arc::clone(ward),
            errors: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            ejected_at: AtomicU64::new(0),
            ejected_until: AtomicU64::new(0),
            warming_since: AtomicU64::new(if has_elders { UNSEEN } else { 0 }),
            in_flight: AtomicU32::new(0),
        }
    }

    /// Counts an attempt until [`Self::leave`]; returns how many were there before it.
    pub fn arrive(&self) -> u32 {
        self.in_flight.fetch_add(1, Relaxed)
    }

    /// The end of an attempt.
    pub fn leave(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// How long it is still left out; `None` while it is not.
    pub fn ejected_for(&self, now: Instant) -> Option<Duration> {
        let until = self.ejected_until.load(Relaxed);
        if until == 0 {
            return None;
        }
        let now = moment(now);
        if now < until {
            return Some(Duration::from_millis(until - now));
        }
        let is_ended = self
            .ejected_until
            .compare_exchange(until, 0, Relaxed, Relaxed);
        if is_ended.is_ok() {
            self.ward.marked.fetch_sub(1, Relaxed);
        }
        None
    }

    /// Failures since the last success.
    pub fn errors(&self) -> u32 {
        self.errors.load(Relaxed)
    }

    /// The share of its weight that it has, in thousandths: grows from a tenth to all of it in the time `over`,
    /// which begins when this is first asked of a new endpoint.
    pub fn warmth(&self, over: Duration, now: Instant) -> u32 {
        let since = self.warming_since.load(Relaxed);
        if since == 0 {
            return WHOLE_SHARE;
        }
        let now = moment(now);
        if since == UNSEEN {
            // Whoever comes second has looked at the same time.
            let _ = self
                .warming_since
                .compare_exchange(UNSEEN, now, Relaxed, Relaxed);
            return SLOW_START_SHARE;
        }
        let (passed, over) = (now.saturating_sub(since), milliseconds(over));
        if passed >= over {
            self.warming_since.store(0, Relaxed);
            return WHOLE_SHARE;
        }
        let rest = u64::from(WHOLE_SHARE - SLOW_START_SHARE);
        SLOW_START_SHARE + (rest.saturating_mul(passed) / over) as u32
    }

    /// Takes note of a success of an attempt that began at `began`: it makes everything good,
    /// unless it tells of the time before the last ejection.
    pub fn well(&self, began: Instant) {
        let was_ill = self.errors.load(Relaxed) != 0 || self.ejections.load(Relaxed) != 0;
        if !was_ill || self.is_old(began) {
            return;
        }
        self.errors.store(0, Relaxed);
        self.ejections.store(0, Relaxed);
        if self.ejected_until.swap(0, Relaxed) != 0 {
            self.ward.marked.fetch_sub(1, Relaxed);
        }
    }

    /// Takes note of a failure of an attempt that began at `began`. Returns whether it made the
    /// endpoint ejected.
    ///
    /// After an ejection the first failure is enough for the next one.
    pub fn failed(&self, health: &Health, began: Instant, now: Instant) -> bool {
        if self.is_old(began) {
            return false;
        }
        let errors = self.errors.fetch_add(1, Relaxed).saturating_add(1);
        if errors < health.errors_consecutive || self.ejected_for(now).is_some() {
            return false;
        }
        let count = self.ejections.load(Relaxed).saturating_add(1);
        let duration = health
            .ejection
            .saturating_mul(count)
            .min(health.ejection_max);
        let now = moment(now);
        let until = now.saturating_add(milliseconds(duration));
        let ejected = self
            .ejected_until
            .compare_exchange(0, until, Relaxed, Relaxed);
        if ejected.is_err() {
            return false; // Another worker was quicker.
        }
        self.ejections.store(count, Relaxed);
        self.ejected_at.store(now, Relaxed);
        self.ward.marked.fetch_add(1, Relaxed);
        true
    }

    /// Whether an attempt began before the last ejection: many fail at once when an endpoint dies,
    /// and must not count as the next ejection.
    fn is_old(&self, began: Instant) -> bool {
        self.ejections.load(Relaxed) != 0 && moment(began) < self.ejected_at.load(Relaxed)
    }
}

impl Drop for Vitals {
    fn drop(&mut self) {
        if *self.ejected_until.get_mut() != 0 {
            self.ward.marked.fetch_sub(1, Relaxed);
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// An endpoint, and a clock that only the test moves.
    struct Patient {
        ward: Arc<Ward>,
        vitals: Vitals,
        now: Instant,
    }

    impl Patient {
        fn new() -> Self {
            let ward = Arc::default();
            let now = *EPOCH + SECOND;
            Self {
                vitals: Vitals::new(&ward, false),
                ward,
                now,
            }
        }

        fn fails(&self, count: u32) -> bool {
            let health = Health {
                errors_consecutive: 3,
                ejection: 10 * SECOND,
                ejection_max: 25 * SECOND,
                ejected_percent_max: 50,
            };
            let last = |_| self.vitals.failed(&health, self.now, self.now);
            (0..count).map(last).last() == Some(true)
        }

        fn ejected_s(&self) -> u64 {
            self.vitals
                .ejected_for(self.now)
                .map_or(0, |left| left.as_secs())
        }
    }

    #[test]
    fn only_failures_in_a_row_eject() {
        let patient = Patient::new();
        for _ in 0..10 {
            assert!(!patient.fails(2));
            patient.vitals.well(patient.now);
        }
        assert!(patient.ward.is_empty());
        assert!(patient.fails(3));
        assert_eq!((patient.ejected_s(), patient.ward.is_empty()), (10, false));
    }

    #[test]
    fn an_ejection_ends_with_its_time_and_the_next_one_is_longer() {
        let mut patient = Patient::new();
        patient.fails(3);
        for seconds in [20, 25, 25] {
            patient.now += 30 * SECOND;
            assert_eq!((patient.ejected_s(), patient.ward.is_empty()), (0, true));
            assert!(patient.fails(1), "one failure is enough now");
            assert_eq!(patient.ejected_s(), seconds);
        }
    }

    #[test]
    fn one_success_makes_everything_good() {
        let mut patient = Patient::new();
        patient.fails(3);
        patient.now += 10 * SECOND;
        patient.vitals.well(patient.now);
        assert!(!patient.fails(2));
        assert!(patient.fails(1));
        assert_eq!(patient.ejected_s(), 10);
    }

    #[test]
    fn what_began_before_the_ejection_tells_nothing_new() {
        let mut patient = Patient::new();
        let before = *EPOCH;
        patient.fails(3);
        patient.vitals.well(before);
        assert_eq!(patient.ejected_s(), 10);
        patient.now += 10 * SECOND;
        let health = Health {
            errors_consecutive: 1,
            ..Health::default()
        };
        assert!(!patient.vitals.failed(&health, before, patient.now));
    }

    #[test]
    fn a_success_of_an_endpoint_that_is_used_all_the_same_ends_its_ejection() {
        let patient = Patient::new();
        patient.fails(3);
        patient.vitals.well(patient.now);
        assert_eq!((patient.ejected_s(), patient.ward.is_empty()), (0, true));
    }

    #[test]
    fn an_endpoint_that_goes_leaves_the_ward() {
        let Patient { ward, vitals, now } = Patient::new();
        let health = Health {
            errors_consecutive: 1,
            ..Health::default()
        };
        assert!(vitals.failed(&health, now, now));
        drop(vitals);
        assert!(ward.is_empty());
    }

    #[test]
    fn a_new_endpoint_grows_from_a_tenth_to_its_whole_weight() {
        let (ward, now) = (Arc::default(), *EPOCH + SECOND);
        let vitals = Vitals::new(&ward, true);
        let at = |seconds: u32| vitals.warmth(10 * SECOND, now + seconds * SECOND);
        assert_eq!([at(0), at(5), at(10), at(0)], [100, 550, 1000, 1000]);
        assert_eq!(Vitals::new(&ward, false).warmth(SECOND, now), WHOLE_SHARE);
    }
}

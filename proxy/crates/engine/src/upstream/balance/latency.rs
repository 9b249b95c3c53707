//! The moving average of an endpoint's latency that rises at once and falls slowly.
//!
//! Source: Finagle, "Peak EWMA"; linkerd2-proxy and tower have the same.

use std::time::Duration;

use crate::instant::Instant;

/// In this time an observation loses 63 % of its weight. Finagle and linkerd: 10 s.
const DECAY_S: f64 = 10.0;
/// What a failure counts as, at least: an endpoint that fails at once must not look like the fastest.
/// tower begins with the same for endpoints of which it knows nothing.
const FAILURE_S: f64 = 1.0;
/// The cost of an endpoint of which nothing is known but that it has not answered yet.
const PENDING_COST: f64 = 1e6;

/// What is known of an endpoint's latency.
#[derive(Debug, Default)]
pub(super) struct Latency {
    /// In seconds; and when that was.
    known: Option<(f64, Instant)>,
}

impl Latency {
    /// What one more request is likely to cost: the average, for each request in flight and this
    /// one. It decays to nothing while nothing is observed, so that a slow endpoint gets its chance
    /// to show that it is no longer. An unknown one costs nothing until it has its first request,
    /// and is then left alone until that is answered.
    pub(super) fn cost(&self, in_flight: u32, now: Instant) -> f64 {
        match self.known {
            None if in_flight == 0 => 0.0,
            None => PENDING_COST * f64::from(in_flight),
            Some((seconds, at)) => seconds * kept(at, now) * (f64::from(in_flight) + 1.0),
        }
    }

    /// Adds an observation.
    pub(super) fn observe(&mut self, latency: Duration, is_well: bool, now: Instant) {
        let mut observed = latency.as_secs_f64();
        if !is_well {
            observed = observed.max(FAILURE_S);
        }
        let average = match self.known {
            Some((seconds, at)) if observed < seconds => {
                let kept = kept(at, now);
                seconds * kept + observed * (1.0 - kept)
            }
            _ => observed,
        };
        self.known = Some((average, now));
    }
}

/// The part of an average that is left of it.
fn kept(at: Instant, now: Instant) -> f64 {
    (-now.saturating_duration_since(at).as_secs_f64() / DECAY_S).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_peak_counts_at_once_and_is_forgotten_slowly() {
        let (mut latency, start) = (Latency::default(), Instant::now());
        latency.observe(10 * MS, true, start);
        latency.observe(500 * MS, true, start);
        assert!((latency.cost(0, start) - 0.5).abs() < 1e-9);
        latency.observe(10 * MS, true, start + 1000 * MS);
        assert!(latency.cost(0, start + 1000 * MS) > 0.4);
        assert!(latency.cost(0, start + 100_000 * MS) < 0.001);
    }

    #[test]
    fn requests_in_flight_multiply_the_cost() {
        let (mut latency, now) = (Latency::default(), Instant::now());
        latency.observe(10 * MS, true, now);
        assert!((latency.cost(3, now) - 0.04).abs() < 1e-9);
    }

    #[test]
    fn an_unknown_endpoint_gets_one_request_at_a_time() {
        let (latency, now) = (Latency::default(), Instant::now());
        assert!(latency.cost(0, now) <= 0.0);
        assert!(latency.cost(1, now) > 1e5);
    }

    #[test]
    fn a_quick_failure_does_not_look_fast() {
        let (mut latency, now) = (Latency::default(), Instant::now());
        latency.observe(MS, false, now);
        assert!(latency.cost(0, now) >= FAILURE_S);
    }
}

//! What is usual for the requests of each route, as one worker has seen it.
//!
//! Usual is the median of the last minutes, followed step by step: a value that lasts becomes
//! usual, but a baseline doubles or halves at most once a minute, however many requests there are,
//! so that a route that has become slow is still told to be slow while somebody looks.
//!
//! Rules: a few numbers per route, a bounded number of routes, no allocation per request.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustc_hash::FxHashMap;

use super::segment::Segment;
use super::timing::Timeline;
use super::verdict::{Judgement, Times, Usual, judge};
use crate::instant::Instant;
use crate::limits::{
    BASELINE_DOUBLING, BASELINE_REQUESTS_MIN, BASELINE_WARM_UP_REQUESTS, BASELINES_MAX,
};

/// The largest step, in relation to the value: eight small values halve a baseline roughly.
const STEP_MAX: f32 = 1.0 / 8.0;
/// So that a value doubles at most within [`BASELINE_DOUBLING`].
const STEP_PER_NS: f32 = std::f32::consts::LN_2 / (BASELINE_DOUBLING.as_secs_f32() * 1e9);
/// Below this a baseline cannot be told from nothing.
const FLOOR: f32 = 1.0;

/// An id for what has a baseline; never given twice, so that nothing inherits another one's.
pub fn unique_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Relaxed)
}

/// A worker's baselines, by what they are of ([`crate::table::Route::id`]).
#[derive(Debug, Default)]
pub struct Baselines {
    routes: FxHashMap<u64, Baseline>,
}

impl Baselines {
    /// Judges a request that is over, and learns from it if it went well.
    pub fn judge(&mut self, segment: &Segment<'_>, timeline: &Timeline) -> Judgement {
        let times = Times::of(segment, timeline);
        let Some(key) = key(segment) else {
            return judge(times, None);
        };
        if let Some(baseline) = self.routes.get_mut(&key) {
            let judgement = judge(times, baseline.usual().as_ref());
            if is_typical(segment) {
                baseline.learn(&times, segment.end);
            }
            return judgement;
        }
        if is_typical(segment) && self.routes.len() < BASELINES_MAX {
            self.routes.insert(key, Baseline::new(&times, segment.end));
        }
        judge(times, None)
    }

    /// To be called for a new table. Routes that are gone cannot be told from others: when many are
    /// known all are forgotten, and learnt again in a few requests.
    pub fn renew(&mut self) {
        if self.routes.len() > BASELINES_MAX / 2 {
            self.routes.clear();
        }
    }
}

/// What the request is compared with others by; `None` if it never came near a backend, or became a
/// tunnel, which takes as long as its ends like.
fn key(segment: &Segment<'_>) -> Option<u64> {
    segment.balance.filter(|_| segment.tunnel.is_none())?;
    match segment.route {
        Some(route) => Some(route.id),
        None => segment.backend.map(|backend| backend.load.id),
    }
}

/// Whether others may be compared with it: failures have times of their own.
fn is_typical(segment: &Segment<'_>) -> bool {
    segment.flag.is_none() && segment.status < 500 && !segment.attempts.is_empty()
}

/// What is usual for one route.
#[derive(Debug)]
struct Baseline {
    /// As in [`numbers`].
    all: Medians<5>,
    /// What the application takes for requests that were alone at their endpoint.
    app_alone: Medians<1>,
}

/// The times of the client's network, the proxy, the cluster's network and the application, and how
/// many requests the endpoint has, with this one.
fn numbers(times: &Times) -> [u64; 5] {
    let (client_network, cluster_network) = (times.client_network, times.cluster_network);
    let at_once = times.ahead + 1;
    [
        client_network,
        times.proxy,
        cluster_network,
        times.app,
        at_once,
    ]
}

impl Baseline {
    fn new(times: &Times, now: Instant) -> Self {
        let mut app_alone = Medians::new([times.app], now);
        app_alone.count = u32::from(times.ahead == 0);
        Self {
            all: Medians::new(numbers(times), now),
            app_alone,
        }
    }

    /// `None` while too few requests were seen.
    fn usual(&self) -> Option<Usual> {
        let [client_network, proxy, cluster_network, all, at_once] = self.all.get()?;
        let ahead = at_once - 1;
        let (app, ahead, app_by_ahead) = match self.app_alone.get() {
            None => (all, ahead, all / (ahead + 1)),
            // Nobody knows yet what it does with several: one after the other, as it seems.
            Some([alone]) if ahead == 0 => (alone, 0, alone),
            // The first of those that were there before is half done, on average.
            Some([alone]) => {
                let by_ahead = 2 * all.saturating_sub(alone) / (2 * ahead - 1);
                (alone, 0, by_ahead.min(alone))
            }
        };
        Some(Usual {
            client_network,
            proxy,
            cluster_network,
            app,
            ahead,
            app_by_ahead,
        })
    }

    fn learn(&mut self, times: &Times, now: Instant) {
        self.all.learn(numbers(times), now);
        if times.ahead == 0 {
            self.app_alone.learn([times.app], now);
        }
    }
}

/// Medians of what is learnt together, which follow their values step by step.
#[derive(Debug)]
struct Medians<const N: usize> {
    values: [f32; N],
    count: u32,
    learnt: Instant,
}

impl<const N: usize> Medians<N> {
    fn new(values: [u64; N], now: Instant) -> Self {
        Self {
            values: values.map(float),
            count: 1,
            learnt: now,
        }
    }

    fn get(&self) -> Option<[u64; N]> {
        // They are never below the floor; signed, since that is one instruction and not twelve.
        let known = || self.values.map(|value| (value as i64).cast_unsigned());
        (self.count >= BASELINE_REQUESTS_MIN).then(known)
    }

    #[expect(clippy::cast_precision_loss, reason = "seven digits are plenty")]
    fn learn(&mut self, values: [u64; N], now: Instant) {
        let passed_ns = now.nanoseconds_since(self.learnt).cast_signed();
        self.learnt = now;
        let step = if self.count < BASELINE_WARM_UP_REQUESTS {
            self.count += 1;
            STEP_MAX
        } else {
            (passed_ns as f32 * STEP_PER_NS).min(STEP_MAX)
        };
        for (median, value) in self.values.iter_mut().zip(values) {
            let change_max = *median * step;
            *median += (float(value) - *median).clamp(-change_max, change_max);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "seven digits are plenty")]
fn float(value: u64) -> f32 {
    (value as f32).max(FLOOR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// The median of `values`, one every millisecond.
    fn median(values: impl Iterator<Item = u64>) -> Option<u64> {
        let mut now = Instant::now();
        let mut median: Option<Medians<1>> = None;
        for value in values {
            now += MILLISECOND;
            match &mut median {
                Some(median) => median.learn([value], now),
                None => median = Some(Medians::new([value], now)),
            }
        }
        median.expect("there are values").get().map(|[value]| value)
    }

    #[test]
    fn nothing_is_usual_before_some_requests_were_seen() {
        let few = BASELINE_REQUESTS_MIN as usize - 1;
        assert_eq!(median(std::iter::repeat_n(100, few)), None);
        assert_eq!(median(std::iter::repeat_n(100, few + 1)), Some(100));
    }

    #[test]
    fn the_middle_of_many_values_is_found_and_a_few_large_ones_do_not_matter() {
        let mut random = fastrand::Rng::with_seed(1);
        let values = (0..200_000).map(|_| match random.u64(..10) {
            0 => 1_000_000,
            _ => random.u64(800..1_200),
        });
        let found = median(values).unwrap_or(0);
        assert!((950..1_080).contains(&found), "{found}");
    }

    #[test]
    fn a_cold_start_is_forgotten_within_the_warm_up() {
        let values = std::iter::once(10_000).chain(std::iter::repeat_n(500, 40));
        assert_eq!(median(values), Some(500));
    }

    #[test]
    fn a_thousand_slow_requests_do_not_become_usual_but_minutes_of_them_do() {
        let usual = || std::iter::repeat_n(1_000, 100);
        let slow = |count| usual().chain(std::iter::repeat_n(20_000, count));
        assert!(median(slow(1_000)) < Some(1_100));
        assert_eq!(median(slow(300_000)), Some(20_000));
    }
}

//! What all workers counted, by route, in bounded memory.
//!
//! The routes with the most requests have label sets of their own, the rest share one, `_other`.
//! Who is among the first is looked at with a scrape, after it was answered: what loses its label
//! set then was exposed with all that it ever had.

use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustc_hash::{FxBuildHasher, FxHashMap};

use super::histogram::{DURATIONS, Histogram, SIZES};
use super::tally::{Cell, Exemplar, Kind, PhaseDurations};
use crate::instant::Instant;
use crate::limits::{
    METRICS_CANDIDATES_MAX, METRICS_CELLS_PER_ROUTE, METRICS_GONE_AFTER, METRICS_RANK_INTERVAL,
};
use crate::message::Method;
use crate::table::{Backend, Route};
use crate::trace::{Flag, Phases, Verdict};

/// What no object can be called.
const OTHER: &str = "_other";

/// The labels of a route. All empty for requests that no route matched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Labels {
    /// Of the Ingress; of the Service for service listeners.
    pub namespace: Box<str>,
    /// Empty for service listeners.
    pub ingress: Box<str>,
    /// Empty where the table does not have it.
    pub service: Box<str>,
    /// The host of the rule, `*` for any; empty for service listeners.
    pub host: Box<str>,
    /// The path of the rule; empty for service listeners.
    pub path: Box<str>,
}

impl Labels {
    fn other() -> Self {
        let other = || Box::from(OTHER);
        Self {
            namespace: other(),
            ingress: other(),
            service: other(),
            host: other(),
            path: other(),
        }
    }

    fn of(cell: &Cell) -> Self {
        let backend = cell.backend.as_ref();
        let service = backend.map_or_else(Box::default, |backend| backend.service.clone());
        match &cell.route {
            Some(route) => Self {
                namespace: route.namespace.clone(),
                ingress: route.ingress.clone(),
                service,
                host: match &*route.host {
                    "" => Box::from("*"),
                    host => Box::from(host),
                },
                path: route.path.clone(),
            },
            None => Self {
                namespace: backend.map_or_else(Box::default, |backend| backend.namespace.clone()),
                service,
                ..Self::default()
            },
        }
    }

    fn is_unrouted(&self) -> bool {
        *self == Self::default()
    }
}

/// Requests of one route with the same method and status.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    pub(super) method: Method,
    /// Below 10 it is a class.
    pub(super) status: u16,
    pub(super) duration: Histogram<DURATIONS>,
    pub(super) upstream: Histogram<DURATIONS>,
    pub(super) request_size: Histogram<SIZES>,
    pub(super) response_size: Histogram<SIZES>,
}

/// Everything that is counted of one route.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) counts: Vec<Counts>,
    pub(super) phases: Phases,
    pub(super) attempts: u64,
    /// By the position in [`Flag::ALL`].
    pub(super) flags: [u64; Flag::ALL.len()],
    /// By the position in [`Verdict::ALL`].
    pub(super) verdicts: [u64; Verdict::ALL.len()],
    pub(super) exemplars: [Option<Exemplar>; DURATIONS],
    /// Since who is among the first was looked at last.
    requests_recent: u64,
    used: Instant,
    origin: Origin,
}

/// What of the table a series is of; it is gone when no table and no request has it.
#[derive(Debug, Clone)]
enum Origin {
    Route(Weak<Route>),
    Backend(Weak<Backend>),
    None,
}

impl Origin {
    fn is_gone(&self) -> bool {
        match self {
            Self::Route(route) => route.strong_count() == 0,
            Self::Backend(backend) => backend.strong_count() == 0,
            Self::None => false,
        }
    }
}

impl Series {
    fn new(now: Instant) -> Self {
        Self {
            counts: Vec::new(),
            phases: Phases::default(),
            attempts: 0,
            flags: [0; Flag::ALL.len()],
            verdicts: [0; Verdict::ALL.len()],
            exemplars: [None; DURATIONS],
            requests_recent: 0,
            used: now,
            origin: Origin::None,
        }
    }

    fn add(&mut self, cell: &Cell, now: Instant) {
        let requests = cell.duration.total();
        self.requests_recent += requests;
        self.used = now;
        self.attempts += cell.attempts;
        self.phases += &cell.phases;
        if let Some(flag) = cell.kind.flag
            && let Some(count) = self.flags.get_mut(flag as usize)
        {
            *count += requests;
        }
        for (mine, theirs) in self.verdicts.iter_mut().zip(cell.verdicts) {
            *mine += theirs;
        }
        for (mine, theirs) in self.exemplars.iter_mut().zip(cell.exemplars) {
            *mine = theirs.or(*mine);
        }
        let counts = self.counts_of(cell.kind);
        counts.duration += &cell.duration;
        counts.upstream += &cell.upstream;
        counts.request_size += &cell.request_size;
        counts.response_size += &cell.response_size;
    }

    /// The counts for this method and status; when there are many, those of its class.
    fn counts_of(&mut self, kind: Kind) -> &mut Counts {
        let at = |counts: &[Counts], method, status| {
            let is_same = |each: &Counts| each.method == method && each.status == status;
            counts.iter().position(is_same)
        };
        let (mut method, mut status) = (kind.method, kind.status);
        let mut found = at(&self.counts, method, status);
        if found.is_none() && self.counts.len() >= METRICS_CELLS_PER_ROUTE {
            (method, status) = (Method::Other, (status / 100).min(9));
            found = at(&self.counts, method, status);
        }
        let index = found.unwrap_or(self.counts.len());
        if found.is_none() {
            self.counts.push(Counts {
                method,
                status,
                duration: Histogram::default(),
                upstream: Histogram::default(),
                request_size: Histogram::default(),
                response_size: Histogram::default(),
            });
        }
        &mut self.counts[index]
    }
}

/// What all workers counted.
pub struct Store {
    /// Routes with label sets of their own.
    routes_max: usize,
    state: Mutex<State>,
}

struct State {
    series: FxHashMap<Labels, Series>,
    other: Series,
    phases: PhaseDurations,
    /// Requests of routes among the others, by the hash of their labels, since the last look.
    candidates: FxHashMap<u64, u64>,
    ranked: Instant,
}

/// What is exposed, in order.
pub struct Snapshot {
    pub(super) series: Vec<(Labels, Series)>,
    pub(super) phases: PhaseDurations,
    /// Routes with label sets of their own, and how many there may be.
    pub(super) routes: usize,
    pub(super) routes_max: usize,
}

impl Store {
    /// A store for that many routes.
    #[must_use]
    pub fn new(routes_max: usize) -> Self {
        let now = Instant::now();
        Self {
            routes_max,
            state: Mutex::new(State {
                series: FxHashMap::default(),
                other: Series::new(now),
                phases: PhaseDurations::default(),
                candidates: FxHashMap::default(),
                ranked: now,
            }),
        }
    }

    /// Adds what a worker counted. Takes some 200 ns a cell.
    pub(super) fn add(
        &self,
        cells: impl Iterator<Item = Cell>,
        phases: &PhaseDurations,
        now: Instant,
    ) {
        let mut state = self.lock();
        state.phases += phases;
        for cell in cells {
            let labels = Labels::of(&cell);
            let series = state.series_of(labels, self.routes_max, &cell, now);
            series.add(&cell, now);
            series.origin = match (&cell.route, &cell.backend) {
                (Some(route), _) => Origin::Route(Arc::downgrade(route)),
                (None, Some(backend)) => Origin::Backend(Arc::downgrade(backend)),
                (None, None) => Origin::None,
            };
        }
    }

    /// All that is exposed now. Then, now and then, routes that are gone and routes with few
    /// requests make room for others.
    #[must_use]
    pub fn scrape(&self, now: Instant) -> Snapshot {
        let mut state = self.lock();
        let mut series: Vec<_> = state.series.clone().into_iter().collect();
        let (routes, phases) = (state.routes(), state.phases);
        if !state.other.counts.is_empty() {
            series.push((Labels::other(), state.other.clone()));
        }
        if now.saturating_duration_since(state.ranked) >= METRICS_RANK_INTERVAL {
            state.rank(self.routes_max, now);
        }
        drop(state);
        series.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Snapshot {
            series,
            phases,
            routes,
            routes_max: self.routes_max,
        }
    }

    /// No code that holds the lock can panic half-way, so a poisoned state is a whole one.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Without the one for requests that no route matched, which is always there.
    fn routes(&self) -> usize {
        let unrouted = usize::from(self.series.contains_key(&Labels::default()));
        self.series.len() - unrouted
    }

    fn series_of(
        &mut self,
        labels: Labels,
        routes_max: usize,
        cell: &Cell,
        now: Instant,
    ) -> &mut Series {
        if !self.series.contains_key(&labels) {
            let hash = FxBuildHasher.hash_one(&labels);
            let has_room = self.routes() < routes_max;
            if !has_room && !labels.is_unrouted() {
                let is_known = self.candidates.contains_key(&hash);
                if is_known || self.candidates.len() < METRICS_CANDIDATES_MAX {
                    *self.candidates.entry(hash).or_default() += cell.duration.total();
                }
                return &mut self.other;
            }
        }
        self.series
            .entry(labels)
            .or_insert_with(|| Series::new(now))
    }

    fn rank(&mut self, routes_max: usize, now: Instant) {
        self.ranked = now;
        self.series.retain(|_, series| {
            let idle = now.saturating_duration_since(series.used);
            !series.origin.is_gone() || idle < METRICS_GONE_AFTER
        });
        let mut first: Vec<_> = self.candidates.drain().collect();
        first.sort_unstable_by_key(|(_, requests)| std::cmp::Reverse(*requests));
        let mut last: Vec<_> = self
            .series
            .iter()
            .filter(|(labels, _)| !labels.is_unrouted())
            .map(|(labels, series)| (series.requests_recent, labels.clone()))
            .collect();
        last.sort_unstable();
        // Only who has twice as many: routes that are about alike would take turns.
        let swaps = first.iter().zip(&last);
        let swaps = swaps.take_while(|((_, above), (below, _))| *above > 2 * *below);
        let out: Vec<Labels> = swaps.map(|(_, (_, labels))| labels.clone()).collect();
        if self.series.len() >= routes_max {
            for labels in out {
                self.series.remove(&labels);
            }
        }
        for series in self.series.values_mut() {
            series.requests_recent = 0;
        }
    }
}

//! One worker's counts since it last gave them to the store.

use std::ops::AddAssign;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::histogram::{
    DURATION_BOUNDS_US, DURATIONS, Histogram, PHASE_BOUNDS_US, PHASES, SIZE_BOUNDS, SIZES, bucket,
};
use super::store::Store;
use crate::instant::Instant;
use crate::limits::TALLY_CELLS_MAX;
use crate::message::Method;
use crate::table::{Backend, Route};
use crate::trace::{Flag, Phases, TraceId, Verdict};

/// Counted as the status of a request whose client left before it got one: nginx's.
const CLIENT_LEFT: u16 = 499;

/// One request that is over, as it is counted.
pub(crate) struct Observed<'a> {
    pub(crate) route: Option<&'a Arc<Route>>,
    pub(crate) backend: Option<&'a Arc<Backend>>,
    pub(crate) method: Method,
    /// 0 if none was sent.
    pub(crate) status: u16,
    pub(crate) flag: Option<Flag>,
    pub(crate) verdict: Verdict,
    pub(crate) phases: &'a Phases,
    /// Head and body.
    pub(crate) request_bytes: u64,
    /// The body alone.
    pub(crate) response_bytes: u64,
    pub(crate) attempts: u64,
    /// The trace, if its spans were recorded, and when the request ended.
    pub(crate) trace: Option<(TraceId, u64)>,
}

/// What of a request decides where it is counted: small, and compared with every request.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    /// The address of the route, else of the backend; 0 without either. It is nobody else's while
    /// the cell holds what is there.
    origin: usize,
    kind: Kind,
}

/// What tells the cells of one route apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    pub(super) status: u16,
    pub(super) method: Method,
    pub(super) flag: Option<Flag>,
}

/// A trace that shows what a bucket is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exemplar {
    pub(super) trace: TraceId,
    pub(super) duration_us: u64,
    pub(super) unix_ns: u64,
}

/// What is counted of requests alike.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub(super) kind: Kind,
    pub(super) route: Option<Arc<Route>>,
    pub(super) backend: Option<Arc<Backend>>,
    pub(super) duration: Histogram<DURATIONS>,
    pub(super) upstream: Histogram<DURATIONS>,
    pub(super) request_size: Histogram<SIZES>,
    pub(super) response_size: Histogram<SIZES>,
    pub(super) attempts: u64,
    pub(super) phases: Phases,
    /// By the position in [`Verdict::ALL`].
    pub(super) verdicts: [u64; Verdict::ALL.len()],
    /// The latest of each bucket of `duration`.
    pub(super) exemplars: [Option<Exemplar>; DURATIONS],
}

/// How long each phase takes, whatever the route; in the order of [`Phases::NAMES`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PhaseDurations(pub(super) [Histogram<PHASES>; Phases::NAMES.len()]);

impl PhaseDurations {
    /// Counts those of a request. A phase without a microsecond is one that it did not have.
    fn count(&mut self, phases: &Phases) {
        for (histogram, took_us) in self.0.iter_mut().zip(phases.values()) {
            if took_us > 0 {
                histogram.count(bucket(&PHASE_BOUNDS_US, took_us), took_us);
            }
        }
    }
}

impl AddAssign<&Self> for PhaseDurations {
    fn add_assign(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }
}

/// A worker's cells, and its phases.
pub(crate) struct Tally {
    store: Arc<Store>,
    indexes: FxHashMap<Key, usize>,
    cells: Vec<Cell>,
    phases: PhaseDurations,
}

impl Tally {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            indexes: FxHashMap::default(),
            cells: Vec::new(),
            phases: PhaseDurations::default(),
        }
    }

    /// Counts a request.
    pub(crate) fn count(&mut self, observed: &Observed<'_>) {
        let origin = match (observed.route, observed.backend) {
            (Some(route), _) => Arc::as_ptr(route).addr(),
            (None, Some(backend)) => Arc::as_ptr(backend).addr(),
            (None, None) => 0,
        };
        let kind = Kind {
            status: match observed.status {
                0 => CLIENT_LEFT,
                status => status,
            },
            method: observed.method,
            flag: observed.flag,
        };
        let key = Key { origin, kind };
        let index = match self.indexes.get(&key) {
            Some(index) => *index,
            None => self.begin(key, observed),
        };
        if let Some(cell) = self.cells.get_mut(index) {
            cell.count(observed);
        }
        self.phases.count(observed.phases);
    }

    /// Gives all that was counted to the store.
    pub(crate) fn flush(&mut self) {
        if !self.cells.is_empty() {
            let phases = std::mem::take(&mut self.phases);
            self.store
                .add(self.cells.drain(..), &phases, Instant::now());
            self.indexes.clear();
        }
    }

    #[cold]
    fn begin(&mut self, key: Key, observed: &Observed<'_>) -> usize {
        if self.cells.len() >= TALLY_CELLS_MAX {
            self.flush();
        }
        let index = self.cells.len();
        self.indexes.insert(key, index);
        self.cells.push(Cell {
            kind: key.kind,
            route: observed.route.cloned(),
            backend: observed.backend.cloned(),
            duration: Histogram::default(),
            upstream: Histogram::default(),
            request_size: Histogram::default(),
            response_size: Histogram::default(),
            attempts: 0,
            phases: Phases::default(),
            verdicts: [0; Verdict::ALL.len()],
            exemplars: [None; DURATIONS],
        });
        index
    }
}

impl Cell {
    fn count(&mut self, observed: &Observed<'_>) {
        let duration_us = observed.phases.total();
        let index = bucket(&DURATION_BOUNDS_US, duration_us);
        self.duration.count(index, duration_us);
        if observed.attempts > 0 {
            let upstream_us = observed.phases.attempts();
            let index = bucket(&DURATION_BOUNDS_US, upstream_us);
            self.upstream.count(index, upstream_us);
        }
        let (request, response) = (observed.request_bytes, observed.response_bytes);
        self.request_size
            .count(bucket(&SIZE_BOUNDS, request), request);
        self.response_size
            .count(bucket(&SIZE_BOUNDS, response), response);
        self.attempts += observed.attempts;
        self.phases += observed.phases;
        if let Some(count) = self.verdicts.get_mut(observed.verdict as usize) {
            *count += 1;
        }
        if let (Some((trace, unix_ns)), Some(exemplar)) =
            (observed.trace, self.exemplars.get_mut(index))
        {
            *exemplar = Some(Exemplar {
                trace,
                duration_us,
                unix_ns,
            });
        }
    }
}

//! Picks one of a backend's ready endpoints. What it remembers is this worker's alone.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::Pool;
use crate::table::{Backend, BalancePolicy, Table};

/// An attempt that this request has made before.
#[derive(Clone, Copy)]
pub struct Earlier {
    /// By its index in the backend.
    pub endpoint: usize,
    /// Whether it tells that the endpoint cannot serve now; it is then not asked again.
    pub has_failed: bool,
}

/// Where each backend's round robin stands, on one worker.
///
/// Workers start at a random place: otherwise each would send its first request after a publish to
/// the same endpoint.
#[derive(Default)]
pub struct Balancer {
    cursors: FxHashMap<Arc<str>, usize>,
}

impl Balancer {
    /// The index of the endpoint for the next attempt; `None` when the backend has none, or all
    /// have failed.
    ///
    /// One that was not tried comes first, then one whose failure tells nothing about it.
    pub fn pick(&mut self, backend: &Backend, pool: &Pool, earlier: &[Earlier]) -> Option<usize> {
        let count = backend.endpoints.len();
        let first = match count {
            0 => return None,
            1 => 0,
            _ => match backend.balance {
                BalancePolicy::RoundRobin if earlier.is_empty() => self.next(backend, count),
                // No turn is used up: else one dead endpoint of two would have every first turn.
                BalancePolicy::RoundRobin => fastrand::usize(..count),
                BalancePolicy::LeastRequest | BalancePolicy::Ewma | BalancePolicy::Hash => {
                    less_busy_of_two(backend, pool, count)
                }
            },
        };
        let in_turn = || (0..count).map(|step| (first + step) % count);
        let is_tried = |index: &usize| earlier.iter().any(|one| one.endpoint == *index);
        let has_failed = |index: &usize| {
            let mut attempts = earlier.iter();
            attempts.any(|one| one.endpoint == *index && one.has_failed)
        };
        let untried = in_turn().find(|index| !is_tried(index));
        untried.or_else(|| in_turn().find(|index| !has_failed(index)))
    }

    /// Forgets backends that `table` no longer has.
    pub fn retain(&mut self, table: &Table) {
        self.cursors.retain(|key, _| table.backend(key).is_some());
    }

    fn next(&mut self, backend: &Backend, count: usize) -> usize {
        if let Some(cursor) = self.cursors.get_mut(&backend.key) {
            *cursor = (*cursor + 1) % count;
            return *cursor;
        }
        let start = fastrand::usize(..count);
        self.cursors.insert(backend.key.clone(), start);
        start
    }
}

/// Power of two choices. Source: Mitzenmacher, "The Power of Two Choices in Randomized Load
/// Balancing" (2001); the requests in flight are this worker's.
fn less_busy_of_two(backend: &Backend, pool: &Pool, count: usize) -> usize {
    let one = fastrand::usize(..count);
    let other = (one + 1 + fastrand::usize(..count - 1)) % count;
    let load = |index: usize| pool.in_flight(backend.destination(index));
    if load(other) < load(one) { other } else { one }
}

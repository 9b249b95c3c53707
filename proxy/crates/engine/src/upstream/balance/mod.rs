//! Picks one of a backend's endpoints, and takes note of what came of it.
//!
//! Turns, latencies and the requests in flight that are compared are this worker's alone; health, and
//! how many requests an endpoint has, are shared by all (`health.rs`). Rules: a pick allocates nothing but for a backend that changed, and costs the
//! same for any number of endpoints, or its logarithm; only the consistent hash, and any policy
//! while an endpoint is ejected, look at all of them.

mod asker;
mod choices;
mod latency;
mod rendezvous;
mod turns;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use rustc_hash::FxHashMap;

pub use asker::Asker;
use latency::Latency;
use turns::Turns;

use crate::health::{Finding, Vitals, WHOLE_SHARE};
use crate::instant::Instant;
use crate::table::{Affinity, Backend, BalancePolicy, Endpoint, Prefer, Table};
use crate::trace::segment::{Choice, Stay};

/// An attempt that this request has made before.
#[derive(Debug, Clone, Copy)]
pub struct Earlier {
    /// By its index in the backend.
    pub endpoint: usize,
    /// Whether it tells that the endpoint cannot serve now; it is then not asked again.
    pub has_failed: bool,
}

/// What one worker remembers of each backend.
///
/// Workers start at a random place: otherwise each would send its first request after a publish to
/// the same endpoint.
#[derive(Default)]
pub struct Balancer {
    rotations: FxHashMap<Arc<str>, Rotation>,
}

/// An endpoint for one attempt, which counts as in flight there until this is dropped.
pub struct Picked {
    /// By its index in the backend.
    pub endpoint: usize,
    /// What spans say about it.
    pub choice: Choice,
    /// The requests that are there already, by all workers.
    pub ahead: u32,
    began: Instant,
    load: Rc<Load>,
}

/// What this worker has at one endpoint, and how long it took.
struct Load {
    in_flight: Cell<u32>,
    latency: RefCell<Latency>,
    /// What all workers know of it.
    vitals: Arc<Vitals>,
}

impl Load {
    fn new(endpoint: &Endpoint) -> Rc<Self> {
        Rc::new(Self {
            in_flight: Cell::default(),
            latency: RefCell::default(),
            vitals: Arc::clone(&endpoint.vitals),
        })
    }
}

/// Where a worker stands with a backend.
struct Rotation {
    backend: Arc<Backend>,
    /// By endpoint.
    loads: Box<[Rc<Load>]>,
    /// By tier.
    turns: Box<[Turns]>,
}

/// Which endpoints may be picked; each pass admits more than the one before.
#[derive(Clone, Copy)]
struct Pass<'a> {
    earlier: &'a [Earlier],
    /// Also endpoints that were tried and have not failed.
    again: bool,
    /// Not those that are ejected.
    only_well: bool,
    now: Instant,
}

impl Balancer {
    /// The endpoint for the next attempt; `None` when the backend has none, or all have failed.
    ///
    /// One that was not tried comes first, then one whose failure tells nothing about it. Ejected
    /// ones come last of all, unless so many are ejected that they are used like the others.
    pub fn pick(
        &mut self,
        backend: &Arc<Backend>,
        asker: &Asker<'_>,
        earlier: &[Earlier],
        now: Instant,
    ) -> Option<Picked> {
        if backend.endpoints.is_empty() {
            return None;
        }
        let ejected_count = backend.ejected_count(now);
        let leaves_out = backend.leaves_out(ejected_count);
        let rotation = self.rotation(backend, now);
        let pass = Pass {
            earlier,
            again: false,
            only_well: leaves_out,
            now,
        };
        let kept = backend.affinity.as_ref();
        let kept = kept.map(|affinity| kept_endpoint(affinity, backend, asker, &pass));
        let (endpoint, stay) = match kept {
            Some((Some(endpoint), stay)) => (endpoint, Some(stay)),
            Some((None, stay)) => (rotation.pick_in_passes(asker, pass)?, Some(stay)),
            None => (rotation.pick_in_passes(asker, pass)?, None),
        };
        let load = Rc::clone(&rotation.loads[endpoint]);
        load.in_flight.set(load.in_flight.get() + 1);
        let ahead = load.vitals.arrive();
        let place = backend.endpoints[endpoint].place;
        Some(Picked {
            endpoint,
            choice: Choice {
                endpoints_ejected: ejected_count as u32,
                affinity: stay,
                place: (backend.prefer != Prefer::Any).then_some(place),
            },
            ahead,
            began: now,
            load,
        })
    }

    /// Forgets backends that `table` no longer has.
    pub fn retain(&mut self, table: &Table) {
        self.rotations.retain(|key, _| table.backend(key).is_some());
    }

    fn rotation(&mut self, backend: &Arc<Backend>, now: Instant) -> &mut Rotation {
        let fresh = |old: Option<&Rotation>| Rotation::new(Arc::clone(backend), old, now);
        let rotation = self
            .rotations
            .entry(Arc::clone(&backend.key))
            .or_insert_with(|| fresh(None));
        if !Arc::ptr_eq(&rotation.backend, backend) {
            *rotation = fresh(Some(rotation));
        }
        rotation
    }
}

/// The endpoint that the client's cookie names, if it may be picked, and what became of the wish.
fn kept_endpoint(
    affinity: &Affinity,
    backend: &Backend,
    asker: &Asker<'_>,
    pass: &Pass<'_>,
) -> (Option<usize>, Stay) {
    let mut values = asker.cookies(affinity.cookie()).peekable();
    if values.peek().is_none() {
        return (None, Stay::New);
    }
    let named = values.find_map(|value| affinity.endpoint(value));
    match named.filter(|endpoint| pass.admits(backend, *endpoint)) {
        Some(endpoint) => (Some(endpoint), Stay::Kept),
        None => (None, Stay::Moved),
    }
}

impl Pass<'_> {
    fn admits(&self, backend: &Backend, endpoint: usize) -> bool {
        let is_over = |one: &Earlier| one.endpoint == endpoint && (one.has_failed || !self.again);
        if self.earlier.iter().any(is_over) {
            return false;
        }
        let vitals = &backend.endpoints[endpoint].vitals;
        !self.only_well || vitals.ejected_for(self.now).is_none()
    }
}

impl Rotation {
    /// What is known of endpoints that were there before is kept; not of one that has been away, which
    /// for the other workers is another one.
    fn new(backend: Arc<Backend>, old: Option<&Self>, now: Instant) -> Self {
        let known: FxHashMap<SocketAddr, &Rc<Load>> = old
            .map(|old| old.backend.endpoints.iter().zip(&old.loads))
            .into_iter()
            .flatten()
            .map(|(endpoint, load)| (endpoint.address, load))
            .collect();
        let load = |endpoint: &Endpoint| {
            let known = known.get(&endpoint.address);
            let same = known.filter(|load| Arc::ptr_eq(&load.vitals, &endpoint.vitals));
            same.map_or_else(|| Load::new(endpoint), |load| Rc::clone(load))
        };
        let loads = backend.endpoints.iter().map(load);
        let tiers = backend.tiers.iter();
        let turns = tiers.map(|tier| Turns::new(tier, &backend, now));
        Self {
            loads: loads.collect(),
            turns: turns.collect(),
            backend,
        }
    }

    fn pick_in_passes(&mut self, asker: &Asker<'_>, first: Pass<'_>) -> Option<usize> {
        for only_well in [first.only_well, false] {
            for again in [false, true] {
                let pass = Pass {
                    again,
                    only_well,
                    ..first
                };
                let picked = self.pick_in_tiers(asker, &pass);
                if picked.is_some() {
                    return picked;
                }
            }
        }
        None
    }

    fn pick_in_tiers(&mut self, asker: &Asker<'_>, pass: &Pass<'_>) -> Option<usize> {
        let Self {
            backend,
            loads,
            turns,
        } = self;
        let admits = |endpoint: usize| pass.admits(backend, endpoint);
        let mut tiers = backend.tiers.iter().zip(turns);
        tiers.find_map(|(tier, turns)| {
            if tier.count() == 1 {
                return Some(tier.member(0)).filter(|only| admits(*only));
            }
            match backend.balance {
                BalancePolicy::RoundRobin if pass.earlier.is_empty() => {
                    turns.next(tier, backend, admits, pass.now)
                }
                // No turn is used up: else one dead endpoint of two would have every first turn.
                BalancePolicy::RoundRobin => choices::one(tier, backend, admits, pass.now),
                BalancePolicy::LeastRequest => {
                    let is_less = |one: usize, other: usize| {
                        in_flight(&loads[one], backend, other)
                            < in_flight(&loads[other], backend, one)
                    };
                    choices::better_of_two(tier, backend, admits, pass.now, is_less)
                }
                BalancePolicy::Ewma => {
                    let cost = |endpoint: usize| {
                        let load = &loads[endpoint];
                        load.latency.borrow().cost(load.in_flight.get(), pass.now)
                    };
                    let is_less = |one: usize, other: usize| cost(one) < cost(other);
                    choices::better_of_two(tier, backend, admits, pass.now, is_less)
                }
                BalancePolicy::Hash => {
                    rendezvous::nearest(tier, backend, asker.hash(&backend.hash_key), admits)
                }
            }
        })
    }
}

/// Requests in flight, times the weight of the endpoint that they are compared with: which of two
/// has fewer for its weight, without a division.
fn in_flight(load: &Load, backend: &Backend, other: usize) -> u64 {
    u64::from(load.in_flight.get()) * u64::from(backend.endpoints[other].weight.max(1))
}

impl Picked {
    /// Whether the client's cookie does not name the endpoint.
    #[must_use]
    pub fn is_new_to_client(&self) -> bool {
        matches!(self.choice.affinity, Some(Stay::New | Stay::Moved))
    }

    /// Takes note of what the attempt tells about the endpoint; once per attempt. Returns whether
    /// the endpoint is ejected because of it.
    #[must_use]
    pub fn report(&self, backend: &Backend, finding: Finding, now: Instant) -> bool {
        let vitals = &backend.endpoints[self.endpoint].vitals;
        let (Finding::Well(latency) | Finding::Failed(latency)) = finding else {
            return false;
        };
        let is_well = matches!(finding, Finding::Well(_));
        if backend.balance == BalancePolicy::Ewma {
            let mut known = self.load.latency.borrow_mut();
            known.observe(latency, is_well, now);
        }
        match &backend.health {
            None => false,
            Some(_) if is_well => {
                vitals.well(self.began);
                false
            }
            Some(health) => vitals.failed(health, self.began, now),
        }
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        let in_flight = &self.load.in_flight;
        in_flight.set(in_flight.get().saturating_sub(1));
        self.load.vitals.leave();
    }
}

/// The share of its weight that an endpoint has now: less than [`WHOLE_SHARE`] in its slow start.
fn warmth(backend: &Backend, endpoint: usize, now: Instant) -> u32 {
    match backend.slow_start {
        None => WHOLE_SHARE,
        Some(over) => backend.endpoints[endpoint].vitals.warmth(over, now),
    }
}

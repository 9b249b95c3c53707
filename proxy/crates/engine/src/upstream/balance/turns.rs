//! Round robin: one after the other where all weigh the same, else by deadlines.
//!
//! By weight each endpoint has a deadline on a virtual clock; the earliest has its turn and gets its
//! next deadline one over its weight later (earliest deadline first, as in Envoy and gRPC). So turns
//! are interleaved, shares are exact to one request, and weights may change with each turn.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::warmth;
use crate::health::WHOLE_SHARE;
use crate::instant::Instant;
use crate::table::{Backend, Tier};

/// What an endpoint of weight 1 waits between two turns, in ticks of the virtual clock: large, so
/// that 1000ths of it are precise, and small, so that 64 bits last for 2^40 turns.
const TURN: u64 = 1 << 24;

/// Where the turns of one tier stand.
pub(super) enum Turns {
    /// The position of the last one.
    Even(usize),
    /// Deadlines and positions, the earliest first.
    Uneven(BinaryHeap<Reverse<(u64, u32)>>),
}

impl Turns {
    /// Everyone's first turn is at a random time within the period that it has now: turns are made anew
    /// with each change of the backend, and none is to give more than its share.
    pub(super) fn new(tier: &Tier, backend: &Backend, now: Instant) -> Self {
        if tier.is_even() && backend.slow_start.is_none() {
            return Self::Even(fastrand::usize(..tier.count()));
        }
        let first = |position: usize| {
            let member = tier.member(position);
            let weight = backend.endpoints[member].weight;
            let period = period(weight, warmth(backend, member, now));
            Reverse((fastrand::u64(..period), position as u32))
        };
        Self::Uneven((0..tier.count()).map(first).collect())
    }

    /// The next one in turn that is admitted.
    pub(super) fn next(
        &mut self,
        tier: &Tier,
        backend: &Backend,
        admits: impl Fn(usize) -> bool,
        now: Instant,
    ) -> Option<usize> {
        let count = tier.count();
        let turns = match self {
            Self::Uneven(turns) => turns,
            Self::Even(last) => {
                let admitted = (0..count).find(|_| {
                    *last = if *last + 1 < count { *last + 1 } else { 0 };
                    admits(tier.member(*last))
                });
                return admitted.map(|_| tier.member(*last));
            }
        };
        for _ in 0..count {
            let mut earliest = turns.peek_mut()?;
            let Reverse((deadline, position)) = *earliest;
            let member = tier.member(position as usize);
            let is_admitted = admits(member);
            let period = if is_admitted {
                let weight = backend.endpoints[member].weight;
                period(weight, warmth(backend, member, now))
            } else {
                // As the lightest, so that no one stands in the way twice before each had a turn.
                period(tier.weight_min, WHOLE_SHARE)
            };
            *earliest = Reverse((deadline.saturating_add(period), position));
            drop(earliest);
            if is_admitted {
                return Some(member);
            }
        }
        None
    }
}

fn period(weight: u32, warmth: u32) -> u64 {
    TURN * u64::from(WHOLE_SHARE) / (u64::from(weight.max(1)) * u64::from(warmth.max(1)))
}

//! Random choices by weight: one, or the better of two.
//!
//! Two are nearly as good as knowing all, and no worker runs after the others to the one that is
//! idle. Tiers of one endpoint do not come here. Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (2001).

use crate::instant::Instant;

use super::warmth;
use crate::health::WHOLE_SHARE;
use crate::table::{Backend, Tier};

/// How often one draws before the first that is admitted in turn is taken. With half of the
/// endpoints ejected, the most that the default bound allows, that is needed once in 16 times.
const DRAWS: usize = 4;

/// One at random that is admitted. In its slow start an endpoint is passed over as often as it
/// lacks warmth.
pub(super) fn one(
    tier: &Tier,
    backend: &Backend,
    admits: impl Fn(usize) -> bool,
    now: Instant,
) -> Option<usize> {
    let position = position(tier, backend, &admits, now)?;
    Some(tier.member(position))
}

/// The better of two that are admitted; the first where neither is.
///
/// Among equal weights the two are never the same. Else they may be: of two endpoints, the
/// lighter one would otherwise be compared each time and get far more than its share.
pub(super) fn better_of_two(
    tier: &Tier,
    backend: &Backend,
    admits: impl Fn(usize) -> bool,
    now: Instant,
    is_better: impl Fn(usize, usize) -> bool,
) -> Option<usize> {
    let first = position(tier, backend, &admits, now)?;
    let draw = |_| {
        let other = if tier.is_even() {
            (first + 1 + fastrand::usize(..tier.count() - 1)) % tier.count()
        } else {
            tier.draw()
        };
        tier.member(other)
    };
    let first = tier.member(first);
    let is_usable = |member: &usize| admits(*member) && is_warm_enough(backend, *member, now);
    match (0..DRAWS).map(draw).find(is_usable) {
        Some(other) if is_better(other, first) => Some(other),
        _ => Some(first),
    }
}

fn position(
    tier: &Tier,
    backend: &Backend,
    admits: impl Fn(usize) -> bool,
    now: Instant,
) -> Option<usize> {
    let mut position = 0;
    for _ in 0..DRAWS {
        position = tier.draw();
        let member = tier.member(position);
        if admits(member) && is_warm_enough(backend, member, now) {
            return Some(position);
        }
    }
    let mut in_turn = (position..tier.count()).chain(0..position);
    in_turn.find(|position| admits(tier.member(*position)))
}

fn is_warm_enough(backend: &Backend, endpoint: usize, now: Instant) -> bool {
    let warmth = warmth(backend, endpoint, now);
    warmth == WHOLE_SHARE || fastrand::u32(..WHOLE_SHARE) < warmth
}

//! Consistent hashing by rendezvous: each endpoint draws a lot that depends on the key and on its
//! address alone, and the best lot has the request.
//!
//! When an endpoint goes, only its keys move, to all others by weight; when one comes, it takes
//! only what it keeps. No order, no table and no worker has a say, so replicas agree. A ring does
//! that with error (8 % with 160 points each) and megabytes for many backends; Maglev moves other
//! keys too. The price is to look at all endpoints, about a nanosecond each; of unequal weights some
//! ten. Slow start has no part in it: a key's endpoint does not depend on the time.
//!
//! Source: Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates" (1998); by
//! weight: Schindelhauer and Schomaker, "Weighted Distributed Hash Tables" (2005).

use crate::stable_hash::mixed;
use crate::table::{Backend, Tier};

/// The endpoint that a key belongs to, among those that are admitted.
pub(super) fn nearest(
    tier: &Tier,
    backend: &Backend,
    key: u64,
    admits: impl Fn(usize) -> bool,
) -> Option<usize> {
    let lot = |member: &usize| mixed(key ^ backend.endpoints[*member].id);
    let admitted = tier.members().filter(|member| admits(*member));
    if tier.is_even() {
        return admitted.max_by_key(lot);
    }
    let weighed = |member: usize| {
        let weight = f64::from(backend.endpoints[member].weight.max(1));
        (exponential(lot(&member)) / weight, member)
    };
    let nearest = admitted
        .map(weighed)
        .min_by(|one, other| one.0.total_cmp(&other.0));
    nearest.map(|(_, member)| member)
}

/// Uniform bits as a number of the exponential distribution; the larger they are, the smaller it is,
/// so that equal weights choose as [`u64::max`] does.
#[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
fn exponential(bits: u64) -> f64 {
    // 53 bits are a fraction from above 0 to 1.
    let fraction = ((bits >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
    -fraction.ln()
}

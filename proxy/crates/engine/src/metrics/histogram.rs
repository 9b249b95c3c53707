//! Classic histograms with fixed bounds.
//!
//! Native histograms would need protobuf; classic ones are read by every dashboard there is.

use std::ops::AddAssign;

/// Upper bounds of durations in microseconds. Those from 5 ms to 10 s are the defaults of Prometheus'
/// clients, which ingress-nginx has; below it is where a proxy and its network are, above where
/// timeouts are (60 s).
pub const DURATION_BOUNDS_US: [u32; DURATIONS - 1] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// Upper bounds of phases in microseconds: four or five times the one before, from what a proxy's own
/// phases take to what a person gives up after.
pub const PHASE_BOUNDS_US: [u32; PHASES - 1] = [
    50, 250, 1_000, 5_000, 25_000, 100_000, 500_000, 2_500_000, 10_000_000,
];

/// Upper bounds of sizes in bytes. ingress-nginx `--size-buckets`.
pub const SIZE_BOUNDS: [u32; SIZES - 1] = [10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// Buckets of durations, phases and sizes: one more than bounds.
pub const DURATIONS: usize = 17;
pub const PHASES: usize = 10;
pub const SIZES: usize = 8;

/// How often values were seen, not cumulative, and their sum.
#[derive(Debug, Clone, Copy)]
pub struct Histogram<const N: usize> {
    pub buckets: [u64; N],
    pub sum: u64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self {
            buckets: [0; N],
            sum: 0,
        }
    }
}

impl<const N: usize> Histogram<N> {
    /// Counts `value` in the bucket of `index`.
    pub fn count(&mut self, index: usize, value: u64) {
        if let Some(bucket) = self.buckets.get_mut(index) {
            *bucket += 1;
            self.sum += value;
        }
    }

    /// How many values were seen.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

impl<const N: usize> AddAssign<&Self> for Histogram<N> {
    fn add_assign(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.sum += other.sum;
    }
}

/// The bucket of `value`: how many bounds are below it. Most values are among the smallest, so it is
/// looked for from there: two instructions for each bound below.
#[must_use]
pub fn bucket<const N: usize>(bounds: &[u32; N], value: u64) -> usize {
    let mut bounds = bounds.iter();
    bounds
        .position(|bound| value <= u64::from(*bound))
        .unwrap_or(N)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_at_a_bound_is_in_its_bucket() {
        assert_eq!(bucket(&SIZE_BOUNDS, 0), 0);
        assert_eq!(bucket(&SIZE_BOUNDS, 10), 0);
        assert_eq!(bucket(&SIZE_BOUNDS, 11), 1);
        assert_eq!(bucket(&SIZE_BOUNDS, 10_000_000), 6);
        assert_eq!(bucket(&SIZE_BOUNDS, 10_000_001), 7);
        assert_eq!(bucket(&DURATION_BOUNDS_US, u64::MAX), DURATIONS - 1);
    }
}

//! Which traces are kept: the parent's decision where there is one, else a ratio.
//!
//! The ratio is consistent: every sampler with the same ratio keeps the same traces, and one with
//! a larger ratio keeps these and more.
//!
//! Source: OpenTelemetry, `ParentBased` and "`TraceState`: Probability Sampling": a trace is kept
//! when its 56 random bits R are not below the rejection threshold T.

use super::context::{FLAG_RANDOM, FLAG_SAMPLED, RemoteParent};
use super::id::TraceId;

/// 2^56.
const RANDOM_BITS_RANGE: f64 = 72_057_594_037_927_936.0;

/// What is done about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Tracing is off: no span, and the client's trace context passes through as it came.
    Off,
    /// No span here, but a trace context is passed on with the flag down.
    Unsampled,
    /// Spans are recorded, and upstream is told so.
    Sampled,
}

impl Decision {
    /// The W3C trace flags to pass on; `is_random`: the trace's id is, as far as is known.
    #[must_use]
    pub fn flags(self, is_random: bool) -> u8 {
        let flag = |flag, is_set| if is_set { flag } else { 0 };
        flag(FLAG_SAMPLED, self == Self::Sampled) | flag(FLAG_RANDOM, is_random)
    }
}

/// `ParentBased(root=ratio)` of one table generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampler {
    /// Random bits below this are not sampled; `None` while tracing is off.
    threshold: Option<u64>,
}

impl Sampler {
    /// Samples every trace that has no parent with probability `ratio`, in \[0, 1\].
    #[must_use]
    pub fn new(ratio: f64) -> Self {
        debug_assert!((0.0..=1.0).contains(&ratio));
        // Both are exact enough: 53 bits of mantissa over a range of 56.
        #[expect(clippy::cast_sign_loss, reason = "a ratio is at most 1")]
        let threshold = ((1.0 - ratio) * RANDOM_BITS_RANGE) as u64;
        Self {
            threshold: Some(threshold),
        }
    }

    /// Records nothing.
    #[must_use]
    pub fn off() -> Self {
        Self { threshold: None }
    }

    /// The decision for a trace: the parent's where it has made one.
    #[must_use]
    pub fn decide(&self, trace_id: TraceId, parent: Option<&RemoteParent>) -> Decision {
        let Some(threshold) = self.threshold else {
            return Decision::Off;
        };
        let is_sampled = parent
            .and_then(|parent| parent.sampled)
            .unwrap_or_else(|| trace_id.low_56_bits() >= threshold);
        if is_sampled {
            Decision::Sampled
        } else {
            Decision::Unsampled
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::context::parse_traceparent;
    use super::super::id::Ids;
    use super::*;

    fn parent(traceparent: &[u8]) -> RemoteParent {
        parse_traceparent(traceparent).unwrap().into()
    }

    fn trace_id_with_random_bits(bits: u64) -> TraceId {
        let mut bytes = [0xff; 16];
        bytes[8..].copy_from_slice(&bits.to_be_bytes());
        bytes[8] = 0;
        TraceId::from_bytes(bytes).unwrap()
    }

    #[test]
    fn the_parents_flag_decides_over_the_ratio() {
        let sampled = parent(b"00-00000000000000000000000000000001-0000000000000001-01");
        let unsampled = RemoteParent {
            sampled: Some(false),
            ..sampled
        };
        let trace_id = sampled.trace_id.unwrap();
        assert_eq!(
            Sampler::new(0.0).decide(trace_id, Some(&sampled)),
            Decision::Sampled
        );
        assert_eq!(
            Sampler::new(1.0).decide(trace_id, Some(&unsampled)),
            Decision::Unsampled
        );
    }

    #[test]
    fn off_records_nothing_whatever_the_parent_says() {
        let parent = parent(b"00-00000000000000000000000000000001-0000000000000001-01");
        assert_eq!(
            Sampler::off().decide(parent.trace_id.unwrap(), Some(&parent)),
            Decision::Off
        );
    }

    #[test]
    fn random_bits_at_the_threshold_are_kept_and_below_are_not() {
        let half = Sampler::new(0.5);
        let at = trace_id_with_random_bits(1 << 55);
        let below = trace_id_with_random_bits((1 << 55) - 1);
        assert_eq!(half.decide(at, None), Decision::Sampled);
        assert_eq!(half.decide(below, None), Decision::Unsampled);
    }

    #[test]
    fn ratio_one_keeps_all_and_zero_keeps_none() {
        let lowest = trace_id_with_random_bits(0);
        let highest = trace_id_with_random_bits((1 << 56) - 1);
        assert_eq!(Sampler::new(1.0).decide(lowest, None), Decision::Sampled);
        assert_eq!(Sampler::new(0.0).decide(highest, None), Decision::Unsampled);
    }

    #[test]
    fn a_tenth_keeps_about_a_tenth() {
        let (mut ids, tenth) = (Ids::from_seeds(1, 2), Sampler::new(0.1));
        let kept = (0..100_000)
            .filter(|_| tenth.decide(ids.trace_id(), None) == Decision::Sampled)
            .count();
        assert!((9_500..10_500).contains(&kept), "{kept}");
    }

    #[test]
    fn the_ratio_decides_where_the_parent_leaves_it_to_us() {
        let undecided = RemoteParent {
            sampled: None,
            ..parent(b"00-00000000000000000000000000000001-0000000000000001-01")
        };
        let trace_id = undecided.trace_id.unwrap();
        for (ratio, want) in [(0.0, Decision::Unsampled), (1.0, Decision::Sampled)] {
            assert_eq!(Sampler::new(ratio).decide(trace_id, Some(&undecided)), want);
        }
    }

    #[test]
    fn flags_say_what_was_decided_and_whether_the_id_is_random() {
        assert_eq!(Decision::Sampled.flags(true), 3);
        assert_eq!(Decision::Unsampled.flags(true), 2);
        assert_eq!(Decision::Sampled.flags(false), 1);
        assert_eq!(Decision::Unsampled.flags(false), 0);
    }
}

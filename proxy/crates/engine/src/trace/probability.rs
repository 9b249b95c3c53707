//! Consistent probability: which random bits decide about a trace, and what `tracestate` says of it.
//!
//! A trace is kept where its 56 random bits are not below a rejection threshold. Samplers with the
//! same threshold keep the same traces, and one with a lower threshold keeps these and more. The
//! threshold is passed on as `th`, from which who counts spans knows how many each one stands for.
//!
//! Rules: bytes in, bytes out; what cannot be read counts as absent.
//!
//! Source: OpenTelemetry, "`TraceState`: Probability Sampling" and "`TraceState` Handling".

use std::borrow::Cow;

use super::context::tracestate_members;
use crate::limits::{TRACESTATE_BYTES_MAX, TRACESTATE_MEMBERS_MAX, TRACESTATE_VALUE_BYTES_MAX};

/// 2^56.
const RANDOM_BITS_RANGE: f64 = 72_057_594_037_927_936.0;
const DIGITS: usize = 14;

/// The member of `tracestate` that is OpenTelemetry's.
const MEMBER: &[u8] = b"ot=";
const THRESHOLD: &[u8] = b"th:";
const RANDOMNESS: &[u8] = b"rv:";

/// Random bits below it are rejected.
#[derive(Debug, PartialEq, Eq)]
pub struct Threshold {
    bits: u64,
    /// As a whole member of `tracestate`: `ot=th:8`.
    member: Box<[u8]>,
}

impl Threshold {
    /// The threshold that keeps a share of `ratio`, in \[0, 1\].
    #[must_use]
    pub fn new(ratio: f64) -> Self {
        debug_assert!((0.0..=1.0).contains(&ratio));
        // Both are exact enough: 53 bits of mantissa over a range of 56.
        #[expect(clippy::cast_sign_loss, reason = "a ratio is at most 1")]
        let bits = ((1.0 - ratio) * RANDOM_BITS_RANGE) as u64;
        let digits = format!("{bits:014x}");
        let digits = match digits.trim_end_matches('0') {
            "" => "0",
            digits => digits,
        };
        let member = format!("ot=th:{digits}").into_bytes().into_boxed_slice();
        Self { bits, member }
    }

    /// Whether a trace with these random bits is kept.
    #[must_use]
    pub fn keeps(&self, random: u64) -> bool {
        random >= self.bits
    }

    /// Whether every trace is kept, so that there is nothing to say.
    #[must_use]
    pub fn keeps_all(&self) -> bool {
        self.bits == 0
    }

    fn sub_value(&self) -> &[u8] {
        &self.member[MEMBER.len()..]
    }
}

/// The random bits that `tracestate` names, instead of those of the trace id.
#[must_use]
pub fn randomness(state: &[u8]) -> Option<u64> {
    let digits = sub_values(state).find_map(|sub| sub.strip_prefix(RANDOMNESS))?;
    let is_hex = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != DIGITS || !digits.iter().all(is_hex) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// `state` with this threshold for the one it has, or without any where the probability is unknown.
///
/// What was changed comes first, as the W3C asks. Where there is no room for a threshold there is
/// none: it would have to be made by leaving out what others have said.
#[must_use]
pub fn restated<'a>(state: Cow<'a, [u8]>, threshold: Option<&'a Threshold>) -> Cow<'a, [u8]> {
    let Some(threshold) = threshold else {
        return if sub_values(&state).any(|sub| sub.starts_with(THRESHOLD)) {
            Cow::Owned(joined(&state, None))
        } else {
            state
        };
    };
    if state.is_empty() {
        return Cow::Borrowed(&threshold.member);
    }
    let with = joined(&state, Some(threshold.sub_value()));
    let is_short = with.len() <= TRACESTATE_BYTES_MAX
        && tracestate_members(&with).count() <= TRACESTATE_MEMBERS_MAX
        && tracestate_members(&with)
            .all(|one| one.len() <= MEMBER.len() + TRACESTATE_VALUE_BYTES_MAX);
    Cow::Owned(if is_short { with } else { joined(&state, None) })
}

fn joined(state: &[u8], threshold: Option<&[u8]>) -> Vec<u8> {
    let kept = sub_values(state).filter(|sub| !sub.starts_with(THRESHOLD));
    let ours = threshold
        .into_iter()
        .chain(kept)
        .collect::<Vec<_>>()
        .join(&b';');
    let ours = (!ours.is_empty()).then(|| [MEMBER, &ours].concat());
    let others = tracestate_members(state).filter(|member| !member.starts_with(MEMBER));
    let members: Vec<&[u8]> = ours.as_deref().into_iter().chain(others).collect();
    members.join(&b',')
}

fn sub_values(state: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ours = tracestate_members(state).find_map(|member| member.strip_prefix(MEMBER));
    let subs = ours
        .into_iter()
        .flat_map(|ours| ours.split(|&byte| byte == b';'));
    subs.filter(|sub| !sub.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(state: &str, ratio: Option<f64>) -> String {
        let threshold = ratio.map(Threshold::new);
        let state = restated(Cow::Borrowed(state.as_bytes()), threshold.as_ref());
        String::from_utf8(state.into_owned()).unwrap()
    }

    #[test]
    fn random_bits_at_the_threshold_are_kept_and_below_are_not() {
        let half = Threshold::new(0.5);
        assert!(half.keeps(1 << 55));
        assert!(!half.keeps((1 << 55) - 1));
    }

    #[test]
    fn ratio_one_keeps_all_and_zero_keeps_none() {
        assert!(Threshold::new(1.0).keeps(0));
        assert!(Threshold::new(1.0).keeps_all());
        assert!(!Threshold::new(0.0).keeps((1 << 56) - 1));
    }

    #[test]
    fn a_threshold_is_written_without_the_zeros_at_its_end() {
        for (ratio, want) in [
            (1.0, "ot=th:0"),
            (0.5, "ot=th:8"),
            (0.25, "ot=th:c"),
            (0.01, "ot=th:fd70a3d70a3d7"),
        ] {
            assert!(said("", Some(ratio)).starts_with(want), "{ratio}");
        }
        assert_eq!(said("", Some(0.25)), "ot=th:c");
    }

    #[test]
    fn our_member_comes_first_and_the_others_stay_in_order() {
        assert_eq!(said("a=1, b=2", Some(0.5)), "ot=th:8,a=1,b=2");
        assert_eq!(
            said("a=1,ot=rv:0123456789abcd;th:f;x:y,b=2", Some(0.5)),
            "ot=th:8;rv:0123456789abcd;x:y,a=1,b=2"
        );
    }

    #[test]
    fn an_unknown_probability_takes_the_threshold_away_and_nothing_else() {
        assert_eq!(said("a=1,ot=th:8,b=2", None), "a=1,b=2");
        assert_eq!(
            said("ot=th:8;rv:0123456789abcd", None),
            "ot=rv:0123456789abcd"
        );
        assert_eq!(said("a=1, b=2", None), "a=1, b=2");
        assert_eq!(said("ot=th:8", None), "");
    }

    #[test]
    fn a_threshold_that_does_not_fit_is_left_out() {
        let long = format!("a={0},b={0}", "x".repeat(252));
        assert_eq!(said(&long, Some(0.5)), long);
        let many: Vec<_> = (0..32).map(|index| format!("k{index}=1")).collect();
        let many = many.join(",");
        assert_eq!(said(&many, Some(0.5)), many);
        let full = format!("ot=x:{}", "y".repeat(254));
        assert_eq!(said(&full, Some(0.5)), full);
    }

    #[test]
    fn explicit_randomness_is_14_lower_case_hex_digits() {
        assert_eq!(
            randomness(b"ot=th:8;rv:0123456789abcd"),
            Some(0x01_2345_6789_abcd)
        );
        assert_eq!(
            randomness(b"a=1, ot=rv:ffffffffffffff"),
            Some((1 << 56) - 1)
        );
        for state in [
            "",
            "ot=rv:",
            "ot=rv:0123456789abc",
            "ot=rv:0123456789ABCD",
            "ot=rv:+123456789abcd",
            "o=rv:0123456789abcd",
        ] {
            assert_eq!(randomness(state.as_bytes()), None, "{state}");
        }
    }
}

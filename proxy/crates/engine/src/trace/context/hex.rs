//! Ids as text, in the forms that formats other than W3C's have: any case of letters, any length.

use crate::trace::id::{SpanId, TraceId, write_hex};

/// A number of 1 to `digits_max` hex digits; at most 32 fit.
pub(super) fn number(digits: &[u8], digits_max: usize) -> Option<u128> {
    debug_assert!(digits_max <= 32);
    if digits.is_empty() || digits.len() > digits_max {
        return None;
    }
    digits.iter().try_fold(0, |number, &byte| {
        let digit = char::from(byte).to_digit(16)?;
        Some(number << 4 | u128::from(digit))
    })
}

/// A trace id of up to 128 bits; shorter ones are the lower bits.
pub(super) fn trace_id(digits: &[u8]) -> Option<TraceId> {
    TraceId::from_bytes(number(digits, 32)?.to_be_bytes())
}

/// A span id of up to 64 bits.
pub(super) fn span_id(digits: &[u8]) -> Option<SpanId> {
    SpanId::from_bytes((number(digits, 16)? as u64).to_be_bytes())
}

/// Whether they are as many hex digits as one of `lengths`.
pub(super) fn has_length(digits: &[u8], lengths: &[usize]) -> bool {
    lengths.contains(&digits.len())
}

/// The upper and the lower half of a trace id.
pub(super) fn halves(trace_id: TraceId) -> (u64, u64) {
    let bits = u128::from_be_bytes(*trace_id.as_bytes());
    ((bits >> 64) as u64, bits as u64)
}

/// 16 digits where the upper half is zero, as who made the id writes it; else 32.
pub(super) struct ShortestId([u8; 32], usize);

impl ShortestId {
    pub(super) fn of(trace_id: TraceId) -> Self {
        let skipped = if halves(trace_id).0 == 0 { 16 } else { 0 };
        Self(trace_id.to_hex(), skipped)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0[self.1..]
    }
}

/// 16 digits.
pub(super) fn of_u64(number: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    write_hex(&number.to_be_bytes(), &mut digits);
    digits
}

//! Trace and span ids: never zero, cheap to make, written as hex without allocation.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

/// The 16 bytes that all spans of one trace share. Never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// The 8 bytes that name one span in its trace. Never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

impl TraceId {
    /// `None` for all zero, which W3C Trace Context and OTLP both define as "no id".
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// The id as it goes on the wire, most significant byte first.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// 32 lower-case hex digits.
    #[must_use]
    pub fn to_hex(self) -> [u8; 32] {
        let mut hex = [0; 32];
        write_hex(&self.0, &mut hex);
        hex
    }

    /// The 56 least significant bits, which W3C Trace Context level 2 asks to be random.
    #[must_use]
    pub fn low_56_bits(self) -> u64 {
        u128::from_be_bytes(self.0) as u64 & ((1 << 56) - 1)
    }
}

impl SpanId {
    /// `None` for all zero.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 8]) -> Option<Self> {
        (bytes != [0; 8]).then_some(Self(bytes))
    }

    /// The id as it goes on the wire, most significant byte first.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }

    /// The id after this one.
    #[must_use]
    pub fn next(self) -> Self {
        let after = u64::from_be_bytes(self.0).wrapping_add(1).max(1);
        Self(after.to_be_bytes())
    }

    /// The id of a span below this one that nobody else has to know: made of this one's, as random
    /// as it is (the finaliser of splitmix64).
    pub(super) fn child(self, index: u64) -> Self {
        let mut bits = u64::from_be_bytes(self.0) ^ (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(((bits ^ (bits >> 31)) | 1).to_be_bytes())
    }

    /// 16 lower-case hex digits.
    #[must_use]
    pub fn to_hex(self) -> [u8; 16] {
        let mut hex = [0; 16];
        write_hex(&self.0, &mut hex);
        hex
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_hex()))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_hex()))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Writes two lower-case hex digits per byte; `hex` is at least twice as long as `bytes`.
pub(super) fn write_hex(bytes: &[u8], hex: &mut [u8]) {
    debug_assert!(hex.len() >= bytes.len() * 2);
    for (pair, byte) in hex.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&PAIRS[usize::from(*byte)]);
    }
}

/// The two digits of every byte.
static PAIRS: [[u8; 2]; 256] = pairs();

const fn pairs() -> [[u8; 2]; 256] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < pairs.len() {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    pairs
}

/// One worker's source of ids. Not for secrets: ids are unique, not unguessable.
///
/// Two generators of 64 bits of state each: all generators of this kind walk the same cycle from
/// different places, so with one alone two workers of a large fleet could come to walk in step.
#[derive(Debug)]
pub struct Ids {
    high: fastrand::Rng,
    low: fastrand::Rng,
}

impl Ids {
    /// Seeded by the operating system (through std's hash keys; fastrand's own seed is the time).
    #[must_use]
    pub fn from_entropy() -> Self {
        Self::from_seeds(
            RandomState::new().hash_one("high"),
            RandomState::new().hash_one("low"),
        )
    }

    /// The same seeds give the same ids: for tests.
    #[must_use]
    pub fn from_seeds(high: u64, low: u64) -> Self {
        Self {
            high: fastrand::Rng::with_seed(high),
            low: fastrand::Rng::with_seed(low),
        }
    }

    /// A new trace id. Its low 56 bits are random, as sampling by trace id needs.
    pub fn trace_id(&mut self) -> TraceId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.high.u64(..).to_be_bytes());
        bytes[8..].copy_from_slice(&self.low.u64(1..).to_be_bytes());
        TraceId(bytes)
    }

    /// A new span id.
    pub fn span_id(&mut self) -> SpanId {
        SpanId(self.low.u64(1..).to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_no_id() {
        assert_eq!(TraceId::from_bytes([0; 16]), None);
        assert_eq!(SpanId::from_bytes([0; 8]), None);
    }

    #[test]
    fn hex_has_two_lower_case_digits_per_byte() {
        let trace_id = TraceId(*b"\x00\x01\x0f\x10\xff\xab\xcd\xef\0\0\0\0\0\0\0\x01");
        assert_eq!(&trace_id.to_hex(), b"00010f10ffabcdef0000000000000001");
        assert_eq!(trace_id.to_string(), "00010f10ffabcdef0000000000000001");
        assert_eq!(
            &SpanId([0xa0, 0, 0, 0, 0, 0, 0, 0x0b]).to_hex(),
            b"a00000000000000b"
        );
    }

    #[test]
    fn low_56_bits_are_the_last_seven_bytes() {
        let trace_id = TraceId([0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(trace_id.low_56_bits(), 0x01_0203_0405_0607);
    }

    #[test]
    fn two_workers_never_make_the_same_ids() {
        let (mut one, mut other) = (Ids::from_entropy(), Ids::from_entropy());
        assert_ne!(one.trace_id(), other.trace_id());
        assert_ne!(one.span_id(), other.span_id());
    }
}

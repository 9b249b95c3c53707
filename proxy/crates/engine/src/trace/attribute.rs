//! The few shapes of protobuf that spans are made of, appended to a buffer.
//!
//! Rules: this file knows the encoding, not the attributes. Lengths are computed before they are
//! written, so nothing is moved afterwards. Values are bytes from the wire: they are cut at
//! [`VALUE_BYTES_MAX`] and made valid UTF-8 here and nowhere else.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>, opentelemetry-proto 1.x.

use crate::limits::VALUE_BYTES_MAX;

/// `Span.attributes`, a `KeyValue`.
const SPAN_ATTRIBUTE: u8 = field(9, LENGTH);
/// `Span.name`.
const SPAN_NAME: u8 = field(5, LENGTH);
/// `Resource.attributes`, a `KeyValue`.
const RESOURCE_ATTRIBUTE: u8 = field(1, LENGTH);
const KEY: u8 = field(1, LENGTH);
const VALUE: u8 = field(2, LENGTH);
const STRING_VALUE: u8 = field(1, LENGTH);
const BOOL_VALUE: u8 = field(2, VARINT);
const INT_VALUE: u8 = field(3, VARINT);
const ARRAY_VALUE: u8 = field(5, LENGTH);
/// `ArrayValue.values`.
const ARRAY_ELEMENT: u8 = field(1, LENGTH);

pub(super) const VARINT: u8 = 0;
pub(super) const FIXED64: u8 = 1;
pub(super) const LENGTH: u8 = 2;
pub(super) const FIXED32: u8 = 5;

/// The tag of a field with a number up to 15, which is one byte.
pub(super) const fn field(number: u8, wire_type: u8) -> u8 {
    assert!(number <= 15);
    number << 3 | wire_type
}

/// Appends the name of a span, made of parts.
pub(crate) fn put_span_name<const N: usize>(out: &mut Vec<u8>, parts: [&str; N]) {
    put_texts(out, SPAN_NAME, &parts.map(Text::of));
}

/// Encodes the name of a span attribute at compile time: what [`put_text`] and the like begin with.
macro_rules! key {
    ($name:literal) => {{
        const KEY: &[u8; $name.len() + $crate::trace::attribute::PREFIX_BYTES] =
            &$crate::trace::attribute::prefix($name);
        KEY
    }};
}
pub(crate) use key;

/// What is around the name in an encoded key.
pub(crate) const PREFIX_BYTES: usize = 8;
/// Up to here all lengths of an attribute take one byte: 127, less what is around name and value.
const SHORT_BYTES_MAX: usize = 127 - PREFIX_BYTES;

/// An attribute up to its value, with gaps for three lengths: that of the pair, that of the value,
/// and that of the text in it. One copy of it per attribute halves the time that spans take, against
/// one append per piece.
pub(crate) const fn prefix<const N: usize>(name: &str) -> [u8; N] {
    assert!(N == name.len() + PREFIX_BYTES && name.len() < SHORT_BYTES_MAX / 2);
    let mut prefix = [0; N];
    prefix[0] = SPAN_ATTRIBUTE;
    prefix[2] = KEY;
    prefix[3] = name.len() as u8;
    let mut index = 0;
    while index < name.len() {
        prefix[4 + index] = name.as_bytes()[index];
        index += 1;
    }
    prefix[N - 4] = VALUE;
    prefix
}

const fn name_of<const N: usize>(key: &[u8; N]) -> &[u8] {
    key.split_at(4).1.split_at(N - PREFIX_BYTES).0
}

/// Appends a span attribute whose value is text; `value` need not be valid UTF-8.
#[inline]
pub(crate) fn put_lossy<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], value: &[u8]) {
    if N - PREFIX_BYTES + value.len() <= SHORT_BYTES_MAX && is_utf8(value) {
        put_short_text(out, key, value);
    } else {
        put_long_text(out, SPAN_ATTRIBUTE, name_of(key), value);
    }
}

/// Appends a span attribute whose value is text.
#[inline]
pub(crate) fn put_text<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], value: &str) {
    if N - PREFIX_BYTES + value.len() <= SHORT_BYTES_MAX {
        put_short_text(out, key, value.as_bytes());
    } else {
        put_long_text(out, SPAN_ATTRIBUTE, name_of(key), value.as_bytes());
    }
}

/// Appends a span attribute whose value is known to be ASCII, which need not be looked at again.
#[inline]
pub(super) fn put_ascii<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], value: &[u8]) {
    debug_assert!(value.is_ascii());
    if N - PREFIX_BYTES + value.len() <= SHORT_BYTES_MAX {
        put_short_text(out, key, value);
    } else {
        put_long_text(out, SPAN_ATTRIBUTE, name_of(key), value);
    }
}

/// Appends a span attribute whose value is a number. OTLP numbers are signed: larger ones are
/// capped.
#[inline]
pub(crate) fn put_int<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], value: u64) {
    if value < 0x80 {
        return put_key(out, key, [INT_VALUE, value as u8], 0);
    }
    let value = value.min(i64::MAX as u64);
    let first = value as u8 | 0x80;
    put_key(out, key, [INT_VALUE, first], varint_bytes(value) - 1);
    put_varint(out, value >> 7);
}

/// Appends a span attribute whose value is true or false.
#[inline]
pub(crate) fn put_bool<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], value: bool) {
    put_key(out, key, [BOOL_VALUE, u8::from(value)], 0);
}

/// Appends a span attribute whose value is an array of texts; each need not be valid UTF-8.
pub(super) fn put_text_array<'v>(
    out: &mut Vec<u8>,
    key: &str,
    values: impl Iterator<Item = &'v [u8]>,
) {
    out.push(SPAN_ATTRIBUTE);
    let pair = LengthGap::<3>::open(out);
    put_bytes(out, KEY, key.as_bytes());
    out.push(VALUE);
    let value = LengthGap::<3>::open(out);
    out.push(ARRAY_VALUE);
    let array = LengthGap::<3>::open(out);
    for text in values {
        let text = Text::new(text);
        out.push(ARRAY_ELEMENT);
        put_varint(
            out,
            (1 + varint_bytes(text.bytes as u64) + text.bytes) as u64,
        );
        out.push(STRING_VALUE);
        put_varint(out, text.bytes as u64);
        text.put(out);
    }
    array.close(out);
    value.close(out);
    pair.close(out);
}

/// Appends a resource attribute whose value is text.
pub(super) fn put_resource_text(out: &mut Vec<u8>, key: &str, value: &str) {
    put_long_text(out, RESOURCE_ATTRIBUTE, key.as_bytes(), value.as_bytes());
}

#[inline]
fn put_short_text<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], value: &[u8]) {
    put_key(out, key, [STRING_VALUE, value.len() as u8], value.len());
    out.extend_from_slice(value);
}

/// Appends an encoded key and the first two bytes of its value, after which `rest_bytes` follow: in
/// place, for a patched copy on the stack would have to be read again right after it was written.
#[inline]
fn put_key<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], first: [u8; 2], rest_bytes: usize) {
    out.extend_from_slice(key);
    if let Some(end) = out.last_chunk_mut::<N>() {
        end[1] = (N - 2 + rest_bytes) as u8;
        end[N - 3] = (2 + rest_bytes) as u8;
        [end[N - 2], end[N - 1]] = first;
    }
}

fn put_long_text(out: &mut Vec<u8>, tag: u8, key: &[u8], value: &[u8]) {
    let value = Text::new(value);
    let value_bytes = 1 + varint_bytes(value.bytes as u64) + value.bytes;
    let around = 2 + varint_bytes(key.len() as u64) + varint_bytes(value_bytes as u64);
    out.push(tag);
    put_varint(out, (around + key.len() + value_bytes) as u64);
    put_bytes(out, KEY, key);
    out.push(VALUE);
    put_varint(out, value_bytes as u64);
    out.push(STRING_VALUE);
    put_varint(out, value.bytes as u64);
    value.put(out);
}

/// Appends a string field made of parts; each may be any bytes.
pub(super) fn put_string_field<const N: usize>(out: &mut Vec<u8>, tag: u8, parts: [&[u8]; N]) {
    put_texts(out, tag, &parts.map(Text::new));
}

#[inline]
fn put_texts(out: &mut Vec<u8>, tag: u8, parts: &[Text<'_>]) {
    out.push(tag);
    put_varint(out, parts.iter().map(|part| part.bytes as u64).sum());
    for part in parts {
        part.put(out);
    }
}

/// Appends a bytes field as it is.
#[inline]
pub(super) fn put_bytes(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    out.push(tag);
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Appends a varint.
#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
fn varint_bytes(value: u64) -> usize {
    (64 - (value | 1).leading_zeros()).div_ceil(7) as usize
}

/// A length that is written before it is known: a varint padded to `N` bytes, which every decoder
/// must accept, holds lengths below 2^(7 N).
#[derive(Debug, Clone, Copy)]
pub(super) struct LengthGap<const N: usize> {
    at: usize,
}

impl<const N: usize> LengthGap<N> {
    pub(super) fn open(out: &mut Vec<u8>) -> Self {
        let at = out.len();
        out.extend_from_slice(&[0; N]);
        Self { at }
    }

    /// Writes the number of bytes that `out` has after the gap into the gap.
    pub(super) fn close(self, out: &mut [u8]) {
        let end = self.at + N;
        let mut length = out.len() - end;
        debug_assert!(length < 1 << (7 * N));
        for byte in &mut out[self.at..end] {
            *byte = length as u8 | 0x80;
            length >>= 7;
        }
        out[end - 1] &= 0x7f;
    }
}

/// A value from the wire, cut, and its length once it is valid UTF-8.
struct Text<'a> {
    value: &'a [u8],
    is_valid: bool,
    bytes: usize,
}

const REPLACEMENT: &str = "\u{fffd}";

impl<'a> Text<'a> {
    #[inline]
    fn of(value: &'a str) -> Self {
        let value = cut(value.as_bytes());
        Self {
            value,
            is_valid: true,
            bytes: value.len(),
        }
    }

    #[inline]
    fn new(value: &'a [u8]) -> Self {
        let value = cut(value);
        let is_valid = is_utf8(value);
        let bytes = if is_valid {
            value.len()
        } else {
            repaired_bytes(value)
        };
        Self {
            value,
            is_valid,
            bytes,
        }
    }

    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        if self.is_valid {
            out.extend_from_slice(self.value);
            return;
        }
        for chunk in self.value.utf8_chunks() {
            out.extend_from_slice(chunk.valid().as_bytes());
            if !chunk.invalid().is_empty() {
                out.extend_from_slice(REPLACEMENT.as_bytes());
            }
        }
    }
}

#[cold]
fn repaired_bytes(value: &[u8]) -> usize {
    value
        .utf8_chunks()
        .map(|chunk| {
            let replacement = if chunk.invalid().is_empty() {
                0
            } else {
                REPLACEMENT.len()
            };
            chunk.valid().len() + replacement
        })
        .sum()
}

/// Nearly all is ASCII, which is seen faster.
#[inline]
fn is_utf8(value: &[u8]) -> bool {
    value.is_ascii() || std::str::from_utf8(value).is_ok()
}

/// At most [`VALUE_BYTES_MAX`] bytes, not ending inside a character.
#[inline]
fn cut(value: &[u8]) -> &[u8] {
    if value.len() <= VALUE_BYTES_MAX {
        return value;
    }
    let is_continuation = |at: usize| value[at] & 0xc0 == 0x80;
    let mut end = VALUE_BYTES_MAX;
    while end > VALUE_BYTES_MAX - 3 && is_continuation(end) {
        end -= 1;
    }
    &value[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &[u8]) -> Vec<u8> {
        let (mut out, text) = (Vec::new(), Text::new(value));
        text.put(&mut out);
        assert_eq!(out.len(), text.bytes);
        out
    }

    #[test]
    fn invalid_utf8_is_replaced_as_std_does_it() {
        for value in [
            &b"plain"[..],
            b"caf\xc3\xa9",
            b"\xff",
            b"a\xf0\x9f\x98b",
            b"\xc3",
            b"",
        ] {
            assert_eq!(text(value), String::from_utf8_lossy(value).as_bytes());
        }
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        let value = "é".repeat(VALUE_BYTES_MAX);
        for skip in 0..3 {
            let cut = text([&b"xxx"[..skip], value.as_bytes()].concat().as_slice());
            assert!(cut.len() > VALUE_BYTES_MAX - 4 && cut.len() <= VALUE_BYTES_MAX);
            assert!(!String::from_utf8_lossy(&cut).contains('\u{fffd}'));
        }
    }

    #[test]
    fn a_varint_is_as_long_as_announced() {
        for value in [
            0,
            1,
            127,
            128,
            16_383,
            16_384,
            u64::from(u32::MAX),
            u64::MAX,
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_bytes(value), "{value}");
        }
    }

    #[test]
    fn a_gap_holds_the_length_of_what_follows() {
        let mut out = vec![7];
        let gap = LengthGap::<3>::open(&mut out);
        out.extend_from_slice(&[1; 300]);
        gap.close(&mut out);
        assert_eq!(out[..4], [7, 0b1010_1100, 0b1000_0010, 0]);
    }
}

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
#[inline]
pub(crate) fn put_span_name<const N: usize>(out: &mut Vec<u8>, parts: [&str; N]) {
    let parts = parts.map(|part| cut(part.as_bytes()));
    put_length(out, SPAN_NAME, parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Encodes the name of a span attribute at compile time: what [`put_text`] and the like begin with.
macro_rules! key {
    ($name:literal) => {{
        const KEY: &[u8; $name.len() + $crate::trace::attribute::KEY_BYTES_AROUND] =
            &$crate::trace::attribute::encoded_key($name);
        KEY
    }};
}
pub(crate) use key;

/// Encodes a span attribute whose value is always the same text at compile time.
macro_rules! text {
    ($name:literal, $value:literal) => {{
        const BYTES: usize =
            $name.len() + $value.len() + $crate::trace::attribute::TEXT_BYTES_AROUND;
        const TEXT: &[u8; BYTES] = &$crate::trace::attribute::encoded_text($name, $value);
        TEXT
    }};
}
pub(super) use text;

/// Appends a span attribute whose value is nearly always one of these texts, which are encoded at
/// compile time.
macro_rules! put_known {
    ($out:expr, $name:literal, $value:expr, $($known:literal)|+) => {
        match $value {
            $($known => $out.extend_from_slice($crate::trace::attribute::text!($name, $known)),)+
            other => $crate::trace::attribute::put_text($out, $crate::trace::attribute::key!($name), other),
        }
    };
}
pub(super) use put_known;

/// Encodes the name of a span at compile time, to be appended as it is.
macro_rules! span_name {
    ($name:literal) => {{
        const NAME: &[u8; $name.len() + 2] = &$crate::trace::attribute::encoded_span_name($name);
        NAME
    }};
}
pub(super) use span_name;

/// What is around the name in an encoded key, and around name and value in a short text.
pub(crate) const KEY_BYTES_AROUND: usize = TEXT_BYTES_AROUND + 1;
pub(super) const TEXT_BYTES_AROUND: usize = 8;
/// Up to here all lengths of an attribute take one byte.
const SHORT_BYTES_MAX: usize = 127 - TEXT_BYTES_AROUND;

/// An attribute whose value is a number of one byte, and room for a second: most numbers are so
/// short, and are one copy with one or two bytes written over. All others begin with it, too, but
/// for their lengths and what of the value is in it.
pub(crate) const fn encoded_key<const N: usize>(name: &str) -> [u8; N] {
    assert!(N == name.len() + KEY_BYTES_AROUND && name.len() < SHORT_BYTES_MAX / 2);
    let mut key = with_text([0; N], 4, name);
    [key[0], key[1]] = [SPAN_ATTRIBUTE, (N - 3) as u8];
    [key[2], key[3]] = [KEY, name.len() as u8];
    [key[N - 5], key[N - 4], key[N - 3]] = [VALUE, 2, INT_VALUE];
    key
}

pub(super) const fn encoded_text<const N: usize>(name: &str, value: &str) -> [u8; N] {
    assert!(N == name.len() + value.len() + TEXT_BYTES_AROUND && N < 127);
    let (at, value_bytes) = (4 + name.len(), value.len() as u8);
    let mut text = with_text(with_text([0; N], 4, name), at + 4, value);
    [text[0], text[1]] = [SPAN_ATTRIBUTE, (N - 2) as u8];
    [text[2], text[3]] = [KEY, name.len() as u8];
    [text[at], text[at + 1]] = [VALUE, 2 + value_bytes];
    [text[at + 2], text[at + 3]] = [STRING_VALUE, value_bytes];
    text
}

pub(super) const fn encoded_span_name<const N: usize>(name: &str) -> [u8; N] {
    assert!(N == name.len() + 2 && N < 127);
    let mut encoded = with_text([0; N], 2, name);
    [encoded[0], encoded[1]] = [SPAN_NAME, name.len() as u8];
    encoded
}

const fn with_text<const N: usize>(mut block: [u8; N], at: usize, text: &str) -> [u8; N] {
    let mut index = 0;
    while index < text.len() {
        block[at + index] = text.as_bytes()[index];
        index += 1;
    }
    block
}

const fn name_of<const N: usize>(key: &[u8; N]) -> &[u8] {
    key.split_at(4).1.split_at(N - KEY_BYTES_AROUND).0
}

/// Appends a span attribute whose value is text; `value` need not be valid UTF-8.
#[inline]
pub(crate) fn put_lossy<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], value: &[u8]) {
    if is_short::<N>(value) && is_utf8(value) {
        put_short_text(out, key, value);
    } else {
        put_long_text(out, SPAN_ATTRIBUTE, name_of(key), value);
    }
}

/// Appends a span attribute whose value is text.
#[inline]
pub(crate) fn put_text<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], value: &str) {
    if is_short::<N>(value.as_bytes()) {
        put_short_text(out, key, value.as_bytes());
    } else {
        put_long_text(out, SPAN_ATTRIBUTE, name_of(key), value.as_bytes());
    }
}

/// Appends a span attribute whose value is known to be ASCII, which need not be looked at again.
#[inline]
pub(super) fn put_ascii<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], value: &[u8]) {
    debug_assert!(value.is_ascii());
    if is_short::<N>(value) {
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
        out.extend_from_slice(&key[..N - 1]);
        if let Some(last) = out.last_mut() {
            *last = value as u8;
        }
    } else if value < 0x4000 {
        out.extend_from_slice(key);
        if let Some(end) = out.last_chunk_mut::<N>() {
            end[1] = (N - 2) as u8;
            end[N - 4] = 3;
            [end[N - 2], end[N - 1]] = [value as u8 | 0x80, (value >> 7) as u8];
        }
    } else {
        put_long_int(out, key, value.min(i64::MAX as u64));
    }
}

/// Appends a span attribute whose value is true or false.
#[inline]
pub(crate) fn put_bool<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], value: bool) {
    out.extend_from_slice(&key[..N - 1]);
    if let Some(end) = out.last_chunk_mut() {
        *end = [BOOL_VALUE, u8::from(value)];
    }
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
const fn is_short<const N: usize>(value: &[u8]) -> bool {
    N - KEY_BYTES_AROUND + value.len() <= SHORT_BYTES_MAX
}

/// The lengths are written in place, for a patched copy of the key on the stack would have to be read
/// again right after it was written.
#[inline]
fn put_short_text<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], value: &[u8]) {
    let (start, value_bytes) = (out.len(), value.len() as u8);
    out.extend_from_slice(&key[..N - 1]);
    out[start + 1] = (N - 3) as u8 + value_bytes;
    if let Some(end) = out.last_chunk_mut() {
        *end = [2 + value_bytes, STRING_VALUE, value_bytes];
    }
    out.extend_from_slice(value);
}

/// A number of three bytes or more.
fn put_long_int(out: &mut Vec<u8>, key: &[u8], value: u64) {
    let (start, more) = (out.len(), varint_bytes(value) as u8 - 1);
    out.extend_from_slice(&key[..key.len() - 2]);
    out[start + 1] += more;
    if let Some([value_bytes, _]) = out.last_chunk_mut() {
        *value_bytes += more;
    }
    put_varint(out, value);
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

/// Appends a string field; `value` may be any bytes.
pub(super) fn put_string_field(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    let value = Text::new(value);
    put_length(out, tag, value.bytes);
    value.put(out);
}

/// Appends a bytes field as it is.
#[inline]
pub(super) fn put_bytes(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    put_length(out, tag, value.len());
    out.extend_from_slice(value);
}

/// Appends the tag of a field and the length of what follows.
#[inline]
fn put_length(out: &mut Vec<u8>, tag: u8, bytes: usize) {
    if bytes < 0x80 {
        out.extend_from_slice(&[tag, bytes as u8]);
    } else {
        out.push(tag);
        put_varint(out, bytes as u64);
    }
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
        Self::at(at)
    }

    /// One that is there.
    pub(super) fn at(at: usize) -> Self {
        Self { at }
    }

    /// Writes the number of bytes that `out` has after the gap into the gap.
    pub(super) fn close(self, out: &mut [u8]) {
        let Some((gap, rest)) = out[self.at..].split_first_chunk_mut::<N>() else {
            return;
        };
        debug_assert!(rest.len() < 1 << (7 * N));
        for (index, byte) in gap.iter_mut().enumerate() {
            *byte = (rest.len() >> (7 * index)) as u8 | 0x80;
        }
        gap[N - 1] &= 0x7f;
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

    /// A field by the book: its tag, its length, and what is in it.
    fn plain_field(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut field = vec![tag];
        put_varint(&mut field, content.len() as u64);
        [field, content.to_vec()].concat()
    }

    fn plain_attribute(value: &[u8]) -> Vec<u8> {
        let pair = [plain_field(KEY, b"url.path"), plain_field(VALUE, value)];
        plain_field(SPAN_ATTRIBUTE, &pair.concat())
    }

    fn written(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = vec![7];
        put(&mut out);
        assert_eq!(out.remove(0), 7, "nothing but what is appended is written");
        out
    }

    #[test]
    fn numbers_of_every_size_are_encoded_by_the_book() {
        let near_powers = (0..64).flat_map(|bits| [(1_u64 << bits) - 1, 1 << bits]);
        for number in near_powers.chain([u64::MAX]) {
            let mut value = vec![INT_VALUE];
            put_varint(&mut value, number.min(i64::MAX as u64));
            let found = written(|out| put_int(out, key!("url.path"), number));
            assert_eq!(found, plain_attribute(&value), "{number}");
        }
    }

    #[test]
    fn texts_of_every_length_are_encoded_by_the_book() {
        for length in 0..=VALUE_BYTES_MAX {
            let text = "x".repeat(length);
            let want = plain_attribute(&plain_field(STRING_VALUE, text.as_bytes()));
            let key = key!("url.path");
            let ways = [
                written(|out| put_text(out, key, &text)),
                written(|out| put_lossy(out, key, text.as_bytes())),
                written(|out| put_ascii(out, key, text.as_bytes())),
                written(|out| put_known!(out, "url.path", text.as_str(), "" | "xxx")),
            ];
            for found in ways {
                assert_eq!(found, want, "{length}");
            }
        }
    }

    #[test]
    fn truth_is_encoded_by_the_book() {
        for truth in [false, true] {
            let found = written(|out| put_bool(out, key!("url.path"), truth));
            assert_eq!(found, plain_attribute(&[BOOL_VALUE, u8::from(truth)]));
        }
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

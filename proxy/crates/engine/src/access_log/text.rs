//! Values of strangers as text that cannot be mistaken for anything else.
//!
//! Rules: never a byte that ends a line, a string or a field, or that a terminal obeys.

use std::io::Write as _;

use crate::limits::LOG_VALUE_BYTES_MAX;

/// Appends `value` between the quotes of a JSON string: what is not UTF-8 becomes U+FFFD, and no
/// control character stays one, also not DEL, those from U+0080 on or the separators of lines.
pub(super) fn put_json(out: &mut Vec<u8>, value: &[u8]) {
    let value = cut(value);
    if value.iter().all(|byte| is_plain(*byte)) {
        return out.extend_from_slice(value);
    }
    for chunk in value.utf8_chunks() {
        for sign in chunk.valid().chars() {
            match sign {
                '"' | '\\' => out.extend_from_slice(&[b'\\', sign as u8]),
                '\u{2028}' | '\u{2029}' => put_escape(out, sign),
                sign if sign.is_control() => put_escape(out, sign),
                sign => out.extend_from_slice(sign.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// Appends `value` as nginx does between quotes: what is not printable ASCII, quotes and
/// backslashes as `\xHH`.
pub(super) fn put_quoted(out: &mut Vec<u8>, value: &[u8]) {
    for byte in cut(value) {
        if is_plain(*byte) {
            out.push(*byte);
        } else {
            let _ = write!(out, "\\x{byte:02X}");
        }
    }
}

/// The same for a field without quotes, which ends at a space; `-` where there is nothing.
pub(super) fn put_bare(out: &mut Vec<u8>, value: &[u8]) {
    if value.is_empty() {
        out.push(b'-');
    }
    for part in cut(value).split_inclusive(|byte| *byte == b' ') {
        match part.strip_suffix(b" ") {
            Some(rest) => {
                put_quoted(out, rest);
                out.extend_from_slice(b"\\x20");
            }
            None => put_quoted(out, part),
        }
    }
}

/// An address without its query and fragment: those hold tokens, also in the address that a request
/// came from.
pub(super) fn without_query(address: &[u8]) -> &[u8] {
    let end = memchr::memchr2(b'?', b'#', address);
    &address[..end.unwrap_or(address.len())]
}

fn cut(value: &[u8]) -> &[u8] {
    &value[..value.len().min(LOG_VALUE_BYTES_MAX)]
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

fn put_escape(out: &mut Vec<u8>, sign: char) {
    let _ = write!(out, "\\u{:04x}", sign as u32);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Bytes that have to do with escapes, and some others.
    fn random(chance: &mut fastrand::Rng) -> Vec<u8> {
        const BYTES: &[u8] =
            b"ab \"\\\n\r\t\0\x1b\x7f\x80\x9b\xc2\x85\xe2\x80\xa8\xff\xf0\x9f\x92\xa9";
        let length = chance.usize(..40);
        std::iter::repeat_with(|| BYTES[chance.usize(..BYTES.len())])
            .take(length)
            .collect()
    }

    #[test]
    fn whatever_a_value_is_it_stays_one_value() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut chance = fastrand::Rng::with_seed(seed);
        for _ in 0..10_000 {
            let value = random(&mut chance);
            let mut json = b"\"".to_vec();
            put_json(&mut json, &value);
            json.push(b'"');
            let read: String = serde_json::from_slice(&json).unwrap();
            assert_eq!(read, String::from_utf8_lossy(&value));
            let text = String::from_utf8(json).unwrap();
            assert!(!text.contains(|sign: char| sign.is_control()));

            let (mut quoted, mut bare) = (Vec::new(), Vec::new());
            put_quoted(&mut quoted, &value);
            put_bare(&mut bare, &value);
            assert!(quoted.iter().all(|byte| matches!(byte, b' '..=b'~')));
            assert!(!quoted.contains(&b'"') && !bare.contains(&b' ') && !bare.is_empty());
        }
    }

    #[test]
    fn a_character_that_is_cut_in_two_is_no_half_one() {
        let mut value = vec![b'a'; LOG_VALUE_BYTES_MAX - 1];
        value.extend_from_slice("é".as_bytes());
        let mut out = Vec::new();
        put_json(&mut out, &value);
        assert!(out.ends_with("a\u{fffd}".as_bytes()));
    }

    #[test]
    fn addresses_lose_query_and_fragment() {
        for (given, kept) in [("/a?b#c", "/a"), ("/a#c?b", "/a"), ("/a", "/a"), ("?", "")] {
            assert_eq!(without_query(given.as_bytes()), kept.as_bytes());
        }
    }
}

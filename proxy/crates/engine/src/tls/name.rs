//! Distinguished names of certificates, as text.
//!
//! Rules: nothing here is verified, only read; the certificate was verified before. Whatever the
//! bytes are, what comes out is printable ASCII, and nothing panics.
//!
//! Source: RFC 5280, section 4.1 (where the names are); RFC 4514 (their text); X.690 (DER).

use std::fmt::Write as _;

const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const TELETEX_STRING: u8 = 0x14;
const IA5_STRING: u8 = 0x16;
const BMP_STRING: u8 = 0x1e;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `TBSCertificate.version`.
const CONTEXT_0: u8 = 0xa0;

/// The names in a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Whose it is.
    pub subject: String,
    /// Who says so.
    pub issuer: String,
}

impl Names {
    /// The names of a certificate in DER; empty where it is none.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        Self::read(certificate).unwrap_or_default()
    }

    fn read(certificate: &[u8]) -> Option<Self> {
        let mut certificate = Der(Der(certificate).take(SEQUENCE)?);
        let mut tbs = Der(certificate.take(SEQUENCE)?);
        if tbs.0.first() == Some(&CONTEXT_0) {
            tbs.take(CONTEXT_0)?;
        }
        tbs.take(INTEGER)?; // serialNumber
        tbs.take(SEQUENCE)?; // signature
        let issuer = text(tbs.take(SEQUENCE)?)?;
        tbs.take(SEQUENCE)?; // validity
        let subject = text(tbs.take(SEQUENCE)?)?;
        Some(Self { subject, issuer })
    }
}

/// What is left of some DER.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// Takes the next element: its tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, length], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match length {
            ..=0x7f => (usize::from(length), rest),
            0x81 => (usize::from(*rest.first()?), &rest[1..]),
            0x82 => {
                let (bytes, rest) = rest.split_first_chunk()?;
                (usize::from(u16::from_be_bytes(*bytes)), rest)
            }
            0x83 => {
                let (&[high, middle, low], rest) = rest.split_first_chunk()?;
                (u32::from_be_bytes([0, high, middle, low]) as usize, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// Takes the next element, if it has this tag.
    fn take(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|(tag, _)| *tag == wanted)
            .map(|(_, content)| content)
    }
}

/// The text of an `RDNSequence`: the last part first (RFC 4514, section 2.1).
fn text(name: &[u8]) -> Option<String> {
    let (mut name, mut parts) = (Der(name), Vec::new());
    while !name.0.is_empty() {
        parts.push(part(name.take(SET)?)?);
    }
    parts.reverse();
    Some(parts.join(","))
}

/// A `RelativeDistinguishedName`, which has one attribute, usually.
fn part(mut set: &[u8]) -> Option<String> {
    let mut out = String::new();
    while !set.is_empty() {
        let mut rest = Der(set);
        let mut attribute = Der(rest.take(SEQUENCE)?);
        set = rest.0;
        if !out.is_empty() {
            out.push('+');
        }
        let kind = attribute.take(OBJECT_IDENTIFIER)?;
        let encoded = attribute.0;
        let (tag, value) = attribute.next()?;
        match (short_name(kind), characters(tag, value)) {
            (Some(name), Some(value)) => {
                out.push_str(name);
                out.push('=');
                push_escaped(&mut out, &value);
            }
            (name, _) => {
                match name {
                    Some(name) => out.push_str(name),
                    None => push_dotted(&mut out, kind),
                }
                out.push_str("=#");
                push_hex(&mut out, encoded);
            }
        }
    }
    Some(out)
}

/// RFC 4514, section 3, and `emailAddress`, which OpenSSL and so nginx has.
fn short_name(kind: &[u8]) -> Option<&'static str> {
    Some(match kind {
        [0x55, 0x04, 0x03] => "CN",
        [0x55, 0x04, 0x06] => "C",
        [0x55, 0x04, 0x07] => "L",
        [0x55, 0x04, 0x08] => "ST",
        [0x55, 0x04, 0x09] => "STREET",
        [0x55, 0x04, 0x0a] => "O",
        [0x55, 0x04, 0x0b] => "OU",
        b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x01" => "UID",
        b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19" => "DC",
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01" => "emailAddress",
        _ => return None,
    })
}

/// A string's characters; `None` for what is no string.
fn characters(tag: u8, value: &[u8]) -> Option<String> {
    match tag {
        UTF8_STRING | PRINTABLE_STRING | IA5_STRING => {
            Some(String::from_utf8_lossy(value).into_owned())
        }
        TELETEX_STRING => Some(value.iter().copied().map(char::from).collect()),
        BMP_STRING => {
            let units = value
                .chunks_exact(2)
                .map(|unit| u16::from_be_bytes([unit[0], unit[1]]));
            Some(
                char::decode_utf16(units)
                    .map(|unit| unit.unwrap_or('\u{fffd}'))
                    .collect(),
            )
        }
        _ => None,
    }
}

/// RFC 4514, section 2.4, and as `\XX` whatever is not printable ASCII: this becomes a field value.
fn push_escaped(out: &mut String, value: &str) {
    let last = value.len().saturating_sub(1);
    for (at, &byte) in value.as_bytes().iter().enumerate() {
        let is_special = b"\"+,;<>\\".contains(&byte)
            || (byte == b' ' && (at == 0 || at == last))
            || (byte == b'#' && at == 0);
        match byte {
            b' '..=b'~' => {
                if is_special {
                    out.push('\\');
                }
                out.push(char::from(byte));
            }
            // Writing to a String cannot fail.
            _ => {
                let _ = write!(out, "\\{byte:02X}");
            }
        }
    }
}

/// An object identifier as numbers (X.690, section 8.19); those beyond 64 bits are wrong anyway.
fn push_dotted(out: &mut String, kind: &[u8]) {
    let mut value = 0_u64;
    let mut is_first = true;
    for byte in kind {
        value = value.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if is_first {
            let root = (value / 40).min(2);
            let _ = write!(out, "{root}.{}", value - root * 40);
        } else {
            let _ = write!(out, ".{value}");
        }
        (value, is_first) = (0, false);
    }
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let head = match length {
            0..0x80 => vec![tag, length as u8],
            0x80..0x100 => vec![tag, 0x81, length as u8],
            _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
        };
        [&head[..], content].concat()
    }

    fn attribute(kind: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
        let pair = [element(OBJECT_IDENTIFIER, kind), element(tag, value)].concat();
        element(SEQUENCE, &pair)
    }

    fn rdn(kind: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
        element(SET, &attribute(kind, tag, value))
    }

    fn certificate(issuer: &[u8], subject: &[u8]) -> Vec<u8> {
        let tbs = [
            element(CONTEXT_0, &element(INTEGER, &[2])),
            element(INTEGER, &[1]),
            element(SEQUENCE, &[]),
            element(SEQUENCE, issuer),
            element(SEQUENCE, &[]),
            element(SEQUENCE, subject),
        ];
        element(SEQUENCE, &element(SEQUENCE, &tbs.concat()))
    }

    const CN: &[u8] = &[0x55, 4, 3];
    const O: &[u8] = &[0x55, 4, 10];

    #[test]
    fn names_are_written_from_the_last_part_to_the_first() {
        let subject = [
            rdn(O, UTF8_STRING, b"Shop"),
            rdn(CN, PRINTABLE_STRING, b"api"),
        ]
        .concat();
        let names = Names::of(&certificate(&rdn(CN, IA5_STRING, b"Root"), &subject));
        assert_eq!(
            (&*names.subject, &*names.issuer),
            ("CN=api,O=Shop", "CN=Root")
        );
    }

    #[test]
    fn no_value_can_end_a_header_or_pretend_to_be_another_part() {
        for (value, want) in [
            (&b"a,O=b"[..], "CN=a\\,O=b"),
            (b"a\r\nx: y", "CN=a\\0D\\0Ax: y"),
            (b"#a# ", "CN=\\#a#\\ "),
            (b" ", "CN=\\ "),
            ("é\\".as_bytes(), "CN=\\C3\\A9\\\\"),
            (b"", "CN="),
        ] {
            let names = Names::of(&certificate(&[], &rdn(CN, UTF8_STRING, value)));
            assert_eq!(names.subject, want);
        }
    }

    #[test]
    fn other_kinds_and_other_strings_are_written_too() {
        let two = [
            attribute(CN, BMP_STRING, &[0, 0x61]),
            attribute(O, TELETEX_STRING, b"\xe9"),
        ];
        let one = element(SET, &two.concat());
        let other = rdn(&[0x2a, 0x86, 0x48, 0x01], UTF8_STRING, b"x");
        let no_string = rdn(CN, INTEGER, &[7]);
        let names = Names::of(&certificate(&no_string, &[one, other].concat()));
        assert_eq!(names.subject, "1.2.840.1=#0c0178,CN=a+O=\\C3\\A9");
        assert_eq!(names.issuer, "CN=#020107");
    }

    #[test]
    fn nothing_that_is_cut_or_changed_panics_or_is_unprintable() {
        let long = "x".repeat(300);
        let whole = certificate(
            &rdn(CN, UTF8_STRING, long.as_bytes()),
            &[
                rdn(O, UTF8_STRING, b"Shop"),
                rdn(&[0x88, 0x37, 1], BMP_STRING, b"abc"),
            ]
            .concat(),
        );
        assert!(!Names::of(&whole).subject.is_empty());
        for at in 0..whole.len() {
            assert_eq!(Names::of(&whole[..at]), Names::default());
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                let names = Names::of(&changed);
                let printable = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
                assert!(printable(&names.subject) && printable(&names.issuer));
            }
        }
    }
}

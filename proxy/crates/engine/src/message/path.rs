//! The one normal form of a path, used for routes and for requests alike: it is what requests are
//! routed, admitted and rewritten by, and what the endpoint gets.
//!
//! Two paths that mean the same resource must match the same route, else a rule can be walked
//! around. So: percent-escapes of unreserved characters are decoded, all others are written in
//! upper case, dot segments are removed (also encoded ones), and what may not stand in a path is
//! encoded. Nothing else changes: `%2F` stays data and is no separator.
//!
//! Empty segments (`//`) stay, since RFC 3986 gives them a meaning and object stores use it. But
//! many servers take `//admin` for `/admin`, as nginx and Traefik do, so matching does too
//! ([`without_empty_segments`]): it gets the route, and with it the rules, of `/admin`.
//!
//! Servers disagree further on what a separator is: `/admin%2Fx` is `/admin/x` to nginx, and `/admin;x` is
//! `/admin` to servers of Java. Whatever would be answered by other rules if it were read so
//! ([`other_readings`]) is refused; Traefik refuses all of it (CVE-2025-66490).
//!
//! Source: RFC 3986, sections 3.3, 5.2.4 and 6.2.2. We differ in one point: a path that climbs
//! above the root is refused and not cut.

use std::borrow::Cow;

/// Why a path has no normal form; the request is answered with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// It is empty or relative.
    #[error("it does not begin with a slash")]
    NotAbsolute,
    /// A `%` without two hex digits.
    #[error("a % is not followed by two hex digits")]
    Escape,
    /// More `..` than segments before.
    #[error("it climbs above the root")]
    AboveRoot,
}

/// Returns the normal form of `path`, borrowed if it is normal already, which nearly all are.
///
/// `path` comes without query. The result begins with a slash, consists of characters that RFC 3986
/// allows in a path, and is its own normal form.
///
/// # Errors
/// [`BadPath`]. Never panics, for any bytes.
pub fn normalise(path: &[u8]) -> Result<Cow<'_, [u8]>, BadPath> {
    if path.first() != Some(&b'/') {
        return Err(BadPath::NotAbsolute);
    }
    if is_surely_normal(path) {
        return Ok(Cow::Borrowed(path));
    }
    let mut normal = Vec::with_capacity(path.len() + 16);
    let mut segments = path[1..].split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let start = normal.len();
        normal.push(b'/');
        push_segment(&mut normal, segment)?;
        let keep = match &normal[start..] {
            b"/." => start,
            b"/.." => memchr::memrchr(b'/', &normal[..start]).ok_or(BadPath::AboveRoot)?,
            _ => continue,
        };
        normal.truncate(keep);
        if segments.peek().is_none() {
            normal.push(b'/');
        }
    }
    Ok(Cow::Owned(normal))
}

/// Returns a path as it is matched: of slashes in a row one is left. Borrowed if there are none,
/// as in nearly all.
#[must_use]
pub fn without_empty_segments(path: &[u8]) -> Cow<'_, [u8]> {
    let mut slashes = memchr::memchr_iter(b'/', path);
    let mut before = slashes.next();
    let has_empty = slashes.any(|slash| before.replace(slash) == Some(slash - 1));
    if !has_empty {
        return Cow::Borrowed(path);
    }
    let mut merged = path.to_vec();
    merged.dedup_by(|byte, before| *byte == b'/' && *before == b'/');
    Cow::Owned(merged)
}

/// What servers make of a path in normal form that take an escaped separator (`/`, `\`, `?`, `#`) for one,
/// that drop the parameters of segments (`;x`), or both. Nothing for a path that is read in one way.
///
/// Dot segments are in none of them: where a reading would have one, the codec refuses the path.
pub fn other_readings(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let is_plain = memchr::memchr2(b'%', b';', path).is_none();
    let ways: &[_] = if is_plain {
        &[]
    } else {
        &[Reading::Decoded, Reading::Bare, Reading::Both]
    };
    ways.iter().map(|way| way.of(path))
}

#[derive(Clone, Copy, PartialEq)]
enum Reading {
    /// Escaped separators are separators.
    Decoded,
    /// Parameters are no part of the path.
    Bare,
    Both,
}

impl Reading {
    fn of(self, path: &[u8]) -> Vec<u8> {
        let mut read = Vec::with_capacity(path.len());
        let mut is_parameter = false;
        let mut rest = path;
        while let [byte, after @ ..] = rest {
            let (byte, after) = match after {
                [high, low, after @ ..] if *byte == b'%' && self != Self::Bare => {
                    match (high, low) {
                        (b'2', b'F') | (b'5', b'C') => (b'/', after),
                        (b'3', b'B') => (b';', after),
                        (b'3', b'F') | (b'2', b'3') => break,
                        _ => (b'%', &rest[1..]),
                    }
                }
                after => (*byte, after),
            };
            rest = after;
            is_parameter = match byte {
                b'/' => false,
                b';' if self != Self::Decoded => true,
                _ => is_parameter,
            };
            if !is_parameter {
                read.push(byte);
            }
        }
        read
    }
}

/// No escape, no segment that begins with a dot, nothing to encode.
fn is_surely_normal(path: &[u8]) -> bool {
    let mut before = 0;
    path.iter().all(|byte| {
        let is_plain = CLASS[usize::from(*byte)] != ENCODED
            && *byte != b'%'
            && !(*byte == b'.' && before == b'/');
        before = *byte;
        is_plain
    })
}

fn push_segment(normal: &mut Vec<u8>, segment: &[u8]) -> Result<(), BadPath> {
    let mut rest = segment;
    while let [byte, after @ ..] = rest {
        rest = after;
        let byte = if *byte == b'%' {
            let [high, low, after @ ..] = rest else {
                return Err(BadPath::Escape);
            };
            rest = after;
            let byte = hex_digit(*high)? << 4 | hex_digit(*low)?;
            if CLASS[usize::from(byte)] != UNRESERVED {
                push_escape(normal, byte);
                continue;
            }
            byte
        } else {
            *byte
        };
        if CLASS[usize::from(byte)] == ENCODED {
            push_escape(normal, byte);
        } else {
            normal.push(byte);
        }
    }
    Ok(())
}

fn push_escape(normal: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
    normal.extend_from_slice(&[b'%', DIGITS[high], DIGITS[low]]);
}

fn hex_digit(byte: u8) -> Result<u8, BadPath> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(BadPath::Escape),
    }
}

/// May stand for itself, and means the same encoded. Source: RFC 3986, 2.3.
const UNRESERVED: u8 = 0;
/// May stand for itself, and means something else encoded. Source: RFC 3986, 3.3 `pchar`, and `/`.
const RESERVED: u8 = 1;
/// May not stand in a path.
const ENCODED: u8 = 2;

const CLASS: [u8; 256] = {
    let mut class = [ENCODED; 256];
    let mut byte = 0;
    while byte < 256 {
        class[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => UNRESERVED,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':'
            | b'@' | b'/' => RESERVED,
            _ => ENCODED,
        };
        byte += 1;
    }
    class
};

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(path: &str) -> Result<String, BadPath> {
        normalise(path.as_bytes()).map(|path| String::from_utf8(path.into_owned()).unwrap())
    }

    #[test]
    fn a_normal_path_is_borrowed() {
        for path in [
            "/",
            "/foo",
            "/foo/",
            "/a.b/c..d/e.",
            "/a;x=1/b@c:d",
            "//",
            "/a//b",
            "/~u",
        ] {
            assert!(
                matches!(normalise(path.as_bytes()), Ok(Cow::Borrowed(_))),
                "{path}"
            );
        }
    }

    #[test]
    fn unreserved_characters_are_decoded_and_other_escapes_are_in_upper_case() {
        for (path, want) in [
            ("/%61%5A%30%2d%2E%5f%7e", "/aZ0-._~"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%2Fb", "/a%2Fb"),
            ("/%25%36%31", "/%2561"),
            ("/%00%0a%20%3f%23", "/%00%0A%20%3F%23"),
            ("/%26%3b", "/%26%3B"),
        ] {
            assert_eq!(normal(path).as_deref(), Ok(want), "{path}");
        }
    }

    #[test]
    fn what_may_not_stand_in_a_path_is_encoded() {
        assert_eq!(normal("/caf\u{e9}").as_deref(), Ok("/caf%C3%A9"));
        assert_eq!(normal("/a b|c\\d\"e").as_deref(), Ok("/a%20b%7Cc%5Cd%22e"));
        assert_eq!(normalise(b"/\xff\x00").unwrap(), &b"/%FF%00"[..]);
    }

    #[test]
    fn dot_segments_are_removed_also_when_encoded() {
        for (path, want) in [
            ("/.", "/"),
            ("/./", "/"),
            ("/a/.", "/a/"),
            ("/a/./b", "/a/b"),
            ("/a/..", "/"),
            ("/a/../", "/"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/b/../", "/a/"),
            ("/a/b/c/./../../g", "/a/g"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/a/%2e/b", "/a/b"),
            ("/a//../b", "/a/b"),
            ("//..", "/"),
            ("/a/...", "/a/..."),
            ("/.a/..b", "/.a/..b"),
            ("/a/..;/b", "/a/..;/b"),
            ("/a/..%2fb", "/a/..%2Fb"),
        ] {
            assert_eq!(normal(path).as_deref(), Ok(want), "{path}");
        }
    }

    #[test]
    fn a_path_above_the_root_is_refused() {
        for path in [
            "/..",
            "/../",
            "/../a",
            "/a/../..",
            "/a/../../b",
            "/./..",
            "/%2e%2e/etc",
        ] {
            assert_eq!(normal(path), Err(BadPath::AboveRoot), "{path}");
        }
    }

    #[test]
    fn a_broken_escape_is_refused() {
        for path in ["/%", "/%4", "/%zz", "/%4g", "/a%", "/a/%/b", "/%4/1"] {
            assert_eq!(normal(path), Err(BadPath::Escape), "{path}");
        }
    }

    #[test]
    fn a_path_that_is_not_absolute_is_refused() {
        for path in ["", "a", "*", "%2f", "http://host/"] {
            assert_eq!(normal(path), Err(BadPath::NotAbsolute), "{path}");
        }
    }

    #[test]
    fn slashes_in_a_row_are_one_in_matching() {
        for (path, want) in [
            ("/", "/"),
            ("//", "/"),
            ("/a/b/", "/a/b/"),
            ("//a///b//", "/a/b/"),
            ("/a//b", "/a/b"),
            ("/a/%2F/b", "/a/%2F/b"),
            ("", ""),
            ("*", "*"),
        ] {
            let merged = without_empty_segments(path.as_bytes());
            assert_eq!(&*merged, want.as_bytes());
            assert_eq!(matches!(merged, Cow::Borrowed(_)), path == want, "{path}");
        }
    }

    #[test]
    fn a_path_has_a_reading_for_each_way_to_take_its_separators() {
        for (path, decoded, bare, both) in [
            ("/a%2Fb", "/a/b", "/a%2Fb", "/a/b"),
            ("/a%5Cb;c", "/a/b;c", "/a%5Cb", "/a/b"),
            ("/a;b=c/d;e", "/a;b=c/d;e", "/a/d", "/a/d"),
            ("/a%3Bb/c", "/a;b/c", "/a%3Bb/c", "/a/c"),
            ("/a;b%2Fc", "/a;b/c", "/a", "/a/c"),
            ("/;x/a", "/;x/a", "//a", "//a"),
            ("/a%3Fb", "/a", "/a%3Fb", "/a"),
            ("/a%23b/c", "/a", "/a%23b/c", "/a"),
            ("/caf%C3%A9", "/caf%C3%A9", "/caf%C3%A9", "/caf%C3%A9"),
            ("/%2525%2", "/%2525%2", "/%2525%2", "/%2525%2"),
        ] {
            let readings =
                other_readings(path.as_bytes()).map(|read| String::from_utf8(read).unwrap());
            assert_eq!(
                readings.collect::<Vec<_>>(),
                [decoded, bare, both],
                "{path}"
            );
        }
        assert_eq!(other_readings(b"/plain/path.html").count(), 0);
    }

    /// Of any bytes: the normal form is its own normal form, begins with a slash and has no dot
    /// segment.
    #[test]
    fn a_normal_form_is_normal() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..50_000 {
            let mut path = vec![b'/'];
            for _ in 0..random.usize(..12) {
                let piece = random.choice([&b"/"[..], b".", b"..", b"%2e", b"%2F", b"a", b"%"]);
                path.extend_from_slice(piece.unwrap());
                if random.u8(..8) == 0 {
                    path.push(random.u8(..));
                }
            }
            let Ok(normal) = normalise(&path) else {
                continue;
            };
            assert_eq!(normalise(&normal).as_deref(), Ok(&*normal), "{path:?}");
            assert!(normal.starts_with(b"/") && normal.is_ascii());
            let has_dots = normal
                .split(|byte| *byte == b'/')
                .any(|one| one == b"." || one == b"..");
            assert!(!has_dots, "{path:?}");
        }
    }
}

//! The request target (RFC 9112 section 3.2): origin-form, absolute-form, or `*`.
//!
//! Rules: a path that the backend could resolve to another one than we route by is refused. What is
//! accepted is kept in normal form, which everything after this goes by and which is forwarded.
//! Queries are opaque: browsers leave `\`, `|` and a lone `%`
//! in them as they are (WHATWG URL, "query percent-encode set"), nginx forwards them, so do we.

use std::borrow::Cow;

use super::Malformed;
use crate::message::{Method, Part, RequestHead, normalise};

/// What an absolute-form target says about the host.
#[derive(Clone, Copy)]
pub(super) struct Named {
    pub(super) authority: Part,
    /// Of its scheme.
    pub(super) port: u16,
}

/// Sets the target of `head` from `target`, which lies at `start` in the head.
///
/// # Errors
/// The form does not fit the method, or a byte, an escape or a segment is refused.
pub(super) fn read(
    head: &mut RequestHead,
    target: &[u8],
    start: usize,
) -> Result<Option<Named>, Malformed> {
    if head.method == Method::Connect {
        return Err(Malformed::Connect);
    }
    match target {
        [b'/', ..] => {
            read_origin_form(head, target, start)?;
            Ok(None)
        }
        b"*" if head.method == Method::Options => {
            (head.path_bytes, head.target) = (1, Part::new(start, start + 1));
            Ok(None)
        }
        b"*" => Err(Malformed::Asterisk),
        _ => read_absolute_form(head, target, start).map(Some),
    }
}

/// `scheme://authority[/path][?query]`. Servers must accept it (RFC 9112 section 3.2.2).
fn read_absolute_form(
    head: &mut RequestHead,
    target: &[u8],
    start: usize,
) -> Result<Named, Malformed> {
    let (scheme_bytes, port) = scheme(target).ok_or(Malformed::TargetForm)?;
    let rest = &target[scheme_bytes..];
    let authority_end = rest
        .iter()
        .position(|byte| b"/?#\\".contains(byte))
        .unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    let authority_start = start + scheme_bytes;
    match path {
        [b'/', ..] => {
            let path_start = authority_start + authority.len();
            read_origin_form(head, path, path_start)?;
        }
        // RFC 9112 section 3.2.4.
        [] if head.method == Method::Options => {
            (head.path_bytes, head.target) = (1, head.fields.add_bytes(b"*"));
        }
        // RFC 9110 section 4.2.3: an empty path is "/".
        [] | [b'?', ..] => {
            check_query(path.get(1..).unwrap_or_default())?;
            let slash = head.fields.add_bytes(b"/");
            (head.path_bytes, head.target) = (1, slash.joined(head.fields.add_bytes(path)));
        }
        _ => return Err(Malformed::TargetBytes),
    }
    Ok(Named {
        authority: Part::new(authority_start, authority_start + authority.len()),
        port,
    })
}

/// Length of the scheme with `://`, and its default port.
fn scheme(target: &[u8]) -> Option<(usize, u16)> {
    const SCHEMES: [(&[u8], u16); 2] = [(b"http://", 80), (b"https://", 443)];
    let is_it = |scheme: &[u8]| {
        target
            .get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    SCHEMES
        .iter()
        .find(|(scheme, _)| is_it(scheme))
        .map(|&(scheme, port)| (scheme.len(), port))
}

/// `/path[?query]`, the path brought into normal form. Nearly all are, and stay where they lie.
fn read_origin_form(head: &mut RequestHead, target: &[u8], start: usize) -> Result<(), Malformed> {
    let path_bytes = memchr::memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at(path_bytes);
    check_path(path)?;
    check_query(query)?;
    match normalise(path) {
        Ok(Cow::Borrowed(_)) => {
            head.path_bytes = path_bytes as u32;
            head.target = Part::new(start, start + target.len());
        }
        Ok(Cow::Owned(normal)) => {
            let path = head.fields.add_bytes(&normal);
            head.path_bytes = normal.len() as u32;
            head.target = path.joined(head.fields.add_bytes(query));
        }
        // Checked above: no broken escape and no dot segment is left.
        Err(_) => return Err(Malformed::TargetBytes),
    }
    Ok(())
}

/// Visible ASCII without `#`: a fragment is not sent (RFC 9110 section 4.2.5).
fn check_query(query: &[u8]) -> Result<(), Malformed> {
    let is_valid = query
        .iter()
        .all(|&byte| byte.is_ascii_graphic() && byte != b'#');
    if is_valid {
        Ok(())
    } else {
        Err(Malformed::TargetBytes)
    }
}

/// Besides what queries refuse: `\`, which some servers take for `/`; broken escapes; dot segments.
pub(crate) fn check_path(path: &[u8]) -> Result<(), Malformed> {
    let (mut has_escape, mut has_dot) = (false, false);
    let mut is_valid = true;
    for &byte in path {
        is_valid &= byte.is_ascii_graphic() && byte != b'#' && byte != b'\\';
        has_escape |= byte == b'%';
        has_dot |= byte == b'.';
    }
    if !is_valid {
        return Err(Malformed::TargetBytes);
    }
    if has_escape {
        check_escapes(path)?;
    }
    if has_dot || has_escape {
        check_segments(path)?;
    }
    Ok(())
}

/// Two hex digits after each `%`; not `%00`, which ends a path for backends written in C.
fn check_escapes(path: &[u8]) -> Result<(), Malformed> {
    for after in memchr::memchr_iter(b'%', path).map(|at| path.get(at + 1..at + 3)) {
        let is_valid = after.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        if !is_valid || after == Some(b"00") {
            return Err(Malformed::PercentEncoding);
        }
    }
    Ok(())
}

/// What a segment is so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Segment {
    Empty,
    OneDot,
    TwoDots,
    /// `.` or `..` with `;parameters`, which Java servers strip first.
    DotsAndParameters,
    Name,
}

/// Refuses `.` and `..` segments, plain or escaped: clients resolve them before they send (RFC 3986
/// section 5.2.4), and a backend that does it after we have routed serves another route's path.
///
/// nginx and Envoy resolve them themselves.
fn check_segments(path: &[u8]) -> Result<(), Malformed> {
    let is_dots = |segment| !matches!(segment, Segment::Empty | Segment::Name);
    let mut segment = Segment::Empty;
    let mut rest = path;
    while let Some((unit, after)) = next_unit(rest) {
        rest = after;
        segment = match (segment, unit) {
            (dots, b'/') if is_dots(dots) => return Err(Malformed::DotSegment),
            (_, b'/') => Segment::Empty,
            (Segment::Empty, b'.') => Segment::OneDot,
            (Segment::OneDot, b'.') => Segment::TwoDots,
            (Segment::OneDot | Segment::TwoDots, b';') | (Segment::DotsAndParameters, _) => {
                Segment::DotsAndParameters
            }
            _ => Segment::Name,
        };
    }
    if is_dots(segment) {
        Err(Malformed::DotSegment)
    } else {
        Ok(())
    }
}

/// The next byte of a path, decoded as far as segments are concerned, and the rest.
fn next_unit(path: &[u8]) -> Option<(u8, &[u8])> {
    match path {
        [b'%', b'2', b'e' | b'E', rest @ ..] => Some((b'.', rest)),
        [b'%', b'2', b'f' | b'F', rest @ ..] | [b'%', b'5', b'c' | b'C', rest @ ..] => {
            Some((b'/', rest))
        }
        [b'%', b'3', b'b' | b'B', rest @ ..] => Some((b';', rest)),
        [byte, rest @ ..] => Some((*byte, rest)),
        [] => None,
    }
}

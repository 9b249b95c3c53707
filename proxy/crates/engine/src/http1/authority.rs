//! The host that a request is for: `Host`, or the authority of an absolute-form target.
//!
//! Rule: a host is what an Ingress can name, a DNS name or an address. RFC 3986 would also allow
//! sub-delimiters and percent-encoding in it (`a,b`, `a%2eb`), which no client sends in good faith
//! and which backends read differently.

use super::Malformed;
use super::target::Named;
use crate::limits::HOST_BYTES_MAX;
use crate::message::{Name, Part, RequestHead, Version};
use std::net::Ipv6Addr;

/// Sets authority and host of `head`; its fields then have one `Host`.
///
/// RFC 9112 section 3.2.2 lets the target win over a different `Host`. Here they must be the same:
/// a client that says two hosts tests whether we and the backend disagree on which it meant.
///
/// # Errors
/// `Host` is missing (needed in HTTP/1.1), repeated, invalid, or not what the target names.
pub(super) fn read(head: &mut RequestHead, named: Option<Named>) -> Result<(), Malformed> {
    let by_field = match head.fields.count(Name::Host) {
        0 if head.version == Version::Http11 => return Err(Malformed::HostMissing),
        0 | 1 => head.fields.part_of(Name::Host),
        _ => return Err(Malformed::HostRepeated),
    };
    let by_field = by_field.map(|field| parse(head, field)).transpose()?;
    let by_target = named
        .map(|named| parse(head, named.authority))
        .transpose()?;
    match (&by_target, &by_field) {
        (None, None) => set_none(head),
        (None, Some(by_field)) => set(head, by_field),
        (Some(by_target), None) => {
            set(head, by_target);
            add_host(head, by_target.whole);
        }
        (Some(by_target), Some(by_field)) => {
            set(head, by_target);
            check_same(
                head,
                by_target,
                by_field,
                named.map_or(0, |named| named.port),
            )?;
        }
    }
    Ok(())
}

/// Whether `text` is `host[:port]` as a request may name it.
pub(crate) fn is_authority(text: &[u8]) -> bool {
    let rest = split(text)
        .filter(|_| !text.is_empty())
        .map(|(_, rest)| rest);
    match rest {
        Some([b':', digits @ ..]) => parse_port(digits).is_some(),
        Some(rest) => rest.is_empty(),
        None => false,
    }
}

/// A validated authority and how much of it is the host.
struct Authority {
    whole: Part,
    /// Without the port and a trailing dot.
    host: Part,
    port: Option<u16>,
}

fn parse(head: &RequestHead, whole: Part) -> Result<Authority, Malformed> {
    let authority = head.fields.part(whole);
    let (host_bytes, rest) = split(authority).ok_or(Malformed::HostInvalid)?;
    let port = match rest {
        [] => None,
        [b':', digits @ ..] => Some(parse_port(digits).ok_or(Malformed::HostInvalid)?),
        _ => return Err(Malformed::HostInvalid),
    };
    Ok(Authority {
        whole,
        host: whole.first(host_bytes),
        port,
    })
}

/// Length of a valid host, and what follows it and its trailing dot.
fn split(authority: &[u8]) -> Option<(usize, &[u8])> {
    if authority.starts_with(b"[") {
        let host_bytes = ipv6_bytes(authority)?;
        return Some((host_bytes, &authority[host_bytes..]));
    }
    let end = memchr::memchr(b':', authority).unwrap_or(authority.len());
    let (name, rest) = authority.split_at(end);
    Some((name_bytes(name)?, rest))
}

/// Length of `[address]` at the start; zones and future versions of IP are refused.
fn ipv6_bytes(authority: &[u8]) -> Option<usize> {
    let end = memchr::memchr(b']', authority)?;
    let address = std::str::from_utf8(authority.get(1..end)?).ok()?;
    address.parse::<Ipv6Addr>().ok().map(|_| end + 1)
}

/// Length of a name without its trailing dot; `None` where it is not labels of letters, digits, `-`
/// and `_` (which DNS names of hosts lack, but some clusters have), with single dots between.
fn name_bytes(name: &[u8]) -> Option<usize> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let (mut before, mut is_name) = (b'.', true);
    for &byte in name {
        is_name &= IS_OF_NAME[usize::from(byte)] && (byte != b'.' || before != b'.');
        before = byte;
    }
    (is_name && before != b'.' && name.len() <= HOST_BYTES_MAX).then_some(name.len())
}

const IS_OF_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128_u8 {
        table[byte as usize] =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
        byte += 1;
    }
    table
};

/// RFC 3986 allows an empty port, and more zeros than anybody writes.
fn parse_port(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() || digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let port = digits
        .iter()
        .fold(0_u32, |port, digit| port * 10 + u32::from(digit - b'0'));
    u16::try_from(port).ok().filter(|&port| port != 0)
}

fn set(head: &mut RequestHead, parsed: &Authority) {
    head.authority = parsed.whole;
    // It nearly always is in lower case already.
    let has_upper_case = head
        .fields
        .part(parsed.host)
        .iter()
        .any(u8::is_ascii_uppercase);
    head.host = if has_upper_case {
        head.fields.add_lower_case(parsed.host)
    } else {
        parsed.host
    };
}

/// HTTP/1.0 without `Host`: what is forwarded as HTTP/1.1 says that it is empty (RFC 9110 section
/// 7.2).
fn set_none(head: &mut RequestHead) {
    let empty = head.fields.add_bytes(b"");
    (head.authority, head.host) = (empty, empty);
    add_host(head, empty);
}

fn add_host(head: &mut RequestHead, value: Part) {
    let name = head.fields.add_bytes(b"Host");
    head.fields.index(Name::Host, name, value);
}

/// The default port of the target's scheme may be left out on either side.
fn check_same(
    head: &RequestHead,
    by_target: &Authority,
    by_field: &Authority,
    default_port: u16,
) -> Result<(), Malformed> {
    let port = |authority: &Authority| authority.port.unwrap_or(default_port);
    let is_same_host = head
        .host()
        .eq_ignore_ascii_case(head.fields.part(by_field.host));
    let is_same = is_same_host && port(by_target) == port(by_field);
    if is_same {
        Ok(())
    } else {
        Err(Malformed::HostMismatch)
    }
}

//! Version 1, a line of text: `PROXY TCP4 192.0.2.1 198.51.100.2 40000 443` and CR LF.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{Announced, Malformed, Parsed, has_all};
use crate::limits::PROXY_LINE_BYTES_MAX;

const START: &[u8] = b"PROXY ";

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    if !has_all(bytes, START)? {
        return Ok(Parsed::Incomplete);
    }
    let within = &bytes[..bytes.len().min(PROXY_LINE_BYTES_MAX)];
    let Some(end) = memchr::memchr2(b'\r', b'\n', within) else {
        return if bytes.len() < PROXY_LINE_BYTES_MAX {
            Ok(Parsed::Incomplete)
        } else {
            Err(Malformed::LineEnd)
        };
    };
    match &within[end..] {
        [b'\r', b'\n', ..] => Ok(Parsed::Complete {
            announced: parse_line(&within[START.len()..end])?,
            header_bytes: end + 2,
        }),
        [b'\r'] if within.len() < PROXY_LINE_BYTES_MAX => Ok(Parsed::Incomplete),
        _ => Err(Malformed::LineEnd),
    }
}

/// What is between `PROXY ` and the end of the line.
fn parse_line(line: &[u8]) -> Result<Option<Announced>, Malformed> {
    let mut parts = line.split(|&byte| byte == b' ');
    match parts.next() {
        // "the receiver must ignore anything presented before the CRLF is found"
        Some(b"UNKNOWN") => Ok(None),
        Some(b"TCP4") => addresses::<Ipv4Addr>(parts).map(Some),
        Some(b"TCP6") => addresses::<Ipv6Addr>(parts).map(Some),
        _ => Err(Malformed::Protocol),
    }
}

fn addresses<'a, T: FromStr + Into<IpAddr>>(
    mut parts: impl Iterator<Item = &'a [u8]>,
) -> Result<Announced, Malformed> {
    let mut next = || parts.next().ok_or(Malformed::Addresses);
    let (source, destination) = (parse_ip::<T>(next()?)?, parse_ip::<T>(next()?)?);
    let (source_port, destination_port) = (parse_port(next()?)?, parse_port(next()?)?);
    match parts.next() {
        Some(_) => Err(Malformed::Addresses),
        None => Ok(Announced {
            source: SocketAddr::new(source, source_port),
            destination: SocketAddr::new(destination, destination_port),
        }),
    }
}

fn parse_ip<T: FromStr + Into<IpAddr>>(text: &[u8]) -> Result<IpAddr, Malformed> {
    let text = std::str::from_utf8(text).map_err(|_| Malformed::Addresses)?;
    text.parse::<T>()
        .map(Into::into)
        .map_err(|_| Malformed::Addresses)
}

/// Digits alone, and no zeros before others, "so as to avoid any ambiguity".
fn parse_port(digits: &[u8]) -> Result<u16, Malformed> {
    let is_plain =
        digits.iter().all(u8::is_ascii_digit) && (digits[..] == *b"0" || !digits.starts_with(b"0"));
    let text = std::str::from_utf8(digits).map_err(|_| Malformed::Addresses)?;
    match text.parse() {
        Ok(port) if is_plain => Ok(port),
        _ => Err(Malformed::Addresses),
    }
}

/// Both addresses are of one family.
pub(super) fn put(out: &mut Vec<u8>, announced: Announced) {
    let Announced {
        source,
        destination,
    } = announced;
    let protocol = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    // Writing to a Vec cannot fail.
    drop(write!(
        out,
        "PROXY {protocol} {} {} {} {}\r\n",
        source.ip(),
        destination.ip(),
        source.port(),
        destination.port()
    ));
}

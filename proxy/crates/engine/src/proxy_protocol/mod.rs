//! The PROXY protocol: for whom a connection is made, said in its first bytes.
//!
//! Rules: sans-io. A header is read from whatever bytes there are; what is not exactly a header is
//! malformed, and nothing is repaired.
//!
//! It is ours because what there is takes more than the specification allows: `ppp` takes the port
//! `+80`; `proxy-header` also `0080`, any byte behind `PROXY` and lines beyond 107 bytes. Both refuse
//! a LOCAL connection whose family they do not know, which must be accepted.
//!
//! Source: <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>.

mod v1;
mod v2;

use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

/// Where a connection comes from and was made to, by the first proxy that took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// The client.
    pub source: SocketAddr,
    /// The address that the client connected to.
    pub destination: SocketAddr,
}

impl Announced {
    /// The same with IPv4 addresses that are written as IPv6 as what they are.
    #[must_use]
    pub fn canonical(self) -> Self {
        let plain = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
        Self {
            source: plain(self.source),
            destination: plain(self.destination),
        }
    }
}

/// What some bytes at the start of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// A whole header and perhaps more.
    Complete {
        /// `None` where the ends of the connection itself are to be used: it is the sender's own,
        /// for example a health check, or its family has no addresses that we know.
        announced: Option<Announced>,
        /// The length of the header.
        header_bytes: usize,
    },
    /// The beginning of a header, all of it.
    Incomplete,
}

/// Why bytes are not a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Malformed {
    #[error("the connection does not begin with a PROXY protocol header")]
    Signature,
    #[error("the PROXY line is longer than 107 bytes or does not end with CR LF")]
    LineEnd,
    #[error("the PROXY line names a protocol that is not TCP4, TCP6 or UNKNOWN")]
    Protocol,
    #[error("the PROXY line has something else than two addresses and two ports")]
    Addresses,
    #[error("the PROXY header has a version or a command that is not specified")]
    Command,
    #[error("the PROXY header has an address family that is not specified")]
    Family,
    #[error("the PROXY header is shorter than its addresses, or longer than is allowed")]
    Length,
    #[error("the PROXY header's additional fields do not fill it exactly")]
    Tlv,
}

/// Reads a header of either version. Never panics, for any bytes.
///
/// # Errors
/// [`Malformed`], as soon as no further byte could make a header of it.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    match bytes.first() {
        None => Ok(Parsed::Incomplete),
        Some(b'P') => v1::parse(bytes),
        Some(_) => v2::parse(bytes),
    }
}

/// Appends the line of text. Where only one address is IPv6 the other one is written as if it was.
pub fn put_v1(out: &mut Vec<u8>, announced: Announced) {
    v1::put(out, one_family(announced));
}

/// Appends the binary header, without additional fields.
pub fn put_v2(out: &mut Vec<u8>, announced: Announced) {
    v2::put(out, one_family(announced));
}

/// Both addresses of one family, which a header has one of. Source: `HAProxy`, `make_proxy_line`.
fn one_family(announced: Announced) -> Announced {
    let plain = announced.canonical();
    if plain.source.is_ipv4() == plain.destination.is_ipv4() {
        return plain;
    }
    let mapped = |end: SocketAddr| match end.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), end.port()),
        IpAddr::V6(_) => end,
    };
    Announced {
        source: mapped(plain.source),
        destination: mapped(plain.destination),
    }
}

/// Whether `bytes` begin with all of `start` (true), or are its beginning (false).
///
/// # Errors
/// [`Malformed::Signature`] if they are neither.
fn has_all(bytes: &[u8], start: &[u8]) -> Result<bool, Malformed> {
    if bytes.len() < start.len() && start.starts_with(bytes) {
        Ok(false)
    } else if bytes.starts_with(start) {
        Ok(true)
    } else {
        Err(Malformed::Signature)
    }
}

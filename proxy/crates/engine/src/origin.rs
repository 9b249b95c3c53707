//! Where a request comes from, by the word of proxies that are trusted.
//!
//! A trusted proxy has added the address that it saw at the end of what it was told; so one goes
//! from the end to the first address that is not a trusted proxy's: everything before it is the
//! word of a stranger. What cannot be read ends the search, and breaks no request. The listener says
//! which field that is: any other one a proxy may have passed on as a stranger wrote it, so it is not
//! read, and endpoints get one that agrees with what was.
//!
//! Source: nginx, `real_ip_header` and `real_ip_recursive`; RFC 7239; MDN, "X-Forwarded-For",
//! "Selecting an IP address".

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use smallvec::SmallVec;

use crate::headers::{Ends, FieldSink, Told, Value, put_forwarded, put_node, write_ip};
use crate::limits::FORWARDED_HOPS_MAX;
use crate::message::{Fields, Name, RequestHead};
use crate::table::{Listener, Networks, TrustedField};

/// `ends` as the request tells them, where their peer is trusted; else as they are. An idle
/// listener's only cost is to look whether it trusts anybody.
#[must_use]
pub fn resolved<'a>(ends: &'a Ends, listener: &Listener, request: &RequestHead) -> Cow<'a, Ends> {
    let trusted = &listener.trusted_proxies;
    if trusted.is_empty() || !trusted.contains(ends.peer.ip()) {
        return Cow::Borrowed(ends);
    }
    let claim = Claim::read(&request.fields, listener);
    Cow::Owned(Ends {
        client: claim.client.unwrap_or(ends.peer),
        scheme: claim.scheme.unwrap_or(ends.scheme),
        is_trusted: true,
        ..*ends
    })
}

/// What trusted proxies tell.
#[derive(Default)]
struct Claim<'a> {
    /// Who asks; the port is 0 where it is not told.
    client: Option<SocketAddr>,
    /// How; `None` where that is not told in one word.
    scheme: Option<&'static str>,
    /// Which host, by `Forwarded`.
    host: Option<&'a [u8]>,
}

impl<'a> Claim<'a> {
    fn read(fields: &'a Fields, listener: &Listener) -> Self {
        let trusted = &listener.trusted_proxies;
        let client = match listener.trusted_field {
            TrustedField::Forwarded => return Self::read_forwarded(fields, trusted),
            TrustedField::XForwardedFor => {
                let hops = last_first(fields, Name::XForwardedFor);
                search(hops.map(|hop| Some((node(hop)?, hop))), trusted)
            }
            TrustedField::XRealIp => {
                let hops = last_first(fields, Name::XRealIp).take(1);
                search(hops.map(|hop| Some((node(hop)?, hop))), trusted)
            }
        };
        Self {
            client: client.map(|(client, _)| client),
            scheme: one(fields, Name::XForwardedProto).and_then(scheme),
            host: None,
        }
    }

    /// The client's element tells how it asked, and for what.
    fn read_forwarded(fields: &'a Fields, trusted: &Networks) -> Self {
        let hops = last_first(fields, Name::Forwarded);
        let hops = hops.map(|hop| Some((node(parameter(hop, b"for")?)?, hop)));
        let Some((client, hop)) = search(hops, trusted) else {
            return Self::default();
        };
        Self {
            client: Some(client),
            scheme: parameter(hop, b"proto").map(unquoted).and_then(scheme),
            host: parameter(hop, b"host").map(unquoted),
        }
    }
}

/// The first hop whose address is not trusted; else the last one that could be read.
fn search<'a>(
    hops: impl Iterator<Item = Option<(SocketAddr, &'a [u8])>>,
    trusted: &Networks,
) -> Option<(SocketAddr, &'a [u8])> {
    let mut found = None;
    for hop in hops.take(FORWARDED_HOPS_MAX).map_while(|hop| hop) {
        found = Some(hop);
        if !trusted.contains(hop.0.ip()) {
            break;
        }
    }
    found
}

/// The members of a list, which may be spread over fields, from its end.
fn last_first(fields: &Fields, name: Name) -> impl Iterator<Item = &[u8]> {
    let values: SmallVec<[&[u8]; 2]> = fields.get_all(name).collect();
    let values = values.into_iter().rev();
    values.flat_map(|value| pieces_last_first(value, b','))
}

/// The pieces of a text between separators that are not in quotes, from its end.
///
/// Quotes are matched from the end, too: what stands there was written by a trusted proxy, so its
/// quotes are whole, and one that a stranger has opened before it swallows nothing.
fn pieces_last_first(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut is_quoted = false;
        let at = (0..text.len()).rev().find(|&at| {
            if text[at] == b'"' && !is_escaped(text, at) {
                is_quoted = !is_quoted;
            }
            text[at] == separator && !is_quoted
        });
        rest = at.map(|at| &text[..at]);
        Some(at.map_or(text, |at| &text[at + 1..]))
    })
}

/// Whether an odd number of backslashes is before what is there (RFC 9110, section 5.6.4).
fn is_escaped(text: &[u8], at: usize) -> bool {
    let before = text[..at].iter().rev();
    before.take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

/// The value of a parameter in an element of `Forwarded` (RFC 7239, section 4).
fn parameter<'a>(element: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut pairs = pieces_last_first(element, b';').map(<[u8]>::trim_ascii);
    pairs.find_map(|pair| {
        let (found, value) = pair.split_at_checked(name.len())?;
        let value = value.strip_prefix(b"=")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

fn unquoted(text: &[u8]) -> &[u8] {
    let inner = text.strip_prefix(b"\"");
    inner
        .and_then(|text| text.strip_suffix(b"\""))
        .unwrap_or(text)
}

/// An address, with or without port, quotes and brackets. Names (`unknown`, `_hidden`) are none.
fn node(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(unquoted(text.trim_ascii())).ok()?;
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']');
    let (ip, port) = if let Ok(ip) = text.parse::<IpAddr>() {
        (ip, 0)
    } else if let Ok(both) = text.parse::<SocketAddr>() {
        (both.ip(), both.port())
    } else {
        (in_brackets()?.parse::<Ipv6Addr>().ok()?.into(), 0)
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

/// The value of a field that is there once.
fn one(fields: &Fields, name: Name) -> Option<&[u8]> {
    let mut values = fields.get_all(name);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

fn scheme(text: &[u8]) -> Option<&'static str> {
    let mut known = ["http", "https"].into_iter();
    known.find(|known| text.eq_ignore_ascii_case(known.as_bytes()))
}

/// Writes what a trusted proxy told of a request's origin, and our part behind it. What it did not
/// tell is told as by the edge.
pub fn continue_fields(out: &mut impl FieldSink, request: &RequestHead, told: &Told<'_>) {
    let (fields, ends) = (&request.fields, told.ends);
    let mut client = Value::new();
    write_ip(&mut client, ends.client.ip());
    out.field(b"x-forwarded-for", &addresses(fields, told));
    out.field(b"x-real-ip", &client);
    if told.listener.trusted_field == TrustedField::Forwarded {
        let claim = Claim::read(fields, told.listener);
        let host = claim.host.unwrap_or_else(|| request.authority());
        out.field(b"x-forwarded-host", host);
        out.field(b"x-forwarded-proto", ends.scheme.as_bytes());
        let port = port_of(ends, claim.scheme.is_some());
        let mut digits = itoa::Buffer::new();
        out.field(b"x-forwarded-port", digits.format(port).as_bytes());
        let mut forwarded = list(fields, Name::Forwarded);
        put_forwarded(&mut forwarded, request, ends);
        return out.field(b"forwarded", &forwarded);
    }
    let mut kept_or = |id, name: &[u8], ours: &[u8]| {
        for value in fields.get_all(id) {
            out.field(name, value);
        }
        if !fields.has(id) {
            out.field(name, ours);
        }
    };
    kept_or(
        Name::XForwardedHost,
        b"x-forwarded-host",
        request.authority(),
    );
    kept_or(
        Name::XForwardedProto,
        b"x-forwarded-proto",
        ends.scheme.as_bytes(),
    );
    let port = port_of(ends, fields.has(Name::XForwardedProto));
    kept_or(
        Name::XForwardedPort,
        b"x-forwarded-port",
        itoa::Buffer::new().format(port).as_bytes(),
    );
    if told.listener.forwarded {
        let mut forwarded = Value::new();
        if ends.client.ip() != ends.peer.ip() {
            put_node(&mut forwarded, ends.client.ip());
            forwarded.extend_from_slice(b", ");
        }
        put_forwarded(&mut forwarded, request, ends);
        out.field(b"forwarded", &forwarded);
    }
}

/// `X-Forwarded-For` with the peer at its end. A client that was told otherwise begins it.
fn addresses(fields: &Fields, told: &Told<'_>) -> Value {
    let ends = told.ends;
    let mut value = match told.listener.trusted_field {
        TrustedField::XForwardedFor => list(fields, Name::XForwardedFor),
        TrustedField::Forwarded | TrustedField::XRealIp => Value::new(),
    };
    if value.is_empty() && ends.client.ip() != ends.peer.ip() {
        write_ip(&mut value, ends.client.ip());
        value.extend_from_slice(b", ");
    }
    write_ip(&mut value, ends.peer.ip());
    value
}

/// All that there is of a list, as one, and a comma for what follows.
fn list(fields: &Fields, name: Name) -> Value {
    let mut list = Value::new();
    for value in fields.get_all(name).filter(|value| !value.is_empty()) {
        list.extend_from_slice(value);
        list.extend_from_slice(b", ");
    }
    list
}

/// Ours is not that of a scheme that ended at another proxy.
fn port_of(ends: &Ends, is_scheme_told: bool) -> u16 {
    match ends.scheme {
        _ if !is_scheme_told => ends.local.port(),
        "https" => 443,
        _ => 80,
    }
}

//! Where a request comes from, by the word of proxies that are trusted.
//!
//! A trusted proxy has added the address that it saw at the end of what it was told; so one goes
//! from the end to the first address that is not a trusted proxy's: everything before it is the
//! word of a stranger. What cannot be read ends the search, and breaks no request.
//!
//! Source: nginx, `real_ip_recursive`; RFC 7239; MDN, "X-Forwarded-For", "Selecting an IP address".

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use smallvec::SmallVec;

use crate::headers::{Ends, FieldSink, Told, Value, put_forwarded, write_ip};
use crate::limits::FORWARDED_HOPS_MAX;
use crate::message::{Fields, Name, RequestHead};
use crate::table::{Listener, Networks};

/// `ends` as the request tells them, where their peer is trusted; else as they are. An idle
/// listener's only cost is to look whether it trusts anybody.
#[must_use]
pub fn resolved(ends: Ends, listener: &Listener, request: &RequestHead) -> Ends {
    let trusted = &listener.trusted_proxies;
    if trusted.is_empty() || !trusted.contains(ends.peer.ip()) {
        return ends;
    }
    Ends {
        client: client(&request.fields, trusted).unwrap_or(ends.peer),
        scheme: scheme(&request.fields).unwrap_or(ends.scheme),
        is_trusted: true,
        ..ends
    }
}

/// Who asks, by the first of the fields that is there. The port is 0 where it is not told.
fn client(fields: &Fields, trusted: &Networks) -> Option<SocketAddr> {
    if fields.has(Name::XForwardedFor) {
        let hops = last_first(fields, Name::XForwardedFor);
        search(hops.map(node), trusted)
    } else if fields.has(Name::Forwarded) {
        let hops = last_first(fields, Name::Forwarded);
        search(hops.map(|element| node(forwarded_for(element)?)), trusted)
    } else {
        fields.get(Name::XRealIp).and_then(node)
    }
}

/// The first address that is not trusted; else the last one that could be read.
fn search(
    hops: impl Iterator<Item = Option<SocketAddr>>,
    trusted: &Networks,
) -> Option<SocketAddr> {
    let mut found = None;
    for hop in hops.take(FORWARDED_HOPS_MAX).map_while(|hop| hop) {
        found = Some(hop);
        if !trusted.contains(hop.ip()) {
            break;
        }
    }
    found
}

/// The members of a list, which may be spread over fields, from its end.
///
/// Commas in quotes are taken for separators, too: no address has one, and a quote that a stranger
/// has opened must not swallow what a proxy added behind it.
fn last_first(fields: &Fields, name: Name) -> impl Iterator<Item = &[u8]> {
    let values: SmallVec<[&[u8]; 2]> = fields.get_all(name).collect();
    values.into_iter().rev().flat_map(members_last_first)
}

fn members_last_first(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.rsplit(|&byte| byte == b',')
}

/// The value of `for` in an element of `Forwarded` (RFC 7239, section 4).
fn forwarded_for(element: &[u8]) -> Option<&[u8]> {
    let mut pairs = element.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    pairs.find_map(|pair| {
        let (name, value) = pair.split_at_checked(4)?;
        name.eq_ignore_ascii_case(b"for=").then_some(value)
    })
}

/// An address, with or without port, quotes and brackets. Names (`unknown`, `_hidden`) are none.
fn node(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    let unquoted = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let text = unquoted.unwrap_or(text);
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

/// How the client asks; `None` where that is not told in one word.
fn scheme(fields: &Fields) -> Option<&'static str> {
    let mut told = fields.get_all(Name::XForwardedProto);
    let (scheme, None) = (told.next()?, told.next()) else {
        return None;
    };
    let known = ["http", "https"];
    let mut known = known.into_iter();
    known.find(|known| scheme.eq_ignore_ascii_case(known.as_bytes()))
}

/// Writes what a trusted proxy told of a request's origin, and our part behind it. What it did not
/// tell is told as by the edge.
pub fn continue_fields(out: &mut impl FieldSink, request: &RequestHead, told: &Told<'_>) {
    let (fields, ends) = (&request.fields, told.ends);
    let mut client = Value::new();
    write_ip(&mut client, ends.client.ip());
    out.field(b"x-forwarded-for", &addresses(fields, ends));
    out.field(b"x-real-ip", &client);
    let mut kept_or = |id, name: &[u8], ours: &[u8]| {
        for value in fields.get_all(id) {
            out.field(name, value);
        }
        if !fields.has(id) {
            out.field(name, ours);
        }
    };
    let mut port = itoa::Buffer::new();
    let port = port.format(port_of(fields, ends)).as_bytes();
    let scheme = ends.scheme.as_bytes();
    kept_or(
        Name::XForwardedHost,
        b"x-forwarded-host",
        request.authority(),
    );
    kept_or(Name::XForwardedProto, b"x-forwarded-proto", scheme);
    kept_or(Name::XForwardedPort, b"x-forwarded-port", port);
    if told.listener.forwarded || fields.has(Name::Forwarded) {
        let mut forwarded = list(fields, Name::Forwarded);
        put_forwarded(&mut forwarded, request, ends);
        out.field(b"forwarded", &forwarded);
    }
}

/// `X-Forwarded-For` with the peer at its end. A client that was told otherwise begins it.
fn addresses(fields: &Fields, ends: Ends) -> Value {
    let mut value = list(fields, Name::XForwardedFor);
    if !fields.has(Name::XForwardedFor) && ends.client.ip() != ends.peer.ip() {
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
fn port_of(fields: &Fields, ends: Ends) -> u16 {
    match ends.scheme {
        _ if !fields.has(Name::XForwardedProto) => ends.local.port(),
        "https" => 443,
        _ => 80,
    }
}

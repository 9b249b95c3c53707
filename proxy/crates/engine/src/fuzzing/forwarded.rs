//! What a stranger wrote before the first address that is not trusted decides nothing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::pieces::line;
use crate::headers::Ends;
use crate::message::RequestHead;
use crate::origin::resolved;
use crate::table::{ClientTimes, Listener, ListenerKind, Networks, TrustContext, TrustedField};
use crate::trace::context::Inject;

const PROXY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 4000);
const STRANGER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)), 4000);

/// Each line is a value of the field.
pub fn check(bytes: &[u8]) {
    let mut values = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        values.push(line(&mut rest));
    }
    for (name, field, lie) in [
        (
            &b"x-forwarded-for"[..],
            TrustedField::XForwardedFor,
            &b"203.0.113.66"[..],
        ),
        (b"forwarded", TrustedField::Forwarded, b"for=203.0.113.66"),
    ] {
        let listener = listener(field);
        let of_connection = ends(STRANGER);
        let ends = resolved(&of_connection, &listener, &head(name, &values));
        assert_eq!(ends.client, STRANGER);
        assert!(!ends.is_trusted);

        let client = client(name, &values, &listener);
        if listener.trusted_proxies.contains(client.ip()) {
            continue;
        }
        let with_lie = [&[lie][..], &values].concat();
        assert_eq!(self::client(name, &with_lie, &listener), client);
        let joined = [lie, b",", values[0]].concat();
        let joined = [&[&joined[..]], &values[1..]].concat();
        assert_eq!(self::client(name, &joined, &listener), client);
    }
}

fn client(name: &[u8], values: &[&[u8]], listener: &Listener) -> SocketAddr {
    resolved(&ends(PROXY), listener, &head(name, values)).client
}

fn head(name: &[u8], values: &[&[u8]]) -> RequestHead {
    let mut head = RequestHead::default();
    for value in values {
        head.fields.push(name, value);
    }
    head
}

fn ends(peer: SocketAddr) -> Ends {
    Ends {
        client: peer,
        peer,
        local: PROXY,
        network_peer: peer,
        scheme: "http",
        is_trusted: false,
    }
}

fn listener(trusted_field: TrustedField) -> Listener {
    let trusted = ["10.0.0.0/8".to_owned(), "fd00::/8".to_owned()];
    Listener {
        address: PROXY,
        kind: ListenerKind::Ingress,
        backend: None,
        forwarded: true,
        policy: None,
        tls: false,
        certificate: Arc::from(""),
        proxy_protocol: false,
        trusted_proxies: Networks::compile("trusted_proxies", &trusted).unwrap(),
        trusted_field,
        extract: Box::default(),
        inject: Inject::new(&[]),
        trust_context: TrustContext::All,
        times: ClientTimes::default(),
    }
}

#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    const VALUES: [&str; 6] = [
        "203.0.113.1, 198.51.100.7, 10.0.0.9",
        "198.51.100.7\n10.0.0.9, 10.0.0.8:1234",
        "for=198.51.100.7;proto=https, For=\"[fd00::1]:80\"",
        "for=\"[2001:db8::1]\";by=10.0.0.1\nfor=10.0.0.9",
        "unknown, [2001:db8::1]:443, ::ffff:10.0.0.1",
        "for=_hidden, for=\"a,b\", for=198.51.100.7",
    ];
    VALUES.map(|text| text.as_bytes().to_vec()).into()
}

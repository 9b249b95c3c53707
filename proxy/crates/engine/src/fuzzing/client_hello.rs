//! What a TLS connection begins with is told within a bound; a hello is one in pieces, too.

use rustls::server::Acceptor;

use super::pieces::splits;
use crate::limits::CLIENT_HELLO_BYTES_MAX;
use crate::tls::{Opening, look};

/// Few, since each of them is a run of the whole parser.
const PIECES: usize = 16;

pub fn check(bytes: &[u8]) {
    let whole = look(&mut Acceptor::default(), bytes, &mut 0);
    assert!(whole.is_some() || bytes.len() <= CLIENT_HELLO_BYTES_MAX);
    match &whole {
        Some(Opening::Hello(_)) => assert!(bytes.starts_with(&[22])),
        Some(Opening::PlainHttp) => assert!(bytes[0].is_ascii_uppercase()),
        Some(Opening::Wrong(alert)) => assert!(alert.starts_with(&[21, 3])),
        Some(Opening::Gone) => panic!("bytes do not leave"),
        None => {}
    }
    let step = bytes.len() / PIECES + 1;
    let (mut acceptor, mut taken) = (Acceptor::default(), 0);
    let mut in_pieces = None;
    for end in splits(bytes)
        .filter(|end| end % step == 0)
        .chain([bytes.len()])
    {
        in_pieces = look(&mut acceptor, &bytes[..end], &mut taken);
        if in_pieces.is_some() {
            break;
        }
    }
    // What follows a hello may be wrong, which is found only where it comes with it.
    if matches!(whole, Some(Opening::Hello(_))) {
        assert!(matches!(in_pieces, Some(Opening::Hello(_))));
    }
    if whole.is_none() {
        assert!(in_pieces.is_none());
    }
}

#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let others = [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x15\x03\x03\0\x02\x02\x28",
        b"\x16\x03\x01",
    ];
    let names = ["shop.example", "a", "*.example"];
    let hellos = names.iter().filter_map(|name| hello(name));
    others
        .iter()
        .map(|bytes| bytes.to_vec())
        .chain(hellos)
        .collect()
}

/// What a client of rustls sends first.
fn hello(name: &str) -> Option<Vec<u8>> {
    use std::sync::Arc;

    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).ok()?;
    let provider = Arc::clone(crate::tls::provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).ok()?;
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).ok()?;
    Some(bytes)
}

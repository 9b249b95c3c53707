//! What is known of a client's TLS session: facts for spans, and who the client is for endpoints.
//!
//! All of it is written once, after the handshake; a request only copies.

use std::sync::Arc;

use rustls::{CipherSuite, HandshakeKind, ProtocolVersion, ServerConnection};

use super::Verification;
use super::name::Names;
use crate::table::{ClientCertificates, Host, Table, TlsVersion};
use crate::trace::attribute::{key, put_bool, put_lossy, put_text};

/// A client's TLS session.
pub struct Tls {
    /// Its share of the SERVER span of each request, encoded.
    pub attributes: Box<[u8]>,
    /// What endpoints are told of the client's certificate; empty where none was asked for.
    pub client_fields: Vec<(&'static [u8], Vec<u8>)>,
    pub is_resumed: bool,
    /// As IANA calls it.
    pub cipher: &'static str,
    verification: Arc<Verification>,
    version: TlsVersion,
}

impl Tls {
    /// The facts of a session whose handshake is over.
    pub fn of(session: &ServerConnection, verification: &Arc<Verification>) -> Self {
        let client = session.peer_certificates().and_then(<[_]>::first);
        let names = client.map(|certificate| Names::of(certificate));
        let client_fields = match verification.mode {
            ClientCertificates::Off => Vec::new(),
            _ => client_fields(client.map(AsRef::as_ref), names.as_ref()),
        };
        Self {
            attributes: attributes(session, names.as_ref()),
            client_fields,
            is_resumed: is_resumed(session),
            cipher: session
                .negotiated_cipher_suite()
                .map_or("", |suite| registered_name(suite.suite())),
            verification: Arc::clone(verification),
            version: version(session),
        }
    }

    /// `1.2` or `1.3`.
    pub fn version_text(&self) -> &'static str {
        version_text(self.version)
    }

    /// Whether `host` may be asked for over this connection, where `routed` answers.
    pub fn may_ask_for(&self, table: &Table, host: &[u8], routed: &Host) -> bool {
        table.is_served_over((&self.verification, self.version), host, routed)
    }
}

fn version_text(version: TlsVersion) -> &'static str {
    match version {
        TlsVersion::Tls12 => "1.2",
        TlsVersion::Tls13 => "1.3",
    }
}

fn version(session: &ServerConnection) -> TlsVersion {
    match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => TlsVersion::Tls13,
        _ => TlsVersion::Tls12,
    }
}

fn is_resumed(session: &ServerConnection) -> bool {
    session.handshake_kind() == Some(HandshakeKind::Resumed)
}

/// Source: semantic conventions, "TLS attributes".
fn attributes(session: &ServerConnection, client: Option<&Names>) -> Box<[u8]> {
    let mut out = Vec::new();
    put_text(&mut out, key!("tls.protocol.name"), "tls");
    put_text(
        &mut out,
        key!("tls.protocol.version"),
        version_text(version(session)),
    );
    if let Some(suite) = session.negotiated_cipher_suite() {
        put_text(&mut out, key!("tls.cipher"), registered_name(suite.suite()));
    }
    put_bool(&mut out, key!("tls.resumed"), is_resumed(session));
    if let Some(protocol) = session.alpn_protocol() {
        put_lossy(&mut out, key!("tls.next_protocol"), protocol);
    }
    if let Some(name) = session.server_name() {
        put_text(&mut out, key!("spanway.tls.server_name"), name);
    }
    if let Some(names) = client {
        put_text(&mut out, key!("tls.client.subject"), &names.subject);
        put_text(&mut out, key!("tls.client.issuer"), &names.issuer);
    }
    out.into_boxed_slice()
}

/// As IANA has it; rustls calls those of TLS 1.3 `TLS13_` to tell them apart.
fn registered_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        suite => suite.as_str().unwrap_or_default(),
    }
}

/// Who the client is: `ssl-client-*` as ingress-nginx has it, and RFC 9440.
fn client_fields(
    certificate: Option<&[u8]>,
    names: Option<&Names>,
) -> Vec<(&'static [u8], Vec<u8>)> {
    let (Some(certificate), Some(names)) = (certificate, names) else {
        return vec![(b"ssl-client-verify", b"NONE".to_vec())];
    };
    vec![
        (b"ssl-client-verify", b"SUCCESS".to_vec()),
        (b"ssl-client-subject-dn", names.subject.clone().into_bytes()),
        (b"ssl-client-issuer-dn", names.issuer.clone().into_bytes()),
        (b"client-cert", byte_sequence(certificate)),
    ]
}

/// A structured field value: `:` base64 `:`. Source: RFC 8941, section 3.3.5; RFC 4648, section 4.
fn byte_sequence(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4 + 2);
    out.push(b':');
    for three in bytes.chunks(3) {
        let mut bits = 0_u32;
        for at in 0..3 {
            bits = bits << 8 | u32::from(three.get(at).copied().unwrap_or(0));
        }
        for at in 0..4 {
            out.push(if at <= three.len() {
                DIGITS[(bits >> (18 - 6 * at) & 0x3f) as usize]
            } else {
                b'='
            });
        }
    }
    out.push(b':');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_rfc_4648_has_them() {
        for (bytes, want) in [
            (&b""[..], &b"::"[..]),
            (b"f", b":Zg==:"),
            (b"fo", b":Zm8=:"),
            (b"foo", b":Zm9v:"),
            (b"foob", b":Zm9vYg==:"),
            (b"\xff\xfe\xfd", b"://79:"),
        ] {
            assert_eq!(byte_sequence(bytes), want);
        }
    }
}

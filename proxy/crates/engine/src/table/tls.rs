//! What the table says of TLS.

use std::sync::Arc;

use serde::Deserialize;

use super::wire;

/// A TLS version, as a floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    Tls13,
}

/// Whether a TLS client has to show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificates {
    /// None is asked for.
    Off,
    /// It may have none; a wrong one ends the handshake.
    Optional,
    /// It must have one.
    Required,
}

/// How TLS ends for a host, or where it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostTls {
    /// Key of the certificate; empty for the listener's.
    pub certificate: Arc<str>,
    /// The lowest version that is spoken.
    pub version_min: TlsVersion,
    /// Whether clients have to show a certificate.
    pub client_certificates: ClientCertificates,
    /// PEM, what those are verified against.
    pub client_ca: Box<str>,
    /// Key of the backend that the connection is handed to as it is.
    pub passthrough: Option<Arc<str>>,
}

impl HostTls {
    /// Compiles a host's TLS.
    pub(super) fn compile(wire: &wire::HostTls) -> Self {
        let passthrough = Some(wire.passthrough.as_str()).filter(|key| !key.is_empty());
        Self {
            certificate: Arc::from(wire.certificate.as_str()),
            version_min: wire.version_min,
            client_certificates: wire.client_certificates,
            client_ca: Box::from(wire.client_ca.as_str()),
            passthrough: passthrough.map(Arc::from),
        }
    }
}

//! How connections to a backend's endpoints are made, beyond plain TCP: TLS, the PROXY protocol.
//!
//! Rules: a transport is compiled with the table and keeps its identity while its settings are the
//! same, so that connections and TLS sessions outlive a change of endpoints, and end with a change
//! of settings. The system's roots are the one thing that is read from outside, once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};

use super::backend::{Protocol, ProxyProtocol};
use super::unverified::Unverified;
use super::wire;
use crate::tls::{certificates, provider};

/// What connections of one backend have in common, and share with no other's.
#[derive(Debug)]
pub struct Transport {
    /// Other than that of every other transport there is or was.
    pub id: TransportId,
    /// `None`: plain.
    pub tls: Option<UpstreamTls>,
    /// What a connection begins with, before TLS.
    pub proxy_protocol: ProxyProtocol,
    settings: Settings,
}

/// The identity of a [`Transport`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransportId(u64);

/// TLS to the endpoints of one backend.
#[derive(Debug)]
pub struct UpstreamTls {
    /// With the sessions that may be resumed.
    pub config: Arc<ClientConfig>,
    /// Sent as SNI unless it is an address, and verified.
    pub server_name: ServerName<'static>,
}

/// What a transport is compiled from.
#[derive(Debug, Clone)]
struct Settings {
    tls: Option<wire::UpstreamTls>,
    server_name: String,
    certificate: Option<Arc<CertifiedKey>>,
    protocol: Protocol,
    proxy_protocol: ProxyProtocol,
}

impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        let same_certificate = match (&self.certificate, &other.certificate) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        same_certificate
            && self.tls == other.tls
            && self.server_name == other.server_name
            && self.protocol == other.protocol
            && self.proxy_protocol == other.proxy_protocol
    }
}

impl Transport {
    /// Compiles a backend's transport, or takes `old` if it is the same; `None` for plain TCP.
    ///
    /// # Errors
    /// One sentence: a certificate is missing or wrong, or the server name is no name.
    pub(super) fn compile(
        wire: &wire::Backend,
        old: Option<&Arc<Self>>,
        certificate: impl FnOnce(&str) -> Option<Arc<CertifiedKey>>,
    ) -> Result<Option<Arc<Self>>, String> {
        if wire.tls.is_none() && wire.proxy_protocol == ProxyProtocol::Off {
            return Ok(None);
        }
        let settings = Settings::of(wire, certificate)?;
        if let Some(old) = old
            && old.settings == settings
        {
            return Ok(Some(Arc::clone(old)));
        }
        Self::new(settings).map(|new| Some(Arc::new(new)))
    }

    /// Whether a connection says whom it is made for.
    pub(super) fn is_for_one_client(&self) -> bool {
        self.proxy_protocol != ProxyProtocol::Off
    }

    /// The transport with the client certificate that its key stands for now; `None` where that
    /// has not changed.
    pub(super) fn renewed(
        &self,
        certificate: impl FnOnce(&str) -> Option<Arc<CertifiedKey>>,
    ) -> Option<Self> {
        let key = &self.settings.tls.as_ref()?.certificate;
        let shown = self.settings.certificate.as_ref()?;
        let now = certificate(key)?;
        if Arc::ptr_eq(shown, &now) {
            return None;
        }
        // The other settings were good before.
        Self::new(Settings {
            certificate: Some(now),
            ..self.settings.clone()
        })
        .ok()
    }

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self {
            id: TransportId::next(),
            tls: settings.tls()?,
            proxy_protocol: settings.proxy_protocol,
            settings,
        })
    }
}

impl TransportId {
    fn next() -> Self {
        static MADE: AtomicU64 = AtomicU64::new(0);
        Self(MADE.fetch_add(1, Ordering::Relaxed))
    }
}

impl Settings {
    fn of(
        wire: &wire::Backend,
        certificate: impl FnOnce(&str) -> Option<Arc<CertifiedKey>>,
    ) -> Result<Self, String> {
        let key = wire.tls.as_ref().map_or("", |tls| &tls.certificate);
        let certificate = match key {
            "" => None,
            key => {
                let missing = || format!("there is no usable certificate {key:?}");
                Some(certificate(key).ok_or_else(missing)?)
            }
        };
        let server_name = match &wire.tls {
            Some(tls) if !tls.server_name.is_empty() => tls.server_name.clone(),
            _ => format!("{}.{}.svc", wire.service, wire.namespace),
        };
        Ok(Self {
            tls: wire.tls.clone(),
            server_name,
            certificate,
            protocol: wire.protocol,
            proxy_protocol: wire.proxy_protocol,
        })
    }

    fn tls(&self) -> Result<Option<UpstreamTls>, String> {
        let Some(tls) = &self.tls else {
            return Ok(None);
        };
        let server_name = ServerName::try_from(self.server_name.clone())
            .map_err(|_| format!("{:?} is no name of a TLS server", self.server_name))?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider()))
            .with_safe_default_protocol_versions()
            .map_err(|err| err.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier(tls)?);
        let mut config = match &self.certificate {
            None => builder.with_no_client_auth(),
            Some(certificate) => builder.with_client_cert_resolver(Arc::new(
                SingleCertAndKey::from(Arc::clone(certificate)),
            )),
        };
        config.alpn_protocols = alpn(self.protocol);
        Ok(Some(UpstreamTls {
            config: Arc::new(config),
            server_name,
        }))
    }
}

/// What is offered by ALPN (RFC 7301), the preferred protocol first.
fn alpn(protocol: Protocol) -> Vec<Vec<u8>> {
    let names: &[&[u8]] = match protocol {
        Protocol::Http1 => &[b"http/1.1"],
        Protocol::H2 => &[b"h2"],
        Protocol::Auto => &[b"h2", b"http/1.1"],
    };
    names.iter().map(|name| name.to_vec()).collect()
}

fn verifier(tls: &wire::UpstreamTls) -> Result<Arc<dyn ServerCertVerifier>, String> {
    if !tls.verify {
        return Ok(Arc::new(Unverified));
    }
    let roots = if tls.ca.is_empty() {
        system_roots()?
    } else {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&tls.ca).map_err(|err| format!("tls.ca: {err}"))? {
            roots
                .add(certificate)
                .map_err(|err| format!("ca has a certificate that cannot be used: {err}"))?;
        }
        Arc::new(roots)
    };
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider()));
    match verifier.build() {
        Ok(verifier) => Ok(verifier),
        Err(err) => Err(format!("ca cannot be used: {err}")),
    }
}

/// The certificates that the system trusts; read once, when the first backend needs them.
/// `SSL_CERT_FILE` and `SSL_CERT_DIR` name others, as for OpenSSL.
fn system_roots() -> Result<Arc<RootCertStore>, String> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Ok(Arc::clone(roots));
    }
    let loaded = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(loaded.certs);
    if roots.is_empty() {
        return Err(match loaded.errors.first() {
            Some(err) => format!("the system's certificates cannot be read: {err}"),
            None => {
                "the system has no trusted certificates, and the backend names no ca".to_owned()
            }
        });
    }
    Ok(Arc::clone(ROOTS.get_or_init(|| Arc::new(roots))))
}

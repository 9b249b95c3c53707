//! A certificate with its key, and the server configurations that handshakes use it in.

use std::fmt;
use std::sync::{Arc, Weak};

use rustls::ServerConfig;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{Verification, provider};
use crate::table::{TlsVersion, wire};

/// A certificate chain and its key, compiled. Another key or chain makes another value.
pub struct Certificate {
    key: Arc<CertifiedKey>,
    servers: Vec<Configs>,
}

/// What a handshake is made with.
#[derive(Debug, Clone)]
pub struct Server {
    /// Certificate, versions, protocols.
    pub config: Arc<ServerConfig>,
    /// How the client is verified in it.
    pub verification: Arc<Verification>,
}

/// The configurations for one way of verifying clients.
struct Configs {
    /// Weak, so that a way that no host asks for any more is not held on to.
    verification: Weak<Verification>,
    from_tls12: Arc<ServerConfig>,
    from_tls13: Arc<ServerConfig>,
}

impl Certificate {
    /// Parses a chain and its key. One that has expired is no error: clients say so better, and it
    /// would be worse to serve none.
    ///
    /// # Errors
    /// One sentence: the PEM has no certificate or no key, or they do not belong together.
    pub(crate) fn key(wire: &wire::Certificate) -> Result<Arc<CertifiedKey>, String> {
        let chain = certificates(&wire.chain).map_err(|err| format!("chain: {err}"))?;
        let key =
            PrivateKeyDer::from_pem_slice(wire.private_key.as_bytes()).map_err(
                |err| match err {
                    PemError::NoItemsFound => {
                        "private_key: there is no private key in it".to_owned()
                    }
                    _ => "private_key: it is not PEM".to_owned(),
                },
            )?;
        CertifiedKey::from_der(chain, key, provider())
            .map(Arc::new)
            .map_err(|err| match err {
                rustls::Error::InconsistentKeys(_) => {
                    "the private key does not belong to the first certificate".to_owned()
                }
                err => format!("it cannot be used: {err}"),
            })
    }

    /// The key with a configuration for each way of verifying clients.
    ///
    /// # Errors
    /// One sentence: the provider has no suite for this key.
    pub(crate) fn new(
        key: Arc<CertifiedKey>,
        verifications: impl IntoIterator<Item = Arc<Verification>>,
    ) -> Result<Self, String> {
        let servers = verifications
            .into_iter()
            .map(|verification| Configs::new(&key, &verification))
            .collect::<Result<_, _>>()
            .map_err(|err| format!("it cannot be used: {err}"))?;
        Ok(Self { key, servers })
    }

    /// The chain and its key, for whoever else shows it.
    pub(crate) fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// The same with one way of verifying clients more, unless it has that. Ways that are gone are
    /// left out.
    pub(crate) fn with(&self, verification: &Arc<Verification>) -> Option<Self> {
        if self.configs(verification).is_some() {
            return None;
        }
        let verifications = self.verifications().chain([Arc::clone(verification)]);
        // The key could be used before, so it can be now.
        Self::new(Arc::clone(&self.key), verifications).ok()
    }

    /// The ways of verifying clients that some host asks for with this certificate.
    pub(crate) fn verifications(&self) -> impl Iterator<Item = Arc<Verification>> {
        self.servers
            .iter()
            .filter_map(|configs| configs.verification.upgrade())
    }

    /// What a handshake is made with. `None` for a way of verifying clients that no host with this
    /// certificate asks for.
    pub(crate) fn server(
        &self,
        verification: &Arc<Verification>,
        version_min: TlsVersion,
    ) -> Option<Server> {
        let configs = self.configs(verification)?;
        let config = match version_min {
            TlsVersion::Tls12 => &configs.from_tls12,
            TlsVersion::Tls13 => &configs.from_tls13,
        };
        Some(Server {
            config: Arc::clone(config),
            verification: Arc::clone(verification),
        })
    }

    fn configs(&self, verification: &Arc<Verification>) -> Option<&Configs> {
        let mut servers = self.servers.iter();
        servers.find(|configs| configs.verification.as_ptr() == Arc::as_ptr(verification))
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate(..)")
    }
}

impl Configs {
    fn new(
        key: &Arc<CertifiedKey>,
        verification: &Arc<Verification>,
    ) -> Result<Self, rustls::Error> {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::new(Always(Arc::clone(key)));
        let config = |version_min| verification.config(Arc::clone(&resolver), version_min);
        Ok(Self {
            verification: Arc::downgrade(verification),
            from_tls12: config(TlsVersion::Tls12)?,
            from_tls13: config(TlsVersion::Tls13)?,
        })
    }
}

/// One certificate for whatever is asked: which one it is was decided by then.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// All certificates of a PEM text: at least one.
///
/// # Errors
/// A part of a sentence, which says what the text is not.
pub(crate) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| "it is not PEM")?;
    if found.is_empty() {
        return Err("there is no certificate in it");
    }
    Ok(found)
}

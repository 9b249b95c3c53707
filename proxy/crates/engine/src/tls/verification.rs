//! How the clients of a host are verified, and which sessions may be resumed there.

use std::fmt;
use std::sync::{Arc, Weak};

use rustc_hash::FxHashMap;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    NoClientAuth, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::{RootCertStore, ServerConfig, version};

use super::certificate::certificates;
use super::{ALPN_PROTOCOLS, provider};
use crate::table::{ClientCertificates, TlsVersion};

/// One way of verifying clients. Its hosts share sessions, and no others do: a session that was
/// begun without a certificate, or with one of another authority, is not one of theirs. (rustls
/// resumes a session only for the server name that it was begun with, besides.)
///
/// Two are the same if they are at the same address ([`Arc::ptr_eq`]).
pub struct Verification {
    /// Whether clients have to show a certificate.
    pub mode: ClientCertificates,
    verifier: Arc<dyn ClientCertVerifier>,
    /// Shared by all workers. It lives as long as the hosts do, whatever else of the table changes,
    /// and makes itself new keys every six hours. `None` where the kernel gave no random bytes.
    ticketer: Option<Arc<dyn ProducesTickets>>,
}

impl Verification {
    fn new(mode: ClientCertificates, verifier: Arc<dyn ClientCertVerifier>) -> Arc<Self> {
        Arc::new(Self {
            mode,
            verifier,
            ticketer: Ticketer::new().ok(),
        })
    }

    fn compile(mode: ClientCertificates, authorities: &str) -> Result<Arc<Self>, String> {
        let wrong = |what: &str| format!("tls.client_ca: {what}");
        let mut roots = RootCertStore::empty();
        for authority in certificates(authorities).map_err(wrong)? {
            roots
                .add(authority)
                .map_err(|err| wrong(&format!("a certificate in it cannot be used: {err}")))?;
        }
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider()));
        let verifier = match mode {
            ClientCertificates::Optional => builder.allow_unauthenticated().build(),
            _ => builder.build(),
        };
        Ok(Self::new(
            mode,
            verifier.map_err(|err| wrong(&format!("it cannot be used: {err}")))?,
        ))
    }

    /// The configuration of a server that verifies its clients like this.
    ///
    /// Sessions are kept in tickets alone, so that they cost no memory, and what a client may send
    /// before the handshake is over is not accepted: it could be replayed (RFC 8446, section 8).
    pub(super) fn config(
        &self,
        certificate: Arc<dyn ResolvesServerCert>,
        version_min: TlsVersion,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let versions: &[_] = match version_min {
            TlsVersion::Tls12 => &[&version::TLS13, &version::TLS12],
            TlsVersion::Tls13 => &[&version::TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(Arc::clone(&self.verifier))
            .with_cert_resolver(certificate);
        config.alpn_protocols = ALPN_PROTOCOLS.iter().map(|name| name.to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if let Some(ticketer) = &self.ticketer {
            config.ticketer = Arc::clone(ticketer);
        }
        Ok(Arc::new(config))
    }
}

impl fmt::Debug for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Verification").field(&self.mode).finish()
    }
}

type Asked = (ClientCertificates, Box<str>);

/// All ways of verifying clients that hosts ask for: what is asked for twice is one.
#[derive(Debug, Clone)]
pub struct Verifications {
    off: Arc<Verification>,
    others: Arc<FxHashMap<Asked, Weak<Verification>>>,
}

impl Verifications {
    /// Only that without certificates.
    pub(crate) fn new() -> Self {
        Self {
            off: Verification::new(ClientCertificates::Off, Arc::new(NoClientAuth)),
            others: Arc::default(),
        }
    }

    /// Clients are not asked for certificates.
    pub(crate) fn off(&self) -> &Arc<Verification> {
        &self.off
    }

    /// All that are in use.
    pub(crate) fn all(&self) -> impl Iterator<Item = Arc<Verification>> {
        let others = self.others.values().filter_map(Weak::upgrade);
        others.chain([Arc::clone(&self.off)])
    }

    /// That of a host; `authorities` are PEM certificates.
    ///
    /// # Errors
    /// One sentence: the authorities are none.
    pub(crate) fn of(
        &mut self,
        mode: ClientCertificates,
        authorities: &str,
    ) -> Result<Arc<Verification>, String> {
        if mode == ClientCertificates::Off {
            return Ok(Arc::clone(&self.off));
        }
        let asked = (mode, Box::from(authorities));
        if let Some(known) = self.others.get(&asked).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let new = Verification::compile(mode, authorities)?;
        let others = Arc::make_mut(&mut self.others);
        others.retain(|_, verification| verification.strong_count() > 0);
        others.insert(asked, Arc::downgrade(&new));
        Ok(new)
    }
}

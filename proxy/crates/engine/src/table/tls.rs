//! What the table says of TLS: certificates, each host's terms, and which of them a client gets.

use std::net::SocketAddr;
use std::sync::Arc;

use rustc_hash::FxHashSet;
use serde::Deserialize;

use super::{Host, Next, Rejected, Table, wire};
use crate::tls::{Certificate, Server, Verification};

/// A TLS version, as a floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
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
#[derive(Debug, Clone)]
pub struct HostTls {
    /// Key of the certificate; `None` for the listener's.
    pub certificate: Option<Arc<str>>,
    /// The lowest version that is spoken.
    pub version_min: TlsVersion,
    /// How clients are verified.
    pub verification: Arc<Verification>,
    /// Key of the backend that the connection is handed to as it is.
    pub passthrough: Option<Arc<str>>,
}

/// What happens to a client that names a server.
#[derive(Debug, Clone)]
pub enum TlsTerms {
    /// The handshake is ours.
    Serve(Server),
    /// It is that of the backend with this key.
    PassThrough(Arc<str>),
    /// There is no certificate for this name.
    Unknown,
}

impl Table {
    /// The certificate of that key.
    #[must_use]
    pub fn certificate(&self, key: &str) -> Option<&Arc<Certificate>> {
        self.certificates.get(key.as_bytes())
    }

    /// What happens to a client of a listener, by its address, that asks for `server_name`, which is
    /// in lower case, and empty where it asks for none.
    ///
    /// The exact host decides, else the wildcard, else that of any name. One without a certificate
    /// of its own, or whose own was never usable, gets the listener's.
    #[must_use]
    pub fn tls_terms(&self, listener: SocketAddr, server_name: &[u8]) -> TlsTerms {
        let tls = self.host_of(server_name).and_then(|host| host.tls.as_ref());
        if let Some(key) = tls.and_then(|tls| tls.passthrough.as_ref()) {
            return TlsTerms::PassThrough(Arc::clone(key));
        }
        let version_min = tls.map_or(TlsVersion::Tls12, |tls| tls.version_min);
        let verification = self.verification_of(tls);
        let own = tls.and_then(|tls| self.certificate(tls.certificate.as_deref()?));
        let of_listener = || self.certificate(&self.listener(listener)?.certificate);
        own.or_else(of_listener)
            .and_then(|certificate| certificate.server(verification, version_min))
            .map_or(TlsTerms::Unknown, TlsTerms::Serve)
    }

    /// Whether a host may be asked for over a connection whose client was verified like that.
    ///
    /// `host` is what the request asks for, `routed` what answers it, which is another one where
    /// the first has no route for the path: the strictness of neither can be gone around. One whose
    /// connections are handed on is not for one that ends here.
    #[must_use]
    pub fn is_served_over(
        &self,
        (verification, version): (&Arc<Verification>, TlsVersion),
        host: &[u8],
        routed: &Host,
    ) -> bool {
        let asked = self.host_of(host).and_then(|host| host.tls.as_ref());
        let floor = asked.map_or(TlsVersion::Tls12, |tls| tls.version_min);
        let is_passed = is_passed_on(asked) || is_passed_on(routed.tls.as_ref());
        let routed = self.verification_of(routed.tls.as_ref());
        let is_same = |other: &Arc<Verification>| Arc::ptr_eq(other, verification);
        !is_passed
            && is_same(self.verification_of(asked))
            && (routed.mode == ClientCertificates::Off || is_same(routed))
            && version >= floor
    }

    /// The same of a connection without TLS, as far as Spanway ends it: where a certificate is required,
    /// nobody's word that another proxy has ended it will do.
    #[must_use]
    pub fn is_served_without_tls(&self, host: &[u8], routed: &Host) -> bool {
        let is_asked = *routed.name.as_bytes() == *host; // As nearly always: it need not be looked for.
        let asked = if is_asked { None } else { self.host_of(host) };
        let asked = asked.and_then(|host| host.tls.as_ref());
        let mut terms = [asked, routed.tls.as_ref()].into_iter();
        terms.all(|tls| self.verification_of(tls).mode != ClientCertificates::Required)
    }

    fn verification_of<'a>(&'a self, tls: Option<&'a HostTls>) -> &'a Arc<Verification> {
        tls.map_or(self.verifications.off(), |tls| &tls.verification)
    }

    fn host_of(&self, name: &[u8]) -> Option<&Arc<Host>> {
        let name = name.strip_suffix(b".").unwrap_or(name);
        self.hosts
            .get(name)
            .or_else(|| self.wildcard_of(name))
            .or(self.any_host.as_ref())
    }
}

/// Whether connections of the host are not ours to end.
fn is_passed_on(tls: Option<&HostTls>) -> bool {
    tls.is_some_and(|tls| tls.passthrough.is_some())
}

impl Next {
    /// Returns the keys of the certificates that the table did not have before.
    pub(super) fn change_certificates(&mut self, update: &wire::Update) -> FxHashSet<String> {
        for key in &update.certificates_remove {
            self.table.certificates.remove(key.as_bytes());
        }
        let mut new = FxHashSet::default();
        for (key, wire) in &update.certificates_upsert {
            let old = self.table.certificate(key).map(Arc::clone);
            let verifications = match &old {
                Some(old) => old.verifications().collect(),
                None => vec![Arc::clone(self.table.verifications.off())],
            };
            let compiled =
                Certificate::key(wire).and_then(|key| Certificate::new(key, verifications));
            match compiled {
                Ok(certificate) => self.insert_certificate(key, certificate),
                Err(message) => {
                    self.rejected.push(Rejected::certificate(key, message));
                    self.certificates_rejected.insert(key.clone());
                    continue;
                }
            }
            if old.is_none() {
                new.insert(key.clone());
            }
        }
        if !update.certificates_upsert.is_empty() {
            self.renew_transports();
        }
        new
    }

    /// The terms of a host.
    ///
    /// # Errors
    /// One sentence: what they name is not there, or cannot be used.
    pub(super) fn host_tls(&mut self, wire: &wire::HostTls) -> Result<HostTls, String> {
        if !wire.certificate.is_empty() && !self.is_certificate_known(&wire.certificate) {
            let certificate = &wire.certificate;
            return Err(format!("tls: there is no certificate {certificate:?}"));
        }
        if !wire.passthrough.is_empty() && !self.is_backend_known(&wire.passthrough) {
            let backend = &wire.passthrough;
            return Err(format!("tls.passthrough: there is no backend {backend:?}"));
        }
        let optional = |key: &str| (!key.is_empty()).then(|| Arc::from(key));
        let verifications = &mut self.table.verifications;
        Ok(HostTls {
            certificate: optional(&wire.certificate),
            version_min: wire.version_min,
            verification: verifications.of(wire.client_certificates, &wire.client_ca)?,
            passthrough: optional(&wire.passthrough),
        })
    }

    /// Sees to it that each certificate has a configuration for each way of verifying clients that
    /// it may be needed with: a listener's for all of them, another for those of its hosts.
    pub(super) fn configure_certificates(
        &mut self,
        update: &wire::Update,
        new: &FxHashSet<String>,
    ) {
        let is_new = |tls: &HostTls| {
            tls.certificate
                .as_deref()
                .is_some_and(|key| new.contains(key))
        };
        let changed = update.hosts_upsert.iter();
        let changed = changed.filter(|wire| wire.tls.is_some());
        let changed = changed.filter_map(|wire| self.table.host(&wire.name.to_ascii_lowercase()));
        // Hosts may have waited for a certificate that could not be used until now.
        let all = (!new.is_empty()).then(|| self.table.hosts());
        let waiting = all.into_iter().flatten();
        let mut wanted: Vec<(Arc<str>, Arc<Verification>)> = changed
            .chain(waiting.filter(|host| host.tls.as_ref().is_some_and(is_new)))
            .filter_map(|host| {
                let tls = host.tls.as_ref()?;
                Some((tls.certificate.clone()?, Arc::clone(&tls.verification)))
            })
            .collect();
        for listener in self.table.listeners.iter().filter(|listener| listener.tls) {
            let all = self.table.verifications.all();
            wanted.extend(all.map(|each| (Arc::clone(&listener.certificate), each)));
        }
        for (key, verification) in wanted {
            let certificate = self.table.certificate(&key);
            if let Some(more) = certificate.and_then(|held| held.with(&verification)) {
                self.insert_certificate(&key, more);
            }
        }
    }

    pub(super) fn is_certificate_known(&self, key: &str) -> bool {
        self.table.certificate(key).is_some() || self.certificates_rejected.contains(key)
    }

    fn insert_certificate(&mut self, key: &str, certificate: Certificate) {
        let certificates = &mut self.table.certificates;
        certificates.insert(key.as_bytes(), Arc::new(certificate));
    }
}

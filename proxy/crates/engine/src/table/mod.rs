//! The `RouteTable`, compiled: one immutable value that a request loads once and uses to its end.
//!
//! An update makes a new table that shares all that did not change with the old one. Whatever is
//! wrong with one entry leaves that entry as it was and is reported; the rest is applied.
//!
//! Rules: this module does no I/O and holds no state that changes, but for the handles of what is
//! measured of an endpoint (`health.rs`), which pass from table to table.

mod affinity;
mod backend;
mod balance;
mod detail;
mod host;
mod listener;
mod networks;
mod policy;
mod shared_map;
mod tls;
mod transport;
mod unverified;
pub mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use rustc_hash::FxHashSet;
use rustls::sign::CertifiedKey;

pub use affinity::{Affinity, OverTls};
pub use backend::{
    Backend, BackendLimits, BalancePolicy, Destination, Endpoint, HashOn, Prefer, Protocol,
    ProxyProtocol,
};
pub use balance::{HashKey, Health, Locality, Place, Tier};
pub use detail::{CapturedHeader, SpanDetail};
pub use host::{Host, PathKind, Route};
pub use listener::{ClientTimes, Listener, ListenerKind, TrustContext, TrustedField};
pub use networks::Networks;
pub use policy::{
    Access, BadRewrite, Expanded, Facts, HeaderEdits, Redirect, Retry, RetryOn, Rewrite,
    RoutePolicy, ServerTiming, https_location,
};
use shared_map::SharedMap;
pub use tls::{ClientCertificates, HostTls, TlsTerms, TlsVersion};
pub use transport::{Transport, UpstreamTls};
pub use wire::{KernelTimestamps, Rejected};

use crate::message::other_readings;
pub use crate::message::{BadPath, normalise, without_empty_segments};
use crate::tls::{Certificate, Verifications};
use crate::trace::context::{Traceparent, parse_traceparent};
use crate::trace::{DebugKey, TracingPolicy};

/// What is recorded.
#[derive(Debug, Clone)]
pub struct Tracing {
    /// Where no route has a policy of its own.
    pub policy: Arc<TracingPolicy>,
    /// If not, no span is made and no trace context is injected.
    pub enabled: bool,
    /// Whether the ids of traces that begin here are said to be random.
    pub random_flag: bool,
    /// What clients are told of their trace, where no policy says otherwise.
    pub server_timing: ServerTiming,
    /// What signs the word of who may force a trace; `None` if nobody may.
    pub debug_key: Option<Arc<DebugKey>>,
    /// What spans say beyond what they always say.
    pub detail: Arc<SpanDetail>,
    /// Of which requests the kernel is asked what it saw.
    pub kernel_timestamps: KernelTimestamps,
}

/// One generation of everything that requests are decided by.
#[derive(Debug, Clone)]
pub struct Table {
    /// Grows with each update; 0 is the empty table.
    pub generation: u64,
    /// The span of the control plane that published it, if it was traced.
    pub published_by: Option<Traceparent>,
    /// In the order of the update.
    pub listeners: Vec<Arc<Listener>>,
    /// What is recorded.
    pub tracing: Tracing,
    /// Where the engine runs.
    pub locality: Locality,
    hosts: SharedMap<Host>,
    /// Keyed by what follows `*.`.
    wildcards: SharedMap<Host>,
    any_host: Option<Arc<Host>>,
    backends: SharedMap<Backend>,
    policies: SharedMap<RoutePolicy>,
    /// The policy where none is named.
    policy_default: Arc<RoutePolicy>,
    /// The policy where one is named that is not there.
    policy_unusable: Arc<RoutePolicy>,
    certificates: SharedMap<Certificate>,
    verifications: Verifications,
}

/// What a request's host and path led to.
#[derive(Debug, Clone, Copy)]
pub struct Matched<'a> {
    /// The host whose routes were used.
    pub host: &'a Host,
    /// The route that answers.
    pub route: &'a Arc<Route>,
}

impl Table {
    /// The table that has nothing, generation 0.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            generation: 0,
            published_by: None,
            listeners: Vec::new(),
            tracing: Tracing {
                policy: Arc::default(),
                enabled: true,
                random_flag: true,
                server_timing: ServerTiming::Off,
                debug_key: None,
                detail: Arc::default(),
                kernel_timestamps: KernelTimestamps::Off,
            },
            locality: Locality::default(),
            hosts: SharedMap::default(),
            wildcards: SharedMap::default(),
            any_host: None,
            backends: SharedMap::default(),
            policies: SharedMap::default(),
            policy_default: Arc::default(),
            policy_unusable: Arc::new(RoutePolicy::unusable()),
            certificates: SharedMap::default(),
            verifications: Verifications::new(),
        }
    }

    /// The route for a request: that of the exact host, else of the wildcard, else of any host.
    ///
    /// `host` is in lower case and without port, empty if the request has none; one trailing dot
    /// is ignored. `path` is normalised ([`normalise`]); its empty segments do not count.
    #[must_use]
    pub fn route(&self, host: &[u8], path: &[u8]) -> Option<Matched<'_>> {
        let host = host.strip_suffix(b".").unwrap_or(host);
        let path = &*without_empty_segments(path);
        matched(self.hosts.get(host), path)
            .or_else(|| matched(self.wildcard_of(host), path))
            .or_else(|| matched(self.any_host.as_ref(), path))
    }

    /// Whether `matched`, which [`Table::route`] has found, has other rules or leads elsewhere than what
    /// would be found if the path were read as some servers do ([`other_readings`]). A route that has
    /// such a path itself wants it read as it is.
    #[must_use]
    pub fn is_ambiguous(&self, host: &[u8], path: &[u8], matched: &Matched<'_>) -> bool {
        let route = matched.route;
        other_readings(path).any(|reading| {
            let other = self.route(host, &reading).map(|other| other.route);
            other.is_some_and(|other| {
                !Arc::ptr_eq(other, route)
                    && (&other.policy, &other.backend) != (&route.policy, &route.backend)
                    && memchr::memchr2(b'%', b';', route.path.as_bytes()).is_none()
            })
        })
    }

    /// The wildcard that stands for this name.
    fn wildcard_of(&self, host: &[u8]) -> Option<&Arc<Host>> {
        match memchr::memchr(b'.', host) {
            None | Some(0) => None,
            Some(dot) => self.wildcards.get(&host[dot + 1..]),
        }
    }

    /// The backend that a route or a listener names. `None` after a contradictory update: a 503.
    #[must_use]
    pub fn backend(&self, key: &str) -> Option<&Arc<Backend>> {
        self.backends.get(key.as_bytes())
    }

    /// The policy that a route or a listener names; the defaults where it names none. One that is
    /// named but was rejected, or is gone, might have kept somebody out, so it keeps out everybody.
    #[must_use]
    pub fn policy(&self, key: Option<&str>) -> &Arc<RoutePolicy> {
        match key {
            None => &self.policy_default,
            Some(key) => {
                let known = self.policies.get(key.as_bytes());
                known.unwrap_or(&self.policy_unusable)
            }
        }
    }

    /// The listener of that address.
    #[must_use]
    pub fn listener(&self, address: SocketAddr) -> Option<&Listener> {
        let mut listeners = self.listeners.iter();
        listeners
            .find(|listener| listener.address == address)
            .map(Arc::as_ref)
    }

    /// All backends, in no order.
    pub fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.backends.values()
    }

    /// All hosts, in no order.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<Host>> {
        self.hosts
            .values()
            .chain(self.wildcards.values())
            .chain(&self.any_host)
    }

    /// The host of that name: exact, wildcard or empty for any.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<&Arc<Host>> {
        match HostName::of(name) {
            HostName::Any => self.any_host.as_ref(),
            HostName::Wildcard(suffix) => self.wildcards.get(suffix.as_bytes()),
            HostName::Exact(name) => self.hosts.get(name.as_bytes()),
        }
    }

    /// The table after `update`, and what of it could not be done. `self` is not changed.
    ///
    /// An entry that is rejected stays as it is in `self`, or absent. Work and memory are those of
    /// what changed, plus the listeners.
    ///
    /// # Errors
    /// The update is not one of this table; nothing of it can be applied.
    pub fn apply(&self, update: &wire::Update) -> Result<(Self, Vec<Rejected>), Rejected> {
        if update.base != self.generation || update.generation <= update.base {
            return Err(Rejected::table(format!(
                "an update from generation {} to {} does not fit the table, whose generation is {}",
                update.base, update.generation, self.generation
            )));
        }
        let mut next = Next {
            table: self.clone(),
            rejected: Vec::new(),
            backends_rejected: FxHashSet::default(),
            policies_rejected: FxHashSet::default(),
            certificates_rejected: FxHashSet::default(),
        };
        next.table.generation = update.generation;
        next.table.published_by = parse_traceparent(update.published_by.as_bytes()).ok();
        let certificates_new = next.change_certificates(update);
        next.change_policies(update);
        next.change_locality(&update.locality);
        next.change_backends(update);
        next.change_hosts(update);
        next.change_listeners(update);
        next.configure_certificates(update, &certificates_new);
        next.change_tracing(&update.tracing);
        Ok((next.table, next.rejected))
    }
}

fn matched<'a>(host: Option<&'a Arc<Host>>, path: &[u8]) -> Option<Matched<'a>> {
    let host = host?;
    host.route(path).map(|route| Matched { host, route })
}

enum HostName<'a> {
    Any,
    Wildcard(&'a str),
    Exact(&'a str),
}

impl<'a> HostName<'a> {
    fn of(name: &'a str) -> Self {
        match name.strip_prefix("*.") {
            _ if name.is_empty() => Self::Any,
            Some(suffix) => Self::Wildcard(suffix),
            None => Self::Exact(name),
        }
    }
}

/// A table in the making.
struct Next {
    table: Table,
    rejected: Vec<Rejected>,
    /// Keys that are known but unusable: who names one of them is not to blame, and is kept.
    backends_rejected: FxHashSet<String>,
    policies_rejected: FxHashSet<String>,
    certificates_rejected: FxHashSet<String>,
}

impl Next {
    /// Backends that show a certificate to their endpoints show what its key stands for now.
    fn renew_transports(&mut self) {
        let renewed: Vec<Backend> = self
            .table
            .backends()
            .filter_map(|backend| backend.renewed(|key| self.certificate(key)))
            .collect();
        for backend in renewed {
            let key = Arc::clone(&backend.key);
            let backends = &mut self.table.backends;
            backends.insert(key.as_bytes(), Arc::new(backend));
        }
    }

    fn certificate(&self, key: &str) -> Option<Arc<CertifiedKey>> {
        let certificate = self.table.certificate(key)?;
        Some(Arc::clone(certificate.certified_key()))
    }

    fn change_policies(&mut self, update: &wire::Update) {
        for key in &update.policies_remove {
            self.table.policies.remove(key.as_bytes());
        }
        for (key, wire) in &update.policies_upsert {
            let earlier = self.table.policies.get(key.as_bytes()).map(Arc::as_ref);
            match RoutePolicy::compile(wire, earlier) {
                Ok(policy) => self.table.policies.insert(key.as_bytes(), Arc::new(policy)),
                Err(message) => {
                    self.rejected.push(Rejected::policy(key, message));
                    self.policies_rejected.insert(key.clone());
                }
            }
        }
    }

    /// What is near depends on where the engine is, for every backend; it hardly ever moves.
    fn change_locality(&mut self, wire: &wire::Locality) {
        let locality = Locality::new(wire);
        if locality == self.table.locality {
            return;
        }
        let all: Vec<_> = self.table.backends().cloned().collect();
        for backend in all {
            let moved = Arc::new(backend.moved(&locality));
            self.table.backends.insert(backend.key.as_bytes(), moved);
        }
        self.table.locality = locality;
    }

    fn change_backends(&mut self, update: &wire::Update) {
        for key in &update.backends_remove {
            self.table.backends.remove(key.as_bytes());
        }
        for wire in &update.backends_upsert {
            let old = self.table.backend(&wire.key()).map(Arc::as_ref);
            let compiled =
                Backend::compile(wire, &self.table.locality, old, |key| self.certificate(key));
            match compiled {
                Ok(mut backend) => {
                    let key = Arc::clone(&backend.key);
                    if let Some(before) = self.table.backend(&key) {
                        backend.load = Arc::clone(&before.load);
                    }
                    self.table
                        .backends
                        .insert(key.as_bytes(), Arc::new(backend));
                }
                Err(message) => {
                    self.rejected.push(Rejected::backend(&wire.key(), message));
                    self.backends_rejected.insert(wire.key());
                }
            }
        }
    }

    fn change_hosts(&mut self, update: &wire::Update) {
        for name in &update.hosts_remove {
            match HostName::of(&name.to_ascii_lowercase()) {
                HostName::Any => self.table.any_host = None,
                HostName::Wildcard(suffix) => self.table.wildcards.remove(suffix.as_bytes()),
                HostName::Exact(name) => self.table.hosts.remove(name.as_bytes()),
            }
        }
        for wire in &update.hosts_upsert {
            let mut notes = Vec::new();
            let tls = wire.tls.as_ref().map(|tls| self.host_tls(tls)).transpose();
            let compiled = tls.and_then(|tls| {
                let earlier = self.table.host(&wire.name).map(Arc::as_ref);
                Host::compile(
                    wire,
                    tls,
                    earlier,
                    |key| self.is_backend_known(key),
                    |key| self.is_policy_known(key),
                    &mut notes,
                )
            });
            match compiled {
                Ok(host) => self.insert_host(Arc::new(host)),
                Err(message) => self.rejected.push(Rejected::host(&wire.name, message)),
            }
            let notes = notes
                .into_iter()
                .map(|message| Rejected::host(&wire.name, message));
            self.rejected.extend(notes);
        }
    }

    fn insert_host(&mut self, host: Arc<Host>) {
        let host_of_key = Arc::clone(&host);
        match HostName::of(&host_of_key.name) {
            HostName::Any => self.table.any_host = Some(host),
            HostName::Wildcard(suffix) => self.table.wildcards.insert(suffix.as_bytes(), host),
            HostName::Exact(name) => self.table.hosts.insert(name.as_bytes(), host),
        }
    }

    fn change_listeners(&mut self, update: &wire::Update) {
        let old = std::mem::take(&mut self.table.listeners);
        let mut listeners: Vec<Arc<Listener>> = Vec::with_capacity(update.listeners.len());
        for wire in &update.listeners {
            let compiled = Listener::compile(
                wire,
                |key| self.is_backend_known(key),
                |key| self.is_policy_known(key),
                |key| self.is_certificate_known(key),
            );
            let message = match compiled {
                Ok(new)
                    if listeners
                        .iter()
                        .any(|listener| listener.address == new.address) =>
                {
                    "another listener has the same address".to_owned()
                }
                Ok(new) => {
                    let same = old.iter().find(|listener| ***listener == new);
                    listeners.push(same.map_or_else(|| Arc::new(new), Arc::clone));
                    continue;
                }
                Err(message) => {
                    let is_kept =
                        |listener: &&Arc<Listener>| wire.address.parse() == Ok(listener.address);
                    listeners.extend(old.iter().find(is_kept).cloned());
                    message
                }
            };
            self.rejected
                .push(Rejected::listener(&wire.address, message));
        }
        self.table.listeners = listeners;
    }

    fn change_tracing(&mut self, wire: &wire::Tracing) {
        match SpanDetail::compile(&wire.detail) {
            Ok(detail) => self.table.tracing.detail = Arc::new(detail),
            Err(what) => {
                let message = format!("tracing.detail.{what}");
                self.rejected.push(Rejected::tracing(message));
            }
        }
        match TracingPolicy::compile(&wire.policy) {
            Ok(policy) => {
                let tracing = &mut self.table.tracing;
                if *tracing.policy != policy {
                    tracing.policy = Arc::new(policy);
                }
                let key = wire.debug_key.0.as_bytes();
                tracing.debug_key = (!key.is_empty()).then(|| Arc::new(DebugKey::new(key)));
                tracing.enabled = wire.enabled;
                tracing.random_flag = wire.random_flag;
                tracing.server_timing = wire.server_timing;
                tracing.kernel_timestamps = wire.kernel_timestamps;
            }
            Err(what) => {
                let message = format!("tracing.policy.{what}");
                self.rejected.push(Rejected::tracing(message));
            }
        }
    }

    fn is_policy_known(&self, key: &str) -> bool {
        let is_held = || self.table.policies.get(key.as_bytes()).is_some();
        key.is_empty() || is_held() || self.policies_rejected.contains(key)
    }

    fn is_backend_known(&self, key: &str) -> bool {
        self.table.backend(key).is_some() || self.backends_rejected.contains(key)
    }
}

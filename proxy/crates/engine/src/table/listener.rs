//! Listeners: an address that connections are accepted on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::networks::Networks;
use super::policy::{policy_key, positive};
use super::wire;
use crate::limits::{DOWNSTREAM_IDLE_TIMEOUT, HEAD_TIMEOUT};
use crate::trace::context::{Inject, Propagator};

/// What a listener's requests are matched against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenerKind {
    /// Hosts and paths of the table.
    Ingress,
    /// Always the listener's own backend.
    Service,
}

impl ListenerKind {
    /// The name in tables and spans.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Service => "service",
        }
    }
}

/// Whose trace context is continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrustContext {
    /// Everybody's.
    All,
    /// That of peers in `trusted_proxies`.
    TrustedProxies,
    /// Nobody's.
    None,
}

impl TrustContext {
    /// Whether the context of a peer is continued; `is_proxy`: it is in `trusted_proxies`.
    #[must_use]
    pub fn trusts(self, is_proxy: bool) -> bool {
        match self {
            Self::All => true,
            Self::TrustedProxies => is_proxy,
            Self::None => false,
        }
    }
}

/// In which field trusted proxies say who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrustedField {
    /// And in `X-Forwarded-Proto`, `-Host` and `-Port` how.
    XForwardedFor,
    /// And in the same element how; none of the others is read.
    Forwarded,
    /// And in `X-Forwarded-Proto`, `-Host` and `-Port` how.
    XRealIp,
}

/// One address that connections are accepted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Where to listen; unique in a table.
    pub address: SocketAddr,
    /// What its requests are matched against.
    pub kind: ListenerKind,
    /// The key of its backend; present exactly for a service listener.
    pub backend: Option<Arc<str>>,
    /// Whether requests get the RFC 7239 `Forwarded` field, too.
    pub forwarded: bool,
    /// The key of the policy of a service listener; `None` for the defaults.
    pub policy: Option<Arc<str>>,
    /// Whether connections begin with a TLS handshake.
    pub tls: bool,
    /// Key of the certificate for hosts that have none; may be empty.
    pub certificate: Arc<str>,
    /// Whether connections begin with the header of the PROXY protocol: those of
    /// `trusted_proxies`, or all where there are none.
    pub proxy_protocol: bool,
    /// Peers whose word on where a request comes from is taken.
    pub trusted_proxies: Networks,
    /// Where they give it.
    pub trusted_field: TrustedField,
    /// Formats of trace context that are read, in this order.
    pub extract: Box<[Propagator]>,
    /// Formats that endpoints are told in.
    pub inject: Inject,
    /// Whose trace context is continued.
    pub trust_context: TrustContext,
    /// How long its clients may take.
    pub times: ClientTimes,
}

/// How long a client may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientTimes {
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// Between two requests on a connection.
    pub idle: Duration,
}

impl Default for ClientTimes {
    /// Those of a listener that says nothing else, in `proxy/table.py`.
    fn default() -> Self {
        Self {
            head: HEAD_TIMEOUT,
            idle: DOWNSTREAM_IDLE_TIMEOUT,
        }
    }
}

impl Listener {
    /// Compiles a listener.
    ///
    /// # Errors
    /// One sentence: the address or a network is wrong, or what it names is not there.
    pub(super) fn compile(
        wire: &wire::Listener,
        is_backend_known: impl Fn(&str) -> bool,
        is_policy_known: impl Fn(&str) -> bool,
        is_certificate_known: impl Fn(&str) -> bool,
    ) -> Result<Self, String> {
        let address: SocketAddr = wire
            .address
            .parse()
            .map_err(|_| "the address is not an IP address and a port".to_owned())?;
        if address.port() == 0 {
            return Err("the port must be from 1 to 65535".to_owned());
        }
        let backend = match (wire.kind, wire.backend.as_str()) {
            (ListenerKind::Ingress, "") => None,
            (ListenerKind::Ingress, _) => {
                return Err("an ingress listener has no backend of its own".to_owned());
            }
            (ListenerKind::Service, key) if is_backend_known(key) => Some(Arc::from(key)),
            (ListenerKind::Service, key) => return Err(format!("there is no backend {key:?}")),
        };
        if !is_policy_known(&wire.policy) {
            return Err(format!("there is no policy {:?}", wire.policy));
        }
        if !wire.certificate.is_empty() && !is_certificate_known(&wire.certificate) {
            return Err(format!("there is no certificate {:?}", wire.certificate));
        }
        Ok(Self {
            address,
            kind: wire.kind,
            backend,
            forwarded: wire.forwarded,
            policy: policy_key(&wire.policy),
            tls: wire.tls,
            certificate: Arc::from(wire.certificate.as_str()),
            proxy_protocol: wire.proxy_protocol,
            trusted_proxies: Networks::compile("trusted_proxies", &wire.trusted_proxies)?,
            trusted_field: wire.trusted_field,
            extract: wire.extract.as_slice().into(),
            inject: Inject::new(&wire.inject),
            trust_context: wire.trust_context,
            times: ClientTimes {
                head: positive("head_timeout_ms", wire.head_timeout_ms)?,
                idle: positive("idle_timeout_ms", wire.idle_timeout_ms)?,
            },
        })
    }
}

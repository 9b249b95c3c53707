//! The wire form of an update: exactly what `proxy/table.py` encodes, nothing validated.
//!
//! Rules: every field is present and no other is. Numbers are as wide as JSON's, so that one that
//! is out of range spoils its own entry and not the whole update.

use serde::{Deserialize, Serialize};

use crate::trace::context::Propagator;

/// What changes from the table with generation `base` to the one with `generation`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct Update {
    pub base: u64,
    pub generation: u64,
    pub listeners: Vec<Listener>,
    pub tracing: Tracing,
    pub locality: Locality,
    pub hosts_upsert: Vec<Host>,
    pub hosts_remove: Vec<String>,
    pub backends_upsert: Vec<Backend>,
    pub backends_remove: Vec<String>,
    pub policies_upsert: Vec<(String, RoutePolicy)>,
    pub policies_remove: Vec<String>,
    pub certificates_upsert: Vec<(String, Certificate)>,
    pub certificates_remove: Vec<String>,
    pub published_by: String,
}

impl Update {
    /// Reads the JSON object that `Update.encode` in Python writes.
    ///
    /// # Errors
    /// A [`Rejected`] of kind `table` that says where the JSON is not what it must be.
    pub fn decode(json: &[u8]) -> Result<Self, Rejected> {
        serde_json::from_slice(json)
            .map_err(|err| Rejected::table(format!("the update cannot be read: {err}")))
    }
}

/// See `proxy/table.py`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct Listener {
    pub address: String,
    pub kind: super::ListenerKind,
    pub backend: String,
    pub forwarded: bool,
    pub policy: String,
    pub tls: bool,
    pub certificate: String,
    pub proxy_protocol: bool,
    pub trusted_proxies: Vec<String>,
    pub trusted_field: super::TrustedField,
    pub extract: Vec<Propagator>,
    pub inject: Vec<Propagator>,
    pub trust_context: super::TrustContext,
    pub head_timeout_ms: i64,
    pub idle_timeout_ms: i64,
}

/// See `proxy/table.py`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct Locality {
    pub zone: String,
    pub node: String,
}

/// See `proxy/table.py`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct Tracing {
    pub policy: TracingPolicy,
    pub enabled: bool,
    pub random_flag: bool,
    pub server_timing: super::ServerTiming,
    pub debug_key: Secret,
    pub detail: SpanDetail,
    pub kernel_timestamps: KernelTimestamps,
}

/// Of which requests the kernel is asked what it saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KernelTimestamps {
    /// Of none.
    Off,
    /// Of those that are recorded.
    Sampled,
    /// Of all.
    All,
}

/// Text that is never shown.
#[derive(Default, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// See `proxy/table.py`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct SpanDetail {
    pub request_headers: Vec<String>,
    pub response_headers: Vec<String>,
    pub query_keys: Option<Vec<String>>,
}

/// See `proxy/table.py`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct TracingPolicy {
    pub ratio: f64,
    pub is_parent_based: bool,
    pub rules: Vec<SamplingRule>,
    pub traces_per_s_min: f64,
    pub traces_per_s_max: f64,
    pub tail_spans_per_s: f64,
    pub phase_spans: crate::trace::PhaseSpans,
    pub is_remote: bool,
}

/// See `proxy/table.py`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct SamplingRule {
    pub ratio: f64,
    pub header: String,
    pub value: String,
    pub method: String,
    pub route: String,
    pub traces_per_s_min: f64,
}

/// See `proxy/table.py`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct Host {
    pub name: String,
    pub routes: Vec<Route>,
    pub tls: Option<HostTls>,
}

/// See `proxy/table.py`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct HostTls {
    pub certificate: String,
    pub version_min: super::TlsVersion,
    pub client_certificates: super::ClientCertificates,
    pub client_ca: String,
    pub passthrough: String,
}

/// See `proxy/table.py`. Its private key is never shown.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct Certificate {
    pub chain: String,
    pub private_key: String,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate(..)")
    }
}

/// See `proxy/table.py`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct Route {
    pub kind: super::PathKind,
    pub path: String,
    pub backend: String,
    pub namespace: String,
    pub ingress: String,
    pub rule: String,
    pub policy: String,
}

/// See `proxy/table.py`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct RoutePolicy {
    pub read_timeout_ms: i64,
    pub send_timeout_ms: i64,
    pub request_timeout_ms: i64,
    pub client_timeout_ms: i64,
    pub client_bytes_per_s_min: i64,
    pub tunnel_timeout_ms: i64,
    pub retry: Retry,
    pub request_body_bytes_max: i64,
    pub request_head_bytes_max: i64,
    pub request_headers: HeaderEdits,
    pub response_headers: HeaderEdits,
    pub rewrite: Option<Rewrite>,
    pub redirect: Option<Redirect>,
    pub https_only: bool,
    pub allow: Vec<String>,
    pub deny: Vec<String>,
    pub server_timing: Option<super::ServerTiming>,
    pub inject: Option<Vec<Propagator>>,
    pub tracing: Option<TracingPolicy>,
}

/// See `proxy/table.py`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct Retry {
    pub attempts: i64,
    pub on: Vec<super::RetryOn>,
    pub per_try_timeout_ms: i64,
    pub budget_percent: i64,
}

/// See `proxy/table.py`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct HeaderEdits {
    pub remove: Vec<String>,
    pub set: Vec<(String, String)>,
    pub add: Vec<(String, String)>,
}

/// See `proxy/table.py`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct Rewrite {
    pub pattern: String,
    pub replacement: String,
}

/// See `proxy/table.py`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct Redirect {
    pub location: String,
    pub status: i64,
}

/// See `proxy/table.py`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct Backend {
    pub namespace: String,
    pub service: String,
    pub port: String,
    pub endpoints: Vec<Endpoint>,
    pub changed_unix_ms: i64,
    pub balance: super::BalancePolicy,
    pub hash_key: HashKey,
    pub affinity: Option<Affinity>,
    pub prefer: super::Prefer,
    pub health: Health,
    pub slow_start_ms: i64,
    pub limits: BackendLimits,
    pub protocol: super::Protocol,
    pub tls: Option<UpstreamTls>,
    pub proxy_protocol: super::ProxyProtocol,
    pub connect_timeout_ms: i64,
    pub missing: String,
}

/// See `proxy/table.py`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct HashKey {
    pub on: super::HashOn,
    pub name: String,
}

/// See `proxy/table.py`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct Affinity {
    pub cookie: String,
    pub max_age_s: i64,
    pub path: String,
    pub is_secure: bool,
}

/// See `proxy/table.py`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct Health {
    pub errors_consecutive: i64,
    pub ejection_ms: i64,
    pub ejection_max_ms: i64,
    pub ejected_percent_max: i64,
}

/// See `proxy/table.py`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct BackendLimits {
    pub requests_max: i64,
    pub connections_max: i64,
    pub queue_max: i64,
    pub queue_timeout_ms: i64,
}

/// See `proxy/table.py`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct UpstreamTls {
    pub verify: bool,
    pub server_name: String,
    pub ca: String,
    pub certificate: String,
}

/// See `proxy/table.py`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct Endpoint {
    pub address: String,
    pub port: i64,
    pub pod: String,
    pub node: String,
    pub zone: String,
    pub weight: i64,
}

/// One thing of an update that could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// `listener`, `host`, `backend`, `policy`, `certificate`, `tracing` or `table`.
    pub kind: &'static str,
    /// A listener's address, a host's name or a key; empty for tracing and the table.
    pub subject: String,
    /// What is wrong with it, in one sentence.
    pub message: String,
}

impl Rejected {
    pub(crate) fn table(message: String) -> Self {
        Self::new("table", "", message)
    }

    pub(super) fn tracing(message: String) -> Self {
        Self::new("tracing", "", message)
    }

    pub(super) fn host(name: &str, message: String) -> Self {
        Self::new("host", name, message)
    }

    pub(super) fn backend(key: &str, message: String) -> Self {
        Self::new("backend", key, message)
    }

    pub(super) fn policy(key: &str, message: String) -> Self {
        Self::new("policy", key, message)
    }

    pub(super) fn certificate(key: &str, message: String) -> Self {
        Self::new("certificate", key, message)
    }

    pub(crate) fn listener(address: &str, message: String) -> Self {
        Self::new("listener", address, message)
    }

    fn new(kind: &'static str, subject: &str, message: String) -> Self {
        Self {
            kind,
            subject: subject.to_owned(),
            message,
        }
    }
}

//! The wire form of an update: exactly what `proxy/table.py` encodes, nothing validated.
//!
//! Rules: every field is present and no other is. Numbers are as wide as JSON's, so that one that
//! is out of range spoils its own entry and not the whole update.

use serde::{Deserialize, Serialize};

/// What changes from the table with generation `base` to the one with `generation`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct Update {
    pub base: u64,
    pub generation: u64,
    pub listeners: Vec<Listener>,
    pub tracing: Tracing,
    pub hosts_upsert: Vec<Host>,
    pub hosts_remove: Vec<String>,
    pub backends_upsert: Vec<Backend>,
    pub backends_remove: Vec<String>,
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
}

/// See `proxy/table.py`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct Tracing {
    pub sample_ratio: f64,
    pub enabled: bool,
}

/// See `proxy/table.py`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "proxy/table.py documents the fields")]
pub struct Host {
    pub name: String,
    pub routes: Vec<Route>,
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
    pub connect_timeout_ms: i64,
    pub response_timeout_ms: i64,
    pub missing: String,
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
}

/// One thing of an update that could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// `listener`, `host`, `backend` or `table`.
    pub kind: &'static str,
    /// A listener's address, a host's name or a backend's key; empty for the table.
    pub subject: String,
    /// What is wrong with it, in one sentence.
    pub message: String,
}

impl Rejected {
    pub(crate) fn table(message: String) -> Self {
        Self::new("table", "", message)
    }

    pub(super) fn host(name: &str, message: String) -> Self {
        Self::new("host", name, message)
    }

    pub(super) fn backend(key: &str, message: String) -> Self {
        Self::new("backend", key, message)
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

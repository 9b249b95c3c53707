//! How the requests of some routes are treated, compiled: everything is checked once, here.
//!
//! Rules: what a policy means is decided here or by what it is handed to, never by its key. The
//! key of the policy that applies where none is named is empty.

mod access;
mod edits;
mod redirect;
mod rewrite;
mod template;
mod tracing;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

pub use access::Access;
pub use edits::HeaderEdits;
pub use redirect::{Redirect, https_location};
pub use rewrite::{BadRewrite, Rewrite};
pub use template::{Expanded, Facts};

use super::wire;
use crate::limits::{ATTEMPTS_MAX, CLIENT_BYTES_PER_S_MIN, DOWNSTREAM_STALL_TIMEOUT};
use crate::trace::TracingPolicy;
use crate::trace::context::Inject;
use edits::Of;

/// What makes an attempt worth repeating, where that is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// No connection was made.
    Connect,
    /// The connection was lost before a byte of the response.
    Closed,
    /// The per-try timeout passed before a byte of the response.
    Timeout,
    /// The response is 502 Bad Gateway.
    #[serde(rename = "502")]
    Status502,
    /// The response is 503 Service Unavailable.
    #[serde(rename = "503")]
    Status503,
    /// The response is 504 Gateway Timeout.
    #[serde(rename = "504")]
    Status504,
}

/// How much a client is told of its trace, by the head of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerTiming {
    /// Nothing.
    #[default]
    Off,
    /// Its ids.
    Trace,
    /// Its ids, and how long each part of the way took.
    Timing,
}

/// When an attempt is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// With the first; at least 1.
    pub attempts: u32,
    /// What is worth it.
    pub on: Vec<RetryOn>,
    /// Until the first byte of the response.
    pub per_try_timeout: Option<Duration>,
    /// Retries per hundred requests of the backend.
    pub budget_percent: u32,
}

/// How the requests of some routes are treated: `proxy/table.py` says what each part means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePolicy {
    /// How long upstream may be silent while it is who we wait for.
    pub read_timeout: Duration,
    /// How long upstream may take nothing.
    pub send_timeout: Duration,
    /// From the first byte of the request to the last of the response.
    pub request_timeout: Option<Duration>,
    /// How long the client may be silent, or take nothing, while it is who we wait for.
    pub client_timeout: Duration,
    /// Bytes a second that it must send and take, once it was waited for longer than that; `None` for
    /// any.
    pub client_bytes_per_s_min: Option<u64>,
    /// How long both sides of an upgraded connection may be silent.
    pub tunnel_timeout: Duration,
    /// When an attempt is repeated.
    pub retry: Retry,
    /// It could not be compiled: no request goes on.
    pub is_unusable: bool,
    /// Nothing of a request is looked at before an endpoint is chosen: no access rule, no size, no
    /// redirect, no rewrite.
    pub admits_all: bool,
    /// Who may use the route; `None` for everybody.
    pub access: Option<Access>,
    /// No longer request heads than that.
    pub request_head_bytes_max: Option<u64>,
    /// No longer request bodies than that.
    pub request_body_bytes_max: Option<u64>,
    /// Whether plain HTTP is redirected.
    pub https_only: bool,
    /// Where everybody is sent instead.
    pub redirect: Option<Redirect>,
    /// The path that the endpoint gets.
    pub rewrite: Option<Rewrite>,
    /// What is changed of a request's fields.
    pub request_headers: Option<HeaderEdits>,
    /// What is changed of the fields of a final response, the endpoint's or ours.
    pub response_headers: Option<HeaderEdits>,
    /// What clients are told of their trace; `None` for what the table says.
    pub server_timing: Option<ServerTiming>,
    /// Formats of trace context that endpoints are told in; `None` for the listener's.
    pub inject: Option<Inject>,
    /// How requests are traced; `None` as the table says.
    pub tracing: Option<Arc<TracingPolicy>>,
}

impl Default for RoutePolicy {
    /// What applies where no policy is named: the defaults of `RoutePolicy` in `proxy/table.py`.
    fn default() -> Self {
        Self {
            read_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(60),
            request_timeout: None,
            client_timeout: DOWNSTREAM_STALL_TIMEOUT,
            client_bytes_per_s_min: Some(CLIENT_BYTES_PER_S_MIN),
            tunnel_timeout: Duration::from_secs(3600),
            retry: Retry {
                attempts: 3,
                on: vec![RetryOn::Connect, RetryOn::Closed],
                per_try_timeout: None,
                budget_percent: 20,
            },
            is_unusable: false,
            admits_all: true,
            access: None,
            request_head_bytes_max: None,
            request_body_bytes_max: None,
            https_only: false,
            redirect: None,
            rewrite: None,
            request_headers: None,
            response_headers: None,
            server_timing: None,
            inject: None,
            tracing: None,
        }
    }
}

impl RoutePolicy {
    /// The policy of routes whose own one is not there: it admits nothing.
    pub(super) fn unusable() -> Self {
        Self {
            is_unusable: true,
            admits_all: false,
            ..Self::default()
        }
    }

    /// Compiles a policy; what is counted for it goes on from the `earlier` one of its key.
    ///
    /// # Errors
    /// One sentence: which part is wrong, and what it must be.
    pub(super) fn compile(
        wire: &wire::RoutePolicy,
        earlier: Option<&Self>,
    ) -> Result<Self, String> {
        let mut policy = Self {
            read_timeout: positive("read_timeout_ms", wire.read_timeout_ms)?,
            send_timeout: positive("send_timeout_ms", wire.send_timeout_ms)?,
            request_timeout: optional("request_timeout_ms", wire.request_timeout_ms)?,
            client_timeout: positive("client_timeout_ms", wire.client_timeout_ms)?,
            client_bytes_per_s_min: bytes("client_bytes_per_s_min", wire.client_bytes_per_s_min)?,
            tunnel_timeout: positive("tunnel_timeout_ms", wire.tunnel_timeout_ms)?,
            retry: Retry::compile(&wire.retry)?,
            is_unusable: false,
            admits_all: false,
            access: Access::compile(&wire.allow, &wire.deny)?,
            request_head_bytes_max: bytes("request_head_bytes_max", wire.request_head_bytes_max)?,
            request_body_bytes_max: bytes("request_body_bytes_max", wire.request_body_bytes_max)?,
            https_only: wire.https_only,
            redirect: part("redirect", wire.redirect.as_ref(), Redirect::compile)?,
            rewrite: part("rewrite", wire.rewrite.as_ref(), Rewrite::compile)?,
            request_headers: HeaderEdits::compile(&wire.request_headers, Of::Request)
                .map_err(|what| format!("request_headers {what}"))?,
            response_headers: HeaderEdits::compile(&wire.response_headers, Of::Response)
                .map_err(|what| format!("response_headers {what}"))?,
            server_timing: wire.server_timing,
            inject: wire.inject.as_deref().map(Inject::new),
            tracing: part("tracing", wire.tracing.as_ref(), TracingPolicy::compile)?.map(Arc::new),
        };
        if let Some(same) = earlier.filter(|earlier| earlier.tracing == policy.tracing) {
            policy.tracing = same.tracing.clone();
        }
        policy.admits_all = policy.looks_at_nothing();
        Ok(policy)
    }

    fn looks_at_nothing(&self) -> bool {
        self.access.is_none()
            && self.request_head_bytes_max.is_none()
            && self.request_body_bytes_max.is_none()
            && !self.https_only
            && self.redirect.is_none()
            && self.rewrite.is_none()
    }
}

impl Retry {
    fn compile(wire: &wire::Retry) -> Result<Self, String> {
        let whole = |name: &str, value: i64, range: std::ops::RangeInclusive<i64>| {
            let (low, high) = (*range.start(), *range.end());
            let wrong = || format!("retry.{name} is {value}, which is not from {low} to {high}");
            u32::try_from(value)
                .ok()
                .filter(|_| range.contains(&value))
                .ok_or_else(wrong)
        };
        let attempts = whole("attempts", wire.attempts, 1..=i64::from(ATTEMPTS_MAX))?;
        let budget = whole("budget_percent", wire.budget_percent, 0..=100)?;
        Ok(Self {
            attempts,
            on: wire.on.clone(),
            per_try_timeout: optional("retry.per_try_timeout_ms", wire.per_try_timeout_ms)?,
            budget_percent: budget,
        })
    }
}

/// The key of a policy, as routes and listeners keep it.
pub(super) fn policy_key(key: &str) -> Option<Arc<str>> {
    (!key.is_empty()).then(|| Arc::from(key))
}

/// A part that may be absent; its sentence begins with its name.
fn part<W, T>(
    name: &str,
    wire: Option<&W>,
    compile: impl Fn(&W) -> Result<T, String>,
) -> Result<Option<T>, String> {
    let named = |what| format!("{name}: {what}");
    wire.map(compile).transpose().map_err(named)
}

/// A size that may be absent, which is written as 0.
fn bytes(name: &str, count: i64) -> Result<Option<u64>, String> {
    match u64::try_from(count) {
        Ok(0) => Ok(None),
        Ok(count) => Ok(Some(count)),
        Err(_) => Err(format!("{name} is {count}, which is less than 0")),
    }
}

/// A time that must be there.
pub(super) fn positive(name: &str, milliseconds: i64) -> Result<Duration, String> {
    optional(name, milliseconds)?
        .ok_or_else(|| format!("{name} is {milliseconds}, which is less than 1"))
}

/// A time that may be absent, which is written as 0.
pub(super) fn optional(name: &str, milliseconds: i64) -> Result<Option<Duration>, String> {
    match u64::try_from(milliseconds) {
        Ok(0) => Ok(None),
        Ok(milliseconds) => Ok(Some(Duration::from_millis(milliseconds))),
        Err(_) => Err(format!("{name} is {milliseconds}, which is less than 0")),
    }
}

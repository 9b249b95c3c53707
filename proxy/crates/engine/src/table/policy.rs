//! How the requests of some routes are treated, compiled: times, sizes and retries checked once.
//!
//! Rules: what a policy means is decided here or by what it is handed to, never by its key. The
//! key of the policy that applies where none is named is empty.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::wire;
use crate::limits::ATTEMPTS_MAX;

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
    /// How long both sides of an upgraded connection may be silent.
    pub tunnel_timeout: Duration,
    /// When an attempt is repeated.
    pub retry: Retry,
}

impl Default for RoutePolicy {
    /// What applies where no policy is named: the defaults of `RoutePolicy` in `proxy/table.py`.
    fn default() -> Self {
        Self {
            read_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(60),
            request_timeout: None,
            tunnel_timeout: Duration::from_secs(3600),
            retry: Retry {
                attempts: 3,
                on: vec![RetryOn::Connect, RetryOn::Closed],
                per_try_timeout: None,
                budget_percent: 20,
            },
        }
    }
}

impl RoutePolicy {
    /// Compiles a policy.
    ///
    /// # Errors
    /// One sentence: which part is wrong, and what it must be.
    pub(super) fn compile(wire: &wire::RoutePolicy) -> Result<Self, String> {
        Ok(Self {
            read_timeout: positive("read_timeout_ms", wire.read_timeout_ms)?,
            send_timeout: positive("send_timeout_ms", wire.send_timeout_ms)?,
            request_timeout: optional("request_timeout_ms", wire.request_timeout_ms)?,
            tunnel_timeout: positive("tunnel_timeout_ms", wire.tunnel_timeout_ms)?,
            retry: Retry::compile(&wire.retry)?,
        })
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

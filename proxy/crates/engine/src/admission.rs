//! What a route's policy says about a request before an endpoint is chosen: it goes on, is turned
//! away, or is sent elsewhere.
//!
//! Rules: pure; one line per question in [`admit`], and their order is the meaning: who may not
//! come learns nothing else, and nobody is asked for a body that will not be read.

use crate::message::{Framing, RequestHead};
use crate::table::{BadRewrite, Expanded, Facts, RoutePolicy, https_location};
use crate::trace::Flag;

/// A request that may go on.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Admitted {
    /// The path for the endpoint, where it is not the client's.
    pub path: Option<Vec<u8>>,
}

/// A request that goes no further.
#[derive(Debug, PartialEq, Eq)]
pub enum Turned {
    /// It fails, for this reason.
    Away(Flag),
    /// It is answered with a redirect.
    To(Moved),
}

/// Where a request is sent instead.
#[derive(Debug, PartialEq, Eq)]
pub struct Moved {
    pub status: u16,
    pub location: Vec<u8>,
}

/// Asks all of a policy that can be asked before an endpoint is chosen.
pub fn admit(
    policy: &RoutePolicy,
    request: &RequestHead,
    facts: &Facts<'_>,
) -> Result<Admitted, Turned> {
    usable(policy)?;
    address(policy, facts)?;
    head_size(policy, request)?;
    https(policy, facts)?;
    redirect(policy, facts)?;
    body_size(policy, request)?;
    rewrite(policy, request, facts)
}

fn usable(policy: &RoutePolicy) -> Result<(), Turned> {
    if policy.is_unusable {
        return Err(Turned::Away(Flag::BadPolicy));
    }
    Ok(())
}

fn address(policy: &RoutePolicy, facts: &Facts<'_>) -> Result<(), Turned> {
    match &policy.access {
        Some(access) if !access.admits(facts.client) => Err(Turned::Away(Flag::Denied)),
        _ => Ok(()),
    }
}

fn head_size(policy: &RoutePolicy, request: &RequestHead) -> Result<(), Turned> {
    let is_larger = |max| request.head_bytes as u64 > max;
    match policy.request_head_bytes_max {
        Some(max) if is_larger(max) => Err(Turned::Away(Flag::HeadTooLarge)),
        _ => Ok(()),
    }
}

fn https(policy: &RoutePolicy, facts: &Facts<'_>) -> Result<(), Turned> {
    if !policy.https_only || facts.scheme == "https" {
        return Ok(());
    }
    Err(moved(308, https_location(facts)))
}

fn redirect(policy: &RoutePolicy, facts: &Facts<'_>) -> Result<(), Turned> {
    match &policy.redirect {
        Some(redirect) => Err(moved(redirect.status, redirect.location(facts))),
        None => Ok(()),
    }
}

/// Without a host there is nowhere to send an HTTP/1.0 client to.
fn moved(status: u16, location: Option<Expanded>) -> Turned {
    match location.map(Expanded::into_vec) {
        Some(location) => Turned::To(Moved { status, location }),
        None => Turned::Away(Flag::BadRequest),
    }
}

/// What says its length is refused before anything is sent; the rest is counted as it comes.
fn body_size(policy: &RoutePolicy, request: &RequestHead) -> Result<(), Turned> {
    match (policy.request_body_bytes_max, request.framing) {
        (Some(max), Framing::Length(bytes)) if bytes > max => Err(Turned::Away(Flag::BodyTooLarge)),
        _ => Ok(()),
    }
}

fn rewrite(
    policy: &RoutePolicy,
    request: &RequestHead,
    facts: &Facts<'_>,
) -> Result<Admitted, Turned> {
    let rule = policy.rewrite.as_ref().filter(|_| request.path() != b"*");
    let path = match rule.map(|rule| rule.apply(facts.path)) {
        None => None,
        Some(Ok(path)) => path,
        Some(Err(BadRewrite::Path)) => return Err(Turned::Away(Flag::BadRequest)),
        Some(Err(BadRewrite::Rule)) => return Err(Turned::Away(Flag::BadRewrite)),
    };
    Ok(Admitted { path })
}

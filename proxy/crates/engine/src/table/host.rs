//! The routes of one host, compiled so that matching costs the path's segments, not the routes.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::policy::policy_key;
use super::tls::HostTls;
use super::wire;
use crate::limits::{HOST_BYTES_MAX, ROUTE_PATH_BYTES_MAX};
use crate::message::{normalise, without_empty_segments};
use crate::trace::attribute::{key, put_text};
use crate::trace::baseline::unique_id;
use crate::trace::tail::Latencies;

/// How a route's path is compared with a request's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PathKind {
    /// Byte by byte.
    Exact,
    /// Element by element; a trailing slash does not count.
    Prefix,
}

/// One path of one host, and the backend that answers it.
#[derive(Debug)]
pub struct Route {
    /// As no other compiled route or backend has it, in any table.
    pub id: u64,
    /// As [`Host::name`].
    pub host: Arc<str>,
    /// How `path` is compared.
    pub kind: PathKind,
    /// In normal form, as it is named in spans.
    pub path: Box<str>,
    /// The key of the backend, for [`super::Table::backend`].
    pub backend: Arc<str>,
    /// The namespace of the Ingress.
    pub namespace: Box<str>,
    /// The name of the Ingress.
    pub ingress: Box<str>,
    /// The field path in the Ingress.
    pub rule: Box<str>,
    /// The key of its policy; `None` for the defaults.
    pub policy: Option<Arc<str>>,
    /// Its share of the SERVER span, encoded.
    pub(crate) attributes: Box<[u8]>,
    /// Of its requests that were not sampled, where that is asked for.
    pub(crate) latencies: Latencies,
}

/// All routes of one host name.
#[derive(Debug)]
pub struct Host {
    /// Lower case; `*.` and a suffix for a wildcard, empty for any host.
    pub name: Arc<str>,
    /// `None` where the listener's certificate will do.
    pub tls: Option<HostTls>,
    exact: FxHashMap<Box<[u8]>, Arc<Route>>,
    /// Keyed without trailing slashes, so the root's is empty.
    prefixes: FxHashMap<Box<[u8]>, Arc<Route>>,
    prefix_lengths: LengthSet,
}

impl Host {
    /// The route for a normalised path without empty segments: an exact one, else that with the longest prefix.
    #[must_use]
    pub fn route(&self, path: &[u8]) -> Option<&Arc<Route>> {
        if let Some(route) = self.exact.get(path) {
            return Some(route);
        }
        // A prefix ends where the path does or before one of its slashes.
        let longest = self.prefix_lengths.max.min(path.len());
        if longest == path.len()
            && let Some(route) = self.prefix(path)
        {
            return Some(route);
        }
        let mut rest = &path[..path.len().min(longest + 1)];
        while let Some(end) = memchr::memrchr(b'/', rest) {
            rest = &path[..end];
            if let Some(route) = self.prefix(rest) {
                return Some(route);
            }
        }
        None
    }

    /// All routes, in no order.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.exact.values().chain(self.prefixes.values())
    }

    /// The route with the same path, compared in the same way.
    fn alike(&self, route: &Route) -> Option<&Arc<Route>> {
        let path = route.path.as_bytes();
        match route.kind {
            PathKind::Exact => self.exact.get(path),
            PathKind::Prefix => self.prefixes.get(without_trailing_slashes(path)),
        }
    }

    fn prefix(&self, elements: &[u8]) -> Option<&Arc<Route>> {
        if !self.prefix_lengths.may_contain(elements.len()) {
            return None;
        }
        self.prefixes.get(elements)
    }

    /// Compiles a host; what is measured of its routes goes on from those of the `earlier` one. Problems that leave the host usable are added to `notes`.
    ///
    /// # Errors
    /// One sentence: the name or one of the routes is wrong.
    pub(super) fn compile(
        wire: &wire::Host,
        tls: Option<HostTls>,
        earlier: Option<&Self>,
        is_backend_known: impl Fn(&str) -> bool,
        is_policy_known: impl Fn(&str) -> bool,
        notes: &mut Vec<String>,
    ) -> Result<Self, String> {
        let mut host = Self {
            name: host_name(&wire.name)?,
            tls,
            exact: FxHashMap::default(),
            prefixes: FxHashMap::default(),
            prefix_lengths: LengthSet::default(),
        };
        for wire_route in &wire.routes {
            if !is_backend_known(&wire_route.backend) {
                let (rule, backend) = (&wire_route.rule, &wire_route.backend);
                return Err(format!("{rule}: there is no backend {backend:?}"));
            }
            if !is_policy_known(&wire_route.policy) {
                let (rule, policy) = (&wire_route.rule, &wire_route.policy);
                return Err(format!("{rule}: there is no policy {policy:?}"));
            }
            let mut route = Route::compile(wire_route, &host.name)?;
            if let Some(same) = earlier.and_then(|earlier| earlier.alike(&route)) {
                route.latencies = Latencies::continued(&same.latencies);
            }
            if let Some(first) = host.add(route) {
                notes.push(format!(
                    "{}: the path {:?} is that of {} again; the first one is used",
                    wire_route.rule, wire_route.path, first
                ));
            }
        }
        Ok(host)
    }

    /// Adds a route unless there is one like it, whose origin is then returned.
    fn add(&mut self, route: Route) -> Option<String> {
        let path = route.path.as_bytes();
        let (routes, key) = match route.kind {
            PathKind::Exact => (&mut self.exact, path),
            PathKind::Prefix => (&mut self.prefixes, without_trailing_slashes(path)),
        };
        if let Some(first) = routes.get(key) {
            return Some(format!(
                "{}/{} {}",
                first.namespace, first.ingress, first.rule
            ));
        }
        if route.kind == PathKind::Prefix {
            self.prefix_lengths.insert(key.len());
        }
        let key = Box::from(key);
        routes.insert(key, Arc::new(route));
        None
    }
}

impl Route {
    fn compile(wire: &wire::Route, host: &Arc<str>) -> Result<Self, String> {
        let wrong = |what: String| format!("{}: the path {:?} {what}", wire.rule, wire.path);
        if wire.path.len() > ROUTE_PATH_BYTES_MAX {
            return Err(wrong(format!(
                "is longer than {ROUTE_PATH_BYTES_MAX} bytes"
            )));
        }
        let path = normalise(wire.path.as_bytes())
            .map_err(|err| wrong(format!("cannot be used: {err}")))?;
        let path = without_empty_segments(&path);
        let path = String::from_utf8_lossy(&path); // A normal form is ASCII.
        Ok(Self {
            id: unique_id(),
            host: Arc::clone(host),
            kind: wire.kind,
            attributes: route_attributes(wire, &path),
            path: Box::from(&*path),
            backend: Arc::from(wire.backend.as_str()),
            namespace: Box::from(wire.namespace.as_str()),
            ingress: Box::from(wire.ingress.as_str()),
            rule: Box::from(wire.rule.as_str()),
            policy: policy_key(&wire.policy),
            latencies: Latencies::default(),
        })
    }
}

fn route_attributes(wire: &wire::Route, path: &str) -> Box<[u8]> {
    let mut attributes = Vec::new();
    put_text(&mut attributes, key!("http.route"), path);
    put_text(&mut attributes, key!("k8s.namespace.name"), &wire.namespace);
    put_text(&mut attributes, key!("spanway.ingress.name"), &wire.ingress);
    put_text(&mut attributes, key!("spanway.route"), &wire.rule);
    attributes.into_boxed_slice()
}

/// Lower case, and made of what a host name, a wildcard or an IP literal is made of.
fn host_name(name: &str) -> Result<Arc<str>, String> {
    if name.len() > HOST_BYTES_MAX {
        return Err(format!("the name is longer than {HOST_BYTES_MAX} bytes"));
    }
    let labels = name.strip_prefix("*.").unwrap_or(name);
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
    if !labels.bytes().all(is_allowed) || (labels.is_empty() && !name.is_empty()) {
        return Err("the name is neither a host name nor `*.` and a host name".to_owned());
    }
    Ok(name.to_ascii_lowercase().into())
}

fn without_trailing_slashes(mut path: &[u8]) -> &[u8] {
    while let [rest @ .., b'/'] = path {
        path = rest;
    }
    path
}

/// Which lengths the prefixes of a host have, roughly: a path of thousands of slashes must not
/// cost thousands of look-ups.
#[derive(Debug, Default)]
struct LengthSet {
    max: usize,
    /// Bit n: there is a length with n as its last six bits.
    low_bits: u64,
}

impl LengthSet {
    fn insert(&mut self, length: usize) {
        self.max = self.max.max(length);
        self.low_bits |= 1 << (length % 64);
    }

    fn may_contain(&self, length: usize) -> bool {
        length <= self.max && self.low_bits >> (length % 64) & 1 == 1
    }
}

//! A slot as it is looked at: what it points at, and what of it a question is about.
//!
//! Requests pay nothing for it: the route of one is found again, in the table that it was served by,
//! when somebody asks for the first time.

use std::sync::Arc;
use std::time::Duration;

use super::query::{Condition, Field, Place, Query, Sort};
use super::{Kind, PHASES, Phase, Slot, Subject};
use crate::forward::path_to_match;
use crate::instant::Instant;
use crate::message::{RequestHead, Version};
use crate::table::{Backend, Endpoint, Route};

/// Where a live request goes; what is not known, or not there, is `None`.
#[derive(Clone, Default)]
pub struct Target {
    pub route: Option<Arc<Route>>,
    pub backend: Option<Arc<Backend>>,
}

/// One live request at one moment.
pub struct View<'a> {
    pub slot: &'a Slot,
    pub subject: &'a Subject,
    pub target: &'a Target,
    pub route: Option<&'a Route>,
    pub backend: Option<&'a Backend>,
    pub endpoint: Option<&'a Endpoint>,
    pub start: Instant,
    epoch: Instant,
    now: Instant,
}

impl<'a> View<'a> {
    pub fn new(slot: &'a Slot, subject: &'a Subject, epoch: Instant, now: Instant) -> Self {
        let start = slot.entered[Phase::Head as usize].get().unwrap_or(now);
        let target = subject.target.get_or_init(|| target(subject));
        let backend = target.backend.as_deref();
        let endpoint = match slot.attempts.get() {
            0 => None,
            _ => backend.and_then(|backend| backend.endpoints.get(slot.endpoint.get())),
        };
        Self {
            slot,
            subject,
            target,
            route: target.route.as_deref(),
            backend,
            endpoint,
            start,
            epoch,
            now,
        }
    }

    pub fn request(&self) -> Option<&'a RequestHead> {
        match &self.subject.kind {
            Kind::Request(request) => Some(request),
            Kind::Arriving | Kind::Connection(_) => None,
        }
    }

    /// The host that was asked for, by the request or in the TLS handshake.
    pub fn host(&self) -> &'a [u8] {
        match &self.subject.kind {
            Kind::Request(request) => request.host(),
            Kind::Connection(server_name) => server_name.as_bytes(),
            Kind::Arriving => b"",
        }
    }

    pub fn kind(&self) -> &'static str {
        match &self.subject.kind {
            Kind::Connection(_) => "connection",
            Kind::Request(_) if self.slot.is_upgraded.get() => "upgrade",
            Kind::Request(_) | Kind::Arriving => "request",
        }
    }

    /// What is spoken, as far as it is known.
    pub fn protocol(&self) -> &'static str {
        match &self.subject.kind {
            Kind::Connection(_) => "tls",
            Kind::Arriving => "HTTP/1",
            Kind::Request(request) => match request.version {
                Version::Http10 => "HTTP/1.0",
                Version::Http11 => "HTTP/1.1",
                Version::Http2 => "HTTP/2",
            },
        }
    }

    /// That of the Ingress, else of the Service; empty for what has neither.
    pub fn namespace(&self) -> &'a str {
        match (self.route, self.backend) {
            (Some(route), _) => &route.namespace,
            (None, Some(backend)) => &backend.namespace,
            (None, None) => "",
        }
    }

    pub fn phase(&self) -> Phase {
        self.slot.phase.get()
    }

    pub fn age(&self) -> Duration {
        self.now.saturating_duration_since(self.start)
    }

    pub fn phase_age(&self) -> Duration {
        let entered = self.slot.entered[self.phase() as usize].get();
        self.now
            .saturating_duration_since(entered.unwrap_or(self.now))
    }

    /// How long it was in each phase so far, in microseconds whose sum is those of its age; `None`
    /// for those that it was not in.
    pub fn phases_us(&self) -> [Option<u64>; PHASES] {
        let mut spent = [None; PHASES];
        let mut until_us = 0;
        for (entered, spent) in self.slot.entered.iter().zip(&mut spent).rev() {
            if let Some(entered) = entered.get() {
                let ago_us = us(self.now.saturating_duration_since(entered)).max(until_us);
                *spent = Some(ago_us - until_us);
                until_us = ago_us;
            }
        }
        spent
    }

    /// When it came, in nanoseconds since the engine's start.
    pub fn start_ns(&self) -> u64 {
        self.start.saturating_duration_since(self.epoch).as_nanos() as u64
    }

    /// Whether the question is about it.
    pub fn fits(&self, query: &Query) -> bool {
        let is_old_enough = us(self.age()) >= query.age_min_us;
        is_old_enough
            && query.conditions.iter().all(|one| self.meets(one))
            && query
                .after
                .as_ref()
                .is_none_or(|place| self.is_behind(place))
    }

    /// What it is ordered by.
    pub fn key(&self, sort: Sort) -> u64 {
        match sort {
            // The exact order of starts, so that a place in it is found again.
            Sort::Age => u64::MAX - self.start_ns(),
            Sort::PhaseAge => self.phase_age().as_nanos() as u64,
            Sort::Received => self.slot.received.get(),
            Sort::Sent => self.slot.sent.get(),
        }
    }

    fn meets(&self, condition: &Condition) -> bool {
        self.is(condition.field, &condition.value) != condition.negated
    }

    fn is(&self, field: Field, value: &str) -> bool {
        match field {
            Field::Id => hex_is(self.subject.id.as_bytes(), value),
            Field::TraceId => {
                let id = self.subject.trace_id.as_ref();
                id.map_or(value.is_empty(), |id| hex_is(id.as_bytes(), value))
            }
            Field::Namespace => self.namespace() == value,
            Field::Kind => self.kind() == value,
            Field::Phase => self.phase().as_str() == value,
            Field::Method => {
                self.request().map_or(&b""[..], RequestHead::method_bytes) == value.as_bytes()
            }
            Field::Host => self.host().eq_ignore_ascii_case(value.as_bytes()),
            Field::Route => match self.route {
                None => value.is_empty(),
                Some(route) => value.strip_prefix(shown_host(&route.host)) == Some(&*route.path),
            },
            Field::Ingress => match self.route {
                None => value.is_empty(),
                Some(route) => is_named(value, &route.namespace, &route.ingress),
            },
            Field::Service => match self.backend {
                None => value.is_empty(),
                Some(backend) => {
                    *backend.key == *value || is_named(value, &backend.namespace, &backend.service)
                }
            },
            Field::Endpoint => match self.endpoint {
                None => value.is_empty(),
                Some(endpoint) => value.parse() == Ok(endpoint.address),
            },
            Field::Pod => self.endpoint.map_or("", |endpoint| &endpoint.pod) == value,
            Field::Node => self.endpoint.map_or("", |endpoint| &endpoint.node) == value,
            Field::Client => value.parse() == Ok(self.subject.client.ip()),
        }
    }

    fn is_behind(&self, place: &Place) -> bool {
        let start_ns = self.start_ns();
        start_ns > place.start_ns
            || (start_ns == place.start_ns && self.subject.id.to_string() > place.id)
    }
}

/// A host as it is shown in the name of a route.
pub fn shown_host(name: &str) -> &str {
    match name {
        "" => "*",
        name => name,
    }
}

fn target(subject: &Subject) -> Target {
    let Kind::Request(request) = &subject.kind else {
        return Target::default();
    };
    let table = &subject.table;
    let listener = table.listener(subject.listener);
    if let Some(key) = listener.and_then(|listener| listener.backend.as_ref()) {
        return Target {
            route: None,
            backend: table.backend(key).cloned(),
        };
    }
    let matched = table.route(request.host(), path_to_match(request));
    let route = matched.map(|matched| Arc::clone(matched.route));
    let backend = route
        .as_ref()
        .and_then(|route| table.backend(&route.backend));
    Target {
        backend: backend.cloned(),
        route,
    }
}

/// Whole microseconds.
pub fn us(duration: Duration) -> u64 {
    duration.as_micros() as u64
}

fn is_named(value: &str, namespace: &str, name: &str) -> bool {
    value.split_once('/') == Some((namespace, name))
}

fn hex_is(id: &[u8], value: &str) -> bool {
    let digits =
        |byte: &u8| [byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]);
    value.len() == 2 * id.len() && id.iter().flat_map(digits).eq(value.bytes())
}

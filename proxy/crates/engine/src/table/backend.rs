//! Backends and their endpoints, compiled: addresses parsed, their share of the spans encoded.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use rustls::sign::CertifiedKey;
use serde::Deserialize;

use super::affinity::Affinity;
use super::balance::{HashKey, Health, Locality, Place, Tier, weight};
use super::policy::{optional, positive};
use super::transport::{Transport, TransportId};
use super::wire;
use crate::health::{Vitals, Ward};
use crate::instant::Instant;
use crate::limits::{ENDPOINT_WEIGHT_MAX, QUEUE_MAX, QUEUE_TIMEOUT_MAX};
use crate::stable_hash::stable_hash;
use crate::trace::attribute::{key, put_int, put_span_name, put_text};
use crate::upstream::Load;

/// How one of the ready endpoints is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BalancePolicy {
    /// One after the other.
    RoundRobin,
    /// The less busy of two random choices.
    LeastRequest,
    /// The one of two with the lower moving average of latency, times its load.
    Ewma,
    /// The same key goes to the same endpoint.
    Hash,
}

impl BalancePolicy {
    /// The name in tables and spans.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastRequest => "least_request",
            Self::Ewma => "ewma",
            Self::Hash => "hash",
        }
    }
}

/// What of a request [`BalancePolicy::Hash`] hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HashOn {
    /// The client's address.
    Ip,
    /// The value of a header.
    Header,
    /// The value of a cookie.
    Cookie,
}

/// Which endpoints come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prefer {
    /// None.
    Any,
    /// Those of the engine's own zone.
    Zone,
    /// Those of its own node, then of its zone.
    Node,
}

/// What a backend's endpoints speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; without TLS by prior knowledge.
    H2,
    /// What ALPN settles on; without TLS HTTP/1.1.
    Auto,
}

/// The PROXY protocol header at the start of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocol {
    /// None.
    Off,
    /// The line of text.
    V1,
    /// The binary one.
    V2,
}

/// How much a backend is given at once, over all workers; 0 is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackendLimits {
    /// Requests.
    pub requests_max: u32,
    /// Connections to one endpoint.
    pub connections_max: u32,
    /// Requests that wait for their turn; 0 lets none wait.
    pub queue_max: u32,
    /// How long one may wait.
    pub queue_timeout: Duration,
}

/// One port of one Service and its ready endpoints.
#[derive(Debug, Clone)]
pub struct Backend {
    /// `namespace/service:port`.
    pub key: Arc<str>,
    /// The Service's namespace.
    pub namespace: Box<str>,
    /// The Service's name.
    pub service: Box<str>,
    /// The port as it was named: a number as text or a name.
    pub port: Box<str>,
    /// The ready endpoints, in the order of the table.
    pub endpoints: Vec<Endpoint>,
    /// How one of them is picked.
    pub balance: BalancePolicy,
    /// What of a request [`BalancePolicy::Hash`] hashes.
    pub hash_key: HashKey,
    /// How a client stays with its endpoint, if it does.
    pub affinity: Option<Affinity>,
    /// Which endpoints come first.
    pub prefer: Prefer,
    /// The endpoints in the order in which they are preferred; none is empty.
    pub tiers: Box<[Tier]>,
    /// When an endpoint is left out; `None` is never.
    pub health: Option<Health>,
    /// How long the share of a new endpoint grows.
    pub slow_start: Option<Duration>,
    /// What they speak.
    pub protocol: Protocol,
    /// What connections to them are made of beyond TCP; `None` for nothing.
    pub transport: Option<Arc<Transport>>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How much they are given at once.
    pub limits: BackendLimits,
    /// When the set of endpoints last changed, in UTC milliseconds.
    pub changed_unix_ms: u64,
    /// Why there can be no endpoint, in words; empty if there can.
    pub missing: Box<str>,
    /// What is known of its load now, handed on from table to table.
    pub(crate) load: Arc<Load>,
    /// Its share of the `balance` span, encoded: the name, then attributes.
    pub(crate) span_name_and_attributes: Box<[u8]>,
    /// [`Self::changed_unix_ms`] as an attribute, encoded.
    pub(crate) changed_attribute: Box<[u8]>,
    ward: Arc<Ward>,
}

/// Where connections lead, and how they are made: what those that stand in for each other have in
/// common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The endpoint.
    pub address: SocketAddr,
    protocol: Protocol,
    transport: Option<TransportId>,
    /// A connection is made for one client, as its PROXY header says, and serves no other.
    pub is_for_one_client: bool,
}

impl Destination {
    /// Whether a connection there is one of HTTP/2, by what ALPN settled on if it did.
    #[must_use]
    pub fn is_http2(&self, alpn: Option<&[u8]>) -> bool {
        match alpn {
            Some(protocol) => protocol == b"h2",
            None => self.protocol == Protocol::H2,
        }
    }

    /// Whether connections there may be of HTTP/2, and then serve many requests at once.
    #[must_use]
    pub fn may_be_shared(&self) -> bool {
        let may_be_http2 = match self.protocol {
            Protocol::Http1 => false,
            // By ALPN: a transport that is not for one client is one with TLS.
            Protocol::Auto => self.transport.is_some(),
            Protocol::H2 => true,
        };
        may_be_http2 && !self.is_for_one_client
    }
}

/// One ready address of a backend.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Where to connect to.
    pub address: SocketAddr,
    /// The pod's name; empty if unknown.
    pub pod: Box<str>,
    /// The node's name; empty if unknown.
    pub node: Box<str>,
    /// The node's zone; empty if unknown.
    pub zone: Box<str>,
    /// How near it is.
    pub place: Place,
    /// Its share of the requests, against those of the others; 0 is only used when no other can be.
    pub weight: u32,
    /// What it is to a consistent hash: the same wherever its address is the same.
    pub id: u64,
    /// What attempts told about it; beside the table, and shared with the tables before and after.
    pub(crate) vitals: Arc<Vitals>,
    /// Its share of the CLIENT span, encoded.
    pub(crate) attributes: Box<[u8]>,
}

impl wire::Backend {
    pub(super) fn key(&self) -> String {
        format!("{}/{}:{}", self.namespace, self.service, self.port)
    }
}

impl Backend {
    /// Compiles a backend. `old` is the one that it takes the place of, `certificate` finds one by
    /// its key.
    ///
    /// # Errors
    /// One sentence: a name is empty, a time is not positive, an endpoint is no address, or TLS
    /// cannot be set up.
    pub(super) fn compile(
        wire: &wire::Backend,
        locality: &Locality,
        old: Option<&Self>,
        certificate: impl FnOnce(&str) -> Option<Arc<CertifiedKey>>,
    ) -> Result<Self, String> {
        if [&wire.namespace, &wire.service, &wire.port]
            .iter()
            .any(|name| name.is_empty())
        {
            return Err("namespace, service and port must not be empty".to_owned());
        }
        let history = History::of(old);
        let endpoints = wire.endpoints.iter();
        let endpoints: Result<Vec<_>, _> = endpoints
            .map(|endpoint| Endpoint::compile(endpoint, locality, &history))
            .collect();
        let endpoints = endpoints?;
        let key = wire.key();
        let changed_unix_ms = u64::try_from(wire.changed_unix_ms).unwrap_or(0);
        let old_transport = old.and_then(|old| old.transport.as_ref());
        let affinity = wire.affinity.as_ref();
        let affinity = affinity.map(|affinity| Affinity::compile(affinity, &key, &endpoints));
        Ok(Self {
            transport: Transport::compile(wire, old_transport, certificate)?,
            hash_key: HashKey::compile(&wire.hash_key)?,
            affinity: affinity.transpose()?,
            prefer: wire.prefer,
            tiers: Tier::split(&endpoints, wire.prefer),
            health: Health::compile(&wire.health)?,
            slow_start: optional("slow_start_ms", wire.slow_start_ms)?,
            ward: history.ward,
            span_name_and_attributes: balance_span(wire, &key),
            changed_attribute: changed_attribute(changed_unix_ms),
            changed_unix_ms,
            key: Arc::from(key),
            namespace: Box::from(wire.namespace.as_str()),
            service: Box::from(wire.service.as_str()),
            port: Box::from(wire.port.as_str()),
            endpoints,
            balance: wire.balance,
            protocol: wire.protocol,
            connect_timeout: positive("connect_timeout_ms", wire.connect_timeout_ms)?,
            limits: BackendLimits::compile(&wire.limits)?,
            load: Arc::default(),
            missing: Box::from(wire.missing.as_str()),
        })
    }

    /// The backend with the certificate that it shows now; `None` where nothing has changed.
    pub(super) fn renewed(
        &self,
        certificate: impl FnOnce(&str) -> Option<Arc<CertifiedKey>>,
    ) -> Option<Self> {
        let transport = self.transport.as_ref()?.renewed(certificate)?;
        Some(Self {
            transport: Some(Arc::new(transport)),
            ..self.clone()
        })
    }

    /// Where connections to that endpoint lead.
    #[must_use]
    pub fn destination(&self, endpoint: usize) -> Destination {
        self.destination_of(&self.endpoints[endpoint])
    }

    /// Where connections to its endpoints lead.
    pub fn destinations(&self) -> impl Iterator<Item = Destination> {
        self.endpoints
            .iter()
            .map(|endpoint| self.destination_of(endpoint))
    }

    fn destination_of(&self, endpoint: &Endpoint) -> Destination {
        let transport = self.transport.as_deref();
        Destination {
            address: endpoint.address,
            protocol: self.protocol,
            transport: transport.map(|transport| transport.id),
            is_for_one_client: transport.is_some_and(Transport::is_for_one_client),
        }
    }

    /// The same backend for an engine that runs elsewhere.
    pub(super) fn moved(&self, locality: &Locality) -> Self {
        let mut moved = self.clone();
        for endpoint in &mut moved.endpoints {
            endpoint.place = locality.place(&endpoint.node, &endpoint.zone);
        }
        moved.tiers = Tier::split(&moved.endpoints, self.prefer);
        moved
    }

    /// How many endpoints are ejected now. All are looked at only while there is one.
    #[must_use]
    pub fn ejected_count(&self, now: Instant) -> usize {
        if self.ward.is_empty() {
            return 0;
        }
        let is_ejected = |one: &&Endpoint| one.vitals.ejected_for(now).is_some();
        self.endpoints.iter().filter(is_ejected).count()
    }

    /// Whether endpoints are left out when that many are ejected: not when they are too many, since
    /// the others would have to carry their load (panic).
    #[must_use]
    pub fn leaves_out(&self, ejected_count: usize) -> bool {
        let percent_max = self
            .health
            .as_ref()
            .map_or(0, |it| it.ejected_percent_max as usize);
        ejected_count > 0 && ejected_count * 100 <= percent_max * self.endpoints.len()
    }
}

impl BackendLimits {
    fn compile(wire: &wire::BackendLimits) -> Result<Self, String> {
        let whole = |name: &str, value: i64, most: u32| {
            let wrong = || format!("limits.{name} is {value}, which is not from 0 to {most}");
            let count = u32::try_from(value).ok().filter(|count| *count <= most);
            count.ok_or_else(wrong)
        };
        let queue_timeout = optional("limits.queue_timeout_ms", wire.queue_timeout_ms)?;
        Ok(Self {
            requests_max: whole("requests_max", wire.requests_max, u32::MAX)?,
            connections_max: whole("connections_max", wire.connections_max, u32::MAX)?,
            queue_max: whole("queue_max", wire.queue_max, QUEUE_MAX)?,
            queue_timeout: queue_timeout.map_or(QUEUE_TIMEOUT_MAX, |it| it.min(QUEUE_TIMEOUT_MAX)),
        })
    }
}

/// What was measured of a backend under the tables before.
struct History<'a> {
    ward: Arc<Ward>,
    vitals: FxHashMap<SocketAddr, &'a Arc<Vitals>>,
}

impl<'a> History<'a> {
    fn of(old: Option<&'a Backend>) -> Self {
        let endpoints = old.map_or(&[][..], |old| &old.endpoints);
        Self {
            ward: old.map_or_else(Arc::default, |old| Arc::clone(&old.ward)),
            vitals: endpoints
                .iter()
                .map(|one| (one.address, &one.vitals))
                .collect(),
        }
    }

    fn vitals(&self, address: SocketAddr) -> Arc<Vitals> {
        let known = self.vitals.get(&address).map(|vitals| Arc::clone(vitals));
        known.unwrap_or_else(|| Arc::new(Vitals::new(&self.ward, !self.vitals.is_empty())))
    }
}

impl Endpoint {
    fn compile(
        wire: &wire::Endpoint,
        locality: &Locality,
        history: &History<'_>,
    ) -> Result<Self, String> {
        let wrong = |what: &str| format!("the endpoint {}:{} {what}", wire.address, wire.port);
        let ip: IpAddr = wire
            .address
            .parse()
            .map_err(|_| wrong("is no IP address"))?;
        let port = u16::try_from(wire.port).ok().filter(|port| *port != 0);
        let port = port.ok_or_else(|| wrong("has no port from 1 to 65535"))?;
        let weight = weight(wire.weight)
            .ok_or_else(|| wrong(&format!("has no weight from 0 to {ENDPOINT_WEIGHT_MAX}")))?;
        let address = SocketAddr::new(ip, port);
        Ok(Self {
            address,
            place: locality.place(&wire.node, &wire.zone),
            weight,
            id: stable_hash([address.to_string().as_bytes()]),
            vitals: history.vitals(address),
            pod: Box::from(wire.pod.as_str()),
            node: Box::from(wire.node.as_str()),
            zone: Box::from(wire.zone.as_str()),
            attributes: endpoint_attributes(wire, ip, port),
        })
    }
}

fn balance_span(wire: &wire::Backend, key: &str) -> Box<[u8]> {
    let mut span = Vec::new();
    put_span_name(&mut span, ["balance ", key]);
    put_text(&mut span, key!("k8s.namespace.name"), &wire.namespace);
    put_text(&mut span, key!("k8s.service.name"), &wire.service);
    put_text(&mut span, key!("spanway.lb.policy"), wire.balance.as_str());
    let endpoints_ready = wire.endpoints.len() as u64;
    put_int(
        &mut span,
        key!("spanway.lb.endpoints_ready"),
        endpoints_ready,
    );
    span.into_boxed_slice()
}

fn changed_attribute(unix_ms: u64) -> Box<[u8]> {
    let mut attribute = Vec::new();
    put_int(
        &mut attribute,
        key!("spanway.endpoints.changed_unix_ms"),
        unix_ms,
    );
    attribute.into_boxed_slice()
}

fn endpoint_attributes(wire: &wire::Endpoint, ip: IpAddr, port: u16) -> Box<[u8]> {
    let (ip, port) = (ip.to_string(), u64::from(port));
    let mut attributes = Vec::new();
    put_text(&mut attributes, key!("server.address"), &ip);
    put_int(&mut attributes, key!("server.port"), port);
    put_text(&mut attributes, key!("network.peer.address"), &ip);
    put_int(&mut attributes, key!("network.peer.port"), port);
    if !wire.pod.is_empty() {
        put_text(&mut attributes, key!("k8s.pod.name"), &wire.pod);
    }
    if !wire.node.is_empty() {
        put_text(&mut attributes, key!("k8s.node.name"), &wire.node);
    }
    if !wire.zone.is_empty() {
        put_text(&mut attributes, key!("cloud.availability_zone"), &wire.zone);
    }
    attributes.into_boxed_slice()
}

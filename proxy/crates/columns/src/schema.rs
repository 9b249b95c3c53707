//! The schema of stored spans: one row a span.
//!
//! Attributes by which people search and group have a column of their own, with the attribute's name,
//! dots and all. All others are in `attributes`, a JSON object, and so is one whose value is of
//! another type than its column. A column is null where a span does not say it.

use rustc_hash::FxHashMap;

/// What is in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text, as a dictionary: few different values, many times.
    Name,
    /// Text that hardly repeats.
    Text,
    /// A signed number.
    Int,
    /// An id: all 64 bits count.
    Id,
    /// True or false.
    Bool,
}

/// A column with what it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// What it is called in queries.
    pub name: &'static str,
    /// What is in it.
    pub kind: Kind,
}

const fn own(name: &'static str, kind: Kind) -> Field {
    Field { name, kind }
}

/// What every span has, in the order in which `table.rs` fills it in.
///
/// `trace_hi` and `trace_lo` are the halves of the trace id, big endian; times are nanoseconds,
/// since 1970 or as a distance; `kind` and `status` are the numbers of OTLP; `resource`,
/// `attributes`, `events` and `links` are JSON.
pub const OWN: [Field; 18] = [
    own("trace_hi", Kind::Id),
    own("trace_lo", Kind::Id),
    own("span_id", Kind::Id),
    own("parent_id", Kind::Id),
    own("start_ns", Kind::Int),
    own("duration_ns", Kind::Int),
    own("kind", Kind::Int),
    own("status", Kind::Int),
    own("name", Kind::Name),
    own("service", Kind::Name),
    own("instance", Kind::Name),
    own("scope", Kind::Name),
    own("status_message", Kind::Name),
    own("trace_state", Kind::Text),
    own("resource", Kind::Name),
    own("attributes", Kind::Text),
    own("events", Kind::Text),
    own("links", Kind::Text),
];

/// The attributes that have a column of their own.
pub const ATTRIBUTES: [(&str, Kind); 73] = [
    ("http.request.method", Kind::Name),
    ("http.route", Kind::Name),
    ("http.response.status_code", Kind::Int),
    ("http.request.body.size", Kind::Int),
    ("http.response.body.size", Kind::Int),
    ("http.request.resend_count", Kind::Int),
    ("url.scheme", Kind::Name),
    ("url.path", Kind::Name),
    ("server.address", Kind::Name),
    ("server.port", Kind::Int),
    ("client.address", Kind::Name),
    ("client.port", Kind::Int),
    ("network.peer.address", Kind::Name),
    ("network.peer.port", Kind::Int),
    ("network.protocol.version", Kind::Name),
    ("tls.protocol.version", Kind::Name),
    ("user_agent.original", Kind::Name),
    ("error.type", Kind::Name),
    ("rpc.system.name", Kind::Name),
    ("rpc.method", Kind::Name),
    ("rpc.response.status_code", Kind::Name),
    ("db.system.name", Kind::Name),
    ("k8s.namespace.name", Kind::Name),
    ("k8s.service.name", Kind::Name),
    ("k8s.pod.name", Kind::Name),
    ("k8s.node.name", Kind::Name),
    ("cloud.availability_zone", Kind::Name),
    ("spanway.ingress.name", Kind::Name),
    ("spanway.route", Kind::Name),
    ("spanway.listener", Kind::Name),
    ("spanway.table.generation", Kind::Int),
    ("spanway.sampled.by", Kind::Name),
    ("spanway.endpoints.changed_unix_ms", Kind::Int),
    ("spanway.request.id", Kind::Text),
    ("spanway.flags", Kind::Name),
    ("spanway.verdict", Kind::Name),
    ("spanway.verdict.excess_us", Kind::Int),
    ("spanway.time.client_network_us", Kind::Int),
    ("spanway.time.proxy_us", Kind::Int),
    ("spanway.time.cluster_network_us", Kind::Int),
    ("spanway.time.app_us", Kind::Int),
    ("spanway.time.app_queue_us", Kind::Int),
    ("spanway.lb.policy", Kind::Name),
    ("spanway.lb.endpoints_ready", Kind::Int),
    ("spanway.lb.endpoints_ejected", Kind::Int),
    ("spanway.lb.affinity", Kind::Name),
    ("spanway.lb.locality", Kind::Name),
    ("spanway.lb.queue_us", Kind::Int),
    ("spanway.lb.attempts", Kind::Int),
    ("spanway.retry.denied", Kind::Name),
    ("spanway.connection.reused", Kind::Bool),
    ("spanway.connection.received_bytes", Kind::Int),
    ("spanway.connection.sent_bytes", Kind::Int),
    ("spanway.phase", Kind::Name),
    ("spanway.phase.head_us", Kind::Int),
    ("spanway.phase.route_us", Kind::Int),
    ("spanway.phase.queue_us", Kind::Int),
    ("spanway.phase.connect_us", Kind::Int),
    ("spanway.phase.tls_us", Kind::Int),
    ("spanway.phase.send_us", Kind::Int),
    ("spanway.phase.wait_us", Kind::Int),
    ("spanway.phase.receive_us", Kind::Int),
    ("spanway.phase.respond_us", Kind::Int),
    ("spanway.net.source", Kind::Name),
    ("spanway.net.correlation", Kind::Name),
    ("spanway.net.wakeup_us", Kind::Int),
    ("spanway.net.rwnd_limited_us", Kind::Int),
    ("spanway.net.cwnd_limited_us", Kind::Int),
    ("tcp.rtt_us", Kind::Int),
    ("tcp.min_rtt_us", Kind::Int),
    ("tcp.retransmits", Kind::Int),
    ("tcp.handshake_retransmits", Kind::Int),
    ("tls.resumed", Kind::Bool),
];

/// The places of these, by their names.
pub(crate) type Places = FxHashMap<&'static [u8], usize>;

pub(crate) fn places() -> Places {
    let names = ATTRIBUTES.iter().map(|(name, _)| name.as_bytes());
    names.zip(0..).collect()
}

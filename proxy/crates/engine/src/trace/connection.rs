//! A connection that was handed on as it was, as OTLP spans: one for the client's, one for each
//! attempt to reach an endpoint.
//!
//! Rules: as those of `otlp.rs`. `docs/SPANS.md` lists every attribute that is written here.

use std::net::SocketAddr;

use super::attribute::{key, put_int, put_span_name, put_text};
use super::clock::Anchor;
use super::id::{SpanId, TraceId};
use super::otlp::{Common, Kind, SpanHead, is_ours, put_error_status, put_error_type, put_ip};
use super::segment::Flag;
use super::timing::{Interval, offset_ns};
use crate::instant::Instant;
use crate::table::{Backend, ListenerKind};

/// A connection that is over.
#[derive(Debug, Clone)]
pub struct Connection<'a> {
    /// The wall clock for every instant below.
    pub clock: Anchor,
    /// A new trace.
    pub trace_id: TraceId,
    /// The id of the SERVER span.
    pub root: SpanId,
    /// The W3C trace flags.
    pub sampled_flags: u8,
    /// The name that the client asked for; may be empty.
    pub server_name: &'a str,
    /// The address of the other end of the client's connection.
    pub client: SocketAddr,
    /// The local address of the client's connection.
    pub server: SocketAddr,
    /// What kind of listener accepted the connection.
    pub listener: ListenerKind,
    /// Where it was to go.
    pub backend: Option<&'a Backend>,
    /// The generation of the table that was used.
    pub generation: u64,
    /// Why it failed, if it did.
    pub flag: Option<Flag>,
    /// Bytes from the client.
    pub received_bytes: u64,
    /// Bytes from the endpoint.
    pub sent_bytes: u64,
    /// When it was clear where it goes.
    pub start: Instant,
    /// When both sides were done.
    pub end: Instant,
    /// In the order in which they were made.
    pub attempts: &'a [ConnectionAttempt],
}

/// One try at one endpoint.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionAttempt {
    /// The id of the CLIENT span.
    pub id: SpanId,
    /// Where it went, by its index in the backend.
    pub endpoint: usize,
    /// When the endpoint was picked.
    pub started: Instant,
    /// When a connection was there.
    pub connected: Option<Instant>,
    /// When it was over; none if the connection was cut.
    pub end: Option<Instant>,
    /// Why it failed, if it did.
    pub error: Option<Flag>,
}

/// Appends the spans of `connection`, as fields of a `ScopeSpans`; returns how many.
pub(super) fn put_connection(out: &mut Vec<u8>, connection: &Connection<'_>) -> usize {
    let common = Common {
        trace_id: connection.trace_id,
        trace_state: b"",
        sampled_flags: connection.sampled_flags,
        start_unix_ns: connection.clock.unix_ns(connection.start),
    };
    let interval = Interval {
        start: 0,
        end: offset_ns(connection.start, connection.end),
    };
    put_server(out, connection, &common, interval);
    for attempt in connection.attempts {
        put_attempt(out, connection, attempt, &common, interval);
    }
    1 + connection.attempts.len()
}

fn put_server(
    out: &mut Vec<u8>,
    connection: &Connection<'_>,
    common: &Common<'_>,
    interval: Interval,
) {
    let head = SpanHead {
        id: connection.root,
        parent: None,
        parent_is_remote: false,
        kind: Kind::Server,
        interval,
    };
    let span = head.open(out, common);
    match connection.server_name {
        "" => put_span_name(out, ["tls"]),
        name => {
            put_span_name(out, ["tls ", name]);
            put_text(out, key!("server.address"), name);
        }
    }
    put_int(
        out,
        key!("server.port"),
        u64::from(connection.server.port()),
    );
    put_ip(out, key!("client.address"), connection.client.ip());
    put_int(
        out,
        key!("client.port"),
        u64::from(connection.client.port()),
    );
    put_text(out, key!("network.transport"), "tcp");
    put_text(out, key!("network.protocol.name"), "tls");
    put_text(out, key!("spanway.listener"), connection.listener.as_str());
    put_int(out, key!("spanway.table.generation"), connection.generation);
    if let Some(backend) = connection.backend {
        put_backend(out, backend);
    }
    put_int(
        out,
        key!("spanway.connection.received_bytes"),
        connection.received_bytes,
    );
    put_int(
        out,
        key!("spanway.connection.sent_bytes"),
        connection.sent_bytes,
    );
    if let Some(flag) = connection.flag {
        put_text(out, key!("spanway.flags"), flag.as_str());
        put_error_type(out, flag);
        if is_ours(flag) {
            let missing = connection.backend.map_or("", |backend| &backend.missing);
            put_error_status(out, missing.as_bytes());
        }
    }
    span.close(out);
}

fn put_backend(out: &mut Vec<u8>, backend: &Backend) {
    put_text(out, key!("k8s.namespace.name"), &backend.namespace);
    put_text(out, key!("k8s.service.name"), &backend.service);
    out.extend_from_slice(&backend.changed_attribute);
}

fn put_attempt(
    out: &mut Vec<u8>,
    connection: &Connection<'_>,
    attempt: &ConnectionAttempt,
    common: &Common<'_>,
    whole: Interval,
) {
    let offset = |at| offset_ns(connection.start, at);
    let end = attempt.end.unwrap_or(connection.end);
    let interval = whole.clamped(offset(attempt.started), offset(end));
    let head = SpanHead {
        id: attempt.id,
        parent: Some(connection.root),
        parent_is_remote: false,
        kind: Kind::Client,
        interval,
    };
    let span = head.open(out, common);
    put_span_name(out, ["tcp"]);
    put_text(out, key!("network.transport"), "tcp");
    let endpoint = connection
        .backend
        .and_then(|backend| backend.endpoints.get(attempt.endpoint));
    if let Some(endpoint) = endpoint {
        out.extend_from_slice(&endpoint.attributes);
    }
    let connected = offset(attempt.connected.unwrap_or(end));
    let connecting = connected.clamp(interval.start, interval.end) - interval.start;
    put_int(out, key!("spanway.phase.connect_us"), connecting / 1000);
    if let Some(flag) = attempt.error {
        put_error_type(out, flag);
        if is_ours(flag) {
            put_error_status(out, b"");
        }
    }
    span.close(out);
}

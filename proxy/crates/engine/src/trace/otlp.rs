//! One segment as OTLP spans: the one place that knows which attribute goes on which span.
//!
//! Rules: append-only, no allocation; what does not change between requests was encoded with the
//! table or the connection. `docs/SPANS.md` lists every attribute that is written here.
//!
//! Source: opentelemetry-proto 1.x, `trace.proto`; OpenTelemetry semantic conventions for HTTP.

use std::net::{IpAddr, SocketAddr};

use super::attribute::{
    FIXED32, FIXED64, LENGTH, LengthGap, VARINT, field, key, put_ascii, put_bool, put_bytes,
    put_int, put_known, put_lossy, put_span_name, put_string_field, put_text,
};
use super::id::{SpanId, TraceId};
use super::net;
use super::segment::{Attempt, Balance, Choice, Fault, Flag, Messages, Segment};
use super::timing::{AttemptLine, Interval, Phases, Timeline};
use super::{capture, phases as phase_spans, rpc};
use crate::grpc;
use crate::instant::nanoseconds;
use crate::ip_text::IpText;

/// `ScopeSpans.spans`.
const SPAN: u8 = field(2, LENGTH);
const TRACE_ID: u8 = field(1, LENGTH);
const SPAN_ID: u8 = field(2, LENGTH);
const TRACE_STATE: u8 = field(3, LENGTH);
const PARENT_SPAN_ID: u8 = field(4, LENGTH);
const KIND: u8 = field(6, VARINT);
const START: u8 = field(7, FIXED64);
const END: u8 = field(8, FIXED64);
const LINK: u8 = field(13, LENGTH);
const STATUS: u8 = field(15, LENGTH);
/// Field 16, fixed32: the first one whose tag takes two bytes.
const FLAGS: [u8; 2] = [0x85, 0x01];
/// `Span.Link`.
const LINK_TRACE_ID: u8 = field(1, LENGTH);
const LINK_SPAN_ID: u8 = field(2, LENGTH);
const LINK_FLAGS: u8 = field(6, FIXED32);
const STATUS_MESSAGE: u8 = field(2, LENGTH);
const STATUS_CODE: u8 = field(3, VARINT);
const STATUS_ERROR: u8 = 2;

/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK`: the next bit has a meaning.
const PARENT_IS_KNOWN: u32 = 0x100;
/// `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`: the parent is in another process.
const PARENT_IS_REMOTE: u32 = 0x200;

/// The name and method of a request whose method is not to name anything.
const METHOD_OTHER: &str = "_OTHER";
const METHOD_NAME_OTHER: &str = "HTTP";

#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
}

/// Appends the spans of `segment`, as fields of a `ScopeSpans`; returns how many.
pub(super) fn put_segment(out: &mut Vec<u8>, segment: &Segment<'_>, timeline: &Timeline) -> usize {
    let common = Common::of(segment);
    put_server(out, segment, (&common, timeline.root), &timeline.phases);
    let mut parent = segment.root;
    if let Some(balance) = segment.balance {
        put_balance(out, segment, balance, (&common, timeline.balance));
        parent = balance.id;
    }
    let mut below = 0;
    for (attempt, line) in segment.attempts.iter().zip(&timeline.attempts) {
        put_attempt(out, segment, (attempt, line), (&common, parent));
        if let Some(line) = &line.net {
            below += net::put_spans(out, attempt.id, line, &common);
        }
    }
    if let Some(interval) = timeline.deliver(segment) {
        below += net::put_client_span(out, segment.root, interval, &common);
    }
    below += phase_spans::put_phases(out, segment, &common, timeline);
    1 + usize::from(segment.balance.is_some()) + segment.attempts.len() + below
}

fn put_server(
    out: &mut Vec<u8>,
    segment: &Segment<'_>,
    (common, interval): (&Common<'_>, Interval),
    phases: &Phases,
) {
    let head = SpanHead {
        id: segment.root,
        parent: segment.parent,
        parent_is_remote: segment.parent.is_some(),
        kind: Kind::Server,
        interval,
    };
    let span = head.open(out, common);
    let method = method_name(segment);
    match segment.route {
        Some(route) => put_span_name(out, [method, " ", &route.path]),
        None => put_span_name(out, [method]),
    }
    put_request(out, segment);
    put_origin(out, segment);
    put_result(out, segment);
    put_server_phases(out, phases);
    put_judgement(out, segment);
    if let Some((trace_id, span_id, flags)) = segment.link {
        put_link(out, trace_id, span_id, u32::from(flags) | PARENT_IS_REMOTE);
    }
    if let Some(publisher) = segment.publisher {
        let flags = u32::from(publisher.flags);
        put_link(out, publisher.trace_id, publisher.span_id, flags);
    }
    net::put_client(out, segment);
    if server_is_error(segment) {
        put_error_status(out, b"");
    }
    span.close(out);
}

/// What was asked for, by whom.
fn put_request(out: &mut Vec<u8>, segment: &Segment<'_>) {
    put_method(out, segment);
    put_known!(out, "url.scheme", segment.scheme, "http" | "https");
    put_lossy(out, key!("url.path"), segment.path);
    if let (Some(keys), Some(query)) = (&segment.detail.query_keys, segment.query) {
        capture::put_query(out, query, keys);
    }
    if !segment.host.is_empty() {
        put_lossy(out, key!("server.address"), segment.host);
    }
    match segment.ends_attributes {
        Some(attributes) => out.extend_from_slice(attributes),
        None => put_ends(out, segment.client, segment.network_peer, segment.server),
    }
    let version = segment.http_version;
    put_known!(out, "network.protocol.version", version, "1.1" | "2");
    out.extend_from_slice(segment.tls_attributes);
    if let Some(user_agent) = segment.user_agent {
        put_lossy(out, key!("user_agent.original"), user_agent);
    }
    if !segment.request_id.is_empty() {
        put_lossy(out, key!("spanway.request.id"), segment.request_id);
    }
    let wanted = &segment.detail.request_headers;
    capture::put_headers(out, wanted, segment.request_fields);
}

/// [`Segment::ends_attributes`] of a connection: made once for all its requests, since addresses take
/// longer to write than anything else.
#[must_use]
pub fn ends_attributes(client: SocketAddr, peer: SocketAddr, server: SocketAddr) -> Box<[u8]> {
    let mut attributes = Vec::new();
    put_ends(&mut attributes, client, peer, server);
    attributes.into()
}

/// The peer is only worth telling where it is not the client.
fn put_ends(out: &mut Vec<u8>, client: SocketAddr, peer: SocketAddr, server: SocketAddr) {
    put_int(out, key!("server.port"), u64::from(server.port()));
    put_ip(out, key!("client.address"), client.ip());
    if client.port() != 0 {
        put_int(out, key!("client.port"), u64::from(client.port()));
    }
    if client != peer {
        put_ip(out, key!("network.peer.address"), peer.ip());
        put_int(out, key!("network.peer.port"), u64::from(peer.port()));
    }
}

/// What decided about the request: listener, route, backend, table.
fn put_origin(out: &mut Vec<u8>, segment: &Segment<'_>) {
    let listener = segment.listener.as_str();
    put_known!(out, "spanway.listener", listener, "ingress" | "service");
    put_int(out, key!("spanway.table.generation"), segment.generation);
    let sampled_by = segment.sampled_by.as_str();
    if !sampled_by.is_empty() {
        put_text(out, key!("spanway.sampled.by"), sampled_by);
    }
    if let Some(route) = segment.route {
        out.extend_from_slice(&route.attributes);
    } else if let Some(backend) = segment.backend {
        put_text(out, key!("k8s.namespace.name"), &backend.namespace);
    }
    if let Some(path) = segment.rewritten_path {
        put_lossy(out, key!("spanway.rewrite.path"), path);
    }
    if let Some(backend) = segment.backend {
        out.extend_from_slice(&backend.changed_attribute);
    }
}

/// How it ended.
fn put_result(out: &mut Vec<u8>, segment: &Segment<'_>) {
    if segment.status != 0 {
        put_int(
            out,
            key!("http.response.status_code"),
            u64::from(segment.status),
        );
    }
    put_sizes(out, segment);
    if let Some(fields) = segment.response_fields {
        capture::put_headers(out, &segment.detail.response_headers, fields);
    }
    if let Some(flag) = segment.flag {
        put_text(out, key!("spanway.flags"), flag.as_str());
    }
    if let Some(end) = segment.client_end {
        put_text(out, key!("spanway.client.end"), end.as_str());
    }
    if let Some(call) = segment.call {
        let is_known = segment.attempts.last().is_some_and(rpc::is_method_known);
        rpc::put_method(out, segment.path, is_known);
        rpc::put_status(out, call.status);
    }
    match segment.flag {
        _ if segment.status >= 500 => put_status_as_error_type(out, segment.status),
        Some(flag) if segment.status == 0 || is_ours(flag) => put_error_type(out, flag),
        Some(_) => {}
        None => {
            if let Some(status) = server_error_of_call(segment) {
                put_text(out, key!("error.type"), status.as_str());
            }
        }
    }
}

/// A span in another trace.
#[cold]
fn put_link(out: &mut Vec<u8>, trace_id: TraceId, span_id: SpanId, flags: u32) {
    out.push(LINK);
    let gap = LengthGap::<1>::open(out);
    put_bytes(out, LINK_TRACE_ID, trace_id.as_bytes());
    put_bytes(out, LINK_SPAN_ID, span_id.as_bytes());
    out.push(LINK_FLAGS);
    let flags = flags | PARENT_IS_KNOWN;
    out.extend_from_slice(&flags.to_le_bytes());
    gap.close(out);
}

/// The content of both messages; once the connection was upgraded, what went through it.
fn put_sizes(out: &mut Vec<u8>, segment: &Segment<'_>) {
    let (received, sent) = (segment.request_body_bytes, segment.response_body_bytes);
    if let Some(tunnel) = segment.tunnel {
        put_int(out, key!("spanway.connection.received_bytes"), received);
        put_int(out, key!("spanway.connection.sent_bytes"), sent);
        if let Some(messages) = tunnel.messages {
            let Messages { received, sent } = messages;
            put_int(out, key!("spanway.websocket.messages_received"), received);
            put_int(out, key!("spanway.websocket.messages_sent"), sent);
        }
        return;
    }
    if segment.status != 0 {
        put_int(out, key!("http.response.body.size"), sent);
    }
    if received != 0 {
        put_int(out, key!("http.request.body.size"), received);
    }
}

/// The path that endpoints got.
fn upstream_path<'a>(segment: &Segment<'a>) -> &'a [u8] {
    segment.rewritten_path.unwrap_or(segment.path)
}

fn put_server_phases(out: &mut Vec<u8>, phases: &Phases) {
    put_int(out, key!("spanway.phase.head_us"), phases.head);
    put_int(out, key!("spanway.phase.route_us"), phases.route);
    if phases.queue > 0 {
        put_int(out, key!("spanway.phase.queue_us"), phases.queue);
    }
    put_int(out, key!("spanway.phase.connect_us"), phases.connect);
    put_tls_phase(out, phases.tls);
    put_int(out, key!("spanway.phase.send_us"), phases.send);
    put_int(out, key!("spanway.phase.wait_us"), phases.wait);
    put_int(out, key!("spanway.phase.receive_us"), phases.receive);
    put_int(out, key!("spanway.phase.respond_us"), phases.respond);
}

/// Whose the time was, in one word and in numbers; who had none is not mentioned.
fn put_judgement(out: &mut Vec<u8>, segment: &Segment<'_>) {
    let judgement = &segment.judgement;
    let verdict = judgement.verdict.as_str();
    put_known!(out, "spanway.verdict", verdict, "none" | "app");
    if judgement.excess_us > 0 {
        put_int(out, key!("spanway.verdict.excess_us"), judgement.excess_us);
    }
    let times = &judgement.times;
    if times.client_network > 0 {
        let client_network = times.client_network;
        put_int(out, key!("spanway.time.client_network_us"), client_network);
    }
    if times.proxy > 0 {
        put_int(out, key!("spanway.time.proxy_us"), times.proxy);
    }
    if times.cluster_network > 0 {
        let cluster_network = times.cluster_network;
        put_int(
            out,
            key!("spanway.time.cluster_network_us"),
            cluster_network,
        );
    }
    if times.app > 0 {
        put_int(out, key!("spanway.time.app_us"), times.app);
    }
    if times.app_queue > 0 {
        put_int(out, key!("spanway.time.app_queue_us"), times.app_queue);
    }
}

/// Most attempts need no handshake.
#[inline]
fn put_tls_phase(out: &mut Vec<u8>, tls_us: u64) {
    if tls_us != 0 {
        put_int(out, key!("spanway.phase.tls_us"), tls_us);
    }
}

fn put_balance(
    out: &mut Vec<u8>,
    segment: &Segment<'_>,
    balance: &Balance,
    (common, interval): (&Common<'_>, Interval),
) {
    let head = SpanHead {
        id: balance.id,
        parent: Some(segment.root),
        parent_is_remote: false,
        kind: Kind::Internal,
        interval,
    };
    let span = head.open(out, common);
    match segment.backend {
        Some(backend) => out.extend_from_slice(&backend.span_name_and_attributes),
        None => put_span_name(out, ["balance"]),
    }
    put_choice(out, balance.choice);
    let queued = segment.attempts.iter();
    let queued: u64 = queued.map(|attempt| nanoseconds(attempt.queued)).sum();
    let queue_us = nanoseconds(balance.queue).saturating_add(queued) / 1_000;
    put_int(out, key!("spanway.lb.queue_us"), queue_us);
    put_int(
        out,
        key!("spanway.lb.attempts"),
        segment.attempts.len() as u64,
    );
    if let Some(denied) = balance.retry_denied {
        put_text(out, key!("spanway.retry.denied"), denied.as_str());
    }
    if let Some(flag) = segment.flag.filter(|flag| is_ours(*flag)) {
        put_error_type(out, flag);
        // Why there can be no endpoint is said once, here, in words.
        let missing = segment.backend.map_or("", |backend| &backend.missing);
        put_error_status(out, missing.as_bytes());
    }
    span.close(out);
}

fn put_choice(out: &mut Vec<u8>, choice: Choice) {
    if choice.endpoints_ejected > 0 {
        let ejected = u64::from(choice.endpoints_ejected);
        put_int(out, key!("spanway.lb.endpoints_ejected"), ejected);
    }
    if let Some(stay) = choice.affinity {
        put_text(out, key!("spanway.lb.affinity"), stay.as_str());
    }
    if let Some(place) = choice.place {
        put_text(out, key!("spanway.lb.locality"), place.as_str());
    }
}

fn put_attempt(
    out: &mut Vec<u8>,
    segment: &Segment<'_>,
    (attempt, line): (&Attempt<'_>, &AttemptLine),
    (common, parent): (&Common<'_>, SpanId),
) {
    let head = SpanHead {
        id: attempt.id,
        parent: Some(parent),
        parent_is_remote: false,
        kind: Kind::Client,
        interval: line.interval,
    };
    let span = head.open(out, common);
    put_span_name(out, [method_name(segment)]);
    put_method(out, segment);
    out.extend_from_slice(&attempt.endpoint.attributes);
    if !attempt.http_version.is_empty() {
        let version = attempt.http_version;
        put_known!(out, "network.protocol.version", version, "1.1" | "2");
    }
    put_bool(out, key!("spanway.connection.reused"), attempt.reused);
    if attempt.resend_count != 0 {
        put_int(
            out,
            key!("http.request.resend_count"),
            u64::from(attempt.resend_count),
        );
    }
    if let Some(tls) = attempt.tls {
        put_text(out, key!("tls.protocol.version"), tls.version);
        put_bool(out, key!("tls.resumed"), tls.is_resumed);
    }
    if segment.call.is_some() {
        let is_known = rpc::is_method_known(attempt);
        rpc::put_method(out, upstream_path(segment), is_known);
        rpc::put_status(out, attempt.grpc_status);
    }
    put_attempt_result(out, attempt);
    net::put_attributes(out, attempt.net);
    let phases = line.phases();
    put_int(out, key!("spanway.phase.connect_us"), phases.connect);
    put_tls_phase(out, phases.tls);
    put_int(out, key!("spanway.phase.send_us"), phases.send);
    put_int(out, key!("spanway.phase.wait_us"), phases.wait);
    put_int(out, key!("spanway.phase.receive_us"), phases.receive);
    span.close(out);
}

/// For a client every status from 400 is an error, unlike for a server.
fn put_attempt_result(out: &mut Vec<u8>, attempt: &Attempt<'_>) {
    let status_error = attempt.status.filter(|status| *status >= 400);
    if let Some(status) = attempt.status {
        put_int(out, key!("http.response.status_code"), u64::from(status));
    }
    let call_error = attempt
        .grpc_status
        .filter(|status| *status != grpc::Status::OK);
    match (status_error, attempt.error, call_error) {
        (Some(status), ..) => put_status_as_error_type(out, status),
        (None, Some(flag), _) => put_error_type(out, flag),
        (None, None, Some(status)) => put_text(out, key!("error.type"), status.as_str()),
        (None, None, None) => {}
    }
    if status_error.is_some() || call_error.is_some() || attempt.error.is_some_and(is_ours) {
        put_error_status(out, attempt.reason.unwrap_or_default().as_bytes());
    }
}

/// What every span begins with.
pub(super) struct SpanHead {
    pub(super) id: SpanId,
    pub(super) parent: Option<SpanId>,
    pub(super) parent_is_remote: bool,
    pub(super) kind: Kind,
    pub(super) interval: Interval,
}

/// What the spans of one segment have in common.
pub(super) struct Common<'a> {
    pub(super) trace_id: TraceId,
    pub(super) trace_state: &'a [u8],
    pub(super) sampled_flags: u8,
    /// What intervals are counted from, on the wall clock.
    pub(super) start_unix_ns: u64,
}

impl<'a> Common<'a> {
    fn of(segment: &Segment<'a>) -> Self {
        Self {
            trace_id: segment.trace_id,
            trace_state: segment.trace_state,
            sampled_flags: segment.sampled_flags,
            start_unix_ns: segment.clock.unix_ns(segment.start),
        }
    }
}

/// What every span begins with, up to its id: with gaps for its length and the ids.
const IDS: [u8; 32] = {
    let mut block = [0; 32];
    block[0] = SPAN;
    [block[4], block[5]] = [TRACE_ID, 16];
    [block[22], block[23]] = [SPAN_ID, 8];
    block
};
const PARENT: [u8; 10] = [PARENT_SPAN_ID, 8, 0, 0, 0, 0, 0, 0, 0, 0];
const KIND_TIMES_FLAGS: [u8; 26] = {
    let mut block = [0; 26];
    [block[0], block[2], block[11]] = [KIND, START, END];
    [block[20], block[21]] = FLAGS;
    block
};
/// All of it, as most spans have it: they have a parent, and no `tracestate`.
const ALL: [u8; 68] = {
    let mut block = [0; 68];
    let (ids, rest) = block.split_at_mut(IDS.len());
    let (parent, last) = rest.split_at_mut(PARENT.len());
    ids.copy_from_slice(&IDS);
    parent.copy_from_slice(&PARENT);
    last.copy_from_slice(&KIND_TIMES_FLAGS);
    block
};

impl SpanHead {
    /// Begins a span; the gap that comes back is closed when all of it has been appended.
    /// Its 3 bytes hold 2 MiB, far above what a span can be with values that are cut.
    ///
    /// Several fields are one block, in which what differs is written over: appended one by one,
    /// their few bytes would cost more.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "half of it is handing over what is known here"
    )]
    pub(super) fn open(&self, out: &mut Vec<u8>, common: &Common<'_>) -> LengthGap<3> {
        let gap = LengthGap::at(out.len() + 1);
        match self.parent {
            Some(parent) if common.trace_state.is_empty() => {
                out.extend_from_slice(&ALL);
                if let Some(block) = out.last_chunk_mut::<{ ALL.len() }>() {
                    self.fill_ids(block, common);
                    block[34..42].copy_from_slice(parent.as_bytes());
                }
            }
            parent => {
                out.extend_from_slice(&IDS);
                if let Some(block) = out.last_chunk_mut::<{ IDS.len() }>() {
                    self.fill_ids(block, common);
                }
                if !common.trace_state.is_empty() {
                    put_string_field(out, TRACE_STATE, common.trace_state);
                }
                if let Some(parent) = parent {
                    put_bytes(out, PARENT_SPAN_ID, parent.as_bytes());
                }
                out.extend_from_slice(&KIND_TIMES_FLAGS);
            }
        }
        if let Some(block) = out.last_chunk_mut() {
            self.fill_kind_times_flags(block, common);
        }
        gap
    }

    #[inline]
    fn fill_ids(&self, block: &mut [u8], common: &Common<'_>) {
        block[6..22].copy_from_slice(common.trace_id.as_bytes());
        block[24..32].copy_from_slice(self.id.as_bytes());
    }

    #[inline]
    fn fill_kind_times_flags(&self, block: &mut [u8; KIND_TIMES_FLAGS.len()], common: &Common<'_>) {
        let at = |offset| common.start_unix_ns.saturating_add(offset).to_le_bytes();
        let remote = if self.parent_is_remote {
            PARENT_IS_REMOTE
        } else {
            0
        };
        let flags = u32::from(common.sampled_flags) | PARENT_IS_KNOWN | remote;
        block[1] = self.kind as u8;
        block[3..11].copy_from_slice(&at(self.interval.start));
        block[12..20].copy_from_slice(&at(self.interval.end));
        block[22..].copy_from_slice(&flags.to_le_bytes());
    }
}

fn method_name(segment: &Segment<'_>) -> &'static str {
    segment.known_method.unwrap_or(METHOD_NAME_OTHER)
}

fn put_method(out: &mut Vec<u8>, segment: &Segment<'_>) {
    let method = segment.known_method.unwrap_or(METHOD_OTHER);
    put_known!(out, "http.request.method", method, "GET" | "POST");
    if segment.known_method.is_none() && !segment.method.is_empty() {
        put_lossy(out, key!("http.request.method_original"), segment.method);
    }
}

pub(super) fn put_ip<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], ip: IpAddr) {
    put_ascii(out, key, IpText::of(ip.to_canonical()).as_bytes());
}

pub(super) fn put_error_type(out: &mut Vec<u8>, flag: Flag) {
    put_text(out, key!("error.type"), flag.as_str());
}

fn put_status_as_error_type(out: &mut Vec<u8>, status: u16) {
    put_text(out, key!("error.type"), itoa::Buffer::new().format(status));
}

/// `Span.status` with the code for an error, and a message unless it is empty.
pub(super) fn put_error_status(out: &mut Vec<u8>, message: &[u8]) {
    out.push(STATUS);
    let gap = LengthGap::<2>::open(out);
    out.extend_from_slice(&[STATUS_CODE, STATUS_ERROR]);
    if !message.is_empty() {
        put_string_field(out, STATUS_MESSAGE, message);
    }
    gap.close(out);
}

/// Server spans: 5xx, or a failure that is not the client's; a 404 is an answer. Where the failure
/// has a flag, that says whose it is, and not the gRPC status that it was told with.
fn server_is_error(segment: &Segment<'_>) -> bool {
    let by_flag = segment.flag.map(is_ours);
    segment.status >= 500 || by_flag.unwrap_or_else(|| server_error_of_call(segment).is_some())
}

fn server_error_of_call(segment: &Segment<'_>) -> Option<grpc::Status> {
    let status = segment.call.and_then(|call| call.status);
    status.filter(|status| status.is_server_error())
}

pub(super) fn is_ours(flag: Flag) -> bool {
    flag.fault() != Fault::Client
}

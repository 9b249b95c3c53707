//! What a data plane knows of one finished request, borrowed from where it lies.
//!
//! Rules: plain values, filled in by the worker as the request goes; no rule about spans is here.

use std::net::SocketAddr;
use std::time::Duration;

use super::clock::Anchor;
use super::context::Traceparent;
use super::id::{SpanId, TraceId};
use super::net::{Net, Observed};
use super::sampler::By;
use super::verdict::Judgement;
use crate::grpc;
use crate::instant::Instant;
use crate::message::Fields;
use crate::stream::End;
use crate::table::{Backend, Endpoint, ListenerKind, Place, Route, SpanDetail};

/// One request that is over, however it ended.
#[derive(Debug, Clone)]
pub struct Segment<'a> {
    /// The wall clock for every instant below.
    pub clock: Anchor,
    /// The trace, the client's or a new one.
    pub trace_id: TraceId,
    /// The id of the SERVER span.
    pub root: SpanId,
    /// The client's span, if it told us one.
    pub parent: Option<SpanId>,
    /// The span of a client that is not trusted, and its W3C flags: it is linked to.
    pub link: Option<(TraceId, SpanId, u8)>,
    /// The span that published the table, in one segment of each worker: it is linked to.
    pub publisher: Option<Traceparent>,
    /// The client's `tracestate`; empty if there is none.
    pub trace_state: &'a [u8],
    /// The W3C trace flags that were passed on.
    pub sampled_flags: u8,
    /// Why it is recorded.
    pub sampled_by: By,

    /// The method as it came; empty if no request line was understood.
    pub method: &'a [u8],
    /// The same if it is one of RFC 9110 or PATCH; others must not name spans.
    pub known_method: Option<&'static str>,
    /// The path without query.
    pub path: &'a [u8],
    /// What follows the path's `?`.
    pub query: Option<&'a [u8]>,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The host that was asked for, without port; may be empty.
    pub host: &'a [u8],
    /// The User-Agent field.
    pub user_agent: Option<&'a [u8]>,
    /// Attributes of the client's TLS session, encoded; empty where there is none.
    pub tls_attributes: &'a [u8],
    /// `1.0`, `1.1` or `2`.
    pub http_version: &'static str,
    /// Who asked, as far as trusted proxies tell; its port is 0 where they do not tell that.
    pub client: SocketAddr,
    /// The address of the other end of the client's connection.
    pub network_peer: SocketAddr,
    /// The local address of the client's connection.
    pub server: SocketAddr,
    /// These addresses as attributes, where they are those of the connection, which was encoded.
    pub ends_attributes: Option<&'a [u8]>,

    /// What kind of listener accepted the connection.
    pub listener: ListenerKind,
    /// The route that matched.
    pub route: Option<&'a Route>,
    /// The path that the endpoint got, where the route rewrote it.
    pub rewritten_path: Option<&'a [u8]>,
    /// The backend that the route or the listener names.
    pub backend: Option<&'a Backend>,
    /// The generation of the table that was used.
    pub generation: u64,
    /// The status that was sent; 0 if none was.
    pub status: u16,
    /// Why the request failed, if it did.
    pub flag: Option<Flag>,
    /// The call, if the request is one of gRPC.
    pub call: Option<Call>,
    /// The value of X-Request-ID; may be empty.
    pub request_id: &'a [u8],

    /// What spans say beyond what they always say.
    pub detail: &'a SpanDetail,
    /// The fields of the request.
    pub request_fields: &'a Fields,
    /// Those of the response, if it is an endpoint's.
    pub response_fields: Option<&'a Fields>,
    /// The id of the first phase's own span, if phases have any; the others count on from it.
    pub phase_id: Option<SpanId>,

    /// What went through the connection after it was upgraded, if it was.
    pub tunnel: Option<Tunnel>,
    /// Bytes of the request's content that were received.
    pub request_body_bytes: u64,
    /// Bytes of the response's content that were sent.
    pub response_body_bytes: u64,

    /// When the first byte of the request had come, where the kernel told.
    pub arrived: Option<Instant>,
    /// What the kernel told of the client's connection.
    pub client_net: Option<&'a Net>,
    /// How the client has ended what it sends, if it did so while it was waiting.
    pub client_end: Option<End>,
    /// The first byte of the request, as it was read.
    pub start: Instant,
    /// The last byte of the request's head.
    pub head_read: Instant,
    /// The last byte of the response, or when the request was given up.
    pub end: Instant,
    /// When the client's kernel had the response, where it was asked.
    pub delivered: Option<Instant>,
    /// The first byte of the response to the client.
    pub first_response: Option<Instant>,

    /// Absent if no backend was chosen.
    pub balance: Option<&'a Balance>,
    /// In the order in which they were made.
    pub attempts: &'a [Attempt<'a>],
    /// Whose the time was, and whether that is usual.
    pub judgement: Judgement,
}

impl Segment<'_> {
    /// When all of it was over, also outside of this process.
    pub(super) fn over(&self) -> Instant {
        self.delivered.map_or(self.end, |at| at.max(self.end))
    }
}

/// A gRPC call; its method is the request's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// How it ended for the client; `None` if it was not told.
    pub status: Option<grpc::Status>,
}

/// What went through an upgraded connection beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tunnel {
    /// Messages, if it was one of `WebSocket`.
    pub messages: Option<Messages>,
}

/// `WebSocket` messages that were seen whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Messages {
    /// From the client.
    pub received: u64,
    /// From the endpoint.
    pub sent: u64,
}

/// The choice of an endpoint, with everything that follows from it.
#[derive(Debug, Clone, Copy)]
pub struct Balance {
    /// The id of the `balance` span.
    pub id: SpanId,
    /// When the backend was looked up.
    pub start: Instant,
    /// The end of the last attempt.
    pub end: Instant,
    /// How long the request waited for its turn, before there was an attempt.
    pub queue: Duration,
    /// Why the last attempt was not repeated although the policy asks for it.
    pub retry_denied: Option<RetryDenied>,
    /// What is known of the last choice.
    pub choice: Choice,
}

/// Why an attempt is not repeated: a closed vocabulary, listed in `docs/SPANS.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryDenied {
    /// The backend has had as many retries as its budget allows.
    Budget,
    /// The endpoint may have seen the request, and must not see it twice.
    Unsafe,
    /// As many attempts were made as the policy allows.
    Attempts,
}

impl RetryDenied {
    /// The name in spans.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::Unsafe => "unsafe",
            Self::Attempts => "attempts",
        }
    }
}

/// How one endpoint came to be chosen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Choice {
    /// The endpoints that were ejected then.
    pub endpoints_ejected: u32,
    /// What became of the client's wish; absent without cookie affinity.
    pub affinity: Option<Stay>,
    /// How near the endpoint is; absent where that does not matter.
    pub place: Option<Place>,
}

/// Whether a client stays with its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stay {
    /// It came without a cookie.
    New,
    /// Its cookie names the endpoint that was chosen.
    Kept,
    /// Its cookie names none that can be chosen.
    Moved,
}

impl Stay {
    /// The name in spans.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "none",
            Self::Kept => "hit",
            Self::Moved => "miss",
        }
    }
}

/// One try at one endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The id of the CLIENT span: the parent that upstream was told.
    pub id: SpanId,
    /// Where it went.
    pub endpoint: &'a Endpoint,
    /// When the endpoint was picked, and the attempt's turn had come.
    pub started: Instant,
    /// What it has waited for its turn before that.
    pub queued: Duration,
    /// When the TLS handshake of a new connection began; `None` without one.
    pub handshake_started: Option<Instant>,
    /// When a connection was there; `end` if none ever was.
    pub connected: Instant,
    /// When the last byte of the request was sent; `end` if it never was.
    pub sent: Instant,
    /// The first byte of the response.
    pub first_byte: Option<Instant>,
    /// The last byte of the response, or when the attempt was given up.
    pub end: Instant,
    /// The status of the response.
    pub status: Option<u16>,
    /// How the call ended, if it is one of gRPC.
    pub grpc_status: Option<grpc::Status>,
    /// Why the attempt failed, if it did.
    pub error: Option<Flag>,
    /// The same in words, where there are more.
    pub reason: Option<&'a str>,
    /// The TLS session of the connection; `None` without one.
    pub tls: Option<TlsSession>,
    /// What was spoken on the connection, `1.1` or `2`; empty if there never was one.
    pub http_version: &'static str,
    /// Whether the connection had served a request before.
    pub reused: bool,
    /// 0 for the first attempt.
    pub resend_count: u32,
    /// How many requests were at the endpoint already.
    pub ahead: u32,
    /// How long it stood still because one side took no more.
    pub blocked: Blocked,
    /// What the kernel told of its connection.
    pub net: &'a Observed,
}

/// How long bytes that were there could not be written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Blocked {
    /// Those of the response, to the client.
    pub by_client: Duration,
    /// Those of the request, to the endpoint.
    pub by_endpoint: Duration,
    /// The same, before the endpoint has said that it takes requests on a connection that was there.
    pub unready: Duration,
}

/// What a TLS session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsSession {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// Whether it continues an earlier one.
    pub is_resumed: bool,
}

macro_rules! flags {
    ($($(#[$doc:meta])+ $name:ident = $text:literal, $fault:ident;)+) => {
        /// Why a request failed: a closed vocabulary, listed in `docs/SPANS.md`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Flag {
            $($(#[$doc])+ $name,)+
        }

        impl Flag {
            /// Every flag, in the order of `docs/SPANS.md`.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name in spans, metrics and logs.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }

            /// Whose fault it is.
            #[must_use]
            pub fn fault(self) -> Fault {
                match self {
                    $(Self::$name => Fault::$fault,)+
                }
            }
        }
    };
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Not an error of the service: SERVER spans keep their status unset.
    Client,
    /// The configuration or the data plane itself.
    Proxy,
    /// The endpoint, or the network to it.
    Upstream,
}

flags! {
    /// The request is malformed or larger than is allowed.
    BadRequest = "bad_request", Client;
    /// No route matches host and path.
    NoRoute = "no_route", Client;
    /// The client's address may not use the route.
    Denied = "denied", Client;
    /// The request's head is larger than its route allows.
    HeadTooLarge = "head_too_large", Client;
    /// The request is for a host that has other terms than those of the client's TLS session.
    Misdirected = "misdirected", Client;
    /// The client closed the connection before the response was complete.
    ClientGone = "client_gone", Client;
    /// The client took too long to send the request or to take the response.
    ClientTimeout = "client_timeout", Client;
    /// The request's body is larger than its route allows.
    BodyTooLarge = "body_too_large", Client;
    /// The route names a backend that the table does not have.
    NoBackend = "no_backend", Proxy;
    /// The route's policy could not be compiled.
    BadPolicy = "bad_policy", Proxy;
    /// The route's rewrite made something that is no path of it.
    BadRewrite = "bad_rewrite", Proxy;
    /// The backend has no ready endpoint.
    NoEndpoints = "no_endpoints", Proxy;
    /// The worker serves as many requests as it may.
    Overload = "overload", Proxy;
    /// The backend serves as many requests as it may, and no more may wait for it.
    QueueFull = "queue_full", Proxy;
    /// Every endpoint has as many connections as it may have.
    ConnectionsFull = "connections_full", Proxy;
    /// The request's turn at its backend did not come in time.
    QueueTimeout = "queue_timeout", Proxy;
    /// The data plane is shutting down.
    Shutdown = "shutdown", Proxy;
    /// A bug in the data plane.
    Internal = "internal", Proxy;
    /// The endpoint refused the connection.
    ConnectRefused = "connect_refused", Upstream;
    /// The endpoint did not answer the connection attempt in time.
    ConnectTimeout = "connect_timeout", Upstream;
    /// The connection could not be made for another reason (unreachable, no local port).
    ConnectFailed = "connect_failed", Upstream;
    /// The TLS handshake with the endpoint failed, or it is not whom it should be.
    UpstreamTls = "upstream_tls", Upstream;
    /// The endpoint reset the connection.
    UpstreamReset = "upstream_reset", Upstream;
    /// The endpoint closed the connection before its response was complete.
    UpstreamClosed = "upstream_closed", Upstream;
    /// The endpoint sent nothing for longer than the backend allows.
    UpstreamTimeout = "upstream_timeout", Upstream;
    /// The request took longer than its route allows.
    RequestTimeout = "request_timeout", Upstream;
    /// The endpoint answered with a status that makes another attempt worth while.
    UpstreamStatus = "upstream_status", Upstream;
    /// The head of the endpoint's response is larger than is read.
    UpstreamHeadTooLarge = "upstream_head_too_large", Upstream;
    /// The endpoint sent what is not a valid response.
    UpstreamProtocolError = "upstream_protocol_error", Upstream;
}

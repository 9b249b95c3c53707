//! What the proxy adds to a message, and what it leaves out. Pure: bytes into a buffer.
//!
//! Heads are written anew, never copied: hop-by-hop fields end here (RFC 9110, section 7.6.1).

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use crate::http1::encode;
use crate::message::{Framing, Method, Name, NameSet, RequestHead, ResponseHead, Version};
use crate::propagation::Propagation;
use crate::table::{Listener, ListenerKind};

/// Written by us, always.
const OURS: NameSet = NameSet::of(&[Name::Host, Name::XRequestId]);

/// Written by us at the edge. A stranger's claims about where a request came from end there; on a
/// service listener they are the edge's claims, passed on by an application, and stay.
const OURS_AT_THE_EDGE: NameSet = OURS.union(NameSet::of(&[
    Name::Forwarded,
    Name::XForwardedFor,
    Name::XForwardedHost,
    Name::XForwardedPort,
    Name::XForwardedProto,
    Name::XRealIp,
]));

/// Written by us when the request is traced. `baggage` is the application's: within its limits it
/// passes as it is.
const TRACE_CONTEXT: NameSet = NameSet::of(&[Name::Traceparent, Name::Tracestate]);

/// Both ends of the client's connection.
#[derive(Clone, Copy)]
pub struct Ends {
    /// The client's address.
    pub peer: SocketAddr,
    /// Ours.
    pub local: SocketAddr,
}

/// Writes the head of a request as the endpoint gets it.
pub fn encode_request(
    out: &mut Vec<u8>,
    request: &RequestHead,
    listener: &Listener,
    ends: Ends,
    request_id: &[u8],
    propagation: Option<&Propagation<'_>>,
) {
    let is_edge = listener.kind == ListenerKind::Ingress;
    let mut dropped = if is_edge { OURS_AT_THE_EDGE } else { OURS };
    if let Some(propagation) = propagation {
        dropped = dropped.union(TRACE_CONTEXT);
        if propagation.drops_baggage {
            dropped = dropped.with(Name::Baggage);
        }
    }
    encode::request_line(out, request);
    encode::field(out, b"host", request.authority());
    encode::forwarded_fields(out, &request.fields, dropped);
    if is_edge {
        origin_fields(out, request, ends);
        if listener.forwarded {
            forwarded_field(out, request, ends);
        }
    }
    encode::field(out, b"x-request-id", request_id);
    if let Some(propagation) = propagation {
        encode::field(out, b"traceparent", &propagation.traceparent);
        if !propagation.tracestate.is_empty() {
            encode::field(out, b"tracestate", propagation.tracestate);
        }
    }
    encode::framing(out, request.framing);
    encode::end(out);
}

/// Where the request came from, as nginx-style applications read it.
fn origin_fields(out: &mut Vec<u8>, request: &RequestHead, ends: Ends) {
    for name in [&b"x-forwarded-for"[..], b"x-real-ip"] {
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        write_ip(out, ends.peer.ip());
        out.extend_from_slice(b"\r\n");
    }
    encode::field(out, b"x-forwarded-host", request.authority());
    encode::field(out, b"x-forwarded-proto", b"http");
    encode::field(
        out,
        b"x-forwarded-port",
        itoa::Buffer::new().format(ends.local.port()).as_bytes(),
    );
}

/// The same by RFC 7239, section 4: IPv6 addresses are bracketed and quoted.
fn forwarded_field(out: &mut Vec<u8>, request: &RequestHead, ends: Ends) {
    out.extend_from_slice(b"forwarded: for=");
    match ends.peer.ip() {
        ip @ IpAddr::V4(_) => write_ip(out, ip),
        ip @ IpAddr::V6(_) => {
            out.extend_from_slice(b"\"[");
            write_ip(out, ip);
            out.extend_from_slice(b"]\"");
        }
    }
    out.extend_from_slice(b";host=\"");
    out.extend_from_slice(request.authority());
    out.extend_from_slice(b"\";proto=http\r\n");
}

fn write_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            let mut digits = itoa::Buffer::new();
            for (index, octet) in ip.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                out.extend_from_slice(digits.format(octet).as_bytes());
            }
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(ip) => drop(write!(out, "{ip}")),
    }
}

/// Whether the client's connection goes on after a response, and if so, with what body framing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    pub framing: Framing,
    pub keep_alive: bool,
}

impl Reply {
    /// How `response` is framed for the client that sent `request`.
    ///
    /// A body of unknown length is chunked for HTTP/1.1; an HTTP/1.0 client gets it until close.
    #[must_use]
    pub fn to(request: &RequestHead, response: &ResponseHead, may_keep_alive: bool) -> Self {
        let framing = match response.framing {
            Framing::Chunked | Framing::UntilClose if request.version == Version::Http10 => {
                Framing::UntilClose
            }
            Framing::UntilClose => Framing::Chunked,
            framing => framing,
        };
        let keep_alive = may_keep_alive && request.keep_alive && framing != Framing::UntilClose;
        Self {
            framing,
            keep_alive,
        }
    }
}

/// Writes the head of a response as the client gets it.
pub fn encode_response(
    out: &mut Vec<u8>,
    request: &RequestHead,
    response: &ResponseHead,
    reply: Reply,
) {
    encode::status_line(out, response);
    encode::forwarded_fields(out, &response.fields, NameSet::EMPTY);
    if request.method == Method::Head || response.status == 304 {
        encode::declared_length(out, response);
    } else {
        encode::framing(out, reply.framing);
    }
    connection_field(out, request, reply.keep_alive);
    encode::end(out);
}

/// Writes an interim response (RFC 9110, section 15.2).
pub fn encode_interim(out: &mut Vec<u8>, response: &ResponseHead) {
    encode::status_line(out, response);
    encode::forwarded_fields(out, &response.fields, NameSet::EMPTY);
    encode::end(out);
}

fn connection_field(out: &mut Vec<u8>, request: &RequestHead, keep_alive: bool) {
    match (request.version, keep_alive) {
        (_, false) => encode::field(out, b"connection", b"close"),
        (Version::Http10, true) => encode::field(out, b"connection", b"keep-alive"),
        (Version::Http11, true) => {}
    }
}

/// Writes a whole response of ours: a plain sentence, and the trace id to ask about.
pub fn encode_refusal(out: &mut Vec<u8>, request: &RequestHead, refusal: &Refusal<'_>) {
    let mut body = Vec::with_capacity(160);
    // Writing to a Vec cannot fail.
    drop(writeln!(body, "{} {}", refusal.status, refusal.sentence));
    if let Some(trace_id) = refusal.trace_id {
        body.extend_from_slice(b"trace-id: ");
        body.extend_from_slice(trace_id);
        body.push(b'\n');
    }
    encode::status_line_of(out, refusal.status);
    encode::field(out, b"server", b"spanway");
    encode::field(out, b"content-type", b"text/plain; charset=utf-8");
    encode::framing(out, Framing::Length(body.len() as u64));
    connection_field(out, request, refusal.keep_alive);
    encode::end(out);
    if request.method != Method::Head {
        out.extend_from_slice(&body);
    }
}

/// What a response of ours says.
pub struct Refusal<'a> {
    pub status: u16,
    pub sentence: &'a str,
    /// 32 hex digits; none where nothing is traced.
    pub trace_id: Option<&'a [u8]>,
    pub keep_alive: bool,
}

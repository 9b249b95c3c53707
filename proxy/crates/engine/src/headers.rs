//! What the proxy adds to a message, and what it leaves out. Pure: bytes into a buffer.
//!
//! Heads are written anew, never copied: hop-by-hop fields end here (RFC 9110, section 7.6.1).

use std::borrow::Cow;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use http::header::{CONTENT_LENGTH, TE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use smallvec::SmallVec;

use crate::editor::Editor;
use crate::grpc;
use crate::http1::encode;
use crate::ip_text::IpText;
use crate::message::{Fields, Framing, Method, Name, NameSet, RequestHead, ResponseHead, Version};
use crate::origin::continue_fields;
use crate::propagation::Propagation;
use crate::table::{Listener, ListenerKind};
use crate::tls::Tls;
use crate::trace::Flag;
use crate::trace::context::is_foreign_baggage;

/// Written by us, always, or for us alone.
const OURS: NameSet = NameSet::of(&[Name::Host, Name::XRequestId, Name::XSpanwayDebug]);

/// Written by us at the edge. A stranger's claims about where a request came from, and with whose
/// certificate, end there; on a service listener they are the edge's claims, passed on by an
/// application, and stay.
const OURS_AT_THE_EDGE: NameSet = OURS.union(NameSet::WHO_ASKS);

/// Both ends of the client's connection, and who is behind them.
#[derive(Clone)]
pub struct Ends {
    /// Who asks, as far as trusted proxies tell; its port is 0 where they do not tell that.
    pub client: SocketAddr,
    /// The other end of the connection, by its PROXY header if it has one.
    pub peer: SocketAddr,
    /// Ours, by the same.
    pub local: SocketAddr,
    /// The other end of the connection itself.
    pub network_peer: SocketAddr,
    /// `http` or `https`, as the client asked for it.
    pub scheme: &'static str,
    /// Whether the peer's word on where the request comes from is taken.
    pub is_trusted: bool,
}

/// Where the fields of a head are written.
pub trait FieldSink {
    /// Adds one field; both parts are valid.
    fn field(&mut self, name: &[u8], value: &[u8]);

    /// Adds fields of ours that were written before, as HTTP/1 has them.
    fn lines(&mut self, lines: &[u8]) {
        for line in lines.split(|&byte| byte == b'\n') {
            let colon = memchr::memchr(b':', line);
            if let Some((name, value)) = colon.and_then(|at| line.split_at_checked(at)) {
                self.field(name, value[1..].trim_ascii());
            }
        }
    }
}

impl FieldSink for Vec<u8> {
    #[expect(clippy::inline_always, reason = "as encode::field")]
    #[inline(always)]
    fn field(&mut self, name: &[u8], value: &[u8]) {
        encode::field(self, name, value);
    }

    fn lines(&mut self, lines: &[u8]) {
        self.extend_from_slice(lines);
    }
}

impl FieldSink for HeaderMap {
    /// A part that is not legal in HTTP/2 is left out: the codec lets none through, so it is ours.
    fn field(&mut self, name: &[u8], value: &[u8]) {
        let name = HeaderName::from_bytes(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            self.append(name, value);
        }
    }
}

/// What is said about a request to its endpoint, beside the request itself.
pub struct Told<'a> {
    pub listener: &'a Listener,
    pub ends: &'a Ends,
    /// What the connection itself tells of them: [`origin_lines`].
    pub origin: &'a [u8],
    /// `http` or `https`, as the endpoint is asked.
    pub scheme: &'static str,
    /// The TLS session of the client's connection.
    pub tls: Option<&'a Tls>,
    pub request_id: &'a [u8],
    pub propagation: Option<Propagation<'a>>,
    /// Another path than the client's.
    pub path: Option<&'a [u8]>,
    /// What the route's policy changes.
    pub editor: Option<Editor<'a>>,
}

impl Told<'_> {
    /// The host that the endpoint is told: the client's, unless the policy has another.
    fn authority<'a>(&'a self, request: &'a RequestHead) -> &'a [u8] {
        let host = self.editor.as_ref().and_then(Editor::host);
        host.unwrap_or_else(|| request.authority())
    }

    /// The target that the endpoint gets: the client's, unless the policy rewrote its path.
    fn target<'a>(&self, request: &'a RequestHead) -> Cow<'a, [u8]> {
        let Some(path) = self.path else {
            return Cow::Borrowed(request.target());
        };
        let query = request.query().into_iter();
        let target = query.fold(path.to_vec(), |path, query| [&path, query].join(&b'?'));
        Cow::Owned(target)
    }
}

/// Writes the head of a request as an HTTP/1.1 endpoint gets it.
pub fn encode_request(out: &mut Vec<u8>, request: &RequestHead, told: &Told<'_>) {
    encode::request_line(out, request, &told.target(request));
    encode::field(out, b"host", told.authority(request));
    request_fields(out, request, told);
    if let Some(protocol) = request.upgrade() {
        encode::field(out, b"connection", b"upgrade");
        encode::field(out, b"upgrade", protocol);
    } else if request.accepts_trailers() {
        encode::field(out, b"connection", b"te");
        encode::field(out, b"te", b"trailers");
    }
    encode::framing(out, request.framing);
    encode::end(out);
}

/// The head of a request as an HTTP/2 endpoint gets it.
#[must_use]
pub fn request(request: &RequestHead, told: &Told<'_>) -> Option<Request<()>> {
    let mut head = Request::new(());
    *head.version_mut() = http::Version::HTTP_2;
    *head.method_mut() = http::Method::from_bytes(request.method_bytes()).ok()?;
    let uri = Uri::builder()
        .scheme(told.scheme)
        .authority(told.authority(request))
        .path_and_query(&*told.target(request));
    *head.uri_mut() = uri.build().ok()?;
    request_fields(head.headers_mut(), request, told);
    if let Framing::Length(bytes) = request.framing {
        head.headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(bytes));
    }
    if request.accepts_trailers() {
        head.headers_mut()
            .insert(TE, HeaderValue::from_static("trailers"));
    }
    Some(head)
}

/// Writes the fields of a request that do not depend on the version of HTTP: all but host, framing
/// and what is about the connection.
pub fn request_fields(out: &mut impl FieldSink, request: &RequestHead, told: &Told<'_>) {
    match &told.editor {
        None => unedited_fields(out, request, told),
        Some(editor) => editor.edit(out, |out| unedited_fields(out, request, told)),
    }
}

fn unedited_fields(out: &mut impl FieldSink, request: &RequestHead, told: &Told<'_>) {
    let is_edge = told.listener.kind == ListenerKind::Ingress;
    let mut dropped = if is_edge { OURS_AT_THE_EDGE } else { OURS };
    if let Some(propagation) = &told.propagation {
        dropped = dropped.union(propagation.dropped());
    }
    let passed_on = request.fields.end_to_end(dropped);
    if told
        .propagation
        .as_ref()
        .is_some_and(Propagation::is_of_stranger)
    {
        passed_on
            .filter(|field| !is_foreign_baggage(field.name))
            .for_each(|field| out.field(field.name, field.value));
    } else {
        passed_on.for_each(|field| out.field(field.name, field.value));
    }
    if is_edge && told.ends.is_trusted {
        continue_fields(out, request, told);
    } else if is_edge {
        out.lines(told.origin);
        out.field(b"x-forwarded-host", request.authority());
        if told.listener.forwarded {
            let mut value = Value::new();
            put_forwarded(&mut value, request, told.ends);
            out.field(b"forwarded", &value);
        }
    }
    if let Some(tls) = told.tls.filter(|_| is_edge) {
        for (name, value) in &tls.client_fields {
            out.field(name, value);
        }
    }
    out.field(b"x-request-id", told.request_id);
    if let Some(propagation) = &told.propagation {
        propagation.write(out);
    }
}

/// Fields as a header map of HTTP/2.
pub fn header_map(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields.iter() {
        map.field(field.name, field.value);
    }
    map
}

/// Where the requests of a connection come from, as nginx-style applications read it.
pub fn origin_lines(ends: &Ends) -> Box<[u8]> {
    let mut lines = Vec::with_capacity(160);
    let peer = IpText::of(ends.peer.ip());
    lines.field(b"x-forwarded-for", peer.as_bytes());
    lines.field(b"x-real-ip", peer.as_bytes());
    lines.field(b"x-forwarded-proto", ends.scheme.as_bytes());
    let mut port = itoa::Buffer::new();
    let port = port.format(ends.local.port());
    lines.field(b"x-forwarded-port", port.as_bytes());
    lines.into()
}

/// The same by RFC 7239, section 4; section 6: IPv6 addresses are bracketed and quoted.
pub fn put_forwarded(value: &mut Value, request: &RequestHead, ends: &Ends) {
    put_node(value, ends.peer.ip());
    value.extend_from_slice(b";host=\"");
    value.extend_from_slice(request.authority());
    value.extend_from_slice(b"\";proto=");
    value.extend_from_slice(ends.scheme.as_bytes());
}

/// Who sent it, by the same section.
pub fn put_node(value: &mut Value, ip: IpAddr) {
    value.extend_from_slice(b"for=");
    match ip {
        IpAddr::V4(_) => write_ip(value, ip),
        IpAddr::V6(_) => {
            value.extend_from_slice(b"\"[");
            write_ip(value, ip);
            value.extend_from_slice(b"]\"");
        }
    }
}

/// A value in the making: room for what is usual, so that nothing is allocated.
pub type Value = SmallVec<[u8; 128]>;

/// Writes an address as text.
pub fn write_ip(out: &mut Value, ip: IpAddr) {
    out.extend_from_slice(IpText::of(ip).as_bytes());
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

/// Writes the head of a response as an HTTP/1 client gets it.
pub fn encode_response(
    out: &mut Vec<u8>,
    request: &RequestHead,
    response: &ResponseHead,
    reply: Reply,
    editor: Option<&Editor<'_>>,
) {
    encode::status_line(out, response);
    response_fields(out, response, editor);
    if request.method == Method::Head || response.status == 304 {
        encode::declared_length(out, response);
    } else {
        encode::framing(out, reply.framing);
    }
    connection_field(out, request, reply.keep_alive);
    encode::end(out);
}

/// Writes the fields of a response that do not depend on the version of HTTP.
fn response_fields(out: &mut impl FieldSink, response: &ResponseHead, editor: Option<&Editor<'_>>) {
    match editor {
        None => copied_fields(out, response),
        Some(editor) => editor.edit(out, |out| copied_fields(out, response)),
    }
}

fn copied_fields(out: &mut impl FieldSink, response: &ResponseHead) {
    let fields = response.fields.end_to_end(NameSet::EMPTY);
    fields.for_each(|field| out.field(field.name, field.value));
}

/// The head of a response as an HTTP/2 client gets it.
#[must_use]
pub fn response(
    request: &RequestHead,
    response: &ResponseHead,
    editor: Option<&Editor<'_>>,
) -> Response<()> {
    let mut head = head(response, editor);
    let length = match response.framing {
        Framing::Length(_) => response.content_length,
        Framing::None if request.method == Method::Head || response.status == 304 => {
            response.content_length
        }
        _ => None,
    };
    if let Some(bytes) = length {
        head.headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(bytes));
    }
    head
}

/// An interim response as an HTTP/2 client gets it.
#[must_use]
pub fn interim(response: &ResponseHead) -> Response<()> {
    head(response, None)
}

fn head(response: &ResponseHead, editor: Option<&Editor<'_>>) -> Response<()> {
    let mut head = Response::new(());
    // The codec lets no other status through than those from 100 to 999.
    *head.status_mut() = StatusCode::from_u16(response.status).unwrap_or_default();
    response_fields(head.headers_mut(), response, editor);
    head
}

/// Writes an interim response (RFC 9110, section 15.2), also the one that switches protocols.
pub fn encode_interim(out: &mut Vec<u8>, response: &ResponseHead) {
    encode::status_line(out, response);
    copied_fields(out, response);
    if let Some(protocol) = response.upgrade() {
        encode::field(out, b"connection", b"upgrade");
        encode::field(out, b"upgrade", protocol);
    }
    encode::end(out);
}

fn connection_field(out: &mut Vec<u8>, request: &RequestHead, keep_alive: bool) {
    match (request.version, keep_alive) {
        (_, false) => encode::field(out, b"connection", b"close"),
        (Version::Http10, true) => encode::field(out, b"connection", b"keep-alive"),
        (Version::Http11 | Version::Http2, true) => {}
    }
}

/// A whole response of ours: the flag as spans have it, a plain sentence, and the trace id to ask
/// about.
fn refusal_body(refusal: &Refusal<'_>) -> Vec<u8> {
    let mut body = Vec::with_capacity(160);
    // Writing to a Vec cannot fail.
    drop(write!(body, "{} ", refusal.status));
    if let Some(flag) = refusal.flag {
        drop(write!(body, "{}: ", flag.as_str()));
    }
    drop(writeln!(body, "{}", refusal.sentence));
    if let Some(trace_id) = refusal.trace_id {
        body.extend_from_slice(b"trace-id: ");
        body.extend_from_slice(trace_id);
        body.push(b'\n');
    }
    body
}

fn refusal_fields(out: &mut impl FieldSink, refusal: &Refusal<'_>) {
    match refusal.editor {
        None => unedited_refusal_fields(out, refusal),
        Some(editor) => editor.edit(out, |out| unedited_refusal_fields(out, refusal)),
    }
}

fn unedited_refusal_fields(out: &mut impl FieldSink, refusal: &Refusal<'_>) {
    out.field(b"server", b"spanway");
    out.field(b"content-type", b"text/plain; charset=utf-8");
    if let Some(location) = refusal.location {
        out.field(b"location", location);
    }
    if let Some(seconds) = refusal.retry_after_s {
        let mut digits = itoa::Buffer::new();
        out.field(b"retry-after", digits.format(seconds).as_bytes());
    }
    for field in refusal.disclosed.into_iter().flat_map(Fields::iter) {
        out.field(field.name, field.value);
    }
}

/// A refusal as an HTTP/2 client gets it; a client of gRPC is told in its own words.
#[must_use]
pub fn refusal(request: &RequestHead, refusal: &Refusal<'_>) -> (Response<()>, Vec<u8>) {
    let mut head = Response::new(());
    if grpc::is_grpc(request) {
        grpc::refusal_fields(head.headers_mut(), refusal);
        return (head, Vec::new());
    }
    let body = refusal_body(refusal);
    *head.status_mut() = StatusCode::from_u16(refusal.status).unwrap_or_default();
    refusal_fields(head.headers_mut(), refusal);
    head.headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let is_shown = request.method != Method::Head;
    (head, if is_shown { body } else { Vec::new() })
}

/// Writes a refusal as an HTTP/1 client gets it.
pub fn encode_refusal(out: &mut Vec<u8>, request: &RequestHead, refusal: &Refusal<'_>) {
    let body = refusal_body(refusal);
    encode::status_line_of(out, refusal.status);
    refusal_fields(out, refusal);
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
    /// Why; none where nothing failed.
    pub flag: Option<Flag>,
    pub sentence: &'a str,
    /// 32 hex digits; none where nothing is traced.
    pub trace_id: Option<&'a [u8]>,
    /// Where the client is sent.
    pub location: Option<&'a [u8]>,
    /// What the client is told of its trace.
    pub disclosed: Option<&'a Fields>,
    /// What the route's policy changes.
    pub editor: Option<&'a Editor<'a>>,
    /// When to come again, where that is known.
    pub retry_after_s: Option<u32>,
    pub keep_alive: bool,
}

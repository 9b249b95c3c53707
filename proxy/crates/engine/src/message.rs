//! Message heads, the same for every version of HTTP: an index over one owned buffer.
//!
//! Rules: a head is reused from request to request and then allocates nothing. The bytes of a head
//! are copied once, out of the read buffer; every part is a range of that copy. What is in a head
//! was validated by the codec that filled it.

mod fields;
mod name;
mod path;

pub use fields::{FieldRef, Fields};
pub(crate) use fields::{Part, is_token, members};
pub(crate) use name::is_imitation_or_same;
pub use name::{Name, NameSet};
pub use path::{BadPath, normalise, other_readings, without_empty_segments};

/// The version of a message as it was received.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2.
    Http2,
}

impl Version {
    /// As `network.protocol.version` has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2",
        }
    }
}

/// A request method; names are case-sensitive (RFC 9110 section 9.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[allow(missing_docs, reason = "each is the method of that name")]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    /// Any other token; its bytes are in the head.
    Other,
}

impl Method {
    /// The method of that exact name.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }

    /// Its name; `None` for [`Method::Other`].
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
            Self::Other => return None,
        })
    }
}

/// How the end of a message's body is found (RFC 9112 section 6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Framing {
    /// There is no body.
    #[default]
    None,
    /// That many bytes follow; 0 was said explicitly.
    Length(u64),
    /// Chunks follow.
    Chunked,
    /// Everything until the connection ends; responses only.
    UntilClose,
}

/// The head of a request. It owns its bytes; reuse it for the next request.
#[derive(Default, Debug, Clone)]
pub struct RequestHead {
    /// As received.
    pub version: Version,
    /// [`Method::Other`] keeps its name in [`RequestHead::method_bytes`].
    pub method: Method,
    /// Every field as received, but for those that imitate a known one with `_` and an `Expect` of
    /// HTTP/1.0, which are dropped.
    ///
    /// `Host` is here too when only the target named it.
    pub fields: Fields,
    /// Never [`Framing::UntilClose`].
    pub framing: Framing,
    /// Whether the client lets the connection live after this request.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body (only with a body).
    pub expects_continue: bool,
    /// Whether it came as an extended CONNECT (RFC 8441): to the client any success opens the tunnel.
    pub is_connect: bool,
    /// Length of the head as it was received.
    pub head_bytes: usize,
    pub(crate) method_name: Part,
    pub(crate) target: Part,
    /// Where the path ends within the target.
    pub(crate) path_bytes: u32,
    pub(crate) authority: Part,
    pub(crate) host: Part,
    /// Length of the buffer when it held no whole head; it need not be parsed again soon.
    pub(crate) seen_bytes: usize,
}

impl RequestHead {
    /// Forgets the request, keeps the memory. Parsing does it too.
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Self {
            fields,
            ..Self::default()
        };
    }

    /// Whether there are bytes to come after the head.
    #[must_use]
    pub fn has_body(&self) -> bool {
        !matches!(self.framing, Framing::None | Framing::Length(0))
    }

    /// The protocol that the client wants to switch to (RFC 9110 section 7.8), if it may be passed
    /// on: not with a body, whose end would be in doubt, and never `h2c`, by which requests would
    /// get past the routes.
    #[must_use]
    pub fn upgrade(&self) -> Option<&[u8]> {
        if !self.fields.has(Name::Upgrade)
            || self.version == Version::Http10
            || self.framing != Framing::None
        {
            return None;
        }
        self.fields.upgrade()
    }

    /// Whether an endpoint may take the connection that the request comes over for the client's from then
    /// on, and what others ask over it for the client's, too: `NTLM` and `Negotiate` authenticate
    /// connections (RFC 4559, section 6, forbids to share such a one).
    #[must_use]
    pub fn authenticates_connection(&self) -> bool {
        const SCHEMES: [&[u8]; 2] = [b"ntlm", b"negotiate"];
        self.fields.get_all(Name::Authorization).any(|value| {
            let end = memchr::memchr2(b' ', b'\t', value).unwrap_or(value.len());
            let scheme = &value[..end];
            let mut schemes = SCHEMES.iter();
            schemes.any(|known| scheme.eq_ignore_ascii_case(known))
        })
    }

    /// Whether the client wants trailers (RFC 9110 section 10.1.4).
    #[must_use]
    pub fn accepts_trailers(&self) -> bool {
        let is_meant = self.version == Version::Http2 || self.fields.has_option(Name::Te);
        let mut fields = self.fields.get_all(Name::Te).filter(|_| is_meant);
        fields.any(|te| members(te).any(|member| member.eq_ignore_ascii_case(b"trailers")))
    }

    /// The method's name.
    #[must_use]
    pub fn method_bytes(&self) -> &[u8] {
        self.fields.part(self.method_name)
    }

    /// The target as it is forwarded: path and query (origin-form), or `*`.
    #[must_use]
    pub fn target(&self) -> &[u8] {
        self.fields.part(self.target)
    }

    /// The path of the target in normal form ([`normalise`]), never empty; or `*`.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        let target = self.target();
        target.get(..self.path_bytes as usize).unwrap_or(target)
    }

    /// What follows the first `?` of the target.
    #[must_use]
    pub fn query(&self) -> Option<&[u8]> {
        self.target().get(self.path_bytes as usize + 1..)
    }

    /// `host[:port]` as the client wrote it; empty where an HTTP/1.0 client named none.
    #[must_use]
    pub fn authority(&self) -> &[u8] {
        self.fields.part(self.authority)
    }

    /// The host for routing: lower case, without port and trailing dot; IPv6 keeps its brackets.
    #[must_use]
    pub fn host(&self) -> &[u8] {
        self.fields.part(self.host)
    }
}

/// The head of a response. It owns its bytes; reuse it for the next response.
#[derive(Default, Debug)]
pub struct ResponseHead {
    /// As received.
    pub version: Version,
    /// 100 to 999.
    pub status: u16,
    /// Every field as received.
    pub fields: Fields,
    /// [`Framing::None`] for 1xx, 204, 304 and responses to HEAD, whatever their fields say.
    pub framing: Framing,
    /// What `Content-Length` said; with [`Framing::None`] it tells what a GET would have got.
    pub content_length: Option<u64>,
    /// Whether the upstream connection may be used again after this response.
    pub keep_alive: bool,
    pub(crate) reason: Part,
    /// As in [`RequestHead`].
    pub(crate) seen_bytes: usize,
}

impl ResponseHead {
    /// The protocol that the endpoint switched to, in a 101.
    #[must_use]
    pub fn upgrade(&self) -> Option<&[u8]> {
        (self.status == 101)
            .then(|| self.fields.upgrade())
            .flatten()
    }

    /// The reason phrase; often empty. Bytes above 127 make it empty.
    #[must_use]
    pub fn reason(&self) -> &[u8] {
        self.fields.part(self.reason)
    }
}

//! Why a message is refused, and with which status.

/// A message that breaks a rule. The connection is closed after it: where the next message would
/// start is no longer certain (RFC 9112 section 11.2, request smuggling).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "`reason` says each rule in a sentence")]
#[non_exhaustive]
pub enum Malformed {
    // The start line.
    LeadingBytes,
    RequestLine,
    MethodLength,
    RequestLineLength,
    Version,
    VersionUnsupported,
    StatusLine,
    StatusCode,
    // The request target.
    TargetBytes,
    PercentEncoding,
    DotSegment,
    TargetForm,
    Asterisk,
    Connect,
    Trace,
    // The fields.
    LineEnd,
    FieldName,
    FieldValue,
    FieldCount,
    HeadLength,
    HostMissing,
    HostRepeated,
    HostInvalid,
    HostMismatch,
    ConnectionOption,
    Expectation,
    // The framing of the body.
    ContentLengthRepeated,
    ContentLengthInvalid,
    LengthAndCoding,
    CodingInHttp10,
    CodingInvalid,
    CodingUnknown,
    // The body.
    ChunkSize,
    ChunkExtension,
    ChunkExtensionLength,
    ChunkEnd,
    BodyForbidden,
    Trailer,
    TrailerForbidden,
    TrailerLength,
    Truncated,
}

impl Malformed {
    /// The status to answer a request with; a response that is malformed is a 502 by itself.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::RequestLineLength => 414,
            // RFC 9110 section 10.1.1.
            Self::Expectation => 417,
            Self::HeadLength | Self::FieldCount | Self::TrailerLength => 431,
            // 405 would need an Allow field of a resource: CONNECT names none, and none has TRACE.
            Self::MethodLength | Self::Connect | Self::Trace | Self::CodingUnknown => 501,
            Self::VersionUnsupported => 505,
            _ => 400,
        }
    }

    /// The rule that was broken, as one sentence without a full stop; it quotes nothing received.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::LeadingBytes => "a message starts with its first line, or after one empty line",
            Self::RequestLine => "the request line is a method, a target and a version",
            Self::MethodLength => "the method is longer than any that exists",
            Self::RequestLineLength => "the request line is too long",
            Self::Version => "the version is written HTTP/1.1 or HTTP/1.0",
            Self::VersionUnsupported => "only HTTP/1.1 and HTTP/1.0 are spoken here",
            Self::StatusLine => "the status line is a version, a status and a reason",
            Self::StatusCode => "the status is a number from 100 to 999",
            Self::TargetBytes => "the target holds a byte that must be percent-encoded",
            Self::PercentEncoding => {
                "a percent sign in the path is followed by two hex digits, not 00"
            }
            Self::DotSegment => "the path has no . and .. segments left when it is sent",
            Self::TargetForm => "the target is a path, or a URI with scheme http or https",
            Self::Asterisk => "the target * is for OPTIONS only",
            Self::Connect => "there are no tunnels here",
            Self::Trace => "nobody is told what endpoints get",
            Self::LineEnd => "a line ends with CR LF",
            Self::FieldName => "a field starts with its name, a token, and a colon right after it",
            Self::FieldValue => "a field value has no control characters",
            Self::FieldCount => "there are too many fields, or Connection names too many",
            Self::HeadLength => "the fields are too long",
            Self::HostMissing => "a request has a Host field",
            Self::HostRepeated => "a request has one Host field only",
            Self::HostInvalid => "Host is a name or address, and a port from 1 to 65535 or none",
            Self::HostMismatch => "Host is what the target names",
            Self::ConnectionOption => "Connection does not name Host or the framing",
            Self::Expectation => "the only expectation is 100-continue",
            Self::ContentLengthRepeated => "a message has one Content-Length only",
            Self::ContentLengthInvalid => "Content-Length is a decimal number of bytes",
            Self::LengthAndCoding => "a message has Content-Length or Transfer-Encoding, not both",
            Self::CodingInHttp10 => "HTTP/1.0 has no Transfer-Encoding",
            Self::CodingInvalid => "Transfer-Encoding is chunked, once",
            Self::CodingUnknown => "the only transfer coding is chunked",
            Self::ChunkSize => "a chunk size is 1 to 16 hex digits and nothing else",
            Self::ChunkExtension => "a chunk extension is a name and perhaps a value",
            Self::ChunkExtensionLength => "the chunk extensions are too long",
            Self::ChunkEnd => "a chunk's data is as long as its size and ends with CR LF",
            Self::Trailer => "a trailer is written as a field",
            Self::TrailerForbidden => "a trailer has no fields for framing and routing",
            Self::TrailerLength => "the trailer is too long",
            Self::BodyForbidden => "a response of this kind has no body",
            Self::Truncated => "the connection ended before the body",
        }
    }
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.reason())
    }
}

impl std::error::Error for Malformed {}

//! Field names that the proxy knows, as one byte each, and sets of them as one word.

/// A field name that the proxy itself reads or writes; every other name is [`Name::Other`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
#[allow(missing_docs, reason = "each is the field of that name")]
pub enum Name {
    #[default]
    Other,
    Host,
    Connection,
    /// An option of `Connection`, and for that reason reserved as a field (RFC 9112 section 9.6).
    Close,
    KeepAlive,
    ProxyConnection,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    Http2Settings,
    ContentLength,
    Expect,
    Date,
    Server,
    Traceparent,
    Tracestate,
    Traceresponse,
    Baggage,
    B3,
    XB3TraceId,
    XB3SpanId,
    XB3ParentSpanId,
    XB3Sampled,
    XB3Flags,
    UberTraceId,
    OtTracerTraceId,
    OtTracerSpanId,
    OtTracerSampled,
    XAmznTraceId,
    XDatadogTraceId,
    XDatadogParentId,
    XDatadogSamplingPriority,
    XDatadogOrigin,
    XDatadogTags,
    Forwarded,
    XForwardedFor,
    XForwardedProto,
    XForwardedHost,
    XForwardedPort,
    XRealIp,
    XRequestId,
    Authorization,
    UserAgent,
    ContentType,
    GrpcTimeout,
    GrpcStatus,
    ClientCert,
    ClientCertChain,
    SslClientCert,
    SslClientVerify,
    SslClientSubjectDn,
    SslClientIssuerDn,
    XSpanwayDebug,
    /// Never forwarded: CGI programs read it as `HTTP_PROXY` (httpoxy, CVE-2016-5385).
    Proxy,
}

impl Name {
    /// The name in any case of letters.
    ///
    /// A name with `_` where a known one has `-` is [`Name::Other`]; see [`Name::imitated_by`].
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        Self::read(name).0
    }

    /// The known name that a CGI-like backend would take `name` for: the same but for `_` for `-`.
    #[must_use]
    pub fn imitated_by(name: &[u8]) -> Option<Self> {
        let (found, is_imitation) = Self::find(name);
        is_imitation.then_some(found)
    }

    /// [`Name::of`], and whether [`Name::imitated_by`] has one.
    pub(crate) fn read(name: &[u8]) -> (Self, bool) {
        match Self::find(name) {
            (_, true) => (Self::Other, true),
            found => found,
        }
    }

    /// Looks a name up with `_` taken as `-`: by length, then by the bytes. The second value says whether
    /// there is such a `_` in it.
    fn find(name: &[u8]) -> (Self, bool) {
        let candidates: &[(&[u8], Self)] = match name.len() {
            2 => &[(b"te", Self::Te), (b"b3", Self::B3)],
            4 => &[(b"host", Self::Host), (b"date", Self::Date)],
            5 => &[(b"close", Self::Close), (b"proxy", Self::Proxy)],
            6 => &[(b"expect", Self::Expect), (b"server", Self::Server)],
            7 => &[
                (b"upgrade", Self::Upgrade),
                (b"trailer", Self::Trailer),
                (b"baggage", Self::Baggage),
            ],
            9 => &[
                (b"x-real-ip", Self::XRealIp),
                (b"forwarded", Self::Forwarded),
            ],
            10 => &[
                (b"connection", Self::Connection),
                (b"user-agent", Self::UserAgent),
                (b"keep-alive", Self::KeepAlive),
                (b"tracestate", Self::Tracestate),
                (b"x-b3-flags", Self::XB3Flags),
            ],
            11 => &[
                (b"traceparent", Self::Traceparent),
                (b"client-cert", Self::ClientCert),
                (b"x-b3-spanid", Self::XB3SpanId),
                (b"grpc-status", Self::GrpcStatus),
            ],
            12 => &[
                (b"x-request-id", Self::XRequestId),
                (b"content-type", Self::ContentType),
                (b"grpc-timeout", Self::GrpcTimeout),
                (b"x-b3-traceid", Self::XB3TraceId),
                (b"x-b3-sampled", Self::XB3Sampled),
            ],
            13 => &[
                (b"authorization", Self::Authorization),
                (b"uber-trace-id", Self::UberTraceId),
                (b"traceresponse", Self::Traceresponse),
            ],
            14 => &[
                (b"content-length", Self::ContentLength),
                (b"http2-settings", Self::Http2Settings),
                (b"x-datadog-tags", Self::XDatadogTags),
            ],
            15 => &[
                (b"x-forwarded-for", Self::XForwardedFor),
                (b"ssl-client-cert", Self::SslClientCert),
                (b"x-amzn-trace-id", Self::XAmznTraceId),
                (b"x-spanway-debug", Self::XSpanwayDebug),
            ],
            16 => &[
                (b"x-forwarded-host", Self::XForwardedHost),
                (b"x-forwarded-port", Self::XForwardedPort),
                (b"proxy-connection", Self::ProxyConnection),
                (b"ot-tracer-spanid", Self::OtTracerSpanId),
                (b"x-datadog-origin", Self::XDatadogOrigin),
            ],
            17 => &[
                (b"transfer-encoding", Self::TransferEncoding),
                (b"x-forwarded-proto", Self::XForwardedProto),
                (b"client-cert-chain", Self::ClientCertChain),
                (b"ssl-client-verify", Self::SslClientVerify),
                (b"ot-tracer-traceid", Self::OtTracerTraceId),
                (b"ot-tracer-sampled", Self::OtTracerSampled),
                (b"x-b3-parentspanid", Self::XB3ParentSpanId),
            ],
            18 => &[(b"x-datadog-trace-id", Self::XDatadogTraceId)],
            19 => &[(b"x-datadog-parent-id", Self::XDatadogParentId)],
            20 => &[(b"ssl-client-issuer-dn", Self::SslClientIssuerDn)],
            21 => &[(b"ssl-client-subject-dn", Self::SslClientSubjectDn)],
            27 => &[(
                b"x-datadog-sampling-priority",
                Self::XDatadogSamplingPriority,
            )],
            _ => &[],
        };
        let first = name.first().map_or(0, u8::to_ascii_lowercase);
        let same = candidates.iter().find_map(|&(known, id)| {
            if known[0] != first {
                return None;
            }
            let is_exact = is_same_but_for_case(name, known);
            (is_exact || is_same(name, known)).then_some((id, !is_exact))
        });
        same.unwrap_or_default()
    }
}

/// Whether `name` is `known` (of the same length, lower case) but for case. By its first and its last word,
/// which overlap in most names: this is asked of every field of every head.
fn is_same_but_for_case(name: &[u8], known: &[u8]) -> bool {
    // In ASCII upper and lower case differ in the bit 0x20, and of what is in names only letters have 0x40.
    let is_same = |name: u64, known: u64| {
        let case = known >> 1 & 0x2020_2020_2020_2020;
        (name ^ known) & !case == 0
    };
    match (ends::<8>(name), ends::<8>(known)) {
        (Some((start, end)), Some((known_start, known_end))) => {
            let between = 8..name.len().saturating_sub(8);
            is_same(u64::from_ne_bytes(start), u64::from_ne_bytes(known_start))
                && is_same(u64::from_ne_bytes(end), u64::from_ne_bytes(known_end))
                && (between.is_empty()
                    || name[between.clone()].eq_ignore_ascii_case(&known[between]))
        }
        _ => match (ends::<4>(name), ends::<4>(known)) {
            (Some((start, end)), Some((known_start, known_end))) => {
                let is_same = |name, known| {
                    is_same(
                        u32::from_ne_bytes(name).into(),
                        u32::from_ne_bytes(known).into(),
                    )
                };
                is_same(start, known_start) && is_same(end, known_end)
            }
            _ => name.eq_ignore_ascii_case(known),
        },
    }
}

/// The first and the last bytes.
fn ends<const N: usize>(name: &[u8]) -> Option<([u8; N], [u8; N])> {
    Some((*name.first_chunk()?, *name.last_chunk()?))
}

/// Whether `name` is `known` (of the same length, lower case, with `-`) but for case and `_`.
fn is_same(name: &[u8], known: &[u8]) -> bool {
    name.iter().zip(known).all(|(&byte, &want)| {
        byte == want || byte.to_ascii_lowercase() == want || (byte == b'_' && want == b'-')
    })
}

/// Whether `name` is `known` (lower case), or what a CGI-like backend would take for it.
pub(crate) fn is_imitation_or_same(name: &[u8], known: &[u8]) -> bool {
    name.len() == known.len() && is_same(name, known)
}

/// A set of [`Name`]s.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NameSet(u64);

const _: () = assert!((Name::Proxy as u8) < 64, "NameSet has 64 bits");

impl NameSet {
    /// The set without a member.
    pub const EMPTY: Self = Self(0);

    /// Fields that are about one connection and end here (RFC 9110 section 7.6.1), those that each
    /// connection frames its own messages by, and `Proxy`, which is dangerous.
    pub const NEVER_FORWARDED: Self = Self::of(&[
        Name::Connection,
        Name::KeepAlive,
        Name::ProxyConnection,
        Name::Te,
        Name::TransferEncoding,
        Name::Upgrade,
        Name::Http2Settings,
        Name::ContentLength,
        Name::Proxy,
    ]);

    /// Where a request comes from, and with whose certificate.
    pub const WHO_ASKS: Self = Self::of(&[
        Name::Forwarded,
        Name::XForwardedFor,
        Name::XForwardedProto,
        Name::XForwardedHost,
        Name::XForwardedPort,
        Name::XRealIp,
        Name::ClientCert,
        Name::ClientCertChain,
        Name::SslClientCert,
        Name::SslClientVerify,
        Name::SslClientSubjectDn,
        Name::SslClientIssuerDn,
    ]);

    /// RFC 9110 section 6.5.1: not in trailers, for they were needed before the body. Some servers take
    /// trailers for fields of the head (CVE-2025-12642 of lighttpd), and there only we say who
    /// asks.
    pub const NOT_IN_TRAILERS: Self = Self::NEVER_FORWARDED
        .union(Self::WHO_ASKS)
        .union(Self::of(&[Name::Host, Name::Trailer, Name::Expect]));

    /// What `Connection` says without naming a field that would else be forwarded.
    pub const OPTIONS: Self = Self::of(&[Name::Close, Name::KeepAlive, Name::Upgrade, Name::Te]);

    /// The set of these names.
    #[must_use]
    pub const fn of(names: &[Name]) -> Self {
        let (mut bits, mut index) = (0, 0);
        while index < names.len() {
            bits |= 1 << names[index] as u8;
            index += 1;
        }
        Self(bits)
    }

    /// Whether the name is a member.
    #[must_use]
    pub const fn contains(self, name: Name) -> bool {
        self.0 & (1 << name as u8) != 0
    }

    /// This set and one name more.
    #[must_use]
    pub const fn with(self, name: Name) -> Self {
        Self(self.0 | 1 << name as u8)
    }

    /// This set but for one name.
    #[must_use]
    pub const fn without(self, name: Name) -> Self {
        Self(self.0 & !(1 << name as u8))
    }

    /// This set but for the members of another one.
    #[must_use]
    pub const fn except(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The members of either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[(&str, Name)] = &[
        ("Host", Name::Host),
        ("CONNECTION", Name::Connection),
        ("Close", Name::Close),
        ("keep-alive", Name::KeepAlive),
        ("Proxy-Connection", Name::ProxyConnection),
        ("TE", Name::Te),
        ("Trailer", Name::Trailer),
        ("Transfer-Encoding", Name::TransferEncoding),
        ("Upgrade", Name::Upgrade),
        ("HTTP2-Settings", Name::Http2Settings),
        ("Content-Length", Name::ContentLength),
        ("Expect", Name::Expect),
        ("Date", Name::Date),
        ("Server", Name::Server),
        ("traceparent", Name::Traceparent),
        ("tracestate", Name::Tracestate),
        ("traceresponse", Name::Traceresponse),
        ("baggage", Name::Baggage),
        ("Forwarded", Name::Forwarded),
        ("X-Forwarded-For", Name::XForwardedFor),
        ("X-Forwarded-Proto", Name::XForwardedProto),
        ("X-Forwarded-Host", Name::XForwardedHost),
        ("X-Forwarded-Port", Name::XForwardedPort),
        ("X-Real-IP", Name::XRealIp),
        ("X-Request-ID", Name::XRequestId),
        ("Authorization", Name::Authorization),
        ("User-Agent", Name::UserAgent),
        ("Content-Type", Name::ContentType),
        ("grpc-timeout", Name::GrpcTimeout),
        ("X-Spanway-Debug", Name::XSpanwayDebug),
        ("grpc-status", Name::GrpcStatus),
        ("Proxy", Name::Proxy),
        ("b3", Name::B3),
        ("X-B3-TraceId", Name::XB3TraceId),
        ("X-B3-SpanId", Name::XB3SpanId),
        ("X-B3-ParentSpanId", Name::XB3ParentSpanId),
        ("X-B3-Sampled", Name::XB3Sampled),
        ("X-B3-Flags", Name::XB3Flags),
        ("uber-trace-id", Name::UberTraceId),
        ("ot-tracer-traceid", Name::OtTracerTraceId),
        ("ot-tracer-spanid", Name::OtTracerSpanId),
        ("ot-tracer-sampled", Name::OtTracerSampled),
        ("X-Amzn-Trace-Id", Name::XAmznTraceId),
        ("x-datadog-trace-id", Name::XDatadogTraceId),
        ("x-datadog-parent-id", Name::XDatadogParentId),
        (
            "x-datadog-sampling-priority",
            Name::XDatadogSamplingPriority,
        ),
        ("x-datadog-origin", Name::XDatadogOrigin),
        ("x-datadog-tags", Name::XDatadogTags),
    ];

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for &(text, id) in KNOWN {
            assert_eq!(Name::of(text.as_bytes()), id, "{text}");
            assert_eq!(Name::of(text.to_ascii_uppercase().as_bytes()), id, "{text}");
            assert_eq!(Name::of(text.to_ascii_lowercase().as_bytes()), id, "{text}");
        }
    }

    #[test]
    fn a_name_with_underscores_is_another_name_that_imitates() {
        assert_eq!(Name::of(b"X_Forwarded_For"), Name::Other);
        assert_eq!(
            Name::imitated_by(b"X_Forwarded-For"),
            Some(Name::XForwardedFor)
        );
        assert_eq!(Name::imitated_by(b"X-Forwarded-For"), None);
        assert_eq!(Name::imitated_by(b"X_Forwarded_Foo"), None);
    }

    #[test]
    fn a_near_miss_is_another_name() {
        for near in [
            "",
            "hos",
            "hosts",
            "h\u{f}st",
            "Content-Lengt",
            "Content Length",
            "te ",
        ] {
            assert_eq!(Name::of(near.as_bytes()), Name::Other, "{near}");
        }
    }

    #[test]
    fn a_set_has_what_it_was_made_of() {
        let set = NameSet::of(&[Name::Host, Name::Proxy]).with(Name::Te);
        assert!(set.contains(Name::Host) && set.contains(Name::Proxy) && set.contains(Name::Te));
        assert!(!set.contains(Name::Other) && !set.contains(Name::Date));
    }
}

//! The formats of a line. `docs/ACCESS_LOG.md` says what each field is.

use std::io::Write as _;

use super::text::{put_bare, put_json, put_quoted, without_query};
use super::time::Clock;
use crate::ip_text::IpText;
use crate::trace::{Attempt, Phases, Segment, Verdict};

/// nginx's status for a client that left before it got one.
const CLIENT_LEFT: u16 = 499;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object.
    Json,
    /// nginx `combined`.
    Combined,
    /// ingress-nginx `upstreaminfo`, then trace id, flag and verdict.
    Upstream,
}

impl Format {
    /// The format of that name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "combined" => Some(Self::Combined),
            "upstream" => Some(Self::Upstream),
            _ => None,
        }
    }
}

/// What a line is made of.
#[derive(Debug)]
pub struct Line<'a> {
    /// The request, as its spans tell it.
    pub segment: &'a Segment<'a>,
    /// Where its time went.
    pub phases: &'a Phases,
    /// Whether its spans are exported.
    pub is_sampled: bool,
    /// Its head and body.
    pub request_bytes: u64,
    /// The Referer field.
    pub referer: Option<&'a [u8]>,
    /// Version and cipher suite of the client's TLS session.
    pub tls: Option<(&'static str, &'static str)>,
}

impl Line<'_> {
    /// Appends it, with its line end.
    pub fn put(&self, out: &mut Vec<u8>, format: Format, clock: &mut Clock) {
        match format {
            Format::Json => self.put_json_object(out, clock),
            Format::Combined => self.put_combined(out, clock),
            Format::Upstream => {
                self.put_combined(out, clock);
                self.put_upstream(out);
            }
        }
        out.push(b'\n');
    }

    fn put_json_object(&self, out: &mut Vec<u8>, clock: &mut Clock) {
        let segment = self.segment;
        let unix_ns = segment.clock.unix_ns(segment.end);
        out.extend_from_slice(b"{\"time\":\"");
        out.extend_from_slice(clock.iso(unix_ns / 1_000_000_000));
        let _ = write!(out, ".{:06}Z\"", unix_ns / 1_000 % 1_000_000);
        put_known(out, "trace_id", &segment.trace_id.to_hex());
        put_known(out, "span_id", &segment.root.to_hex());
        put_raw(
            out,
            "sampled",
            if self.is_sampled { b"true" } else { b"false" },
        );
        put_known(
            out,
            "client",
            IpText::of(segment.client.ip().to_canonical()).as_bytes(),
        );
        put_text(out, "method", segment.method);
        put_text(out, "scheme", segment.scheme.as_bytes());
        put_text(out, "host", segment.host);
        put_text(out, "path", segment.path);
        put_text(out, "protocol", segment.http_version.as_bytes());
        if segment.status > 0 {
            put_number(out, "status", u64::from(segment.status));
        }
        if let Some(flag) = segment.flag {
            put_text(out, "flag", flag.as_str().as_bytes());
        }
        if segment.judgement.verdict != Verdict::None {
            put_text(
                out,
                "verdict",
                segment.judgement.verdict.as_str().as_bytes(),
            );
        }
        put_number(out, "duration_us", self.phases.total());
        put_number(out, "request_bytes", self.request_bytes);
        put_number(out, "response_body_bytes", segment.response_body_bytes);
        self.put_json_origin(out);
        put_number(out, "attempts", segment.attempts.len() as u64);
        self.put_json_phases(out);
        if let Some((version, cipher)) = self.tls {
            put_text(out, "tls_version", version.as_bytes());
            put_text(out, "tls_cipher", cipher.as_bytes());
        }
        put_text(
            out,
            "referer",
            without_query(self.referer.unwrap_or_default()),
        );
        put_text(out, "user_agent", segment.user_agent.unwrap_or_default());
        put_text(out, "request_id", segment.request_id);
        put_number(out, "generation", segment.generation);
        out.push(b'}');
    }

    /// What answered.
    fn put_json_origin(&self, out: &mut Vec<u8>) {
        let segment = self.segment;
        if let Some(route) = segment.route {
            put_text(out, "namespace", route.namespace.as_bytes());
            put_text(out, "ingress", route.ingress.as_bytes());
            put_text(out, "rule", route.rule.as_bytes());
            put_text(out, "route", route.path.as_bytes());
        }
        if let Some(backend) = segment.backend {
            if segment.route.is_none() {
                put_text(out, "namespace", backend.namespace.as_bytes());
            }
            put_text(out, "service", backend.service.as_bytes());
            put_text(out, "port", backend.port.as_bytes());
        }
        if let Some(attempt) = segment.attempts.last() {
            out.extend_from_slice(b",\"endpoint\":\"");
            put_endpoint(out, attempt);
            out.push(b'"');
            put_text(out, "pod", attempt.endpoint.pod.as_bytes());
            put_text(out, "node", attempt.endpoint.node.as_bytes());
            if let Some(status) = attempt.status {
                put_number(out, "endpoint_status", u64::from(status));
            }
        }
    }

    fn put_json_phases(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"phases_us\":");
        let mut sign = b'{';
        for (name, value) in Phases::NAMES.iter().zip(self.phases.values()) {
            out.push(sign);
            out.push(b'"');
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            put_digits(out, value);
            sign = b',';
        }
        out.push(b'}');
    }

    fn put_combined(&self, out: &mut Vec<u8>, clock: &mut Clock) {
        let segment = self.segment;
        let unix_ns = segment.clock.unix_ns(segment.end);
        out.extend_from_slice(IpText::of(segment.client.ip().to_canonical()).as_bytes());
        // The name of a user is in the authorization, which is not logged.
        out.extend_from_slice(b" - - [");
        out.extend_from_slice(clock.common(unix_ns / 1_000_000_000));
        out.extend_from_slice(b"] \"");
        put_quoted(out, segment.method);
        out.push(b' ');
        put_quoted(out, segment.path);
        out.extend_from_slice(match segment.http_version {
            "2" => b" HTTP/2.0\" ",
            "1.0" => b" HTTP/1.0\" ",
            _ => b" HTTP/1.1\" ",
        });
        let status = match segment.status {
            0 => CLIENT_LEFT,
            status => status,
        };
        put_digits(out, u64::from(status));
        out.push(b' ');
        put_digits(out, segment.response_body_bytes);
        for value in [
            without_query(self.referer.unwrap_or_default()),
            segment.user_agent.unwrap_or_default(),
        ] {
            out.extend_from_slice(b" \"");
            if value.is_empty() {
                out.push(b'-');
            }
            put_quoted(out, value);
            out.push(b'"');
        }
    }

    /// What `upstreaminfo` has more than `combined`, and what we add.
    fn put_upstream(&self, out: &mut Vec<u8>) {
        let segment = self.segment;
        out.push(b' ');
        put_digits(out, self.request_bytes);
        out.push(b' ');
        put_seconds(out, self.phases.total());
        out.extend_from_slice(b" [");
        if let Some(backend) = segment.backend {
            let (namespace, service) = (&backend.namespace, &backend.service);
            let _ = write!(out, "{namespace}-{service}-{}", backend.port);
        }
        out.extend_from_slice(b"] [] ");
        let attempts = segment.attempts;
        put_each(out, attempts, |out, _, attempt| put_endpoint(out, attempt));
        put_each(out, attempts, |out, index, _| {
            let is_last = index + 1 == attempts.len();
            put_digits(
                out,
                if is_last {
                    segment.response_body_bytes
                } else {
                    0
                },
            );
        });
        put_each(out, attempts, |out, _, attempt| {
            let took = attempt.end.saturating_duration_since(attempt.started);
            put_seconds(out, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        });
        put_each(out, attempts, |out, _, attempt| match attempt.status {
            Some(status) => put_digits(out, u64::from(status)),
            None => out.push(b'-'),
        });
        put_bare(out, segment.request_id);
        out.push(b' ');
        out.extend_from_slice(&segment.trace_id.to_hex());
        out.push(b' ');
        put_bare(
            out,
            segment.flag.map_or(b"", |flag| flag.as_str().as_bytes()),
        );
        out.push(b' ');
        out.extend_from_slice(segment.judgement.verdict.as_str().as_bytes());
    }
}

/// A field for every attempt, in nginx's way: separated by commas, `-` for none; a space follows.
fn put_each(
    out: &mut Vec<u8>,
    attempts: &[Attempt<'_>],
    put: impl Fn(&mut Vec<u8>, usize, &Attempt<'_>),
) {
    if attempts.is_empty() {
        out.push(b'-');
    }
    for (index, attempt) in attempts.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        put(out, index, attempt);
    }
    out.push(b' ');
}

fn put_endpoint(out: &mut Vec<u8>, attempt: &Attempt<'_>) {
    let address = attempt.endpoint.address;
    let ip = IpText::of(address.ip());
    if address.is_ipv6() {
        out.push(b'[');
        out.extend_from_slice(ip.as_bytes());
        out.extend_from_slice(b"]:");
    } else {
        out.extend_from_slice(ip.as_bytes());
        out.push(b':');
    }
    put_digits(out, u64::from(address.port()));
}

/// A member of the object; left out where the value is empty.
fn put_text(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    if !value.is_empty() {
        put_name(out, name);
        out.push(b'"');
        put_json(out, value);
        out.push(b'"');
    }
}

/// The same for text that needs no escape.
fn put_known(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    put_name(out, name);
    out.push(b'"');
    out.extend_from_slice(value);
    out.push(b'"');
}

fn put_number(out: &mut Vec<u8>, name: &str, value: u64) {
    put_name(out, name);
    put_digits(out, value);
}

fn put_raw(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    put_name(out, name);
    out.extend_from_slice(value);
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn put_digits(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Seconds with three decimals, as nginx has them.
fn put_seconds(out: &mut Vec<u8>, microseconds: u64) {
    put_digits(out, microseconds / 1_000_000);
    let _ = write!(out, ".{:03}", microseconds / 1_000 % 1_000);
}

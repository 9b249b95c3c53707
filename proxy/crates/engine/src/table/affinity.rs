//! Cookie affinity, compiled: which cookie value stands for which endpoint, and how it is set.

use std::fmt::Write as _;

use smallvec::SmallVec;

use super::backend::Endpoint;
use super::wire;
use crate::message::{Fields, is_token};
use crate::stable_hash::stable_hash;

/// Digits of a cookie's value.
const DIGITS: usize = 16;

/// How a client stays with an endpoint.
///
/// The cookie holds 64 bits of a hash of the backend's key and the endpoint's address, without a
/// secret: it has to be the same for all workers and replicas and after a restart, or sessions
/// would break. It names no address, but who knows the backend's key and guesses an address can
/// check the guess; and two clients can tell that they have the same endpoint. Who makes one up
/// reaches an endpoint that the backend would have given anyway.
#[derive(Debug, Clone)]
pub struct Affinity {
    cookie: Box<[u8]>,
    /// What follows the value, from `; `.
    attributes: Box<str>,
    is_secure: bool,
    /// The value of each endpoint, in their order.
    values: Box<[u64]>,
    /// The same by value, with the index of the endpoint.
    by_value: Box<[(u64, usize)]>,
}

impl Affinity {
    /// # Errors
    /// One sentence: the cookie could not be set.
    pub(super) fn compile(
        wire: &wire::Affinity,
        key: &str,
        endpoints: &[Endpoint],
    ) -> Result<Self, String> {
        if !is_token(wire.cookie.as_bytes()) {
            return Err(format!(
                "affinity.cookie {:?} can be no cookie's name",
                wire.cookie
            ));
        }
        // RFC 6265, section 4.1.1: any character but controls and `;`.
        let is_path = |byte: u8| matches!(byte, b' '..=b'~') && byte != b';';
        if !wire.path.starts_with('/') || !wire.path.bytes().all(is_path) {
            return Err(format!(
                "affinity.path {:?} can be no cookie's path",
                wire.path
            ));
        }
        if wire.max_age_s < 0 {
            let max_age = wire.max_age_s;
            return Err(format!(
                "affinity.max_age_s is {max_age}, which is less than 0"
            ));
        }
        let mut attributes = format!("; Path={}", wire.path);
        if wire.max_age_s > 0 {
            // Writing to a String cannot fail.
            let _ = write!(attributes, "; Max-Age={}", wire.max_age_s);
        }
        attributes.push_str("; HttpOnly; SameSite=Lax");
        let value = |endpoint: &Endpoint| {
            let address = endpoint.address.to_string();
            stable_hash([key.as_bytes(), b"\0", address.as_bytes()])
        };
        let values: Box<[u64]> = endpoints.iter().map(value).collect();
        let mut by_value: Box<[_]> = values.iter().copied().zip(0..).collect();
        by_value.sort_unstable();
        Ok(Self {
            cookie: Box::from(wire.cookie.as_bytes()),
            attributes: attributes.into_boxed_str(),
            is_secure: wire.is_secure,
            values,
            by_value,
        })
    }

    /// The cookie's name.
    #[must_use]
    pub fn cookie(&self) -> &[u8] {
        &self.cookie
    }

    /// The endpoint that a cookie's value stands for, by its index.
    #[must_use]
    pub fn endpoint(&self, value: &[u8]) -> Option<usize> {
        let digits = std::str::from_utf8(value).ok()?;
        if digits.len() != DIGITS || digits.starts_with('+') {
            return None;
        }
        let value = u64::from_str_radix(digits, 16).ok()?;
        let found = self
            .by_value
            .binary_search_by_key(&value, |(value, _)| *value);
        found.ok().map(|position| self.by_value[position].1)
    }

    /// Adds the `Set-Cookie` that makes the client stay with an endpoint.
    pub fn set(&self, fields: &mut Fields, endpoint: usize, over_tls: OverTls) {
        use std::io::Write as _;
        let value = self.values.get(endpoint).copied().unwrap_or_default();
        let mut text: SmallVec<[u8; 128]> = SmallVec::from_slice(&self.cookie);
        // Writing to memory cannot fail.
        drop(write!(text, "={value:016x}{}", self.attributes));
        if self.is_secure || over_tls.0 {
            text.extend_from_slice(b"; Secure");
        }
        fields.push(b"set-cookie", &text);
    }
}

/// Whether the client's connection is encrypted.
#[derive(Debug, Clone, Copy)]
pub struct OverTls(pub bool);

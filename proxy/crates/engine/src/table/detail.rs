//! What spans say beyond what they always say, compiled: which header fields and which values of a
//! query are recorded.
//!
//! Rules: what by its name holds a secret cannot be asked for.

use super::wire;
use crate::limits::{CAPTURED_NAME_BYTES_MAX, CAPTURED_NAMES_MAX};
use crate::message::is_token;

/// What spans say beyond what they always say: `proxy/table.py` says what each part means.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpanDetail {
    /// Fields of requests that are recorded.
    pub request_headers: Vec<CapturedHeader>,
    /// Fields of endpoints' responses that are recorded.
    pub response_headers: Vec<CapturedHeader>,
    /// The keys whose values are recorded as they are; `None` where queries are not recorded.
    pub query_keys: Option<Vec<Box<[u8]>>>,
}

/// A header field that is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapturedHeader {
    /// In lower case.
    pub name: Box<str>,
    /// The attribute that it becomes.
    pub key: Box<str>,
}

impl SpanDetail {
    /// Compiles what is asked for.
    ///
    /// # Errors
    /// One sentence: which part is wrong, and what it must be.
    pub(super) fn compile(wire: &wire::SpanDetail) -> Result<Self, String> {
        let headers = |part, names: &[String], prefix| -> Result<Vec<_>, String> {
            bounded(part, names)?;
            let header = |name: &String| CapturedHeader::compile(part, name, prefix);
            names.iter().map(header).collect()
        };
        let query_keys = wire.query_keys.as_ref().map(|keys| query_keys(keys));
        Ok(Self {
            request_headers: headers(
                "request_headers",
                &wire.request_headers,
                "http.request.header.",
            )?,
            response_headers: headers(
                "response_headers",
                &wire.response_headers,
                "http.response.header.",
            )?,
            query_keys: query_keys.transpose()?,
        })
    }
}

impl CapturedHeader {
    fn compile(part: &str, name: &str, prefix: &str) -> Result<Self, String> {
        let name = name.to_ascii_lowercase();
        if !is_token(name.as_bytes()) || name.len() > CAPTURED_NAME_BYTES_MAX {
            return Err(format!("{part} has {name:?}, which is not a field's name"));
        }
        refuse_secret(part, &name)?;
        let key = format!("{prefix}{name}").into();
        let name = name.into();
        Ok(Self { name, key })
    }
}

fn query_keys(keys: &[String]) -> Result<Vec<Box<[u8]>>, String> {
    const PART: &str = "query_keys";
    bounded(PART, keys)?;
    let key = |key: &String| {
        let is_key = |byte: &u8| byte.is_ascii_graphic() && !b"&=#".contains(byte);
        let is_valid = !key.is_empty() && key.len() <= CAPTURED_NAME_BYTES_MAX;
        if !is_valid || !key.as_bytes().iter().all(is_key) {
            return Err(format!(
                "{PART} has {key:?}, which is not a key as queries have it"
            ));
        }
        refuse_secret(PART, key)?;
        Ok(key.as_bytes().into())
    };
    keys.iter().map(key).collect()
}

fn bounded(part: &str, names: &[String]) -> Result<(), String> {
    let count = names.len();
    if count > CAPTURED_NAMES_MAX {
        return Err(format!(
            "{part} has {count} names, which is more than {CAPTURED_NAMES_MAX}"
        ));
    }
    Ok(())
}

fn refuse_secret(part: &str, name: &str) -> Result<(), String> {
    if is_secret(name) {
        return Err(format!(
            "{part} has {name:?}, whose values are secrets: they are never recorded"
        ));
    }
    Ok(())
}

/// Whether values of that name are credentials, by what such names are made of. Among them are
/// Authorization, Cookie, Set-Cookie, X-API-Key, and the query keys `AWSAccessKeyId`, `Signature`,
/// `sig` and `X-Goog-Signature`, which OpenTelemetry's conventions want redacted.
fn is_secret(name: &str) -> bool {
    const PARTS: [&str; 15] = [
        "authoriz",
        "authentic",
        "auth-",
        "auth_",
        "cookie",
        "token",
        "secret",
        "passw",
        "credential",
        "signature",
        "session",
        "apikey",
        "api-key",
        "api_key",
        "accesskey",
    ];
    let name = name.to_ascii_lowercase();
    name == "sig" || name.ends_with("auth") || PARTS.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTORS: &str = include_str!("../../../../../tests/vectors/captured_names.json");

    fn names(kind: &str) -> Vec<String> {
        let vectors: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
        serde_json::from_value(vectors[kind].clone()).unwrap()
    }

    #[test]
    fn names_are_taken_and_refused_as_the_vectors_say() {
        let is_header = |name: &String| CapturedHeader::compile("", name, "").is_ok();
        let is_key = |name: &String| query_keys(std::slice::from_ref(name)).is_ok();
        for name in names("allowed") {
            assert!(is_header(&name) && is_key(&name), "{name}");
        }
        for name in names("secret") {
            assert!(
                is_secret(&name) && !is_header(&name) && !is_key(&name),
                "{name}"
            );
        }
        assert!(!names("no_header").iter().any(is_header));
        assert!(!names("no_query_key").iter().any(is_key));
    }
}

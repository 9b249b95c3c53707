//! Header fields and queries on spans, as far as the table asks for them.
//!
//! Rules: as those of `otlp.rs`. Source: OpenTelemetry, semantic conventions for HTTP spans.

use smallvec::SmallVec;

use super::attribute::{key, put_lossy, put_text_array};
use crate::limits::{CAPTURED_VALUES_MAX, VALUE_BYTES_MAX};
use crate::message::Fields;
use crate::table::CapturedHeader;

const REDACTED: &[u8] = b"REDACTED";

/// Appends the values of each field that is asked for and there.
#[inline] // Nearly always none is.
pub(super) fn put_headers(out: &mut Vec<u8>, wanted: &[CapturedHeader], fields: &Fields) {
    for header in wanted {
        put_header(out, header, fields);
    }
}

fn put_header(out: &mut Vec<u8>, header: &CapturedHeader, fields: &Fields) {
    let name = header.name.as_bytes();
    let same = fields
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case(name));
    let mut values = same.map(|field| field.value).peekable();
    if values.peek().is_some() {
        put_text_array(out, &header.key, values.take(CAPTURED_VALUES_MAX));
    }
}

/// Appends the query with the values of these keys only. A parameter without `=` may be a value as
/// well as a key.
pub(super) fn put_query(out: &mut Vec<u8>, query: &[u8], keys: &[Box<[u8]>]) {
    let mut shown = SmallVec::<[u8; VALUE_BYTES_MAX]>::new();
    for parameter in query.split(|byte| *byte == b'&') {
        if !shown.is_empty() {
            shown.push(b'&');
        }
        let equals = parameter.iter().position(|byte| *byte == b'=');
        let name = &parameter[..equals.unwrap_or(parameter.len())];
        let is_allowed = parameter.is_empty() || keys.iter().any(|key| **key == *name);
        match equals {
            _ if is_allowed => shown.extend_from_slice(parameter),
            Some(equals) => {
                shown.extend_from_slice(&parameter[..=equals]);
                shown.extend_from_slice(REDACTED);
            }
            None => shown.extend_from_slice(REDACTED),
        }
        if shown.len() > VALUE_BYTES_MAX {
            break; // The rest would be cut.
        }
    }
    put_lossy(out, key!("url.query"), &shown);
}

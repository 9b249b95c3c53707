//! Attributes: pairs of a name and an `AnyValue`, and the JSON of those that have no column.
//!
//! Source: opentelemetry-proto 1.x, `common.proto`; OTLP/JSON for how bytes are written.

use serde_json::{Map, Number, Value as Json};

use crate::protobuf::{MalformedError, Value, fields, text};
use crate::{NESTING_MAX, TEXT_BYTES_MAX};

/// One attribute.
pub(crate) type Pair<'a> = (&'a str, Any<'a>);

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Any<'a> {
    Text(&'a str),
    Bool(bool),
    Int(i64),
    /// A fraction, bytes, a list, a map, nothing. Rare, so that it does not make all others large.
    Other(Box<Json>),
}

/// Reads a `KeyValue`.
pub(crate) fn pair(message: &[u8]) -> Result<Pair<'_>, MalformedError> {
    let (name, value) = named(message)?;
    Ok((text(name)?, value))
}

/// The same for those who know names by their bytes: this one may be none.
pub(crate) fn named(message: &[u8]) -> Result<(&[u8], Any<'_>), MalformedError> {
    named_at(message, 0)
}

fn named_at(message: &[u8], depth: usize) -> Result<(&[u8], Any<'_>), MalformedError> {
    let (mut name, mut value) = (&b""[..], None);
    for field in fields(message) {
        match field? {
            (1, bytes) => name = bytes.bytes()?,
            (2, message) => value = Some(any(message.bytes()?, depth)?),
            _ => {}
        }
    }
    Ok((name, value.unwrap_or_else(nothing)))
}

fn any(message: &[u8], depth: usize) -> Result<Any<'_>, MalformedError> {
    if depth > NESTING_MAX {
        return Err(MalformedError("an attribute is nested too deeply"));
    }
    let mut value = None;
    for field in fields(message) {
        let known = match field? {
            (1, text) => Any::Text(text.text()?),
            (2, number) => Any::Bool(number.number()? != 0),
            (3, number) => Any::Int(number.number()?.cast_signed()),
            (4, number) => Any::Other(Box::new(fraction(number)?)),
            (5, list) => Any::Other(Box::new(list_of(list.bytes()?, depth)?)),
            (6, map) => Any::Other(Box::new(map_of(map.bytes()?, depth)?)),
            (7, bytes) => Any::Other(Box::new(Json::String(hex(bytes.bytes()?)))),
            _ => continue,
        };
        value = Some(known);
    }
    Ok(value.unwrap_or_else(nothing))
}

fn nothing<'a>() -> Any<'a> {
    Any::Other(Box::new(Json::Null))
}

fn fraction(value: Value<'_>) -> Result<Json, MalformedError> {
    let fraction = f64::from_bits(value.number()?);
    // JSON has no name for infinity and the like; OTLP/JSON writes them as text.
    Ok(Number::from_f64(fraction).map_or_else(|| Json::String(fraction.to_string()), Json::Number))
}

fn list_of(message: &[u8], depth: usize) -> Result<Json, MalformedError> {
    let mut list = Vec::new();
    for field in fields(message) {
        if let (1, value) = field? {
            list.push(json(any(value.bytes()?, depth + 1)?));
        }
    }
    Ok(Json::Array(list))
}

fn map_of(message: &[u8], depth: usize) -> Result<Json, MalformedError> {
    let mut map = Map::new();
    for field in fields(message) {
        if let (1, value) = field? {
            let (name, value) = named_at(value.bytes()?, depth + 1)?;
            map.insert(text(name)?.to_owned(), json(value));
        }
    }
    Ok(Json::Object(map))
}

/// A value as JSON.
pub(crate) fn json(value: Any<'_>) -> Json {
    match value {
        Any::Text(text) => Json::String(text.to_owned()),
        Any::Bool(is) => Json::Bool(is),
        Any::Int(number) => Json::Number(number.into()),
        Any::Other(json) => *json,
    }
}

/// Attributes as one JSON object; those at the end that do not fit [`TEXT_BYTES_MAX`] are left out,
/// and `"…"` says how many they are.
pub(crate) fn object<'a>(pairs: impl IntoIterator<Item = Pair<'a>>) -> String {
    let mut text = String::from("{");
    let mut left_out = 0_usize;
    for (name, value) in pairs {
        let name = Json::String(name.to_owned()).to_string();
        let entry = format!("{name}:{}", json(value));
        if left_out > 0 || text.len() + entry.len() > TEXT_BYTES_MAX {
            left_out += 1;
            continue;
        }
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&entry);
    }
    if left_out > 0 {
        let comma = if text.len() > 1 { "," } else { "" };
        for part in [comma, "\"…\":", &left_out.to_string()] {
            text.push_str(part);
        }
    }
    text.push('}');
    text
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // Writing to a String cannot fail.
        text
    })
}

//! `tests/vectors` as seeds: the bytes in them, whatever they are to become.

use std::path::Path;

use serde_json::Value;

/// Longer seeds slow the fuzzer down and are made of one repeated part.
const SEED_BYTES_MAX: usize = 1000;

/// The values of that member of each case of `tests/vectors/{file}`.
pub fn of_cases(file: &str, member: &str) -> Vec<Vec<u8>> {
    let cases = cases(file);
    let values = cases.iter().filter_map(|case| bytes(&case[member]));
    values
        .filter(|bytes| bytes.len() <= SEED_BYTES_MAX)
        .collect()
}

pub fn cases(file: &str) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/vectors");
    let text = std::fs::read(root.join(file)).unwrap();
    let whole: Value = serde_json::from_slice(&text).unwrap();
    whole["cases"].as_array().unwrap().clone()
}

/// A character for a byte; a list is put end to end. None where something is repeated, or wider.
fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => text.chars().map(|char| u8::try_from(char).ok()).collect(),
        Value::Array(parts) => parts
            .iter()
            .map(bytes)
            .collect::<Option<Vec<_>>>()
            .map(|parts| parts.concat()),
        _ => None,
    }
}

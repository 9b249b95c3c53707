//! Trace context as the vectors and the W3C rules say.

#![allow(clippy::unwrap_used, clippy::panic)]

use serde::Deserialize;
use spanway_engine::limits::{
    BAGGAGE_BYTES_MAX, BAGGAGE_MEMBERS_MAX, TRACESTATE_BYTES_MAX, TRACESTATE_MEMBERS_MAX,
};
use spanway_engine::trace::context::{
    RemoteParent, TraceparentError, is_baggage_kept, parse_traceparent, remote_parent, traceparent,
    tracestate,
};
use spanway_engine::trace::{Ids, SpanId, TraceId};

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    given: String,
    want: Option<Want>,
}

#[derive(Deserialize)]
struct Want {
    trace_id: String,
    span_id: String,
    flags: u8,
}

fn vectors() -> Vec<Case> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../tests/vectors/traceparent.json"
    );
    let vectors: Vectors = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    vectors.cases
}

#[test]
fn traceparent_is_read_as_the_vector_says() {
    for Case { name, given, want } in vectors() {
        let got = parse_traceparent(given.as_bytes()).ok();
        let got = got.map(|parent| {
            (
                parent.trace_id.to_string(),
                parent.span_id.to_string(),
                parent.flags,
            )
        });
        assert_eq!(
            got,
            want.map(|want| (want.trace_id, want.span_id, want.flags)),
            "{name}"
        );
    }
}

#[test]
fn traceparent_with_any_one_byte_changed_is_read_as_written_or_refused() {
    let valid = traceparent_of(1);
    for at in 0..valid.len() {
        for byte in 0..=255 {
            let mut value = valid;
            value[at] = byte;
            let Ok(parent) = parse_traceparent(&value) else {
                continue;
            };
            let written = traceparent(parent.trace_id, parent.span_id, parent.flags);
            // Higher versions and undefined flags are the only things that are not kept.
            assert_eq!(written[3..53], value[3..53]);
            assert!(value.iter().all(|byte| !byte.is_ascii_uppercase()));
        }
    }
}

#[test]
fn traceparent_of_every_shorter_length_is_refused() {
    let valid = traceparent_of(1);
    for length in 0..valid.len() {
        assert_eq!(
            parse_traceparent(&valid[..length]),
            Err(TraceparentError::Length)
        );
    }
}

#[test]
fn what_is_written_is_read_back() {
    let mut ids = Ids::from_seeds(3, 4);
    for flags in 0..4 {
        let parent = RemoteParent {
            trace_id: ids.trace_id(),
            span_id: ids.span_id(),
            flags,
        };
        let value = traceparent(parent.trace_id, parent.span_id, parent.flags);
        assert_eq!(parse_traceparent(&value), Ok(parent));
    }
}

#[test]
fn two_traceparent_fields_are_none() {
    let value = traceparent_of(1);
    assert_eq!(remote_parent([]), Ok(None));
    assert!(remote_parent([&value[..]]).unwrap().unwrap().is_sampled());
    assert_eq!(
        remote_parent([&value[..], &value[..]]),
        Err(TraceparentError::Several)
    );
}

fn traceparent_of(flags: u8) -> [u8; 55] {
    let trace_id = TraceId::from_bytes([0xa1; 16]).unwrap();
    traceparent(trace_id, SpanId::from_bytes([0xb2; 8]).unwrap(), flags)
}

fn tracestate_of(fields: &[&str]) -> Option<String> {
    let value = tracestate(fields.iter().map(|field| field.as_bytes()))?;
    Some(String::from_utf8(value.into_owned()).unwrap())
}

#[test]
fn tracestate_fields_are_combined_in_order() {
    assert_eq!(tracestate_of(&[]), None);
    assert_eq!(tracestate_of(&["a=1"]).as_deref(), Some("a=1"));
    assert_eq!(
        tracestate_of(&["a=1,b=2", "c=3"]).as_deref(),
        Some("a=1,b=2,c=3")
    );
    assert_eq!(
        tracestate_of(&["a=1", "", "c=3"]).as_deref(),
        Some("a=1,,c=3")
    );
}

#[test]
fn valid_tracestates_pass_as_they_are() {
    let (long_key, long_value) = ("k".repeat(256), "v".repeat(256));
    for value in [
        "congo=t61rcWkgMzE",
        "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
        "fw529a3039@dt=FfhnsJH,0digit=x",
        "a=1 , \tb=2\t",
        "a=1,,b=2,",
        "a_-*/@0=!\"#$%&'()*+-./:;<>?@[\\]^_`{|}~",
        "a= leading space",
        &format!("{long_key}=1"),
        &format!("a={long_value}"),
        &members(TRACESTATE_MEMBERS_MAX),
    ] {
        assert_eq!(tracestate_of(&[value]).as_deref(), Some(value));
    }
}

#[test]
fn invalid_tracestates_are_dropped_whole() {
    let (long_key, long_value) = ("k".repeat(257), "v".repeat(257));
    for value in [
        "",
        " ",
        ",",
        "a",
        "=1",
        "a=",
        "a=1=2",
        "A=1",
        "_a=1",
        "a b=1",
        "a =1",
        "a=1,b",
        "a=1,a=2",
        "a=\u{e9}",
        "a=\u{7f}",
        "a=1\tb",
        &format!("{long_key}=1"),
        &format!("a={long_value}"),
        &members(TRACESTATE_MEMBERS_MAX + 1),
    ] {
        assert_eq!(tracestate_of(&[value]), None, "{value}");
    }
}

#[test]
fn tracestates_are_dropped_above_the_limit_however_they_are_split() {
    let field = |key: char, bytes: usize| format!("{key}={}", "v".repeat(bytes - 2));
    let (a, b) = (field('a', 255), field('b', TRACESTATE_BYTES_MAX - 256));
    assert!(tracestate_of(&[&a, &b]).is_some());
    assert!(tracestate_of(&[&format!("{a},{b}")]).is_some());
    let b = field('b', TRACESTATE_BYTES_MAX - 255);
    assert_eq!(tracestate_of(&[&a, &b]), None);
    assert_eq!(tracestate_of(&[&format!("{a},{b}")]), None);
}

fn members(count: usize) -> String {
    (0..count)
        .map(|index| format!("k{index}=v"))
        .collect::<Vec<_>>()
        .join(",")
}

#[test]
fn baggage_is_kept_up_to_its_limits() {
    let is_kept = |fields: &[&str]| is_baggage_kept(fields.iter().map(|field| field.as_bytes()));
    assert!(is_kept(&[]));
    assert!(is_kept(&["user=1;prop, other=2", "third=%20"]));
    assert!(is_kept(&[&members(BAGGAGE_MEMBERS_MAX)]));
    assert!(!is_kept(&[&members(BAGGAGE_MEMBERS_MAX + 1)]));
    assert!(!is_kept(&[&members(BAGGAGE_MEMBERS_MAX), "one=more"]));
    let half = "v".repeat(BAGGAGE_BYTES_MAX / 2);
    assert!(is_kept(&[&half, &half[1..]]));
    assert!(!is_kept(&[&half, &half]));
    assert!(is_kept(&[&format!("{half}{half}")]));
}

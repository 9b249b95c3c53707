//! Trace context as the vectors and the W3C rules say.

#![allow(clippy::unwrap_used, clippy::panic)]

use serde::Deserialize;
use spanway_engine::FieldSink;
use spanway_engine::limits::{
    BAGGAGE_BYTES_MAX, BAGGAGE_MEMBERS_MAX, TRACESTATE_BYTES_MAX, TRACESTATE_MEMBERS_MAX,
    XRAY_FIELDS_BYTES_MAX,
};
use spanway_engine::message::{Fields, Name};
use spanway_engine::trace::context::{
    Context, Inject, Propagator, RemoteParent, Traceparent, TraceparentError, extract,
    is_baggage_kept, parse_traceparent, traceparent, tracestate,
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
        let parent = Traceparent {
            trace_id: ids.trace_id(),
            span_id: ids.span_id(),
            flags,
        };
        let value = traceparent(parent.trace_id, parent.span_id, parent.flags);
        assert_eq!(parse_traceparent(&value), Ok(parent));
    }
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

#[derive(Deserialize)]
struct Exchanges {
    cases: Vec<Exchange>,
}

/// `tests/vectors/propagation.json` says what each part is.
#[derive(Deserialize)]
struct Exchange {
    name: String,
    propagators: Vec<Propagator>,
    fields: Vec<(String, String)>,
    want: Option<Said>,
    told: Option<Vec<(String, String)>>,
}

#[derive(Deserialize, Debug, PartialEq)]
struct Said {
    trace_id: Option<String>,
    span_id: Option<String>,
    sampled: Option<bool>,
    debug: bool,
    random: bool,
}

impl From<RemoteParent> for Said {
    fn from(parent: RemoteParent) -> Self {
        Self {
            trace_id: parent.trace_id.map(|id| id.to_string()),
            span_id: parent.span_id.map(|id| id.to_string()),
            sampled: parent.sampled,
            debug: parent.is_debug,
            random: parent.is_random,
        }
    }
}

fn exchanges() -> Vec<Exchange> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../tests/vectors/propagation.json"
    );
    let vectors: Exchanges = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    vectors.cases
}

fn fields_of(list: &[(String, String)]) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in list {
        fields.push(name.as_bytes(), value.as_bytes());
    }
    fields
}

#[derive(Default)]
struct Written(Vec<(String, String)>);

impl FieldSink for Written {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        self.0.push((text(name), text(value)));
    }
}

#[test]
fn every_format_is_read_as_the_vector_says() {
    for exchange in exchanges() {
        let fields = fields_of(&exchange.fields);
        let got = extract(&fields, &exchange.propagators).map(Said::from);
        assert_eq!(got, exchange.want, "{}", exchange.name);
    }
}

#[test]
fn every_format_is_written_as_the_vector_says() {
    let span_id = SpanId::from_bytes(*b"\xfe\xdc\xba\x98\x76\x54\x32\x10").unwrap();
    let decimal = u64::from_be_bytes(*span_id.as_bytes()).to_string();
    for exchange in exchanges() {
        let Some(told) = exchange.told else { continue };
        let fields = fields_of(&exchange.fields);
        let parent = extract(&fields, &exchange.propagators).unwrap();
        let tracestate = tracestate(fields.get_all(Name::Tracestate));
        let by_w3c = parent.propagator == Propagator::Tracecontext;
        let context = Context {
            trace_id: parent.trace_id.unwrap(),
            span_id,
            flags: u8::from(parent.sampled.unwrap_or(true)) | u8::from(parent.is_random) << 1,
            is_debug: parent.is_debug,
            tracestate: tracestate.as_deref().filter(|_| by_w3c).unwrap_or_default(),
            continued: Some((parent.propagator, &fields)),
        };
        let inject = Inject::new(&exchange.propagators);
        let mut written = Written::default();
        for field in fields.end_to_end(inject.names) {
            written.field(field.name, field.value);
        }
        inject.write(&mut written, &context);
        let want = told.into_iter().map(|(name, value)| {
            let value = value.replace("{span}", &span_id.to_string());
            (name, value.replace("{span_decimal}", &decimal))
        });
        assert_eq!(written.0, want.collect::<Vec<_>>(), "{}", exchange.name);
    }
}

#[test]
fn what_is_written_in_a_format_is_read_back_from_it() {
    let mut ids = Ids::from_seeds(5, 6);
    for propagator in Propagator::ALL {
        for (flags, is_debug) in [(0, false), (0, true), (1, false), (1, true)] {
            let context = Context {
                trace_id: ids.trace_id(),
                span_id: ids.span_id(),
                flags,
                is_debug,
                tracestate: b"",
                continued: None,
            };
            let mut written = Written::default();
            Inject::new(&[propagator]).write(&mut written, &context);
            let parent = extract(&fields_of(&written.0), &[propagator]).unwrap();
            assert_eq!(parent.span_id, Some(context.span_id), "{propagator:?}");
            assert_eq!(parent.sampled, Some(flags == 1), "{propagator:?}");
            assert!(!parent.is_debug || flags == 1 && is_debug, "{propagator:?}");
            let bits = |id: TraceId| u128::from_be_bytes(*id.as_bytes());
            let (got, sent) = (bits(parent.trace_id.unwrap()), bits(context.trace_id));
            let want = match propagator {
                Propagator::Ottrace => u128::from(sent as u64), // It has no room for more.
                _ => sent,
            };
            assert_eq!(got, want, "{propagator:?}");
        }
    }
}

#[test]
fn long_extras_of_a_format_are_dropped_and_its_ids_kept() {
    let long = "v".repeat(XRAY_FIELDS_BYTES_MAX);
    let root = "1-5759e988-bd862e3fe1be46a994272793";
    for (propagator, list, want) in [
        (
            Propagator::Xray,
            vec![("x-amzn-trace-id", format!("Root={root};Self={long}"))],
            vec!["x-amzn-trace-id"],
        ),
        (
            Propagator::Datadog,
            vec![
                ("x-datadog-trace-id", "7".to_owned()),
                ("x-datadog-tags", format!("{long}=1")),
                ("x-datadog-origin", format!("{long}1")),
            ],
            vec![
                "x-datadog-trace-id",
                "x-datadog-parent-id",
                "x-datadog-sampling-priority",
            ],
        ),
    ] {
        let list: Vec<_> = list
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let fields = fields_of(&list);
        let parent = extract(&fields, &[propagator]).unwrap();
        let context = Context {
            trace_id: parent.trace_id.unwrap(),
            span_id: SpanId::from_bytes([1; 8]).unwrap(),
            flags: 1,
            is_debug: false,
            tracestate: b"",
            continued: Some((propagator, &fields)),
        };
        let mut written = Written::default();
        Inject::new(&[propagator]).write(&mut written, &context);
        let names: Vec<_> = written.0.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, want);
        assert!(written.0.iter().all(|(_, value)| !value.contains("vvv")));
    }
}

#[test]
fn a_field_that_a_format_has_once_is_none_when_it_comes_twice() {
    for exchange in exchanges() {
        if exchange.want.is_none_or(|want| want.trace_id.is_none()) {
            continue;
        }
        let [propagator] = exchange.propagators[..] else {
            continue;
        };
        if propagator == Propagator::B3 && exchange.fields.len() > 1 {
            continue; // The other encoding counts then.
        }
        let (name, value) = &exchange.fields[0];
        let mut twice = exchange.fields.clone();
        twice.push((name.clone(), value.clone()));
        let read = extract(&fields_of(&twice), &[propagator]);
        assert_eq!(read, None, "{}", exchange.name);
    }
}

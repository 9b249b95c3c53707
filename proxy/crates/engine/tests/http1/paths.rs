//! `tests/vectors/paths.json`, as far as the codec can tell.

use serde::Deserialize;
use spanway_engine::http1::parse_request;
use spanway_engine::message::{RequestHead, without_empty_segments};

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    target: String,
    forwarded: Option<String>,
    matched: Option<String>,
}

#[test]
fn targets_are_read_as_the_vector_says() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../tests/vectors/paths.json"
    );
    let vectors: Vectors = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for case in vectors.cases {
        let text = format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", case.target);
        let mut head = RequestHead::default();
        let is_refused = parse_request(text.as_bytes(), &mut head).is_err();
        assert_eq!(is_refused, case.forwarded.is_none(), "{}", case.target);
        if let (Some(forwarded), Some(matched)) = (&case.forwarded, &case.matched) {
            assert_eq!(head.target(), forwarded.as_bytes(), "{}", case.target);
            assert_eq!(&*without_empty_segments(head.path()), matched.as_bytes());
        }
    }
}

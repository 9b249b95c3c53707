//! Whole, at every split, with a tail: the bytes say the same however they arrive.

use crate::exchange::{Connection, Exchange, exchange};
use crate::vectors::CASES;
use spanway_engine::http1::{Parsed, parse_request, parse_response};
use spanway_engine::message::{Method, RequestHead, ResponseHead};

const TAIL: &[u8] = b"GET /tail HTTP/1.1\r\nHost: a.example\r\n\r\n";
/// Longer ones are made of one repeated part.
const SPLIT_BYTES_MAX: usize = 1000;

fn small_inputs() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let inputs = CASES.iter().map(|case| (case.name.as_str(), case.bytes()));
    inputs.filter(|(_, bytes)| bytes.len() <= SPLIT_BYTES_MAX)
}

fn received_in_two(bytes: &[u8], split: usize) -> Exchange {
    let (first, second) = bytes.split_at(split);
    let mut connection = Connection::new();
    connection.receive(first);
    connection.receive(second);
    connection.end()
}

#[test]
fn an_exchange_is_the_same_at_every_split() {
    for (name, bytes) in small_inputs() {
        let whole = exchange(&bytes);
        for split in 0..=bytes.len() {
            let seen = received_in_two(&bytes, split);
            // Which rule a refusal names may depend on how much was there; its status may not.
            assert_eq!(seen.statuses, whole.statuses, "{name} at {split}");
            assert_eq!(seen.forwarded, whole.forwarded, "{name} at {split}");
        }
    }
}

#[test]
fn no_part_of_a_message_is_taken_for_it() {
    for (name, bytes) in small_inputs() {
        let whole = exchange(&bytes);
        for end in 0..bytes.len() {
            let part = exchange(&bytes[..end]);
            let is_earlier = whole.statuses.starts_with(&part.statuses);
            assert!(is_earlier, "{name} until {end}: {:?}", part.statuses);
            assert!(
                whole.forwarded.starts_with(&part.forwarded),
                "{name} until {end}"
            );
        }
    }
}

#[test]
fn a_head_is_the_same_with_a_tail_and_none_of_its_prefixes_is_one() {
    for (name, bytes) in small_inputs() {
        let mut head = RequestHead::default();
        let Ok(Parsed::Complete { head_bytes }) = parse_request(&bytes, &mut head) else {
            continue;
        };
        let whole = format!("{head:?}");
        for end in 0..head_bytes {
            let mut head = RequestHead::default();
            let parsed = parse_request(&bytes[..end], &mut head);
            assert_eq!(parsed, Ok(Parsed::Incomplete), "{name} until {end}");
        }
        let with_tail = [&bytes[..head_bytes], TAIL].concat();
        let parsed = parse_request(&with_tail, &mut head);
        assert_eq!(parsed, Ok(Parsed::Complete { head_bytes }), "{name}");
        assert_eq!(format!("{head:?}"), whole, "{name}");
    }
}

#[test]
fn a_tail_is_the_next_request() {
    for (name, bytes) in small_inputs() {
        let whole = exchange(&bytes);
        let is_open = whole.refusal.is_none() && !bytes.to_ascii_lowercase().contains_close();
        if is_open && whole.statuses.len() == 1 {
            let seen = exchange(&[&bytes, TAIL].concat());
            assert_eq!(seen.statuses, [200, 200], "{name}");
            assert_eq!(seen.forwarded[0], whole.forwarded[0], "{name}");
        }
    }
}

trait ContainsClose {
    fn contains_close(&self) -> bool;
}

impl ContainsClose for Vec<u8> {
    fn contains_close(&self) -> bool {
        let text = String::from_utf8_lossy(self);
        text.contains("close") || text.contains("http/1.0")
    }
}

#[test]
fn a_response_is_the_same_at_every_split_and_with_a_tail() {
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-A: \t1 \r\n\r\n",
        "HTTP/1.0 404 \r\n\r\n",
        "HTTP/1.1 204\r\nX-Empty:\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
    ] {
        let bytes = text.as_bytes();
        let mut one = ResponseHead::default();
        for end in 0..bytes.len() {
            let mut fresh = ResponseHead::default();
            let parsed = parse_response(&bytes[..end], Method::Get, &mut fresh);
            assert_eq!(parsed, Ok(Parsed::Incomplete), "{text:?} until {end}");
            let parsed = parse_response(&bytes[..end], Method::Get, &mut one);
            assert_eq!(
                parsed,
                Ok(Parsed::Incomplete),
                "{text:?} until {end}, reused"
            );
        }
        let whole = Ok(Parsed::Complete {
            head_bytes: bytes.len(),
        });
        let with_tail = [bytes, b"HTTP/1.1 200 OK\r\n\r\n"].concat();
        assert_eq!(parse_response(bytes, Method::Get, &mut one), whole);
        assert_eq!(parse_response(&with_tail, Method::Get, &mut one), whole);
    }
}

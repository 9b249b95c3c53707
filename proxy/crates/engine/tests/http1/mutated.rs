//! Random damage to real messages: nothing panics, and what is accepted keeps its promises.

use crate::exchange::{Connection, exchange};
use crate::vectors::CASES;
use fastrand::Rng;
use spanway_engine::http1::{Parsed, parse_response};
use spanway_engine::message::{Fields, Framing, Method, Name, ResponseHead};

const ROUNDS: usize = 20_000;

/// Bytes that mean something to one parser or another.
const SHARP: &[u8] = b"\r\n\r\n :;,=\"\\/?#%.*[]@_-\t\0\x0b\x7f\x80\xff0159afx";

/// A seed that a failure prints; `SPANWAY_TEST_SEED` repeats it.
fn seeded() -> Rng {
    let given = std::env::var("SPANWAY_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("SPANWAY_TEST_SEED={seed}");
    Rng::with_seed(seed)
}

fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Rng) {
    for _ in 0..random.usize(1..=4) {
        let at = random.usize(..=bytes.len());
        let sharp = SHARP[random.usize(..SHARP.len())];
        match random.u8(..6) {
            0 => bytes.insert(at, sharp),
            1 if at < bytes.len() => bytes[at] = sharp,
            2 if at < bytes.len() => bytes[at] = random.u8(..),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            4 => bytes.truncate(at.max(1)),
            _ => {
                let from = random.usize(..=other.len());
                let to = random.usize(from..=other.len().min(from + 40));
                bytes.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
}

fn mutants(texts: Vec<Vec<u8>>) -> impl Iterator<Item = (Vec<u8>, Rng)> {
    let mut random = seeded();
    (0..ROUNDS).map(move |_| {
        let mut bytes = texts[random.usize(..texts.len())].clone();
        let other = &texts[random.usize(..texts.len())];
        mutate(&mut bytes, other, &mut random);
        (bytes, random.fork())
    })
}

/// What no accepted message may have, whatever it was made from.
fn assert_clean(fields: &Fields) {
    for field in fields.iter() {
        let is_control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
        assert!(!field.value.iter().any(is_control), "{field:?}");
        assert!(field.name.iter().all(u8::is_ascii_graphic) && !field.name.is_empty());
        assert_eq!(field.value.trim_ascii(), field.value);
    }
    assert!(fields.count(Name::Host) <= 1 && fields.count(Name::ContentLength) <= 1);
    assert!(!(fields.has(Name::ContentLength) && fields.has(Name::TransferEncoding)));
}

#[test]
fn requests_never_panic_and_say_the_same_in_pieces() {
    let small = CASES
        .iter()
        .map(crate::vectors::Case::bytes)
        .filter(|bytes| bytes.len() < 500);
    for (bytes, mut random) in mutants(small.collect()) {
        let whole = exchange(&bytes);
        let mut connection = Connection::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (part, after) = rest.split_at(random.usize(1..=rest.len().min(64)));
            connection.receive(part);
            rest = after;
        }
        let seen = connection.end();
        let shown = String::from_utf8_lossy(&bytes);
        // In pieces a line may be refused only when it ends, and these bytes may end before.
        let is_refused_alike = whole.refusal.is_some() == seen.refusal.is_some()
            || (seen.refusal.is_none() && seen.is_incomplete);
        assert!(is_refused_alike, "{shown:?}: {whole:?}, {seen:?}");
        assert_eq!(seen.forwarded, whole.forwarded, "{shown:?}");
        for (head, _) in &whole.forwarded {
            assert_forwarded_is_clean(head);
        }
    }
}

/// By bytes, without the parser: every LF ends a line, every CR is before one.
fn assert_forwarded_is_clean(head: &[u8]) {
    let text = String::from_utf8_lossy(head);
    let lines: Vec<&str> = text
        .strip_suffix("\r\n\r\n")
        .unwrap()
        .split("\r\n")
        .collect();
    assert!(
        lines.iter().all(|line| !line.contains(['\r', '\n', '\0'])),
        "{text:?}"
    );
    assert_eq!(lines[0].split(' ').count(), 3, "{text:?}");
    assert!(
        lines[1..]
            .iter()
            .all(|line| !line.starts_with([' ', '\t', ':'])),
        "{text:?}"
    );
    let named = |name: &str| {
        let is_it = |line: &&&str| line.split(':').next().unwrap().eq_ignore_ascii_case(name);
        lines.iter().filter(is_it).count()
    };
    assert_eq!(named("host"), 1, "{text:?}");
    assert!(
        named("content-length") + named("transfer-encoding") <= 1,
        "{text:?}"
    );
}

#[test]
fn responses_never_panic_and_are_clean_if_accepted() {
    const RESPONSES: [&str; 4] = [
        "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 7\r\nConnection: close\r\n\r\nabcdefg",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=b\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 404 Not Found\r\nDate: Mon, 23 Nov 2026 14:48:00 GMT\r\n\r\nhello",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nX-A:\r\n\r\n",
    ];
    let mut head = ResponseHead::default();
    for (bytes, mut random) in mutants(RESPONSES.map(|text| text.as_bytes().to_vec()).into()) {
        let method = if random.bool() {
            Method::Get
        } else {
            Method::Head
        };
        let parsed = parse_response(&bytes, method, &mut head);
        if let Ok(Parsed::Complete { head_bytes }) = parsed {
            assert!(head_bytes <= bytes.len() && (100..=999).contains(&head.status));
            assert!(method == Method::Get || head.framing == Framing::None);
            assert_clean(&head.fields);
        }
    }
}

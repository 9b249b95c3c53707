//! PROXY protocol headers as the vectors say, at every split, damaged, and as we write them.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use fastrand::Rng;
use serde::Deserialize;
use spanway_engine::limits::PROXY_HEADER_BYTES_MAX;
use spanway_engine::proxy_protocol::{Announced, Parsed, parse, put_v1, put_v2};

const ROUNDS: usize = 50_000;

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    /// A character for a byte.
    given: String,
    want: Option<Want>,
}

#[derive(Deserialize)]
struct Want {
    source: Option<SocketAddr>,
    destination: Option<SocketAddr>,
}

impl Case {
    fn bytes(&self) -> Vec<u8> {
        self.given.chars().map(|c| c as u8).collect()
    }

    /// `None` where it is malformed.
    fn want(&self) -> Option<Parsed> {
        let want = self.want.as_ref()?;
        let announced = want.source.zip(want.destination);
        Some(Parsed::Complete {
            announced: announced.map(|(source, destination)| Announced {
                source,
                destination,
            }),
            header_bytes: self.bytes().len(),
        })
    }
}

fn cases() -> Vec<Case> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../tests/vectors/proxy_protocol.json"
    );
    let vectors: Vectors = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    vectors.cases
}

#[test]
fn header_is_read_as_the_vector_says_whatever_follows() {
    for case in cases() {
        for tail in [&b""[..], b"\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\0"] {
            let got = parse(&[&case.bytes(), tail].concat()).ok();
            assert_eq!(got, case.want(), "{}", case.name);
        }
    }
}

#[test]
fn beginning_of_a_header_is_never_taken_for_it_nor_refused() {
    for case in cases().iter().filter(|case| case.want.is_some()) {
        let bytes = case.bytes();
        for end in 0..bytes.len() {
            let got = parse(&bytes[..end]);
            assert_eq!(got, Ok(Parsed::Incomplete), "{} at {end}", case.name);
        }
    }
}

#[test]
fn refused_stays_refused_whatever_follows() {
    for case in cases().iter().filter(|case| case.want.is_none()) {
        let bytes = case.bytes();
        let mut ends = 0..=bytes.len();
        let first = ends.find(|&end| parse(&bytes[..end]).is_err()).unwrap();
        for end in first..=bytes.len() {
            assert!(parse(&bytes[..end]).is_err(), "{} at {end}", case.name);
        }
    }
}

#[test]
fn damaged_header_is_bounded_and_never_panics() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let cases = cases();
    for _ in 0..ROUNDS {
        let mut bytes = cases[random.usize(..cases.len())].bytes();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            match random.u8(..3) {
                0 => bytes[at] = random.u8(..),
                1 => bytes.insert(at, random.u8(..)),
                _ => bytes.truncate(at.max(1)),
            }
        }
        match parse(&bytes) {
            Ok(Parsed::Complete { header_bytes, .. }) => {
                assert!(header_bytes <= bytes.len().min(PROXY_HEADER_BYTES_MAX));
            }
            Ok(Parsed::Incomplete) => assert!(bytes.len() < PROXY_HEADER_BYTES_MAX),
            Err(_) => {}
        }
    }
}

#[test]
fn what_is_written_is_read_as_the_same() {
    let ends: [SocketAddr; 4] = [
        "192.0.2.1:40000".parse().unwrap(),
        "198.51.100.2:0".parse().unwrap(),
        "[2001:db8::1]:65535".parse().unwrap(),
        "[::]:443".parse().unwrap(),
    ];
    let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    for source in ends {
        for destination in ends {
            for put in [put_v1, put_v2] {
                let mut bytes = Vec::new();
                let sent = Announced {
                    source,
                    destination,
                };
                put(&mut bytes, sent);
                let Ok(Parsed::Complete {
                    announced: Some(got),
                    header_bytes,
                }) = parse(&bytes)
                else {
                    unreachable!("{bytes:?}");
                };
                assert_eq!(header_bytes, bytes.len());
                assert_eq!(canonical(got.source), source);
                assert_eq!(canonical(got.destination), destination);
                assert_eq!(got.source.is_ipv4(), got.destination.is_ipv4());
            }
        }
    }
}

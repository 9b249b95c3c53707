//! Bodies: data, end, and what follows.

use spanway_engine::http1::{BodyDecoder, Malformed, Step};
use spanway_engine::message::Framing;

/// The data of a body that comes in parts, and how many of all bytes belong to it.
fn decode(framing: Framing, parts: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), Malformed> {
    let mut decoder = BodyDecoder::new(framing);
    let (mut data, mut consumed) = (Vec::new(), 0);
    for part in parts {
        let mut rest = *part;
        while let Some(run) = decoder.next_data(&mut rest)? {
            data.extend_from_slice(run);
        }
        consumed += part.len() - rest.len();
    }
    Ok((data, consumed, decoder.is_done()))
}

fn chunked(text: &str) -> Result<Vec<u8>, Malformed> {
    let (data, _, is_done) = decode(Framing::Chunked, &[text.as_bytes()])?;
    if is_done {
        Ok(data)
    } else {
        Err(Malformed::Truncated)
    }
}

const BODY: &str = "4;a=\"b\\\"\";c\r\nWiki\r\n00E\r\npedia in\r\n\r\nch\r\n2\r\nun\r\n\
                    0;z\r\nX-A: \t1\r\nX-B:\r\n\r\n";

#[test]
fn a_chunked_body_is_the_same_at_every_split_and_with_a_tail() {
    let bytes = [BODY.as_bytes(), b"GET /"].concat();
    for split in 0..=bytes.len() {
        let (first, second) = bytes.split_at(split);
        let seen = decode(Framing::Chunked, &[first, second]);
        let want = (b"Wikipedia in\r\n\r\nchun".to_vec(), BODY.len(), true);
        assert_eq!(seen, Ok(want), "at {split}");
    }
}

#[test]
fn a_chunked_body_is_the_same_byte_by_byte_and_done_only_at_its_end() {
    let mut decoder = BodyDecoder::new(Framing::Chunked);
    let mut data = Vec::new();
    for (index, byte) in BODY.as_bytes().iter().enumerate() {
        let step = decoder.decode(std::slice::from_ref(byte)).unwrap();
        assert_eq!(step.consumed, 1);
        assert_eq!(step.is_done, index + 1 == BODY.len());
        if !step.data.is_empty() {
            data.push(*byte);
        }
    }
    assert_eq!(data, b"Wikipedia in\r\n\r\nchun");
}

#[test]
fn a_body_with_a_length_is_the_same_at_every_split_and_with_a_tail() {
    let bytes = b"hello, world";
    for split in 0..=bytes.len() {
        let (first, second) = bytes.split_at(split);
        let seen = decode(Framing::Length(5), &[first, second]);
        assert_eq!(seen, Ok((b"hello".to_vec(), 5, true)), "at {split}");
    }
}

#[test]
fn a_body_without_bytes_is_done_before_any_come() {
    for framing in [Framing::None, Framing::Length(0)] {
        let mut decoder = BodyDecoder::new(framing);
        assert!(decoder.is_done());
        let step = decoder.decode(b"GET /").unwrap();
        assert_eq!(
            step,
            Step {
                consumed: 0,
                data: 0..0,
                is_done: true
            }
        );
    }
}

#[test]
fn a_body_until_close_is_done_when_the_input_ends() {
    let mut decoder = BodyDecoder::new(Framing::UntilClose);
    let step = decoder.decode(b"hello").unwrap();
    assert_eq!(
        step,
        Step {
            consumed: 5,
            data: 0..5,
            is_done: false
        }
    );
    assert_eq!(decoder.end_of_input(), Ok(()));
    assert!(decoder.is_done());
}

#[test]
fn a_body_that_ends_early_is_truncated() {
    for end in 0..BODY.len() {
        let mut decoder = BodyDecoder::new(Framing::Chunked);
        let mut rest = &BODY.as_bytes()[..end];
        while decoder.next_data(&mut rest).unwrap().is_some() {}
        assert_eq!(
            decoder.end_of_input(),
            Err(Malformed::Truncated),
            "until {end}"
        );
    }
    let mut decoder = BodyDecoder::new(Framing::Length(2));
    decoder.decode(b"1").unwrap();
    assert_eq!(decoder.remaining(), Some(1));
    assert_eq!(decoder.end_of_input(), Err(Malformed::Truncated));
}

#[test]
fn a_chunk_size_has_at_most_16_digits() {
    assert_eq!(
        chunked("0000000000000001\r\nx\r\n0\r\n\r\n"),
        Ok(b"x".to_vec())
    );
    assert_eq!(
        chunked("00000000000000001\r\nx\r\n0\r\n\r\n"),
        Err(Malformed::ChunkSize)
    );
    assert_eq!(chunked("ffffffffffffffff\r\nx"), Err(Malformed::Truncated));
    assert_eq!(chunked("1ffffffffffffffff\r\nx"), Err(Malformed::ChunkSize));
}

#[test]
fn each_part_of_the_coding_is_refused_by_its_own_rule() {
    for (text, rule) in [
        ("x", Malformed::ChunkSize),
        ("1\rx", Malformed::ChunkSize),
        ("1;\r\n", Malformed::ChunkExtension),
        ("1;a=\"\r\n", Malformed::ChunkExtension),
        ("1\r\nxx", Malformed::ChunkEnd),
        ("1\r\nx\n", Malformed::ChunkEnd),
        ("0\r\nX A: 1", Malformed::Trailer),
        ("0\r\nX: 1\n", Malformed::Trailer),
        ("0\r\nHost: a\r\n\r\n", Malformed::TrailerForbidden),
        (
            "0\r\ncontent_length: 1\r\n\r\n",
            Malformed::TrailerForbidden,
        ),
    ] {
        assert_eq!(chunked(text), Err(rule), "{text:?}");
    }
}

#[test]
fn extensions_and_trailers_are_bounded() {
    let extension = |bytes: usize| format!("1;{}\r\nx\r\n", "a".repeat(bytes - 1));
    assert_eq!(
        chunked(&format!("{}0\r\n\r\n", extension(256))),
        Ok(b"x".to_vec())
    );
    assert_eq!(
        chunked(&extension(257)),
        Err(Malformed::ChunkExtensionLength)
    );
    assert_eq!(
        chunked(&extension(200).repeat(83)),
        Err(Malformed::ChunkExtensionLength)
    );
    let trailers = "X-A: 0123456789\r\n".repeat(482);
    assert_eq!(
        chunked(&format!("0\r\n{trailers}")),
        Err(Malformed::TrailerLength)
    );
}

#[test]
fn a_trailer_whose_name_only_starts_like_a_forbidden_one_is_accepted() {
    for name in [
        "Content-Length-Of-Something-Else",
        "Hos",
        "X-Forwarded-For-Nobody",
    ] {
        assert_eq!(
            chunked(&format!("0\r\n{name}: 1\r\n\r\n")),
            Ok(vec![]),
            "{name}"
        );
    }
}

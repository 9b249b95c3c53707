//! HTTP/1.1: heads, targets, bodies, and what is forwarded of them.

use super::exchange::{Connection, exchange, forwarded_head};
use super::lines;
use spanway_engine::http1::{BodyDecoder, Malformed, Parsed, parse_request, parse_response};
use spanway_engine::message::{
    Fields, Framing, Method, Name, RequestHead, ResponseHead, normalise, without_empty_segments,
};

/// Longer ones are not cut at every place: that costs their length squared.
const EVERY_SPLIT_BYTES_MAX: usize = 300;

/// A head is the same whatever follows it, none of its prefixes is one, and it is clean.
pub fn request_head(bytes: &[u8]) {
    let mut head = RequestHead::default();
    let Ok(Parsed::Complete { head_bytes }) = parse_request(bytes, &mut head) else {
        return;
    };
    let whole = format!("{head:?}");
    assert_clean(&head.fields);
    assert_ne!(head.framing, Framing::UntilClose);
    assert_forwarded_is_clean(&forwarded_head(&head));
    for tail in [&b""[..], b"\r\n", b"GET /tail HTTP/1.1\r\n\r\n", b"\0"] {
        let with_tail = [&bytes[..head_bytes], tail].concat();
        let mut head = RequestHead::default();
        let parsed = parse_request(&with_tail, &mut head);
        assert_eq!(parsed, Ok(Parsed::Complete { head_bytes }));
        assert_eq!(format!("{head:?}"), whole);
    }
    for end in 0..head_bytes.min(EVERY_SPLIT_BYTES_MAX) {
        let mut head = RequestHead::default();
        let parsed = parse_request(&bytes[..end], &mut head);
        assert_eq!(parsed, Ok(Parsed::Incomplete), "until {end}");
    }
}

/// The same of responses; the first byte chooses the method that is answered.
pub fn response_head(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else {
        return;
    };
    let method = [Method::Get, Method::Head, Method::Connect][usize::from(first % 3)];
    let mut head = ResponseHead::default();
    let Ok(Parsed::Complete { head_bytes }) = parse_response(bytes, method, &mut head) else {
        return;
    };
    assert!(head_bytes <= bytes.len() && (100..=999).contains(&head.status));
    assert!(method != Method::Head || head.framing == Framing::None);
    assert_clean(&head.fields);
    for end in 0..head_bytes.min(EVERY_SPLIT_BYTES_MAX) {
        let mut head = ResponseHead::default();
        let parsed = parse_response(&bytes[..end], method, &mut head);
        assert_eq!(parsed, Ok(Parsed::Incomplete), "until {end}");
    }
}

/// A connection's requests are answered and forwarded alike whatever the pieces they arrive in,
/// whose lengths are made from the bytes, and what is forwarded is clean.
pub fn exchange_in_pieces(bytes: &[u8]) {
    let seed = bytes.iter().fold(bytes.len() as u64, |seed, &byte| {
        seed.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    let mut random = fastrand::Rng::with_seed(seed);
    let whole = exchange(bytes);
    let mut connection = Connection::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (part, after) = rest.split_at(random.usize(1..=rest.len().min(64)));
        connection.receive(part);
        rest = after;
    }
    let in_pieces = connection.end();
    let shown = String::from_utf8_lossy(bytes);
    // In pieces a line may be refused only when it ends, and these bytes may end before.
    let is_refused_alike = whole.refusal.is_some() == in_pieces.refusal.is_some()
        || (in_pieces.refusal.is_none() && in_pieces.is_incomplete);
    assert!(is_refused_alike, "{shown:?}: {whole:?}, {in_pieces:?}");
    assert_eq!(in_pieces.forwarded, whole.forwarded, "{shown:?}");
    for (head, _) in &whole.forwarded {
        assert_forwarded_is_clean(head);
    }
}

/// A chunked body gives the same data, and ends at the same byte, at every split.
pub fn chunked_body(bytes: &[u8]) {
    let whole = decoded([bytes, b""]);
    for split in 0..=bytes.len().min(EVERY_SPLIT_BYTES_MAX) {
        let (first, second) = bytes.split_at(split);
        let seen = decoded([first, second]);
        match (&whole, &seen) {
            (Ok(whole), Ok(seen)) => assert_eq!(seen, whole, "at {split}"),
            (Err(_), Err(_)) => {}
            _ => panic!("at {split}: {whole:?}, {seen:?}"),
        }
    }
}

/// The data of a chunked body, whether it is over, and how many bytes came after it.
fn decoded(parts: [&[u8]; 2]) -> Result<(Vec<u8>, bool, usize), Malformed> {
    let mut decoder = BodyDecoder::new(Framing::Chunked);
    let mut data = Vec::new();
    let mut unread: Vec<u8> = Vec::new();
    for part in parts {
        unread.extend_from_slice(part);
        let mut rest = &unread[..];
        while let Some(run) = decoder.next_data(&mut rest)? {
            data.extend_from_slice(run);
        }
        let left = rest.len();
        unread.drain(..unread.len() - left);
    }
    let is_done = decoder.is_done();
    Ok((data, is_done, if is_done { unread.len() } else { 0 }))
}

/// An accepted host is a lower-case name or an address, whatever the target's form; a path's
/// normal form is its own and has nothing that a backend could read as another path.
pub fn target(bytes: &[u8]) {
    let [method, target, host] = lines(bytes);
    let text = [
        method,
        b" ",
        target,
        b" HTTP/1.1\r\nHost: ",
        host,
        b"\r\n\r\n",
    ]
    .concat();
    let mut head = RequestHead::default();
    if let Ok(Parsed::Complete { head_bytes }) = parse_request(&text, &mut head) {
        let is_of_host =
            |byte: &u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase() && *byte != b'/';
        assert!(head.host().iter().all(is_of_host), "{head:?}");
        assert!(head.authority().len() >= head.host().len(), "{head:?}");
        let is_clean = |byte: &u8| byte.is_ascii_graphic() && *byte != b'#';
        assert!(head_bytes <= text.len() && head.target().iter().all(is_clean));
        assert_normal(head.path());
    }
    assert_normal(target);
}

fn assert_normal(path: &[u8]) {
    let Ok(normal) = normalise(path) else { return };
    assert_eq!(normalise(&normal).as_deref(), Ok(&*normal));
    let matched = without_empty_segments(&normal);
    assert!(!matched.windows(2).any(|two| two == b"//"), "{matched:?}");
    assert_eq!(normalise(&matched).as_deref(), Ok(&*matched));
    for segment in matched.split(|&byte| byte == b'/') {
        assert!(segment != b"." && segment != b"..", "{matched:?}");
    }
    assert!(matched.starts_with(b"/") && matched.iter().all(u8::is_ascii_graphic));
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

/// By bytes, without the parser: every LF ends a line, every CR is before one.
fn assert_forwarded_is_clean(head: &[u8]) {
    let text = String::from_utf8_lossy(head);
    let whole = text.strip_suffix("\r\n\r\n").unwrap();
    let lines: Vec<&str> = whole.split("\r\n").collect();
    let is_one_line = |line: &&str| !line.contains(['\r', '\n', '\0']);
    assert!(lines.iter().all(is_one_line), "{text:?}");
    assert_eq!(lines[0].split(' ').count(), 3, "{text:?}");
    let is_field = |line: &&str| !line.starts_with([' ', '\t', ':']);
    assert!(lines[1..].iter().all(is_field), "{text:?}");
    let named = |name: &str| {
        let is_it = |line: &&&str| line.split(':').next().unwrap().eq_ignore_ascii_case(name);
        lines.iter().filter(is_it).count()
    };
    assert_eq!(named("host"), 1, "{text:?}");
    let framings = named("content-length") + named("transfer-encoding");
    assert!(framings <= 1, "{text:?}");
}
